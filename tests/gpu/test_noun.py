"""What sessions are to those who ask the table of nouns, and that an end is written once."""

import time

import pytest
from msgspec.structs import replace

from aiinfra_lab import cost, files, gpu, jobs, nouns, resolve
from aiinfra_lab.completion import complete
from aiinfra_lab.cost.billing import PriceChange
from aiinfra_lab.errors import Denied, NotFound, UsageProblem
from aiinfra_lab.gpu import local, sessions, sim_faults
from aiinfra_lab.gpu.booting import StartSteps
from aiinfra_lab.gpu.local import LocalMachines
from aiinfra_lab.gpu.record import Limits, MachineRecord, SessionRecord
from aiinfra_lab.jupyter import items
from aiinfra_lab.kernels import KeptKernel
from aiinfra_lab.nouns import Action, Observation
from aiinfra_lab.store import Record, open_store

NOUN = nouns.find("gpu")


def session(name: str, **fields) -> Record[SessionRecord]:
    """A session's record as it would have been left, committed."""
    body = {"provider": "local", "gpu": "cpu", "started_at": time.time() - 500, "usd_per_hour": 1.0, **fields}
    return open_store().commit([Record.new(name, SessionRecord(**body))])[0]


def vanished(name: str, **fields) -> Record[SessionRecord]:
    """A session whose machine is gone, and nobody has looked since."""
    return session(name, handle=f"gpu-{name}-never", **fields)


def test_it_is_found_by_its_name_and_its_uri_and_nothing_else(workspace):
    record = session("trainer")
    assert resolve.resolve("trainer", SessionRecord) == resolve.resolve_any("gpu:trainer") == record
    with pytest.raises(UsageProblem) as problem:
        gpu.show("trainer@2")
    assert problem.value.fix == "write gpu:trainer"


def test_only_what_the_provider_has_is_offered(workspace, monkeypatch):
    monkeypatch.setattr(local, "_run", lambda command: "")
    assert complete("gpu", "start t --gpu ") == complete("gpu", "start t --on local --gpu ") == ["cpu"]
    assert complete("gpu", "start t --on nobody --gpu ") == []


def test_what_is_not_there_says_how_to_make_it(workspace):
    with pytest.raises(NotFound) as problem:
        gpu.show("trainer")
    assert problem.value.fix == "there is none yet: `%gpu start trainer` starts it"


def test_a_handle_is_a_name(workspace):
    made = gpu.start("trainer")
    assert gpu.start(made).notes == ("it lived already",)
    assert gpu.stop(made).uri == gpu.show(made).uri == "gpu:trainer"


def test_a_name_with_a_version_is_not_started(workspace):
    with pytest.raises(UsageProblem, match="cannot be a name"):
        gpu.start("trainer@2")


MORE_TIME = Action(
    "start", "Give it 2h", "Let trainer live for 2h from now?", "It ends by itself after that.", flags={"for": "2h"}
)


def test_what_lives_is_observed_with_its_deadline_and_its_job(workspace):
    made = gpu.start("trainer", for_="1h")
    (seen,) = NOUN.watched()
    assert seen == Observation(
        "gpu:trainer",
        "running",
        is_live=True,
        started_at=made.started_at,
        deadline_at=made.deadline_at,
        can_stop=True,
        job=jobs.find("gpu:trainer").id,
        facts=("cpu here",),
        usd_per_hour=0.0,
        actions=(MORE_TIME,),
    )


def test_what_was_stopped_is_observed_with_its_end(workspace):
    gpu.start("trainer")
    ended = gpu.stop("trainer")
    (seen,) = NOUN.watched()
    assert (seen.state, seen.is_live, seen.can_stop) == ("ended (stopped)", False, False)
    assert (seen.ended_at, seen.deadline_at) == (ended.ended_at, None)


def test_a_start_without_a_machine_waits_for_it(workspace):
    session("trainer", started_at=time.time())
    (seen,) = NOUN.watched()
    assert (seen.state, seen.detail, seen.can_stop, seen.job) == ("starting", "waiting for its process", True, "")


def test_an_end_that_nobody_wrote_is_written_by_who_observes_it(workspace):
    record = vanished("trainer")
    assert gpu.show("trainer").state == "ended (it is not known here)"
    found = open_store().get(SessionRecord, "trainer")
    assert (found.body.ended_by, found.body.is_open) == ("it is not known here", False)
    assert found.rev > record.rev


