"""Models that were trained somewhere else: what holds for every format."""

import errno
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import onnx
import pandas as pd
import pytest

from aiinfra_lab import lab, models
from aiinfra_lab.deploy.server.model import load
from aiinfra_lab.drift.served import feature_rows
from aiinfra_lab.errors import Failed, Missing, NotFound, Unavailable, UsageProblem
from aiinfra_lab.models import artifact, record, sync
from aiinfra_lab.models.record import ModelVersion
from aiinfra_lab.store import open_store
from aiinfra_lab.words import split, understand

from .. import records
from ..packages import install
from ..train.conftest import ledger
from .importers.made import LOGITS, ROWS, linear
from .importers.tables import churned, customers
from .importers.test_xgboost import booster

__all__ = ["ledger"]

EXAMPLE = {"x": ROWS}


@pytest.fixture
def path(workspace, ledger):
    """A model's file in the workspace."""
    return linear(workspace / "net.onnx")


@pytest.fixture
def net(path):
    """models:net@1."""
    return models.add("net", from_=path, example=EXAMPLE, labels="no,yes")


def test_the_line_of_a_notebook_does_the_same(path):
    np.savez("x.npz", x=ROWS)
    made = understand(
        "models", split("add net --from net.onnx --example x.npz --task classification --labels 0..1")
    ).run()
    assert (made.uri, made.signature.task.labels) == ("models:net@1", ("0", "1"))


def test_its_source_stands_in_place_of_a_run(net, path):
    assert (net.run, net.metrics) == ("", {})
    body = open_store().get(ModelVersion, "net@1").body
    assert (body.source.path, body.source.format, len(body.source.sha256)) == (str(path), "onnx", 64)
    assert net.source.startswith(f"{path} (onnx, SHA-256 {body.source.sha256[:12]}")
    assert "| format | onnx |" in net.model_card
    assert "what it learned from, and what it was measured at, is not recorded" in net.model_card


def test_adding_is_one_event_that_the_lineage_shows(net, path):
    *_, logged = open_store().events()
    assert (logged.event.verb, logged.event.inputs) == ("models add", (f"file:{path}",))
    assert logged.event.detail["source"]["sha256"] == open_store().get(ModelVersion, "net@1").body.source.sha256
    assert f"file:{path}" in lab.log(net).card().text()


def test_a_check_and_a_promotion_follow(net):
    verdict = models.check(net)
    assert [(one.what, one.state) for one in verdict.findings] == [
        *(("files", "good"), ("example", "good"), ("source", "good")),
    ]
    assert models.promote(net).aliases == ("champion",)


def test_a_bound_on_what_was_measured_somewhere_else_cannot_be_told(net):
    verdict = models.check(net, require="auc > 0.5", report=True)
    (finding,) = [one for one in verdict.findings if one.what == "auc > 0.5"]
    assert (finding.state, finding.detail) == ("cannot tell", "it was measured somewhere else")
    for line in finding.fix.split("`")[1::2]:
        found = understand("models", split(line.removeprefix("%models "))).run()
    assert found.state == "good"


def test_a_changed_file_names_how_to_add_it_again(net, path):
    (net.path / "model.onnx").write_bytes(b"another")
    with pytest.raises(Failed) as problem:
        models.check(net)
    assert f"`%models add net --from {path}`" in problem.value.fix


def test_two_versions_differ_by_their_source(net, workspace):
    other = linear(workspace / "other.onnx")
    model = onnx.load(other)
    model.producer_name = "another"
    onnx.save(model, other)
    second = models.add("net", from_=other, example=EXAMPLE, labels="no,yes")
    changes = {what: (theirs, ours) for what, theirs, ours in models.diff(second, net).changes}
    assert "other.onnx" in changes["source"][1]


def test_rows_are_answered_as_by_the_original(net, workspace):
    rows = pd.DataFrame({"x": [row.tolist() for row in ROWS]})
    rows.to_parquet(workspace / "rows.parquet")
    found = models.run(net, rows=workspace / "rows.parquet").df()
    assert found["y"].tolist() == ["no" if no > yes else "yes" for no, yes in LOGITS]


