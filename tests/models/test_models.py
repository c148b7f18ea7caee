import json
import threading

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab import files, models, train
from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.errors import Conflict, Failed, Inconclusive, LabError, NotFound, UsageProblem
from aiinfra_lab.features.contract import Columns
from aiinfra_lab.models import comparison, record
from aiinfra_lab.models.record import ModelAliases, ModelVersion
from aiinfra_lab.resolve import resolve
from aiinfra_lab.store import open_store
from tests import records

from ..train.conftest import flights

FILES = {
    *(
        "card.md",
        "columns.json",
        "environment.txt",
        "example.json",
        "model.onnx",
        "signature.json",
        "weights.safetensors",
    ),
}


SILENT = """
import torch

class First(torch.nn.Module):
    def forward(self, numbers, codes):
        return numbers[:, 0]

run.save(First())
"""


def good(run: train.Run, name: str = "delay") -> models.Model:
    """A version that was checked."""
    made = models.add(name, run=run, note=f"from {run}")
    models.check(made, margin=1)
    return models.show(made)


def tampered(model: models.Model, name: str, text: str) -> None:
    (model.path / name).write_text(text)


def test_a_version_holds_all_that_serving_needs(model, run):
    assert (model.uri, model.run, model.metrics, model.checked) == ("models:delay@1", run.uri, run.metrics, "")
    assert {path.name for path in model.path.iterdir()} == FILES
    assert model.columns.names == ("carrier", "origin", "temp", "hour")
    assert model.signature.summary == "numbers, codes → score"
    assert model.said == ""


def test_it_predicts_rows_and_frames_alike(model):
    frame = flights(20, seed=5)
    names = list(model.columns.names)
    rows = [
        {key: None if pd.isna(value) else value for key, value in row.items()}
        for row in frame[names].to_dict("records")
    ]
    scores = model.predict(frame)
    assert scores.shape == (20,)
    assert ((scores > 0) & (scores < 1)).all()
    assert np.allclose(model.predict(rows), scores)
    with pytest.raises(LabError, match=r"unknown column"):
        model.predict([{**rows[0], "weather": 1}])


def test_the_card_tells_data_numbers_seed_and_use(run):
    card = models.add("delay", run=run, note="tell late flights two hours before").model_card
    assert "Intended use: tell late flights two hours before" in card
    for fact in (
        run.rows,
        run.rows_digest,
        "data:flights@1",
        run.code_digest,
        f"{run.metrics['auc']:.6g}",
        "| seed | 0 |",
    ):
        assert fact in card
    assert "| carrier | category, 5 values | yes |" in card


def test_the_same_run_gives_the_same_version(model, run):
    again = models.add("delay", run=run)
    assert (again.uri, again.said) == (model.uri, "train:delay@1 was added before")


def test_adding_is_one_event(model, run):
    *_, logged = open_store().events()
    assert (logged.event.verb, logged.event.inputs, logged.event.outputs) == ("models add", (run.uri,), (model.uri,))
    assert logged.event.detail["files"].keys() == FILES


def test_a_run_without_a_finished_model_is_refused(rows):
    train.run("plain", rows=rows, code="run.log(loss=1)")
    with pytest.raises(Failed, match=r"saved no model\n.*run.save"):
        models.add("delay", run="plain")
    with pytest.raises(Failed):
        train.run("bad", rows=rows, code="1 / 0")
    with pytest.raises(Failed, match=r"train:bad@1 is failed: its model is not finished"):
        models.add("delay", run="bad")
    with pytest.raises(NotFound):
        models.add("delay", run="nobody@3")
    assert not (record.folder("x").parent).exists()


def test_a_run_whose_model_was_replaced_is_refused(run):
    (run.path / "model" / "model.onnx").write_bytes(b"another")
    with pytest.raises(Failed, match=r"not what it saved: model\.onnx was changed"):
        models.add("delay", run=run.uri)
    assert models.ls().items == ()


def test_a_run_whose_files_were_touched_is_refused(run):
    (run.path / "model" / "example.json").unlink()
    with pytest.raises(Failed, match=r"lacks example.json"):
        models.add("delay", run=run)
    assert models.ls().items == ()


