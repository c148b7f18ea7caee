import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest

from aiinfra_lab import data, drift
from aiinfra_lab.drift.record import ColumnChange
from aiinfra_lab.errors import Conflict, Failed, Inconclusive, NotFound, UsageProblem
from aiinfra_lab.store import open_store
from tests.cards import one_line
from tests.drift.conftest import frame


def test_the_same_world_is_no_drift(endpoint):
    endpoint(frame(4))
    found = drift.check(endpoint.name, against="data:t@1")
    assert (found.state, found.drifted, found.rows_now) == ("no drift", (), 600)
    assert {one.column for one in found.columns} == {"x", "colour", "score"}


def test_a_column_that_moved_is_named_first_and_raises(endpoint):
    endpoint(frame(2, moved=0.5))
    with pytest.raises(Failed, match=r"drifted from features:f@1#\w+: (x, score|score, x)"):
        drift.check(endpoint.name, against="data:t@1")


def test_with_report_the_verdict_is_handed_over(endpoint):
    endpoint(frame(2, moved=0.5))
    found = drift.check(endpoint.name, against="data:t@1", report=True)
    assert found.state == "drift"
    assert found.columns[0].column in ("x", "score")


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (lambda df: df.assign(colour=np.where(df.index % 10 == 0, "violet", df["colour"])), "colour"),
        (lambda df: df.assign(x=np.where(df.index % 5 == 0, np.nan, df["x"])), "x"),
        (lambda df: df.assign(x=np.nan), "x"),
    ],
    ids=["unseen", "missing", "gone"],
)
def test_missing_and_unseen_values_are_drift(endpoint, change, column):
    endpoint(change(frame(4)))
    assert column in drift.check(endpoint.name, against="data:t@1", report=True).drifted


@pytest.mark.parametrize("rows", [0, 10])
def test_too_little_traffic_cannot_tell_and_raises(endpoint, rows):
    if rows:
        endpoint(frame(2, rows))
    with pytest.raises(Inconclusive, match="cannot tell"):
        drift.check(endpoint.name, against="data:t@1")
    assert drift.check(endpoint.name, against="data:t@1", report=True).state == "cannot tell"


def test_rows_may_be_judged_instead_of_the_log(endpoint):
    data.add("later", frame(3, moved=1.0))
    found = drift.check(endpoint.name, against="data:t@1", rows="data:later", report=True)
    assert "x" in found.drifted
    assert found.judged.startswith("features:f@1#")
    assert ("current", f"{found.judged}, 600 rows") in found.card().facts
    assert (found.as_json()["judged"], found.since_at) == (found.judged, None)
    with pytest.raises(Failed, match=f"^{found.judged} drifted from {found.against}: "):
        drift.check(endpoint.name, against="data:t@1", rows="data:later")


def test_too_few_rows_that_are_no_log_are_named(endpoint):
    data.add("few", frame(3, 10))
    with pytest.raises(Inconclusive, match=r"cannot tell whether features:f@1#\w+ drifted: ") as problem:
        drift.check(endpoint.name, against="data:t@1", rows="data:few")
    assert "; judge other rows with --rows, or go on with --report" in problem.value.fix


def test_a_verdict_says_what_it_takes_to_have_drifted(endpoint):
    endpoint(frame(2, moved=0.5))
    text = one_line(drift.check(endpoint.name, against="data:t@1", report=True).card())
    assert "A column drifted when its effect reaches its floor and its p is at most 0.05, both" in text
    assert "as far as rows of different units do not depend on each other" in text
    assert "< 1e-6" in text
    assert "e-" not in text.replace("< 1e-6", "").partition("A column drifted")[0]


def test_since_takes_the_newest_part_of_the_log(endpoint):
    endpoint(frame(2), at=time.time() - 3600)
    moment = time.time()
    endpoint(frame(3, 100), at=moment + 1)
    assert drift.check(endpoint.name, against="data:t@1", since=str(moment), report=True).rows_now == 100
    assert drift.check(endpoint.name, against="data:t@1", since="10m", report=True).rows_now == 100
    assert drift.check(endpoint.name, against="data:t@1", report=True).rows_now == 700


def test_rows_that_another_version_answered_do_not_count(endpoint):
    endpoint(frame(4))
    endpoint(frame(3, 50), by="models:m@9")
    assert drift.check(endpoint.name, against="data:t@1", report=True).rows_now == 600


def test_a_log_line_that_a_crash_cut_short_is_passed_over(endpoint):
    endpoint(frame(4))
    path = next(endpoint.log.glob("*.jsonl"))
    path.write_text(path.read_text() + '{"at": 1, "mod')
    assert drift.check(endpoint.name, against="data:t@1", report=True).rows_now == 600


def test_every_verdict_is_kept_with_its_lineage(endpoint, model):
    endpoint(frame(4))
    drift.check(endpoint.name, against="data:t@1", report=True)
    drift.check(endpoint.name, against="data:t@1", report=True)
    assert [found.uri for found in drift.ls(endpoint.name)] == [f"drift:{endpoint.name}@2", f"drift:{endpoint.name}@1"]
    assert drift.show(f"{endpoint.name}@1").rows_now == 600
    last = list(open_store().events())[-1].event
    assert set(last.inputs) >= {f"deploy:{endpoint.name}", model.uri}
    assert last.outputs == (f"drift:{endpoint.name}@2",)


