"""Which of the times that are due run, and which are missed."""

import pytest

from aiinfra_lab.recipe.schedule.calendar import Calendar
from aiinfra_lab.recipe.schedule.deciding import ON_TIME_S, RecipeSchedule, ScheduleDecision, decide

HOUR = 3600.0


def hourly(**rules) -> RecipeSchedule:
    return RecipeSchedule(Calendar("0 * * * *"), **rules)


def test_nothing_is_due_before_its_time():
    assert decide(hourly(), 0, HOUR - 1, is_busy=False) is None
    assert decide(hourly(), HOUR, HOUR + 1, is_busy=False) is None, "it is decided already"


def test_what_is_due_now_runs():
    for rule in ("last", "all", "none"):
        assert decide(hourly(catch_up=rule), 0, HOUR, is_busy=False) == ScheduleDecision(HOUR, (), HOUR)


def test_of_times_that_passed_unseen_the_last_runs():
    assert decide(hourly(), 0, 3.5 * HOUR, is_busy=False) == ScheduleDecision(3 * HOUR, (HOUR, 2 * HOUR), 3 * HOUR)


def test_or_all_one_after_the_other():
    schedule, decided, begun = hourly(catch_up="all"), 0.0, []
    while (decision := decide(schedule, decided, 3.5 * HOUR, is_busy=False)) is not None:
        begun.append(decision.start)
        assert decision.missed == ()
        decided = decision.until
    assert begun == [HOUR, 2 * HOUR, 3 * HOUR]


def test_or_none():
    late = 3 * HOUR + ON_TIME_S
    assert decide(hourly(catch_up="none"), 0, late + 1, is_busy=False) == ScheduleDecision(
        None, (HOUR, 2 * HOUR, 3 * HOUR), 3 * HOUR
    )
    assert decide(hourly(catch_up="none"), 0, late, is_busy=False) == ScheduleDecision(
        3 * HOUR, (HOUR, 2 * HOUR), 3 * HOUR
    )


def test_beside_a_run_that_goes_on_the_next_waits_or_is_left_out():
    assert decide(hourly(), 0, HOUR, is_busy=True) is None
    assert decide(hourly(overlap="skip"), 0, HOUR, is_busy=True) == ScheduleDecision(None, (HOUR,), HOUR)


@pytest.mark.parametrize("catch_up", ["last", "all", "none"])
@pytest.mark.parametrize("overlap", ["wait", "skip"])
def test_every_time_is_decided_once(catch_up, overlap):
    schedule, decided, seen = hourly(catch_up=catch_up, overlap=overlap), 0.0, []
    for now in (0.5, 1.0, 1.1, 4.2, 4.3, 9.0, 9.0, 20.0, 21.0, 22.0, *[23.0] * 20):
        decision = decide(schedule, decided, now * HOUR, is_busy=now in (4.2, 20.0))
        if decision is not None:
            seen += [*decision.missed, *([decision.start] if decision.start is not None else [])]
            decided = decision.until
    assert sorted(seen) == [at * HOUR for at in range(1, 24)]