def test_the_other_registry_gets_it_without_a_run(net):
    assert net.said == "y is made probabilities by softmax"
    entry = sync.entry(open_store().get(ModelVersion, "net@1"))
    assert (entry.tracked_as, entry.tags["lab.source"]) == ("", net.source.partition(" ")[0])
    assert sync.registry().versions("net") == {"models:net@1"}


@pytest.mark.parametrize("suffix", [".pkl", ".joblib", ".dat"])
def test_a_pickle_is_refused_with_a_line_that_converts_it(path, workspace, suffix):
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(ROWS, LOGITS[:, 0])
    old = workspace / f"old{suffix}"
    if suffix == ".joblib":
        import joblib

        joblib.dump(model, old)
    else:
        old.write_bytes(pickle.dumps(model))
    with pytest.raises(UsageProblem, match=r"is a pickle, which can run any code") as problem:
        models.add("old", from_=old, example=EXAMPLE)
    exec(problem.value.fix.split("`")[1], {})
    assert (workspace / "old.skops").is_file()


def test_a_pickle_of_torch_names_the_export(path, workspace):
    import torch

    torch.save({"weight": torch.zeros(2)}, workspace / "net.pt")
    with pytest.raises(UsageProblem, match=r"is a pickle") as problem:
        models.add("old", from_=workspace / "net.pt", example=EXAMPLE)
    names = {"model": torch.nn.Linear(3, 2), "example": torch.from_numpy(ROWS)}
    exec(problem.value.fix.split("`")[1], names)
    assert (workspace / "net.pt2").is_file()


def test_a_path_that_is_not_there_names_the_nearest(path):
    with pytest.raises(NotFound, match=r"there is no file or folder .*nets\.onnx\n.*did you mean .*net\.onnx"):
        models.add("net", from_="nets.onnx", example=EXAMPLE)


@pytest.mark.parametrize(("content", "what"), [(b"", "is empty"), (b"a text", "is of no format that is known here")])
def test_what_is_no_model_is_refused(path, workspace, content, what):
    (workspace / "net.model").write_bytes(content)
    with pytest.raises(UsageProblem, match=what):
        models.add("net", from_="net.model", example=EXAMPLE)


def test_run_and_file_exclude_each_other(path):
    with pytest.raises(UsageProblem, match="both --run and --from were given"):
        models.add("net", from_=path, run="train:net@1", example=EXAMPLE)
    with pytest.raises(UsageProblem, match="nothing says which model to add"):
        models.add("net")
    with pytest.raises(UsageProblem, match="--labels is for models that were trained elsewhere"):
        models.add("net", run="train:net@1", labels="a,b")


