"""Every fix of drift is followed to the letter, and leads to where it says."""

import importlib
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab import config, data, features, models, train
from aiinfra_lab.errors import Failed, Inconclusive, LabError, NotFound, UsageProblem
from aiinfra_lab.words import split, understand
from tests import records
from tests.drift.conftest import NET, frame
from tests.drift.test_by import days
from tests.following import run

FAR = Path(__file__).parents[1] / "fakes" / "far_target"
WARM = """
import polars as pl
from aiinfra_lab.features import view

columns = ["colour"]

@view(entity="colour", timestamp="at", ttl="365d")
def warmth(paints: pl.LazyFrame) -> pl.LazyFrame:
    return paints.select("colour", "at", warmth="x")
"""


def fix_of(line: str, kind: type[LabError]) -> str:
    with pytest.raises(kind) as problem:
        run(line)
    return problem.value.fix


def commands(fix: str) -> list[str]:
    return re.findall(r"`([^`]+)`", fix)


def data_of(fix: str) -> str:
    return re.search(r"data:[^: ]+@[0-9]+", fix)[0]


@pytest.fixture
def name(endpoint) -> str:
    """An endpoint whose log is as its model knows the world."""
    endpoint(frame(4))
    return endpoint.name


@pytest.fixture(scope="module")
def tables(model, module_workspace) -> None:
    """data:other@1, and what a view makes of data:paints@1, by whose model models:warm@1 an endpoint `warm` answers."""
    data.add("other", frame(5))
    folder = module_workspace / "tables"
    folder.mkdir()
    frame(6).to_parquet(folder / "rows.parquet")
    paint = pd.DataFrame({"colour": ["red", "green", "blue"], "at": pd.Timestamp("2025-12-31", tz="UTC"), "x": 1.0})
    paint.assign(x=np.arange(3.0)).to_parquet(folder / "paints.parquet")
    data.add("rows", folder)
    features.add("warm", data="data:rows@1", timestamp="at", label="y", code=WARM)
    rows = features.get("warm", rows="data:rows@1")
    made = models.add("warm", run=train.run("warm", rows=rows.uri, code=NET).uri)
    records.endpoint("warm", champion=made.uri, started_at=time.time())


def test_rows_without_the_tables_of_a_view_name_a_version_that_has_them(tables):
    line = "drift check warm --against data:rows@1 --rows data:other@1 --report"
    fix = fix_of(line, NotFound)
    assert run(f"{line} {re.search(r'--data data:rows@1', fix)[0]}").rows_now == 600


def test_a_level_that_is_none_is_written_as_the_fix_says(name):
    line = f"drift check {name} --against data:t@1"
    assert run(f"{line} {fix_of(f'{line} --alpha 0', UsageProblem).removeprefix('write ')}").alpha == 0.05


def test_the_same_rows_on_both_sides(name):
    line = f"drift check {name} --against data:t@1"
    assert fix_of(f"{line} --rows data:t@1", UsageProblem).endswith("leave out --rows")
    assert run(line).state == "no drift"


def test_rows_that_the_model_cannot_read_are_replaced_by_data(tables, unrelated, name):
    rows = features.get("warm", rows="data:rows@1").uri
    fix = fix_of(f"drift check {name} --against {rows}", UsageProblem)
    assert run(f"drift check {name} --against {data_of(fix)} --report").rows_before > 0


def test_a_moment_is_written_as_the_fix_says(name):
    line = f"drift check {name} --against data:t@1 --since"
    moments = re.search(r"write (15m) .*e\.g\. ([0-9]+)$", fix_of(f"{line} banana", UsageProblem))
    assert [run(f"{line} {moment}").state for moment in moments.groups()] == ["no drift"] * 2