def test_an_end_is_observed_and_written_once(workspace):
    for name in ("a", "b", "c"):
        vanished(name)
    gpu.ls()
    revisions = [key.rev for key in open_store().changed()]
    NOUN.watched()
    gpu.ls()
    assert [key.rev for key in open_store().changed()] == revisions
    (event,) = [logged.event for logged in open_store().events() if logged.event.verb == "gpu stop"]
    assert sorted(event.uris) == ["gpu:a", "gpu:b", "gpu:c"]
    assert event.detail["why"] == dict.fromkeys("abc", "it is not known here")


def left_job(session_name: str, **fields) -> str:
    """The job of a session whose machine went down with its supervisor."""
    job = jobs.prepare(f"gpu:{session_name}", [])
    open_store().commit([job.with_(state="running", pid=2**22 + 1, born=1.0)])
    session(session_name, handle=job.name, **fields)
    return job.name


@pytest.mark.parametrize("look", [lambda: gpu.show("trainer"), gpu.ls])
def test_the_job_of_a_session_that_was_seen_to_have_ended_has_ended_with_it(workspace, look):
    name = left_job("trainer")
    look()
    job, body = open_store().get(jobs.JobRecord, name).body, open_store().get(SessionRecord, "trainer").body
    assert (job.state, job.is_open, job.ended_at) == ("lost", False, body.ended_at)
    assert open_store().list(jobs.JobRecord, is_open=True) == []


def test_a_living_supervisor_writes_the_end_of_its_job_itself(workspace):
    name = left_job("trainer")
    with files.lock(workspace / ".aiinfra" / jobs.LOCK):
        assert gpu.show("trainer").state == "ended (its keeper was killed)"
    assert open_store().get(jobs.JobRecord, name).body.is_open


def test_an_ended_session_asks_no_machines(workspace):
    session("old", provider="gone", handle="h", ended_at=time.time(), ended_by="stopped")
    assert [found.state for found in gpu.ls()] == ["ended (stopped)"]
    assert [span.is_live for span in NOUN.spans()] == [False]


def test_an_end_is_told_also_where_it_cannot_be_written(workspace, monkeypatch):
    vanished("trainer")

    def refuse(*_words: object, **_more: object) -> None:
        raise Denied("the store may not be written", "make it yours")

    monkeypatch.setattr(type(open_store()), "commit", refuse)
    assert gpu.show("trainer").state == "ended (it is not known here)"
    assert [found.state for found in gpu.ls()] == ["ended (it is not known here)"]
    assert open_store().get(SessionRecord, "trainer").body.is_open


def test_the_end_of_an_earlier_start_does_not_end_the_later_one(workspace):
    before = vanished("trainer")
    later = open_store().commit([before.with_(started_at=time.time(), handle=None)])[0]
    assert sessions.close(before, "gone").body == later.body
    assert sessions.observe(before).state == "starting"


def test_the_last_ended_are_watched_and_not_all(workspace):
    for number in range(30):
        session(f"s{number}", ended_at=1000.0 + number, ended_by="stopped")
    session("new", started_at=time.time())
    seen = [one.uri for one in NOUN.watched(ended=3)]
    assert seen == ["gpu:new", "gpu:s29", "gpu:s28", "gpu:s27"]


def test_stop_asks_and_returns_the_job(workspace):
    gpu.start("trainer")
    job = jobs.find("gpu:trainer")
    assert NOUN.stop("gpu:trainer") == [job.id]
    assert jobs.poll(job.id).stop_requested_at is not None
    jobs.wait(job.id, timeout_s=30)
    assert gpu.show("trainer").state == "ended (stopped)"


@pytest.mark.parametrize("uri", ["gpu:nobody", "gpu:over"])
def test_what_does_not_live_cannot_be_stopped_by_the_panel(workspace, uri):
    session("over", ended_at=1.0, ended_by="stopped")
    with pytest.raises(NotFound):
        NOUN.stop(uri)


def test_the_panels_stop_gives_an_intent_up(workspace):
    session("trainer", started_at=time.time())
    assert NOUN.stop("gpu:trainer") == []
    assert gpu.show("trainer").state == "ended (stopped before it had a machine)"


