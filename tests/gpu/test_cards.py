import time
from typing import Any

import pytest

from aiinfra_lab.gpu import AcceleratorUse, Session, Sessions
from aiinfra_lab.show import Meter, Number, mark_of

NOW = time.time()


def session(state: str, **fields: Any) -> Session:
    """A session that began 6,000 s ago."""
    plain = {"gpu": "A10G", "on": "local", "kernel": "k", "started_at": NOW - 6000, "ended_at": None, "spot": False}
    money = {"deadline_at": None, "hourly_usd": 0.41, "spent_usd": 0.68, "budget_usd": None}
    return Session(uri="gpu:trainer", state=state, **{**plain, **money, **fields})


def test_a_session_that_runs_shows_its_price_what_it_spent_and_when_it_ends():
    card = session("running", budget_usd=5.0, deadline_at=time.time() + 6000).card()
    assert (card.kind, str(card.state), card.next) == ("Session", "● running", ["Next: `%gpu stop trainer` ends it"])
    shown = [(one.label, one.value, one.unit) for one in card.figures]
    assert shown[:2] == [("price", "0.41", "USD an hour"), ("spent", "0.68", "of 5.00 USD")]
    assert shown[2][:2] in [("ends in", "1 h 39 min"), ("ends in", "1 h 40 min")]
    (budget, at_time) = card.parts[0].rows
    assert (budget[0], isinstance(budget[1], Meter), budget[1].text) == ("budget", True, "14 %")
    assert budget[2] == "4.32 USD left: 10 h 32 min at this price"
    assert at_time[0] == "time"


def test_a_session_that_ends_soon_says_what_gives_it_more():
    text = session("running", deadline_at=NOW + 600).card().text()
    assert "▲ ends in " in text
    assert "%gpu start trainer --for 2h gives it more" in text


def test_a_session_that_its_budget_ends_soon_says_so():
    card = session("running", budget_usd=0.8, deadline_at=NOW + 600, ends_by="budget").card()
    assert [row[0] for row in card.parts[0].rows] == ["budget"]
    assert "%gpu start trainer --budget 1.6 gives it more" in " ".join(card.text().split())


@pytest.mark.parametrize(
    ("why", "lead", "command"),
    [
        ("budget", "**Ended because its budget of 2.00 USD was spent.**", "`%gpu start trainer --gpu A10G --budget 4`"),
        ("deadline", "**Ended because its time was over.**", "`%gpu start trainer --gpu A10G`"),
        ("stopped", "**Stopped when somebody asked for it.**", "`%gpu start trainer --gpu A10G`"),
        ("its keeper was killed", "**Ended: its keeper was killed.**", "`%gpu start trainer --gpu A10G`"),
    ],
)
def test_an_end_says_why_and_how_to_start_again(why, lead, command):
    card = session(f"ended ({why})", ended_at=NOW - 60, budget_usd=2.0).card()
    assert (str(card.state), card.lead, card.parts) == ("■ ended", lead, [])
    assert card.next == [f"Next: {command} starts it again"]


def test_the_same_machine_is_started_again():
    rented = session("ended (stopped)", ended_at=NOW, on="sim", gpu="L4", spot=True).card()
    assert rented.next == ["Next: `%gpu start trainer --gpu L4 --spot --on sim` starts it again"]
    assert session("ended (stopped)", ended_at=NOW, gpu="cpu").card().next == [
        "Next: `%gpu start trainer` starts it again"
    ]


def test_a_session_whose_machine_cannot_be_asked_is_not_shown_as_running():
    card = session("cannot tell").card()
    assert str(card.state) == "? cannot tell"
    assert "it may go on and cost 0.41 USD an hour" in card.lead


def test_a_session_that_starts_says_what_it_waits_for():
    assert session("starting", step="waits for i-1, which is pending").card().lead == (
        "**It waits for i-1, which is pending.**"
    )


def test_a_session_on_a_rented_machine_says_which():
    card = session("running", on="aws", type="g5.xlarge/us-east-1/us-east-1a", machine="i-1", spot=True).card()
    assert list(card.facts[:3]) == [
        ("machine", "A10G on aws g5.xlarge/us-east-1/us-east-1a"),
        ("called", "i-1"),
        ("spot", "it may be taken away"),
    ]


@pytest.mark.parametrize(
    ("use", "used_s", "percent", "words"),
    [
        ("a cell runs", 0, "0 %", "a cell runs; ends after 30 min without use"),
        ("", 360, "20 %", "none for 6 min; ends after 30 min without use"),
        ("", 1700, "94 %", "none for 28 min 20 s; ends after 30 min without use"),
    ],
)
def test_an_idle_clock_says_since_when_and_until_when(use, used_s, percent, words):
    found = session("running", idle_s=1800, use=use, used_at=time.time() - used_s)
    (row,) = found.card().parts[0].rows
    assert (row[0], row[1].text, row[2]) == ("idle", percent, words)
    assert (row[1].value > row[1].high) is (used_s == 1700) if row[1].high else not used_s


def test_an_accelerator_shows_how_busy_and_how_full_it_is():
    card = session("running", accelerator=AcceleratorUse(0.03, 9.1, 24.0)).card()
    busy, memory = card.parts[0].rows
    assert [(row[0], row[1].text, row[2]) for row in (busy, memory)] == [
        ("GPU use", "3 %", "now"),
        ("GPU memory", "38 %", "9.1 of 24.0 GiB"),
    ]
    (only,) = session("running", accelerator=AcceleratorUse(None, 9.1, 24.0)).card().parts[0].rows
    assert only[0] == "GPU memory"


def test_a_list_of_sessions_ends_in_no_number():
    found = (session("running", deadline_at=None), session("ended (budget)", ended_at=NOW))
    (table,) = Sessions("gpu", found, ("uri", "state")).card().parts
    assert [isinstance(title, Number) for title in table.titles] == [False, False, False, True, True, False, False]
    assert [str(table.rows[0][1]), table.rows[1][1]] == ["● running", (mark_of("ended"), "(budget)")]
    assert (table.rows[0][-1], table.rows[1][-1].startswith("ended ")) == ("when stopped", True)


@pytest.mark.parametrize(("spent", "mark"), [(2.4, ""), (2.6, "over 50 % is spent:"), (4.1, "over 80 % is spent:")])
def test_a_budget_that_has_reached_a_level_says_so(spent, mark):
    text = session("running", budget_usd=5.0, spent_usd=spent, deadline_at=time.time() + 60_000).card().text()
    assert mark in text
    assert ("is spent:" in text) == bool(mark)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "A10G on local"),
        ({"on": "aws", "type": "g5.12xlarge", "where": "us-east-1a", "count": 4.0}, "4 × A10G on aws g5.12xlarge"),
        ({"on": "kubernetes", "count": 0.25}, "1/4 × A10G on kubernetes"),
    ],
)
def test_a_machine_is_named_with_how_many_accelerators_it_has(fields, text):
    one = session("running", **fields)
    facts = dict(one.card().facts)
    assert (facts["machine"], facts.get("in", "")) == (text, fields.get("where", ""))
    assert text in Sessions("gpu", (one,), ("uri",), "", title="Sessions").table().rows[0]