def test_a_report_is_named_and_gets_its_file(name, installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(f"drift check {name} --against data:t@1")
    meant = re.search(r"did you mean (\S+)\?", fix_of(f"drift get {name} --as tetx", UsageProblem))[1]
    where = re.search(r"--into \S+", fix_of(f"drift get {name} --as {meant}", UsageProblem))[0]
    run(f"drift get {name} --as {meant} {where}")
    assert (tmp_path / "report.html").exists()


def test_samples_that_are_gone_are_made_again(name, installed, tmp_path):
    run(f"drift check {name} --against data:t@1")
    for sample in (config.settings().home / "samples").glob("*/*"):
        sample.unlink()
    line = f"drift get {name} --as text --into {tmp_path / 'r'}"
    (again,) = commands(fix_of(line, NotFound))
    run(again)
    run(line)
    assert (tmp_path / "r").exists()


def test_a_report_that_makes_nothing_of_the_samples_is_taken_as_json(endpoint, installed, tmp_path):
    run(f"drift check {endpoint.name} --against data:t@1 --report")
    line = f"drift get {endpoint.name} --into {tmp_path / 'r'}"
    run(f"{line} {fix_of(f'{line} --as text', Failed).removeprefix('take ')}")
    assert (tmp_path / "r").read_text().startswith("{")


def test_a_column_is_spelled_as_the_fix_says(tables, name):
    line = f"drift check {name} --against data:t@1 --rows data:other@1 --report --by"
    meant = re.search(r"did you mean (\S+)\?", fix_of(f"{line} att", UsageProblem))
    assert run(f"{line} {meant[1]}").by == "at"


def test_a_column_that_no_log_has_is_judged_by_rows(tables, name):
    line = f"drift check {name} --against data:t@1 --by at --report"
    assert "with --rows" in fix_of(line, UsageProblem)
    assert run(f"{line} --rows data:other@1").by == "at"


def test_a_drift_is_shown_and_goes_on_with_report(endpoint):
    endpoint(frame(2, moved=0.5))
    line = f"drift check {endpoint.name} --against data:t@1"
    fix = fix_of(line, Failed)
    (show,) = commands(fix)
    assert (run(show).state, run(f"{line} {re.search(r'--report', fix)[0]}").state) == ("drift", "drift")


@pytest.fixture
def unrelated(model, tmp_path) -> None:
    """Newer data that no model here can read: a table of other columns, and no table at all."""
    data.add("unrelated", pd.DataFrame({"z": [1.0]}))
    (tmp_path / "words.txt").write_text("none")
    data.add("words", tmp_path / "words.txt")


def test_too_few_rows_are_shown_sent_and_taken_from_before(endpoint, unrelated):
    endpoint(frame(4), at=time.time() - 9000)
    show, send, again = commands(fix_of(f"drift check {endpoint.name} --against data:t@1", Inconclusive))
    assert run(show).state == "cannot tell"
    assert run(again).rows_now == 600
    with pytest.raises(LabError) as problem:  # nothing answers in this test, but the words are right
        run(send)
    assert not isinstance(problem.value, UsageProblem)
    assert run(f"drift check {endpoint.name} --against {data_of(send)} --since 365d").rows_before == 600


def test_older_rows_are_offered_until_they_were_taken(endpoint):
    endpoint(frame(4, 20))
    _, send, again = commands(fix_of(f"drift check {endpoint.name} --against data:t@1", Inconclusive))
    assert commands(fix_of(again, Inconclusive))[1:] == [send]


def test_rows_that_resemble_their_neighbours_get_their_column(endpoint):
    data.add("may", days(21, 0).sort_values("day", ignore_index=True))
    data.add("june", days(22, 18).sort_values("day", ignore_index=True))
    line = f"drift check {endpoint.name} --against data:may@1 --rows data:june@1"
    fix = fix_of(line, Inconclusive)
    assert "say with --by which of them belong together" in fix
    assert run(commands(fix)[0]).state == "cannot tell"
    assert run(f"{line} --by day").state == "no drift"


def test_too_few_given_rows_are_replaced(tables, name):
    data.add("few", frame(3, 10))
    line = f"drift check {name} --against data:t@1 --rows"
    assert "judge other rows with --rows" in fix_of(f"{line} data:few@1", Inconclusive)
    assert run(f"{line} data:other@1 --report").rows_now == 600


def test_an_endpoint_without_a_log_is_judged_by_rows(tables, model, monkeypatch):
    monkeypatch.syspath_prepend(FAR)
    importlib.invalidate_caches()
    records.endpoint("far", champion=model.uri, on="far")
    line = "drift check far --against data:t@1 --report"
    fix = fix_of(line, NotFound)
    assert ("--rows" in fix, data_of(fix)) == (True, "data:t@1")
    assert run(f"{line} --rows data:other@1").rows_now > 0


def test_an_endpoint_that_serves_nothing_is_started(model, module_workspace):
    records.endpoint("idle")
    (start,) = commands(fix_of("drift check idle --against data:t@1", NotFound))
    assert start.startswith("%deploy start idle --model models:")
    noun, *words = split(start.removeprefix("%"))
    assert understand(str(noun), words).verb.name == "start"


def test_a_file_that_cannot_be_written_gets_another_name(name, tmp_path):
    run(f"drift check {name} --against data:t@1")
    (tmp_path / "there").mkdir()
    assert fix_of(f"drift get {name} --into {tmp_path / 'there'}", LabError) == "choose another --into"
    run(f"drift get {name} --into {tmp_path / 'other'}")


def test_a_log_that_changed_meanwhile_is_judged_by_its_newest_rows(endpoint):
    endpoint(frame(21, 2400), at=time.time() - 3600)
    endpoint(frame(22, 240, moved=3.0))
    line = f"drift check {endpoint.name} --against data:t@1"
    fix = fix_of(line, Inconclusive)
    assert "row 1 is the newest" in fix
    with pytest.raises(Failed, match=r"drifted from .*: (x|score)"):
        run(f"{line} {re.search(r'--since 15m', fix)[0]}")


def test_rows_that_changed_meanwhile_are_judged_in_parts(name):
    data.add("halfway", pd.concat([frame(21, 2400), frame(22, 240, moved=3.0)], ignore_index=True))
    line = f"drift check {name} --against data:t@1"
    assert "each with --rows" in fix_of(f"{line} --rows data:halfway@1", Inconclusive)
    data.add("later", frame(22, 240, moved=3.0))
    with pytest.raises(Failed):
        run(f"{line} --rows data:later@1")
