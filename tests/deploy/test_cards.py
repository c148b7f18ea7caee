"""How an endpoint's rollback rule is shown."""

import json
import re
import time

import pytest

from aiinfra_lab.deploy import details
from aiinfra_lab.deploy.results import Endpoint, Log
from aiinfra_lab.models.record import folder
from aiinfra_lab.show import Picture, Progress, Table, mark_of
from aiinfra_lab.stats.bounds import bounds_of, judge, parse_bounds
from tests.cards import one_line

RULE = "p95_ms > 80 or errors > 1%"


def endpoint(counts=None, **fields) -> Endpoint:
    judged = judge(bounds_of(parse_bounds(RULE)), counts or {}, 0.99)
    given = {
        "uri": "deploy:delay", "state": "running", "url": "http://127.0.0.1:1", "champion": "models:delay@1",
        "canary": "models:delay@2", "canary_share": 0.1, "previous": None, "rollback_if": RULE,
        "verdict": judged.verdict, "reasons": judged.reasons, "bounds": judged.bounds, "versions": (), "count": 0,
        "started_at": 0.0, "log_dir": "",
    }  # fmt: skip
    return Endpoint(**{**given, **fields})


def rule_of(found: Endpoint) -> Table:
    return next(part for part in found.card().parts if isinstance(part, Table) and part.label.startswith("Rolls back"))


def test_each_bound_has_its_share_its_interval_and_what_is_allowed():
    slow, errors = rule_of(endpoint({"slower_than_80ms": (600, 10_000), "errors": (0, 10_000)})).rows
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


def test_one_that_is_not_decided_says_how_many_more_requests_are_needed():
    found = endpoint({"slower_than_80ms": (0, 10_000), "errors": (2, 500)})
    *_, towards = rule_of(found).rows[1]
    assert isinstance(towards, Progress)
    assert (towards.value, towards.most) == (500, 1600)
    said = "not decided yet: about 1,100 more requests are needed, if the shares beyond its bounds stay as they are."
    assert said in found.card().lead


def test_how_many_requests_another_target_needs_is_not_worked_out_by_our_rule():
    found = endpoint({"slower_than_80ms": (0, 10_000), "errors": (2, 500)}, on="far")
    assert rule_of(found).rows[1][-1] == "500 so far"
    assert "The canary is not decided yet: far judges it." in found.card().lead


@pytest.mark.parametrize("counts", [{}, {"slower_than_80ms": (50, 1000), "errors": (0, 10_000)}])
def test_where_nobody_can_tell_how_many_no_number_is_given(counts):
    assert "not decided yet: more requests are needed." in endpoint(counts).card().lead


def test_the_reasons_of_a_target_that_tells_no_numbers_are_notes():
    found = endpoint(bounds=(), reasons=("errors are 9 %, above 1 %",), verdict="breach")
    assert "Its rule: errors are 9 %, above 1 %" in one_line(found.card())


def test_rows_that_were_predicted_today_have_their_time_without_a_date():
    row = {"row_id": "1", "model": "models:a@1", "canary": False, "outputs": {"score": 0.5}, "latency_ms": 1.0}
    rows = tuple({**row, "at": at} for at in (time.time(), time.time() - 400 * 86400))
    (table,) = Log("deploy:a", rows, (), "", "").card().parts
    today, earlier = (line[-1] for line in table.rows)
    assert re.fullmatch(r"\d\d:\d\d:\d\d", today)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", earlier)
