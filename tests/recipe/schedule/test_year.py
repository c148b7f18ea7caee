"""Weeks around both changes of the clock, by the simulation that the benchmark runs for a year."""

from datetime import UTC, datetime

import pytest

from tests.benchmarks._year import Year


@pytest.mark.parametrize("begin", [datetime(2026, 3, 15, tzinfo=UTC), datetime(2026, 10, 15, tzinfo=UTC)])
def test_every_run_comes_once_or_is_listed_as_missed(workspace, begin):
    year = Year(workspace, begin.timestamp(), 21, sleeps=4, kills=6)
    year.go()
    assert year.faults() == []
    assert (year.slept > 2, year.killed > 0, year.crossed > 20) == (True, True, True)
