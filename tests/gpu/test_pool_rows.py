"""A pool in the panel and in the lists of a workspace, from its records alone: nothing lives here."""

import time
from collections.abc import Callable, Iterator

import pytest

from aiinfra_lab import gpu, jobs, nouns
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.gpu.noun import NOUN
from aiinfra_lab.gpu.pool_record import PoolRecord, PoolState, Retry, write_state
from aiinfra_lab.jupyter import items
from aiinfra_lab.nouns import Action, Observation
from aiinfra_lab.store import Record, open_store
from tests.records import put, session

L4 = {"provider": "sim", "gpu": "L4"}


def pool(name: str = "sweep", state: PoolState | None = None, **fields: object) -> Record[PoolRecord]:
    """A pool of at most eight whose job is to be started by a supervisor."""
    job = jobs.prepare(f"gpu:{name}", [])
    open_store().commit([job])
    now = time.time()
    plain = {"min": 0, "max": 8, "places": 8, "per_member": 2.0, "job": job.name, "started_at": now - 60, **L4}
    if state is not None:
        write_state(name, state)
    return put(name, PoolRecord(**{**plain, **fields}))


def member(number: int, **fields: object) -> None:
    plain = {"usd_per_hour": 1.5, "started_at": time.time() - 30, "context": "gpu:sweep", **L4}
    session(f"sweep-{number}", **{**plain, **fields})