def test_every_start_is_a_span_of_its_own(workspace):
    gpu.start("trainer")
    gpu.stop("trainer")
    gpu.start("trainer")
    now, before = NOUN.spans()
    assert (now.uri, now.is_live, now.on_machine) == ("gpu:trainer", True, True)
    assert (before.is_live, before.ended_at > before.started_at) == (False, True)


def test_the_machines_of_a_start_are_spans_of_it_each_at_what_it_cost(workspace):
    now, fields = time.time(), {"provider": "sim", "gpu": "L4", "usd_per_hour": 1.0, "instance": "i"}
    session("far", started_at=now - 7200, ended_at=now, is_rented=True, handle="gpu-far-1")
    for number, prices in enumerate([(), (PriceChange(now - 3600, 1.0), PriceChange(now - 1800, 3.0))]):
        began = now - 7200 + number * 3600
        body = MachineRecord(session="far", job="gpu-far-1", requested_at=began, ended_at=began + 3600, prices=prices,
                             **fields)  # fmt: skip
        open_store().commit([Record.new(f"gpu-far-1-{number}", body)])
    spans = sorted(NOUN.spans(), key=lambda span: span.started_at)
    assert [span.of_start for span in spans] == ["gpu-far-1"] * 2
    assert [span.usd_per_hour for span in spans] == pytest.approx([1.0, 2.0], rel=1e-3)


def test_what_was_rented_before_a_start_on_a_machine_of_ones_own_still_counts(workspace):
    now, fields = time.time(), {"provider": "sim", "gpu": "L4", "usd_per_hour": 1.0, "instance": "i"}
    body = MachineRecord(session="far", job="gpu-far-1", requested_at=now - 7200, ended_at=now - 3600, **fields)
    open_store().commit([Record.new("gpu-far-1-0", body)])
    session("far", started_at=now - 60, ended_at=now, handle="gpu-far-2")
    assert sorted((span.of_start, span.on_machine) for span in NOUN.spans()) == [("", True), ("gpu-far-1", False)]
    assert cost.show("gpu:far").spent_usd == pytest.approx(1.0 + 1.0 / 60)


def test_where_an_earlier_start_ran_is_its_own(workspace):
    first, second = (SessionRecord(provider=name, gpu="L4", started_at=1.0, ended_at=2.0, usd_per_hour=5.0)
                     for name in ("ssh", "local"))  # fmt: skip
    open_store().commit([Record.new("x", replace(first, earlier_spans=second.starts()))])
    open_store().commit([Record.new("y", replace(second, earlier_spans=first.starts()))])
    found = {uri: [span.on_machine for span in NOUN.spans() if span.uri == uri] for uri in ("gpu:x", "gpu:y")}
    assert found == {"gpu:x": [False, True], "gpu:y": [True, False]}


def test_names_are_those_of_every_session(workspace):
    session("a")
    session("b", ended_at=1.0)
    assert sorted(NOUN.names()) == ["a", "b"]


def test_asking_for_the_kernel_of_what_does_not_live_names_the_start(workspace):
    session("over", ended_at=1.0, ended_by="stopped")
    for name in ("nobody", "over"):
        with pytest.raises(NotFound) as problem:
            sessions.kernel_of(f"gpu:{name}")
        assert problem.value.fix == f"start it: `%gpu start {name}`"


def test_a_second_intent_is_refused_while_the_first_is_open(workspace):
    sessions.intend("trainer", "local", gpu.Offer("cpu", 0.0), time.time(), Limits())
    with pytest.raises(gpu.starting.Conflict) as problem:
        sessions.intend("trainer", "local", gpu.Offer("cpu", 0.0), time.time(), Limits())
    assert problem.value.fix == "look at it with `%gpu show trainer`"


def test_a_thousand_ended_sessions_are_listed_by_one_query_of_each_kind(workspace, monkeypatch):
    records = [
        Record.new(f"s{n}", SessionRecord(provider="local", gpu="cpu", started_at=n, usd_per_hour=0.0, ended_at=n + 1))
        for n in range(1000)
    ]
    open_store().commit(records)
    asked: list[str] = []
    kind = type(open_store())
    for name in ("get", "list", "commit"):
        method = getattr(kind, name)
        monkeypatch.setattr(
            kind, name, lambda *words, _do=method, _as=name, **more: asked.append(_as) or _do(*words, **more)
        )
    assert len(gpu.ls()) == 1000
    assert asked == ["list"] * 3  # of sessions, of machines that they rented, and of pools


