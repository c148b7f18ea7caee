"""What ended a run over there is raised here."""

import pytest

from aiinfra_lab import jobs, train
from aiinfra_lab.errors import Failed, LabError, NotFound, StoreUnavailable
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.train import checkpoint, far, far_follower, record, remote
from aiinfra_lab.train.code import CodeFailed
from aiinfra_lab.train.record import RunProblem, TrainingRun


def put(**fields) -> Record:
    return open_store().commit([Record.new("delay@1", TrainingRun(**fields))])[0]


@pytest.mark.parametrize("on", [None, "local"])
def test_this_process_is_no_session(workspace, on):
    with remote.session(on) as session:
        assert session == ""


def test_an_error_of_the_code_comes_with_its_lines(workspace):
    put(state="failed", trace="line 1", problem=RunProblem("it failed", "fix it"))
    with pytest.raises(CodeFailed) as caught:
        remote._raise_its_end("train:delay@1", "ValueError: x")
    assert (caught.value.what, caught.value.fix, caught.value.trace) == ("it failed", "fix it", "line 1")


def test_a_run_that_was_stopped_is_not_taken_for_one_that_is_done(workspace):
    put(state="stopped")
    with pytest.raises(Failed) as caught:
        remote._raise_its_end("train:delay@1", "")
    assert caught.value.fix == "run its cell or command again"


def test_a_kernels_own_error_is_the_reason_where_the_run_could_write_none(workspace):
    put(state="running")
    with pytest.raises(Failed, match="is killed: ImportError: no torch") as caught:
        remote._raise_its_end("train:delay@1", "ImportError: no torch")
    assert caught.value.fix == "see `%train log delay@1`"


def test_a_run_that_is_done_raises_nothing(workspace):
    put(state="done")
    remote._raise_its_end("train:delay@1", "")


def test_a_session_that_never_began_the_run_leaves_it_failed_with_the_reason(workspace):
    planned = record.plan("delay", TrainingRun(state="starting"), ())
    with pytest.raises(LabError) as caught:
        remote.execute(planned, "gpu:nobody")
    found = train.show("delay")
    assert (found.state, found.problem) == ("failed", caught.value.what)


def test_with_a_checkpoint_the_fix_also_names_the_command_that_goes_on(workspace):
    planned = record.plan("delay", TrainingRun(state="starting"), ())
    record.folder(planned.name).mkdir(parents=True)
    checkpoint.save(record.folder(planned.name) / checkpoint.FILE, {}, 3)
    with pytest.raises(Failed) as caught:
        remote.execute(planned, "gpu:nobody")
    assert "`%%train run delay --resume …`" in caught.value.fix


def test_a_run_that_nobody_knows_has_no_end(workspace):
    with pytest.raises(NotFound):
        remote._raise_its_end("train:delay@1", "")


def test_a_run_that_begins_while_its_session_fails_is_left_to_itself(workspace, monkeypatch):
    planned = record.plan("delay", TrainingRun(state="starting"), ())
    seen = remote.find(planned.uri)

    def begin(_: str) -> object:
        record.change(planned.name, state="running")
        return seen

    monkeypatch.setattr(remote, "find", begin)
    with pytest.raises(LabError):
        remote.execute(planned, "gpu:nobody")
    assert open_store().get(TrainingRun, planned.name).body.state == "running"


def away_once(monkeypatch) -> None:
    """The store is away when the run's end is asked for."""
    found, refusals = remote.find, iter(range(1))

    def find(uri: str) -> object:
        if next(refusals, None) is not None:
            raise StoreUnavailable("the database restarts", "wait")
        return found(uri)

    monkeypatch.setattr(remote, "find", find)


def test_a_database_that_restarts_fails_no_run_that_is_done(workspace, monkeypatch):
    put(state="done")
    away_once(monkeypatch)
    remote._raise_its_end("train:delay@1", "")


def test_a_database_that_restarts_hides_no_problem_of_the_session(workspace, monkeypatch):
    planned = record.plan("delay", TrainingRun(state="starting"), ())
    away_once(monkeypatch)
    with pytest.raises(LabError) as caught:
        remote.execute(planned, "gpu:nobody")
    assert train.show("delay").problem == caught.value.what


def lost() -> Record[TrainingRun]:
    return record.plan("delay", TrainingRun(state="running", on="gpu:far"), ())


def test_a_run_that_lost_its_machine_has_one_next_run_however_often_that_is_planned(workspace):
    run = lost()
    planned = remote.goes_on(run)
    assert (planned.body.replaces, planned.body.on) == (run.uri, "gpu:far")
    assert remote.goes_on(run).uri == planned.uri
    assert remote.goes_on(planned).body.replaces == planned.uri
    # One that was taken for a run that nobody begins stays what it is.
    record.end(planned.name, state="killed", ended_at=1.0)
    assert remote.goes_on(run).uri == "train:delay@4"


@pytest.mark.parametrize("killed_at", ["begin", "note"])
def test_a_follower_that_is_killed_between_two_writes_begins_one_next_run(workspace, monkeypatch, killed_at):
    run, begun = lost(), []

    def begin(planned: Record[TrainingRun]) -> None:
        begun.append(planned.uri)
        open_store().commit([jobs.prepare(planned.uri, ["true"])])

    def be_killed(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr(far, "begin", begin)
    with monkeypatch.context() as killed:
        killed.setattr({"begin": far, "note": far_follower.Follower}[killed_at], killed_at, be_killed)
        with pytest.raises(SystemExit):
            far_follower.Follower(run)._go_on_on_the_next_machine()
    follower = far_follower.Follower(run)
    record.folder(run.name).mkdir(parents=True)
    follower._go_on_on_the_next_machine()
    assert (begun, follower.far.next) == (["train:delay@2"], "train:delay@2")
    assert [each.uri for each in record.runs("delay")] == ["train:delay@2", "train:delay@1"]