@pytest.fixture(autouse=True)
def no_supervisor(workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its job is no command that could run."""
    monkeypatch.setattr(jobs, "launch", lambda: None)
    yield
    left = open_store().list(jobs.JobRecord, is_open=True)
    open_store().commit([job.with_(state="stopped", ended_at=time.time()) for job in left])


def watched() -> dict[str, Observation]:
    return {one.uri: one for one in NOUN.watched()}


def action(seen: Observation, verb: str) -> Action | None:
    return next((each for each in seen.actions if each.verb == verb), None)


def test_a_pool_is_one_row_that_says_how_many_and_why_and_its_sessions_are_below_it(workspace):
    pool(state=PoolState(target=3, why="a load of 6, 2 each, wants 3", at=time.time()))
    member(1)
    member(2)
    session("other", started_at=time.time())
    seen = watched()
    row = seen["gpu:sweep"]
    assert (row.state, row.kind, row.group, row.figure) == ("running", "pool", "", "3.00 USD/h")
    assert row.facts == ("2 of 8 × L4 on sim", "0 at work")
    assert row.detail == "3 wanted: a load of 6, 2 each, wants 3"
    assert {uri: one.group for uri, one in seen.items() if uri != "gpu:sweep"} == {
        "gpu:sweep-1": "gpu:sweep", "gpu:sweep-2": "gpu:sweep", "gpu:other": "",
    }  # fmt: skip
    assert items.price_of(seen.values()).usd_per_hour == 3.0  # its sessions cost, and not the pool once more


def test_its_job_is_no_row_of_its_own(workspace):
    pool()
    assert [item.uri for item in items.current()] == ["gpu:sweep"]
    (item,) = items.current()
    assert (item.kind, item.group, item.stoppable) == ("pool", "", True)


def test_a_pool_that_cannot_grow_needs_a_look_and_says_why(workspace):
    retry = Retry(2, time.time(), time.time() + 60, "no zone of sim has an L4", "`%gpu ls --offers`")
    pool(state=PoolState(target=2, why="a load", retry=retry, at=time.time()))
    (item,) = items.current()
    assert (item.word, item.glyph, item.tone, item.detail) == ("needs a look", "▲", "warn", "no zone of sim has an L4")
    assert (found := NOUN.details("gpu:sweep")).problem == "no zone of sim has an L4"
    assert found.fix == "`%gpu ls --offers`"
    assert [thing.state for thing in NOUN.things()] == ["needs a look"]
    assert "▲ needs a look" in gpu.show("sweep").card().text()


def test_a_look_closer_has_its_money_as_a_part_of_its_budget(workspace):
    pool(state=PoolState(target=1, why="a load", at=time.time()), budget_usd=5.0)
    member(1, started_at=time.time() - 50, provider="local", usd_per_hour=90.0)
    facts = {fact.label: fact for fact in NOUN.details("gpu:sweep").facts}
    assert facts["sessions"].value.startswith("1 of at most 8: 0 at work")
    assert facts["wanted"].value == "1: a load"
    assert facts["spent"].value.endswith(" of 5.00 USD")
    assert facts["spent"].share == pytest.approx(0.25, abs=0.05)
    sent = next(fact for fact in items.details_of("gpu:sweep")["facts"] if fact["label"] == "spent")
    assert sent["share"] == pytest.approx(0.25, abs=0.05)
    assert facts["ends"].value == "when it is stopped"


@pytest.mark.parametrize(
    ("fields", "title", "flags"),
    [
        ({"until_at": lambda: time.time() + 600}, "Give it 2h", {"for": "2h"}),
        ({"budget_usd": lambda: 1.0}, "Double its budget", {"budget": "2"}),
        ({"until_at": lambda: time.time() + 9000}, None, None),
        ({"budget_usd": lambda: 100.0}, None, None),
    ],
)
def test_more_is_offered_of_what_it_lacks_first(workspace, fields: dict[str, Callable[[], float]], title, flags):
    pool(state=PoolState(at=time.time()), **{name: value() for name, value in fields.items()})
    member(1)
    more = action(watched()["gpu:sweep"], "start")
    assert (more and more.title, more and more.flags) == (title, flags)


def test_its_stop_is_asked_about_with_what_ends(workspace):
    pool(state=PoolState(at=time.time()))
    member(1)
    asked = action(watched()["gpu:sweep"], "stop")
    assert asked
    assert (asked.title, asked.question) == ("Stop pool", "Stop pool sweep?")
    assert asked.consequence == "1 session ends with it. Files and records stay."


def test_its_sessions_are_offered_no_time_of_their_own(workspace):
    """The pool gives it to them, and would refuse."""
    pool(state=PoolState(at=time.time()))
    member(1, deadline_at=time.time() + 60)
    assert watched()["gpu:sweep-1"].actions == ()


def test_the_panels_stop_is_written_and_its_job_ends_it(workspace):
    stored = pool(state=PoolState(at=time.time()))
    assert nouns.find("gpu").stop("gpu:sweep") == [stored.body.job]
    assert open_store().get(PoolRecord, "sweep").body.stop_requested_at is not None
    row = watched()["gpu:sweep"]
    assert (row.state, row.can_stop) == ("stopping", False)


def test_a_pool_that_nobody_sees_to_is_ended_by_who_stops_it(workspace):
    stored = pool(state=PoolState(at=time.time()))
    jobs.cancel(stored.body.job)
    job = open_store().get(jobs.JobRecord, stored.body.job)
    open_store().commit([job.with_(state="stopped", ended_at=time.time())])
    NOUN.stop("gpu:sweep")
    assert open_store().get(PoolRecord, "sweep").body.ended_by == "stopped"


def test_an_ended_pool_is_listed_unless_a_session_has_its_name_since(workspace):
    pool(ended_at=time.time(), ended_by="budget")
    assert [(one.uri, one.state, one.kind) for one in NOUN.watched()] == [("gpu:sweep", "ended (budget)", "pool")]
    assert [(thing.uri, thing.state) for thing in NOUN.things()] == [("gpu:sweep", "ended (budget)")]
    session("sweep", started_at=time.time())
    assert [(one.uri, one.kind) for one in NOUN.watched()] == [("gpu:sweep", "")]
    assert len(NOUN.things()) == 1


def test_an_ended_session_gives_its_name_to_the_pool(workspace):
    session("sweep", started_at=1.0, ended_at=2.0, ended_by="stopped")
    pool()
    assert [(one.uri, one.kind) for one in NOUN.watched()] == [("gpu:sweep", "pool")]


def test_outputs_are_those_of_its_sessions(workspace):
    pool()
    with pytest.raises(UsageProblem, match=r"gpu:sweep is a pool, .* has had none yet") as problem:
        gpu.get("sweep")
    assert problem.value.fix == "`%%gpu run sweep` sends a cell to one"
    member(1, ended_at=time.time(), ended_by="stopped")
    member(2, started_at=time.time())
    with pytest.raises(UsageProblem, match="gpu:sweep is a pool") as problem:
        gpu.get("sweep")
    assert problem.value.fix == "`%gpu get sweep-2`, or those of sweep-1: `%gpu show sweep` lists them"
    with pytest.raises(NotFound):
        gpu.get("nothing")
