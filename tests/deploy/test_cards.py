"""How an endpoint's rollback rule is shown."""

import json
import re
import time

import pytest

from aiinfra_lab.deploy import details
from aiinfra_lab.deploy.results import Endpoint, Log, Served
from aiinfra_lab.models.record import folder
from aiinfra_lab.show import Picture, Progress, Table, mark_of
from aiinfra_lab.stats.bounds import JudgedBound, JudgedMeasure, bounds_of, parse_bounds
from tests.cards import one_line

RULE = "p95_ms > 80 or errors > 1%"


def bounds_of_rule(slow=(0, 0), errors=(0, 0), verdicts=("undecided", "undecided"), more=None):
    both = zip(bounds_of(parse_bounds(RULE)), verdicts, (slow, errors), strict=True)
    return tuple(JudgedBound.of(bound, verdict, *counts, more) for bound, verdict, counts in both)


def measured(**given):
    fields = {
        "measure": "errors", "verdict": "undecided", "canary_bad": 8, "canary": 1000, "champion_bad": 95,
        "champion": 19_000, "since": 0.0, "evidence": 7200.0, "limit": 72_000.0, "is_guarded": True, "margin": 0.005,
        "more": 1100,
    }  # fmt: skip
    return JudgedMeasure(**{**fields, **given})


def endpoint(bounds=(), measures=(), **fields) -> Endpoint:
    given = {
        "uri": "deploy:delay", "state": "running", "url": "http://127.0.0.1:1", "champion": "models:delay@1",
        "canary": "models:delay@2", "canary_share": 0.1, "previous": None, "rollback_if": RULE,
        "verdict": "undecided", "reasons": tuple(map(str, measures or bounds)), "bounds": bounds, "versions": (),
        "count": 0, "started_at": 0.0, "log_dir": "", "measures": measures, "false_per_hour": 0.01 * bool(measures),
        "false_at_start": 0.005,
    }  # fmt: skip
    return Endpoint(**{**given, **fields})


def table_of(found: Endpoint, label: str) -> Table:
    return next(part for part in found.card().parts if isinstance(part, Table) and part.label.startswith(label))


def test_each_bound_has_its_share_its_interval_and_what_is_allowed():
    found = endpoint(bounds_of_rule((600, 10_000), (0, 10_000), ("breach", "ok")))
    slow, errors = table_of(found, "Rolls back").rows
    assert [*slow[:5]] == ["p95_ms > 80", mark_of("breached"), "6 %", "5.40 to 6.64 %", "5 %"]
    assert [*errors[:5]] == ["errors > 1%", mark_of("holds"), "0 %", "0 to 0.053 %", "1 %"]
    assert isinstance(slow[5], Picture)
    assert slow[6] == "decided by 10,000"


@pytest.mark.parametrize(("name", "value", "is_shown"), [("short", "late", True), ("image", [0.5] * 10_000, False)])
def test_what_to_ask_is_shown_where_somebody_can_read_it(workspace, name, value, is_shown):
    path = folder(f"{name}@1")
    path.mkdir(parents=True)
    (path / "example.json").write_text(json.dumps({"rows": [{"x": value}]}))
    assert bool(details.curl("http://127.0.0.1:1", f"models:{name}@1")) == is_shown


def test_beside_a_champion_the_canary_is_drawn_by_its_difference_and_the_bounds_are_the_endpoints():
    latency = measured(measure="latency", verdict="ok", canary_bad=52, champion_bad=950, p95_ms=61.2, is_guarded=False)
    found = endpoint(bounds_of_rule((1, 10), (0, 10)), (measured(), latency))
    first, second = table_of(found, "The canary beside").rows
    assert [*first[:4]] == ["errors", mark_of("cannot tell"), "0.8 %", "0.5 %"]
    assert isinstance(first[4], Picture)
    assert first[4].alt == "0.8 % less 0.5 %, from -0.11 to +1.1 points"
    assert (first[5].value, first[5].text) == (0.1, "10 %")
    assert (first[6].value, first[6].most) == (1000, 2100)
    assert [*second[:4]] == ["latency, slower than 61.2 ms", mark_of("holds"), "5.2 %", "5 %"]
    assert second[5:] == ("not guarded", "decided by 1,000")
    assert len(table_of(found, "The endpoint as a whole").rows) == 2
    assert "A healthy canary is rolled back in at most 1 % of hours, and 0.5 % once." in one_line(found.card())


def test_one_that_is_not_decided_says_how_many_more_requests_are_needed():
    found = endpoint(measures=(measured(), measured(measure="latency", verdict="ok", more=0)))
    message = "not decided yet: about 1,100 more requests of its are needed, if the shares stay as they are."
    assert message in found.card().lead
    *_, towards = table_of(endpoint(bounds_of_rule((0, 10_000), (2, 500), more=1100)), "Rolls back").rows[1]
    assert isinstance(towards, Progress)
    assert (towards.value, towards.most) == (500, 1600)


def test_how_many_requests_another_target_needs_is_not_worked_out_by_our_rule():
    found = endpoint(bounds_of_rule((0, 10_000), (2, 500)), on="far")
    assert table_of(found, "Rolls back").rows[1][-1] == "500 so far"
    assert "The canary is not decided yet: far judges it." in found.card().lead


def test_where_nobody_can_tell_how_many_no_number_is_given():
    assert "not decided yet: more requests are needed." in endpoint(bounds_of_rule((50, 1000))).card().lead
    lacking = endpoint(measures=(measured(more=None), measured()))
    assert "not decided yet: more requests are needed." in lacking.card().lead


def test_nothing_that_was_counted_yet_is_drawn():
    row, _ = table_of(endpoint(measures=(measured(canary=0), measured())), "The canary beside").rows
    assert row[2:] == ("–", "–", "", "", "none yet")


def test_the_reasons_of_a_target_that_tells_no_numbers_are_notes():
    found = endpoint(reasons=("errors are 9 %, above 1 %",), verdict="breach")
    assert "Its rule: errors are 9 %, above 1 %" in one_line(found.card())


def test_rows_that_were_predicted_today_have_their_time_without_a_date():
    row = {"row_id": "1", "model": "models:a@1", "arm": "champion", "outputs": {"score": 0.5}, "latency_ms": 1.0}
    rows = tuple({**row, "at": at} for at in (time.time(), time.time() - 400 * 86400))
    (table,) = Log("deploy:a", rows, (), "", "").card().parts
    today, earlier = (line[-1] for line in table.rows)
    assert re.fullmatch(r"\d\d:\d\d:\d\d", today)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", earlier)


def test_a_canary_that_refuses_all_is_said_to():
    canary = Served("models:delay@2", "canary", 0.1, 0, 0, 0, 30, None, None)
    lead = endpoint(measures=(measured(canary=0), measured()), versions=(canary,)).card().lead
    assert "**It has refused all of its 30 requests**" in lead
    assert "more requests" not in lead