@pytest.fixture
def read_only(monkeypatch):
    """Call it, and the store takes nothing any more."""
    return lambda: monkeypatch.setattr(type(open_store()), "commit", _refuse)


def _refuse(*_words: object, **_more: object) -> None:
    raise Denied("the store may not be written", "make it yours")


def test_to_stop_what_has_ended_says_so_and_writes_nothing(workspace, read_only):
    vanished("seen")
    session("over", ended_at=1.0, ended_by="deadline")
    read_only()
    assert gpu.stop("seen").state == "ended (it is not known here)"
    assert gpu.stop("over").state == "ended (deadline)"


def test_a_request_to_end_is_written_before_the_machine_is_asked(workspace, monkeypatch):
    gpu.start("trainer")
    asked, terminate = [], LocalMachines.terminate

    def watched(self, handle):
        asked.append(open_store().get(SessionRecord, "trainer").body.stop_requested_at is not None)
        terminate(self, handle)

    monkeypatch.setattr(LocalMachines, "terminate", watched)
    gpu.stop("trainer")
    assert asked == [True]


def test_a_stop_that_was_asked_for_long_ago_may_be_asked_for_again(workspace):
    session("new", started_at=time.time(), stop_requested_at=time.time())
    session("old", started_at=time.time(), stop_requested_at=time.time() - 600)
    seen = {one.uri: (one.state, one.can_stop) for one in NOUN.watched()}
    assert seen == {"gpu:new": ("stopping", False), "gpu:old": ("stopping", True)}


def test_a_rented_session_is_one_row_and_names_the_machine_that_it_has_now(workspace):
    gpu.start("trainer", on="sim", gpu="L4", spot=True, budget=0.1)
    [row] = items.current()
    assert (row.uri, row.figure != "", row.facts) == ("gpu:trainer", True, ("sim L4 spot",))
    [more] = [action for action in row.actions if action.verb == "start"]
    assert (more.title, more.flags) == ("Double its budget", {"budget": "0.2"})
    before = gpu.show("trainer").machine
    sim_faults.take("trainer")
    gpu.run("trainer", "pass")
    now = gpu.show("trainer")
    assert now.machine not in ("", before)
    assert now.machine == KeptKernel.of("gpu:trainer").state().machine
    details = NOUN.details("gpu:trainer")
    assert details.code == "%gpu get trainer"
    assert {"machine", "price", "spent", "ends", "kernel"} <= {fact.label for fact in details.facts}


def test_more_time_is_offered_to_what_would_end_before_that(workspace):
    gpu.start("long", for_="5h")
    gpu.start("endless")
    assert [action for item in items.current() for action in item.actions] == []


def test_whoever_waits_for_a_start_sees_its_steps_with_their_times(workspace):
    steps = StartSteps("trainer")
    assert steps.parts() == []
    gpu.start("trainer", on="sim")
    [table] = steps.parts()
    marks, texts, times = zip(*table.rows, strict=True)
    assert texts[-1] == "starts its kernel"
    assert texts[0].startswith("asks sim for")
    assert [mark.word for mark in marks] == ["done"] * (len(marks) - 1) + ["now"]
    assert all(times)
    assert StartSteps("trainer").parts() == []  # those of an earlier start are none of the next


@pytest.mark.parametrize("lasted_s", [10.4, 3000.2])
def test_a_rented_machine_costs_the_same_wherever_its_money_is_shown(workspace, lasted_s):
    plain = {"provider": "sim", "gpu": "L4", "usd_per_hour": 0.8, "ended_at": 2000.0, "ended_by": "stopped"}
    session = SessionRecord(started_at=1000.0, is_rented=True, handle="gpu-far-0", **plain)
    fields = {**plain, "session": "far", "job": "gpu-far-0", "requested_at": 1000.0, "instance": "i-1"}
    machine = MachineRecord(**{**fields, "began_at": 1002.0, "ended_at": 1002.0 + lasted_s})
    open_store().commit([Record.new("far", session), Record.new("gpu-far-0-0", machine)])
    [record] = open_store().list(SessionRecord)
    assert NOUN.spent_usd(record) == pytest.approx(machine.spent_usd(1e9))
    assert cost.show("gpu:far").spent_usd == pytest.approx(machine.spent_usd(1e9))
