"""A step within its time, and again after a failure."""

import time
from pathlib import Path

import pytest

from aiinfra_lab.errors import LabError, Unavailable, UsageProblem
from aiinfra_lab.recipe import attempts, declaration
from aiinfra_lab.recipe.attempts import StepExecution
from aiinfra_lab.recipe.base import FAILURES, NotebookTask, Outcome, RecipeStep
from tests.fakes.in_process import InProcess


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short here."""
    monkeypatch.setattr(attempts, "_FIRST_PAUSE_S", 0.01)


def go(act, tmp_path: Path, stop=lambda: 0, **declared) -> attempts.Attempts:
    step = RecipeStep("a", tmp_path / "a.ipynb", **declared)
    going = StepExecution(InProcess(act), step, NotebookTask(step.notebook, tmp_path / "out.ipynb"))
    while (done := going.turn(stop())) is None:
        time.sleep(0.001)
    return done


def ends(*outcomes: Outcome):
    left = iter(outcomes)
    return lambda *_: next(left)


@pytest.mark.parametrize("state", FAILURES)
def test_what_fails_is_executed_again_as_often_as_it_may_be(tmp_path, state):
    bad = Outcome(state, "it broke")
    done = go(ends(bad, bad, Outcome("done")), tmp_path, retries=2)
    assert (done.outcome, done.number) == (Outcome("done"), 3)
    done = go(ends(bad, bad), tmp_path, retries=1)
    assert (done.outcome.state, done.outcome.error, done.number) == (state, "it broke (2 attempts)", 2)
    assert go(ends(bad), tmp_path).outcome == bad


def test_the_folder_for_its_archive_is_there_when_it_is_submitted(tmp_path):
    archive = tmp_path / "r@1" / "a.ipynb"
    act = lambda *_: Outcome("done" if archive.parent.is_dir() else "failed")  # noqa: E731
    step = RecipeStep("a", tmp_path / "a.ipynb")
    going = StepExecution(InProcess(act), step, NotebookTask(step.notebook, archive))
    while (done := going.turn(0)) is None:
        time.sleep(0.001)
    assert done.outcome.state == "done"


def test_what_was_stopped_or_is_done_is_not_executed_again(tmp_path):
    for state in ("stopped", "done"):
        assert go(ends(Outcome(state)), tmp_path, retries=5).number == 1


def test_nothing_is_executed_again_once_the_end_was_asked_for(tmp_path):
    asked = iter([0])
    done = go(ends(Outcome("failed", "x")), tmp_path, lambda: next(asked, 1), retries=5)
    assert (done.outcome, done.number) == (Outcome("failed", "x"), 1)


def test_an_executor_that_cannot_start_it_is_asked_again(tmp_path):
    def refuse(number: int, _stop) -> Outcome:
        if number < 3:
            raise Unavailable("no machine is free", "ask again later")
        return Outcome("done")

    assert go(refuse, tmp_path, retries=2).number == 3
    assert "no machine is free\n  fix: ask again later" in go(refuse, tmp_path, retries=0).outcome.error


def test_the_count_of_attempts_leaves_the_fix_as_it_is(tmp_path):
    bad = Outcome("failed", "no rows\n  fix: `%data add rows PATH`")
    assert go(ends(bad, bad), tmp_path, retries=1).outcome.error == (
        "no rows (2 attempts)\n  fix: `%data add rows PATH`"
    )


def test_what_an_attempt_has_executed_is_kept(tmp_path):
    def act(number: int, _stop) -> Outcome:
        (tmp_path / "out.ipynb").write_text(str(number))
        return Outcome("failed" if number < 3 else "done")

    go(act, tmp_path, retries=2)
    assert [(tmp_path / f"out{at}.ipynb").read_text() for at in (".1", ".2", "")] == ["1", "2", "3"]


def test_a_step_whose_time_is_over_is_interrupted_and_then_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(attempts, "GRACE_S", 0.05)
    seen = []

    def act(_number: int, stop) -> Outcome:
        while (urgency := stop()) < 2:
            seen.append(urgency)
        return Outcome("stopped")

    done = go(act, tmp_path, timeout_s=0.05)
    assert (done.outcome.state, done.outcome.error[:25]) == ("timeout", "it may take 50 ms, as `ti")
    assert sorted({*seen}) == [0, 1]


def test_a_stop_within_the_time_is_no_timeout(tmp_path):
    assert go(lambda _number, stop: Outcome("stopped"), tmp_path, lambda: 1, timeout_s=60).outcome.state == "stopped"


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ('timeout = "90"', "write 90s, 90m or 90h"),
        ('timeout = "soon"', "write 30s, 20m, 2h or 1h30m"),
        ("timeout = -1", "write 30s"),
        ('memory = "4"', "write 4GiB"),
        ('memory = "4 apples"', "write 4GiB"),
        ("memory = 4", "write 4GiB"),
        ('memory = "0GiB"', "write 4GiB"),
        ('on_failure = "stpo"', "did you mean stop?"),
        ("retries = -1", "write retries = 2"),
        ("retries = 11", "write retries = 2"),
        ("retries = true", "write retries = 2"),
        ('retries = "2"', "write retries = 2"),
    ],
)
def test_what_is_no_time_or_no_number_is_refused(notebook, recipe, line, fix):
    notebook("a", "")
    recipe("r", f'[steps.a]\nnotebook = "a.ipynb"\n{line}\n')
    with pytest.raises(LabError) as problem:
        declaration.read("r")
    assert (type(problem.value), fix in problem.value.fix) == (UsageProblem, True)
    assert problem.value.what.startswith("r.toml [steps.a]: ")


def test_they_are_read_from_the_recipe(notebook, recipe):
    notebook("a", "")
    recipe(
        "r", '[steps.a]\nnotebook = "a.ipynb"\ntimeout = "1h30m"\nretries = 3\nmemory = "4GiB"\non_failure = "stop"\n'
    )
    (step,) = declaration.read("r").steps
    assert (step.timeout_s, step.retries, step.memory_bytes, step.on_failure) == (5400.0, 3, 4 << 30, "stop")


class Away:
    """An executor that is not reached for so many looks. It has one task, which ends well, and hears of its end."""

    def __init__(self, looks: int) -> None:
        self.looks, self.cancelled = looks, []

    def has_room(self, _task) -> bool:
        self._look()
        return True

    def submit(self, _task):
        return self

    def poll(self) -> bool:
        self._look()
        return True

    def cancel(self, *, at_once: bool = False) -> None:
        self.cancelled.append(at_once)
        self._look()

    def collect(self) -> Outcome:
        return Outcome("done")

    def _look(self) -> None:
        self.looks -= 1
        if self.looks >= 0:
            raise Unavailable("the service is away", "repeat in a moment")


def going(executor, tmp_path: Path, **declared) -> StepExecution:
    step = RecipeStep("a", tmp_path / "a.ipynb", **declared)
    return StepExecution(executor, step, NotebookTask(step.notebook, tmp_path / "out.ipynb"))


def test_an_executor_that_is_not_reached_for_a_while_is_asked_again(tmp_path):
    one = going(Away(3), tmp_path)
    assert [one.turn(0) for _ in range(3)] == [None] * 3
    assert one.turn(0).outcome == Outcome("done")


@pytest.mark.parametrize(("urgency", "state"), [(0, "killed"), (2, "stopped")])
def test_one_that_is_not_reached_any_more_is_given_up(tmp_path, monkeypatch, urgency, state):
    monkeypatch.setattr(attempts, "_UNREACHED_S", 0.0)
    monkeypatch.setattr(attempts, "GRACE_S", 0.0)
    away = Away(1_000)
    away.collect = lambda: pytest.fail("it would wait for ever")
    done = going(away, tmp_path).turn(urgency)
    assert (done.outcome.state, away.cancelled) == (state, [True])
    assert "not reached any more, and it may go on there: the service is away" in done.outcome.error


class Raising(Away):
    """Its client raises what its library has for that, as that of another package may."""

    def _look(self) -> None:
        try:
            super()._look()
        except Unavailable:
            raise ConnectionRefusedError(111, "Connection refused") from None


def test_whatever_a_handle_raises_while_it_goes_on_it_is_asked_again(tmp_path):
    one = going(Raising(3), tmp_path)
    assert [one.turn(urgency) for urgency in (0, 1, 2)] == [None] * 3
    assert one.turn(0).outcome == Outcome("done")


def test_one_whose_handle_raises_again_and_again_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(attempts, "_UNREACHED_S", 0.0)
    outcome = going(Raising(1_000), tmp_path).turn(0).outcome
    assert outcome.state == "killed"
    assert outcome.error.endswith("it may go on there: ConnectionRefusedError(111, 'Connection refused')")


class Down(Away):
    """It cannot even be asked to begin."""

    def submit(self, _task):
        self._look()
        return self


def to_its_end(one: StepExecution) -> attempts.Attempts:
    while (done := one.turn(0)) is None:
        time.sleep(0.001)
    return done


def test_what_is_to_begin_again_waits_until_the_executor_is_reached(tmp_path):
    done = to_its_end(going(Down(20), tmp_path, retries=1))
    assert (done.outcome, done.number) == (Outcome("done"), 2)


def test_no_attempt_waits_for_ever_for_an_executor_that_is_not_reached_any_more(tmp_path, monkeypatch):
    monkeypatch.setattr(attempts, "_UNREACHED_S", 0.0)
    done = to_its_end(going(Down(1_000_000), tmp_path, retries=1))
    assert (done.outcome.state, done.number) == ("failed", 2)
    assert done.outcome.error.startswith("the service is away (2 attempts)")


def test_it_is_abandoned_whatever_the_executor_makes_of_that(tmp_path):
    away = Away(1)
    going(away, tmp_path).abandon()
    assert away.cancelled == [True]


class Unheard(Away):
    """It cannot be awaited."""

    def wait_for_end(self, _within_s: float) -> None:
        raise Unavailable("the service is away", "repeat in a moment")


def test_where_its_end_cannot_be_awaited_it_is_looked_for(tmp_path):
    one, begun_at = going(Unheard(1), tmp_path), time.monotonic()
    assert one.turn(0) is None
    one.wait(0.05)
    assert time.monotonic() - begun_at >= 0.05
    assert one.turn(0).outcome == Outcome("done")


class Process(Away):
    """Its handle has a `wait` that means something else, as that of `subprocess` does."""

    def wait(self, _within_s: float) -> None:
        raise AssertionError("it is not for that")


def test_any_wait_of_a_handle_is_none_for_its_end(tmp_path):
    one = going(Process(0), tmp_path)
    one.wait(0.01)
    assert one.turn(0).outcome == Outcome("done")


def test_an_executor_that_does_not_know_has_no_room():
    assert [attempts.has_room(Away(looks), None) for looks in (1, 0)] == [False, True]


def test_a_mistake_of_an_executor_is_the_end_of_that_step_alone(tmp_path):
    def broken(*_) -> Outcome:
        raise KeyError("no such thing")

    assert go(broken, tmp_path).outcome == Outcome("failed", "its executor failed: KeyError('no such thing')")