def test_the_verdict_as_json(endpoint, tmp_path):
    endpoint(frame(4))
    drift.check(endpoint.name, against="data:t@1", report=True)
    found = drift.get(endpoint.name, into=tmp_path / "v.json")
    assert f"written to {tmp_path / 'v.json'}" in one_line(found.card())
    assert json.loads((tmp_path / "v.json").read_text())["state"] == "no drift"
    with pytest.raises(Conflict):
        drift.get(endpoint.name, into=tmp_path / "v.json")


@pytest.mark.slow
def test_evidentlys_own_report_of_the_same_samples(verdict, tmp_path):
    drift.get(verdict.uri, as_="evidently", into=tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "colour" in page
    assert len(page) > 100_000


def test_a_misspelled_report_suggests_the_nearest(verdict):
    with pytest.raises(UsageProblem) as problem:
        drift.get(verdict.uri, as_="evidentyl")
    assert problem.value.fix == "did you mean evidently?"


def test_a_report_is_a_file(verdict):
    with pytest.raises(UsageProblem) as problem:
        drift.get(verdict.uri, as_="evidently")
    assert problem.value.fix == "say where: --into report.html"


def test_a_report_of_another_package_is_written_like_ours(verdict, installed, tmp_path):
    found = drift.get(verdict.uri, as_="text", into=tmp_path / "new" / "report.txt")
    assert f"written to {tmp_path / 'new' / 'report.txt'}" in one_line(found.card())
    lines = (tmp_path / "new" / "report.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines[1:]] == ["x", "colour", "score"]


def test_a_result_is_small_and_holds_its_picture(endpoint):
    endpoint(frame(4))
    html = drift.check(endpoint.name, against="data:t@1", report=True).card().html()
    assert "<img" in html
    assert len(html) < 20_000


@pytest.mark.parametrize(
    ("call", "error", "fix"),
    [
        (lambda name: drift.check(name + "x", against="data:t@1"), NotFound, "did you mean e"),
        (lambda name: drift.check(name, against="data:zzz"), NotFound, "t"),
        (lambda name: drift.check(name, against="data:t@1", since="banana"), UsageProblem, "write 15m for the last"),
        (lambda name: drift.check(name, against="data:t@1", alpha=0), UsageProblem, "write --alpha 5%"),
        (lambda name: drift.check(name, against="data:t@1", rows="data:t"), UsageProblem, "leave out --rows"),
        (lambda name: drift.check(name, against="data:t@1", rows=frame(1)), UsageProblem, "leave out --rows"),
        (lambda name: drift.ls("nobody-" + name), NotFound, "did you mean|known|deploy start"),
    ],
)
def test_bad_input_is_named_with_the_fix(endpoint, call, error, fix):
    with pytest.raises(error) as problem:
        call(endpoint.name)
    assert re.search(fix, problem.value.fix)


def test_rows_of_the_log_that_count_for_nothing_are_said(endpoint):
    endpoint(frame(4))
    assert "are in the log" not in drift.check(endpoint.name, against="data:t@1", report=True).card().text()
    [path] = endpoint.log.glob("*.jsonl")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, *lines[:14]]) + "\n")
    found = drift.check(endpoint.name, against="data:t@1", report=True)
    assert f"{len(lines) + 14:,} rows are in the log, 14 of which count for nothing here" in one_line(found.card())
    assert found.rows_now == len(lines)


def column(**found: object) -> ColumnChange:
    told = {"column": "x", "kind": "number", "drifted": False, "effect": 0.3, "floor": 0.05, "effect_unit": "sd"}
    rest = {"p": 0.2, "missing_before": 0.0, "missing_now": 0.0, "unseen": 0.0, "why": "its mean", "unit": "rows"}
    return ColumnChange(**{**told, **rest, **found})


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ({"p": 0.0504}, ("0.3 sd", "0.05", "0.0504")),
        ({"p": 0.0496, "drifted": True}, ("0.3 sd", "0.05", "0.0496")),
        ({"p": 0.050000001}, ("0.3 sd", "0.05", "0.050000001")),
        ({"p": 0.05, "drifted": True}, ("0.3 sd", "0.05", "0.05")),
        ({"p": 0.01, "effect": 0.04996}, ("0.04996 sd", "0.05", "0.01")),
        ({"p": 0.01, "effect": -0.04996}, ("−0.04996 sd", "0.05", "0.01")),
        ({"p": 0.01, "effect": 0.00998, "floor": 0.01, "effect_unit": "of rows"}, ("0.998 %", "1 %", "0.01")),
        (
            {"p": 0.01, "effect": 0.0099996, "floor": 0.01, "effect_unit": "of rows"},
            ("0.99996 %", "1 %", "0.01"),
        ),
        ({"p": 0.01, "effect": 0.0500001, "drifted": True}, ("0.0500001 sd", "0.05", "0.01")),
    ],
)
def test_what_is_shown_lies_on_the_side_of_the_bound_that_the_verdict_says(verdict, found, shown):
    row = replace(verdict, columns=(column(**found),)).card().parts[0].rows[0]
    assert tuple(row[2:5]) == shown
