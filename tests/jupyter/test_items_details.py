"""What the panel shows of one thing when somebody opens its row."""

import json
import shlex
import sys
import time
from pathlib import Path

import pytest

from aiinfra_lab import jobs
from aiinfra_lab.deploy.record import Verdict, VersionCounts
from aiinfra_lab.drift.record import ColumnChange, DriftRecord
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.jupyter.items import details_of
from aiinfra_lab.models.record import folder as model_folder
from aiinfra_lab.recipe.record import StepRecord
from aiinfra_lab.stats.bounds import parse_bounds
from aiinfra_lab.train import history
from aiinfra_lab.train.record import RunProblem, folder
from tests import records
from tests.conftest import PATIENCE_S
from tests.jupyter.test_feed import living
from tests.structure.source import HEAVY, modules_loaded_by


def facts(uri: str) -> dict[str, str]:
    found = details_of(uri)["facts"]
    assert isinstance(found, list)
    return {fact["label"]: fact["value"] for fact in found}


def test_a_job_that_failed_says_why_and_shows_the_end_of_its_log(workspace: Path) -> None:
    job = jobs.start("data:flights@1", [sys.executable, "-c", "print('reading'); raise SystemExit('no such file')"])
    jobs.wait(job.id, timeout_s=PATIENCE_S)
    found = details_of("data:flights@1")
    assert (found["problem"], found["log"]) == ("no such file", "reading\nno such file")
    assert details_of("data:flights@1", job.id) == found


def test_an_endpoint_shows_its_versions_its_rule_and_a_line_that_asks_it(workspace: Path) -> None:
    model_folder("d@1").mkdir(parents=True)
    (model_folder("d@1") / "example.json").write_text('{"rows": [{"text": "it\'s late"}], "scores": [0.5]}')
    counted = VersionCounts(requests=1000, rows=1000, errors=4, busy_ms=1.0, buckets={"70": 1000})
    living("deploy:delay")
    records.endpoint(
        "delay",
        job="deploy-delay-1",
        started_at=time.time() - 60,
        url="http://127.0.0.1:5000",
        champion="models:d@1",
        canary="models:d@2",
        share=0.1,
        rollback_if=parse_bounds("p95_ms > 80"),
        verdict=Verdict("ok", ("p95 is 38 ms",)),
        versions={"models:d@1": counted},
    )
    found = details_of("deploy:delay")
    assert isinstance(found["arms"], tuple | list)
    assert isinstance(found["facts"], list)
    assert [(arm["role"], arm["cells"][0], arm["cells"][-1]) for arm in found["arms"]] == [
        ("champion", "90 %", "0.4 %"),
        ("canary", "10 %", "–"),
    ]
    assert found["facts"][0]["mark"] == {"glyph": "✓", "word": "holds", "tone": "good"}
    *_, body = shlex.split(str(found["example"]))
    assert json.loads(body) == {"rows": [{"text": "it's late"}]}


def test_an_endpoint_that_has_ended_is_not_asked_any_more(workspace: Path) -> None:
    records.endpoint("delay", outcome="failed", detail="port 1 is taken", url="http://127.0.0.1:1", ended_at=2.0)
    found = details_of("deploy:delay")
    assert (found["problem"], found["url"], found["example"]) == ("port 1 is taken", "", "")


def test_a_run_shows_its_metrics_its_curve_and_why_it_failed(workspace: Path) -> None:
    folder("delay@1").mkdir(parents=True)
    log = history.MetricLog(folder("delay@1") / history.FILE)
    for step, loss in enumerate((0.9, 0.5, 0.4)):
        log.add(step, {"loss": loss})
    log.close()
    (folder("delay@1") / "output.txt").write_text("epoch 1\n")
    problem = RunProblem(what="loss is NaN", fix="lower the learning rate")
    records.run("delay@1", state="failed", ended_at=2.0, metrics={"loss": 0.4}, params={"lr": 0.1}, problem=problem)
    found = details_of("train:delay@1")
    assert (facts("train:delay@1")["loss"], facts("train:delay@1")["lr"]) == ("0.4", "0.1")
    assert (found["problem"], found["fix"], found["log"]) == ("loss is NaN", "lower the learning rate", "epoch 1")
    assert str(found["picture"]).startswith("<svg")
    assert found["picture_alt"] == "loss went from 0.9 to 0.4"


def test_a_session_shows_its_price_and_what_it_has_spent(workspace: Path) -> None:
    at = time.time()
    records.session("trainer", usd_per_hour=1.0, budget_usd=5.0, started_at=at - 3600, ended_at=at, ended_by="asked")
    assert facts("gpu:trainer") | {"started by": ""} == {
        "machine": "cpu here",
        "price": "1.00 USD an hour",
        "spent": "1.00 USD of 5.00 USD",
        "lived": "1 h",
        "ended": "asked",
        "started by": "",
    }


def test_a_recipes_run_shows_its_steps_and_the_error_of_one(workspace: Path) -> None:
    failed = StepRecord(name="train", state="failed", seconds=3.0, error="KeyError: 'late'")
    records.recipe_run("flights@1", state="failed", ended_at=2.0, steps=(failed, StepRecord(name="serve")))
    found = details_of("recipe:flights@1")
    assert isinstance(found["facts"], list)
    assert [fact["mark"]["word"] for fact in found["facts"][:2]] == ["failed", "skipped"]
    assert found["problem"] == "train: KeyError: 'late'"


def test_a_version_of_data_shows_its_size(workspace: Path) -> None:
    records.data("flights@1", rows=81_432)
    assert facts("data:flights@1")["rows"] == "81,432"


def test_a_verdict_names_the_columns_that_drifted(workspace: Path) -> None:
    plain = {"kind": "number", "effect": 1.0, "floor": 0.1, "effect_unit": "sd", "p": 0.0, "unseen": 0.0, "why": ""}
    wind = ColumnChange(column="wind", drifted=True, missing_before=0.0, missing_now=0.0, unit="rows", **plain)
    body = {"endpoint": "deploy:d", "model": "models:d@1", "against": "data:f@1", "rows_before": 10, "rows_now": 20}
    records.put("d@1", DriftRecord(state="drift", alpha=0.05, checked_at=1.0, columns=(wind,), **body))
    assert details_of("drift:d@1")["problem"] == "wind drifted"


@pytest.mark.parametrize(
    "uri", ["deploy:none", "train:none@1", "gpu:none", "recipe:none@1", "data:none@1", "models:n@1"]
)
def test_what_is_not_there_is_not_found(workspace: Path, uri: str) -> None:
    with pytest.raises(NotFound):
        details_of(uri)


@pytest.mark.parametrize("uri", ["delay", "nothing:delay", "deploy:../../etc", ""])
def test_what_is_no_uri_is_refused(workspace: Path, uri: str) -> None:
    with pytest.raises(UsageProblem):
        details_of(uri)


def test_looking_closer_loads_nothing_heavy(workspace: Path) -> None:
    records.endpoint("delay", outcome="stopped", ended_at=2.0)
    records.run("delay@1", state="done", ended_at=2.0)
    records.session("trainer", ended_at=2.0)
    records.recipe_run("flights@1", state="done", ended_at=2.0)
    records.data("flights@1")
    uris = ("deploy:delay", "train:delay@1", "gpu:trainer", "recipe:flights@1", "data:flights@1")
    code = f"from aiinfra_lab.jupyter.items import details_of\nfor uri in {uris}: details_of(uri)"
    assert {name.partition(".")[0] for name in modules_loaded_by(code)} & set(HEAVY) <= {"jupyter_server"}
