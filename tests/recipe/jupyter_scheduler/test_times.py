"""When jobs of a definition are due, as the real package asks for it."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from aiinfra_lab.recipe.schedule.calendar import Calendar
from tests.slow.environments import ROOT, packages_of

pytestmark = pytest.mark.slow
NEVER = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
ASKS = """
import json, sys, time
from aiinfra_lab.recipe.jupyter_scheduler.times import LabTaskRunner
time.time = lambda: float(sys.argv[1])
class Scheduler:
    db_session = None
runner = LabTaskRunner(Scheduler())
print(json.dumps([runner.compute_next_run_time(*each) for each in json.loads(sys.argv[2])]))
"""


def due(at: float, *lines: tuple[str, str | None]) -> list[float]:
    """In epoch seconds, where it is that time."""
    try:
        packages = packages_of("scheduler")
    except AssertionError as problem:
        pytest.skip(f"packages cannot be had here: {problem}")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)])}
    command = [sys.executable, "-c", ASKS, str(at), json.dumps(lines)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [each / 1000 for each in json.loads(done.stdout)]


def test_times_are_those_of_our_calendar_where_clocks_are_changed():
    night = 1774738800.0  # 2026-03-29 00:00 in Berlin, whose clocks go from 2 to 3
    berlin, utc = due(night, ("30 2 * * *", "Europe/Berlin"), ("30 2 * * *", None))
    assert berlin == Calendar("30 2 * * *", "Europe/Berlin").next(night) == night + 2 * 3600
    assert utc == Calendar("30 2 * * *").next(night)


def test_a_line_of_before_that_only_the_package_understands_is_left_to_it():
    [found] = due(0.0, ("* * * * * 30", None))
    assert found > 1e9


def test_a_line_that_nobody_understands_is_never_due_and_keeps_no_other_from_it():
    found = due(0.0, ("", None), ("61 * * * *", "Mars/X"), ("0 3 * * *", None))
    assert found == [NEVER, NEVER, 3 * 3600]