def test_a_full_disk_leaves_nothing(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left", "model.onnx")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(Unavailable, match="no space is left"):
        models.add("net", from_=path, example=EXAMPLE)
    assert (models.ls().items, [*record.folder("x").parent.iterdir()]) == ((), [])


def test_a_commit_that_fails_leaves_no_folder(path, monkeypatch):
    class Store:
        def commit(self, *_):
            raise Unavailable("the store is full", "free some space")

        def __getattr__(self, name):
            return getattr(open_store(), name)

    monkeypatch.setattr(artifact, "open_store", Store)
    with pytest.raises(Unavailable, match="the store is full"):
        models.add("net", from_=path, example=EXAMPLE)
    assert [*record.folder("x").parent.iterdir()] == []


KILLED = """
import os, signal, sys
import numpy as np
from aiinfra_lab import files, models
files.digests = lambda _: os.kill(os.getpid(), signal.SIGKILL)
models.add("net", from_="net.onnx", example={"x": np.ones((2, 3), np.float32)})
"""


def test_a_kill_in_the_middle_registers_nothing_and_the_next_one_works(path):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIINFRA_T", "AIINFRA_M"))}
    assert subprocess.run([sys.executable, "-c", KILLED], env=env, check=False).returncode == -signal.SIGKILL
    assert models.ls().items == ()
    assert models.add("net", from_=path, example=EXAMPLE).uri == "models:net@1"
    assert [each.name for each in record.folder("x").parent.iterdir()] == ["net@1"]


def test_a_missing_package_names_the_command_that_installs_it(path, monkeypatch):
    monkeypatch.setattr("aiinfra_lab.providers.importable", lambda provider: provider.extra != "xgboost")
    (path.parent / "churn.ubj").write_bytes(b"{L learner")
    with pytest.raises(Missing, match=r"needs xgboost.*\n.*pip install 'aiinfra-lab\[xgboost\]'"):
        models.add("churn", from_="churn.ubj", rows=pd.DataFrame({"a": [1.0]}))


def test_an_endpoint_answers_as_the_version_does(net, workspace):
    rows = customers(missing=0.1)
    booster(rows, churned(rows), objective="binary:logistic").save_model("churn.ubj")
    churn = models.add("churn", from_="churn.ubj", rows=rows)
    asked = [{"age": 40, "income": None, "visits": 2.0, "debt": 0.1}]
    served = load(churn.uri, churn.path)
    assert served.predict(churn._saved.rows.validate(asked)).rows()[0] == churn.answers(asked)[0]
    assert load(net.uri, net.path).uri == net.uri


def test_drift_compares_rows_of_its_own_columns(net, workspace):
    rows = customers(missing=0.1)
    booster(rows, churned(rows), objective="binary:logistic").save_model("churn.ubj")
    churn = models.add("churn", from_="churn.ubj", rows=rows)
    sample = feature_rows(rows, churn)
    assert {"age", "income", "visits", "debt", "prediction"} <= set(sample.rows.columns)
    assert len(sample.rows) == len(rows)


def test_the_record_of_before_is_read(workspace):
    records.write_as("models", "old@1", {"run": "train:old@1", "files": {"model.onnx": "0a"}})
    body = open_store().get(ModelVersion, "old@1").body
    assert (body.run, body.source) == ("train:old@1", None)


PLUGIN = """
import json

class Lin:
    def __init__(self, where): ...
    def suits(self, path): return path.read_bytes()[:1] == b"{"
    def read(self, path): return json.loads(path.read_text())

class Greedy(Lin):
    def suits(self, path): return bool(path.read_bytes()[:1])
"""
LIN, GREEDY, BROKEN = (
    f"models.importer.{each}" for each in ("lin = somebody:Lin", "aa = somebody:Greedy", "ab = no:No")
)


def test_what_another_package_brings_takes_no_format_of_ours_away(path, monkeypatch, tmp_path_factory):
    install(tmp_path_factory.mktemp("site"), monkeypatch, PLUGIN, GREEDY, BROKEN)
    assert models.add("net", from_=path, example=EXAMPLE).uri == "models:net@1"


def test_an_importer_that_cannot_be_asked_is_passed_over_and_said(path, monkeypatch, tmp_path_factory):
    install(tmp_path_factory.mktemp("site"), monkeypatch, PLUGIN, GREEDY, BROKEN)
    (path.parent / "folder").mkdir()
    with pytest.raises(
        UsageProblem, match=r"no format that is known here; aa was passed over: .*IsADirectoryError"
    ) as of:
        models.add("net", from_="folder", example=EXAMPLE)
    assert "ab was passed over" in of.value.what
    assert "aa, which somebody reads" in of.value.fix
    assert "XGBoost's files, .ubj and .json" in of.value.fix


def test_a_damaged_file_of_another_packages_format_is_told_as_one_of_ours(path, monkeypatch, tmp_path_factory):
    install(tmp_path_factory.mktemp("site"), monkeypatch, PLUGIN, LIN)
    (path.parent / "bad.lin").write_text('{"weights": [1')
    with pytest.raises(Failed, match=r"bad\.lin cannot be read: Expecting .*\n.*save it again"):
        models.add("net", from_="bad.lin", example=EXAMPLE)