def test_many_at_once_get_versions_of_their_own(run):
    threads = [
        threading.Thread(target=models.add, args=("delay",), kwargs={"run": run, "note": str(n)}) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(item.uri for item in models.ls("delay")) == [f"models:delay@{n}" for n in (1, 2, 3, 4)]
    assert [path.name for path in record.folder("x").parent.iterdir() if path.suffix == ".part"] == []


def test_a_good_version_is_good(model):
    verdict = models.check(model, require="auc > 0.6 and loss < 0.7")
    assert (verdict.state, models.show(model).checked) == ("good", "good")
    assert [(item.what, item.state) for item in verdict.findings] == [
        *(("files", "good"), ("example", "good"), ("data", "good"), ("auc > 0.6", "good"), ("loss < 0.7", "good")),
    ]
    assert verdict.findings[2].detail == "data:flights@1"


@pytest.mark.parametrize(
    ("require", "state", "what", "kind"),
    [
        ("auc > 0.999", "bad", "it is 0.", Failed),
        ("accuracy > 0.5", "cannot tell", "its run has no accuracy, only auc, loss", Inconclusive),
    ],
)
def test_bounds_that_do_not_hold_or_cannot_be_told_raise(model, require, state, what, kind):
    records.run("delay@9", metrics={"accuracy": 0.5})
    assert models.check(model, require=require, report=True).state == state
    head = "is not good" if state == "bad" else "cannot tell whether models:delay@1 is good"
    with pytest.raises(kind, match=rf"{head}.*{what}") as problem:
        models.check(model, require=require)
    assert (type(problem.value), problem.value.exit_code) == (kind, 4 if kind is Inconclusive else 1)
    assert models.show(model).checked == state


@pytest.mark.parametrize("require", ["", "  ", "auc", "auc = 1", "auc > high", "auc > 0.5 or loss < 1"])
def test_what_is_no_bound_is_refused(model, require):
    with pytest.raises(UsageProblem):
        models.check(model, require=require)


def test_a_run_that_measured_nothing_cannot_be_judged(rows):
    made = models.add("delay", run=train.run("delay", rows=rows, code=SILENT))
    with pytest.raises(Failed, match=r"cannot tell .*metrics: its run measured nothing"):
        models.check(made)


def test_a_changed_file_is_found(model):
    tampered(model, "columns.json", (model.path / "columns.json").read_text().replace('"late"', '"early"'))
    (model.path / "weights.safetensors").unlink()
    (model.path / "more.py").write_text("print()")
    with pytest.raises(Failed, match=r"weights.safetensors is missing; columns.json was changed; more.py was added"):
        models.check(model)


def test_an_example_that_answers_differently_is_found(model):
    example = json.loads((model.path / "example.json").read_text())
    example["answers"][0]["score"] += 0.1
    tampered(model, "example.json", json.dumps(example))
    record.change("delay@1", files=files.digests(model.path))  # as if it had been added so
    with pytest.raises(Failed, match=r"example: the answers are off by 0.1"):
        models.check(model)


def test_a_file_that_is_no_model_is_a_bad_example(model):
    tampered(model, "model.onnx", "rubbish")
    record.change("delay@1", files=files.digests(model.path))  # as if it had been added so
    with pytest.raises(Failed, match="the example does not run"):
        models.check(model)


def test_data_that_is_gone_is_found(model):
    data = open_store().get(DataVersion, "flights@1")
    open_store().commit([data.with_(removed_at=1.0)])
    with pytest.raises(Failed, match=r"data: data:flights@1 is gone"):
        models.check(model)


def test_a_worse_one_than_the_champion_is_bad_until_the_policy_allows_it(run, another):
    first, worse = models.add("delay", run=run), models.add("delay", run=another)
    models.check(first)
    models.promote(first)
    verdict = models.check(worse, report=True)
    assert (verdict.state, verdict.findings[-1].what) == ("bad", "champion delay@1")
    gap = run.metrics["auc"] - another.metrics["auc"]
    assert models.check(worse, margin=gap + 0.001, report=True).state == "bad"
    models.policy("delay", margin=gap + 0.001)
    assert models.check(worse).state == "good"


def test_only_what_was_found_good_is_promoted(model):
    with pytest.raises(Failed, match=r"models:delay@1 has not been checked"):
        models.promote(model)
    models.check(model, require="auc > 0.999", report=True)
    with pytest.raises(Failed, match=r"the verdict was: bad"):
        models.promote(model)
    with pytest.raises(NotFound, match=r"there are: delay@1"):
        models.promote("delay@9")
    assert record.aliases("delay") == {}


def test_promote_moves_the_alias_and_says_that_no_traffic_moves(run):
    first = models.promote(good(run))
    assert first.aliases == ("champion",)
    assert "no traffic moved" in first.said
    assert models.show("delay@champion").uri == first.uri
    assert train.show("delay@champion").uri == run.uri


def test_promoting_the_holder_again_writes_nothing(run):
    models.promote(good(run))
    before = len(list(open_store().events()))
    assert "was this version before" in models.promote("delay@1").said
    assert len(list(open_store().events())) == before


def test_rollback_goes_back_step_by_step_and_keeps_the_history(run):
    for note in ("a", "b", "c"):
        made = models.add("delay", run=run, note=note)
        models.check(made)
        models.promote(made)
    assert [models.rollback("delay").uri for _ in range(2)] == ["models:delay@2", "models:delay@1"]
    with pytest.raises(NotFound, match=r"no version held champion of models:delay before"):
        models.rollback("delay")
    history = open_store().get(ModelAliases, "delay").body.history
    assert [(entry.by, entry.version) for entry in history] == [
        *(("promote", 1), ("promote", 2), ("promote", 3), ("rollback", 2), ("rollback", 1)),
    ]


def test_a_version_is_not_rolled_back(model):
    with pytest.raises(UsageProblem, match=r"a model is rolled back"):
        models.rollback(model)


def test_an_alias_is_a_word(run):
    with pytest.raises(UsageProblem, match=r"cannot be an alias"):
        models.promote(good(run), to="3")


def test_a_new_alias_is_named_as_one_and_can_be_taken_away(run):
    said = models.promote(good(run), to="chmpion").said
    assert "that is a new alias, did you mean champion? `%models rm delay@chmpion` takes it away again" in said
    assert models.rm("delay@chmpion").aliases == ()
    with pytest.raises(NotFound):
        models.show("delay@chmpion")
    assert models.rollback("delay", to="chmpion").aliases == ("chmpion",)


@pytest.mark.parametrize("alias", ["champion", "challenger"])
def test_an_alias_that_is_meant_is_not_questioned(run, alias):
    assert "did you mean" not in models.promote(good(run), to=alias).said


def test_rollback_passes_over_what_was_removed(run):
    for note in ("a", "b", "c"):
        made = models.add("delay", run=run, note=note)
        models.check(made)
        models.promote(made)
    models.rm("delay@2")
    assert models.rollback("delay").uri == "models:delay@1"


def test_the_champion_and_what_an_endpoint_serves_are_not_removed(run):
    models.promote(good(run))
    with pytest.raises(Conflict, match=r"models:delay@champion is models:delay@1"):
        models.rm("delay@1")
    other = models.add("delay", run=run, note="other")
    records.endpoint("delay", champion="models:delay@1", canary=other.uri)
    with pytest.raises(Conflict, match=r"deploy:delay serves models:delay@2"):
        models.rm(other)


def test_a_removed_version_is_gone_and_its_number_is_not_used_again(model, run):
    models.rm(model)
    with pytest.raises(NotFound, match=r"was removed on"):
        models.show("delay@1")
    assert models.ls().items == ()
    assert models.add("delay", run=run).uri == "models:delay@2"


def test_a_removed_version_leaves_no_bytes_and_a_removal_that_was_cut_short_goes_on(model):
    kept = list(model.path.iterdir())
    assert "freed" in models.rm("delay").said
    assert (len(kept), model.path.exists()) == (7, False)
    model.path.mkdir()
    models.rm("delay@1")
    assert not model.path.exists()
    with pytest.raises(NotFound, match=r"was removed on"):
        models.rm("delay@1")


def test_of_several_versions_one_must_be_named_to_be_removed(model, another):
    models.add("delay", run=another)
    with pytest.raises(Conflict) as problem:
        models.rm("delay")
    assert problem.value.fix == "say which: `%models rm delay@2`"


@pytest.mark.parametrize("other", ["delya", "delay@9", "dely@champion", "delay@chmapion"])
def test_what_is_misspelled_is_no_version_to_come(model, another, other):
    for diff, ours in ((models.diff, model), (train.diff, another)):
        with pytest.raises(NotFound, match=r"did you mean delay|there are: delay@"):
            diff(ours, other)


def test_a_list_of_a_misspelled_name_is_not_empty(model):
    for listed in (models.ls, train.ls):
        with pytest.raises(NotFound, match="did you mean delay"):
            listed("dely")
    models.rm(model)
    assert models.ls("delay").items == ()


@pytest.mark.parametrize("rows", [{"carrier": "A"}, "A", 3, [3]])
def test_what_is_no_list_of_rows_is_refused(model, rows):
    with pytest.raises(UsageProblem, match="give a list of dicts"):
        model.predict(rows)


def test_diff_compares_the_values_of_columns_by_their_names():
    table = pd.DataFrame({"a": ["x", "y"], "b": ["x", "x"], "y": [0, 1]})
    old = Columns.fit(table, ["a", "b"], "y")
    new = Columns.fit(table.assign(b=["x", "z"]), ["b"], "y")
    assert ("values of b", "1", "2, with z") in comparison._columns(old, new)


def test_diff_shows_values_of_a_column_that_are_others_though_as_many():
    table = pd.DataFrame({"a": list("pqrstu") * 2, "y": [0, 1] * 6})
    old, new = Columns.fit(table, ["a"], "y"), Columns.fit(table.assign(a=table.a.str.upper()), ["a"], "y")
    assert ("values of a", "6, with p, q, r, s, t, …", "6, with P, Q, R, S, T, …") in comparison._columns(old, new)
    assert [pair for pair in comparison._columns(old, old) if pair[1] != pair[2]] == []


def test_diff_shows_a_file_that_is_gone_and_numbers_that_differ_apart(model):
    version = resolve(model, ModelVersion)
    less = {name: digest for name, digest in version.body.files.items() if name != "card.md"}
    metrics = version.body.metrics
    other = version.with_(files=less, metrics={**metrics, "auc": metrics["auc"] + 1e-9})
    found = {what: (before, after) for what, before, after in comparison.changes(other, version)}
    assert found.keys() == {"file card.md", "metric auc"}
    assert found["file card.md"][1] == "–"
    assert len({*found["metric auc"]}) == 2


def test_diff_shows_what_differs_by_meaning(model, another):
    found = models.diff(models.add("delay", run=another), model)
    changed = {what for what, _, _ in found.changes}
    assert {"metric auc", "run", "file model.onnx"} <= changed
    assert not {"rows", "data", "column carrier", "file columns.json"} & changed
    assert (
        models.diff(model, "delay@champion").note == "nothing to compare with: no version is models:delay@champion yet"
    )


def test_get_copies_a_versions_files(model, tmp_path):
    models.get("delay@1", into=tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == FILES
    with pytest.raises(Conflict):
        models.get("delay@1", into=tmp_path / "copy")


def test_a_comparison_shows_measures_as_numbers_and_folds_files(model, another):
    card = models.diff(models.add("delay", run=another), model).card()
    measures, others, files = card.parts
    assert (card.uri, measures.titles[1:3]) == ("models:delay@1 → models:delay@2", ("delay@1", "delay@2"))
    assert [row[0] for row in measures.rows] == ["auc", "loss"]
    assert {row[4] for row in measures.rows} <= {"better", "worse"}
    assert ("run", "train:delay@1", "train:delay@2") in others.rows
    assert files.summary.endswith("files differ")


def test_a_difference_of_models_is_that_of_their_runs(model, another):
    newer = models.add("delay", run=another)
    shown = {row[0]: row[3] for row in models.diff(newer, model).card().parts[0].rows}
    runs = {row[0]: row[3].split()[1] for row in train.diff(newer.run, model.run).card().parts[0].rows}
    assert shown == runs


def test_a_version_that_is_gone_is_shown_as_removed(model):
    card = models.rm(model).card()
    assert (str(card.state), card.lead.startswith("**Removed: ")) == ("▲ removed", True)


def test_results_are_small_and_json(model):
    for result in (model, models.ls(), models.check(model)):
        assert json.dumps(result.as_json())
    assert len(models.check(model).card().html()) < 5000
