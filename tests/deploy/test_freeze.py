"""Freeze windows: when no version gets more traffic."""

import time
from dataclasses import replace
from datetime import datetime

import pytest

from aiinfra_lab.config import Setting, settings
from aiinfra_lab.deploy import freeze
from aiinfra_lab.errors import UsageProblem

WEEKEND = "fri 16:00 - mon 08:00"
HOLIDAYS = "2026-12-20 - 2027-01-03"


def until(text, now):
    where = replace(settings(), values={freeze.SETTING: Setting(text, "test")})
    found = freeze.frozen_until(where, datetime.fromisoformat(now) if isinstance(now, str) else now)
    return found and found.isoformat(" ", "minutes")


@pytest.mark.parametrize(
    ("text", "now", "end"),
    [
        (WEEKEND, "2026-11-27 15:59:59", None),  # a Friday
        (WEEKEND, "2026-11-27 16:00", "2026-11-30 08:00"),
        (WEEKEND, "2026-11-29 12:00", "2026-11-30 08:00"),
        (WEEKEND, "2026-11-30 07:59:59", "2026-11-30 08:00"),
        (WEEKEND, "2026-11-30 08:00", None),
        ("Mon 22:00-Tue 06:00", "2026-12-01 05:00", "2026-12-01 06:00"),
        ("fri 16:00 - sat 12:00; sat 12:00 - mon 08:00", "2026-11-27 17:00", "2026-11-30 08:00"),
        (f"{WEEKEND}; {HOLIDAYS}", "2026-12-19 12:00", "2027-01-04 08:00"),  # the last day is a Sunday
        ("wed 10:00 - wed 10:00", "2026-12-03 10:00", "2027-12-08 10:00"),  # for ever, and said for a year
        (HOLIDAYS, "2026-12-19 23:59", None),
        (HOLIDAYS, "2027-01-03 23:59", "2027-01-04 00:00"),
        (HOLIDAYS, "2027-01-04 00:00", None),
        (f"{WEEKEND}; {HOLIDAYS}", "2026-12-25 18:00", "2027-01-04 08:00"),
        ("", "2026-12-25 18:00", None),
    ],
)
def test_a_moment_is_in_a_window_or_not(workspace, text, now, end):
    assert until(text, now) == end


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "utc", "end"),
    [
        ("sat 22:00 - sun 02:30", "2026-10-25 00:29", "2026-10-25 02:30"),
        ("sat 22:00 - sun 02:30", "2026-10-25 00:31", None),
        ("sat 22:00 - sun 02:30", "2026-10-25 01:05", None),  # the clocks show 02:05 once more
        ("sun 02:30 - sun 06:00", "2026-10-25 00:29", None),
        ("sun 02:30 - sun 06:00", "2026-10-25 00:31", "2026-10-25 06:00"),
        ("sun 02:30 - sun 06:00", "2026-10-25 01:05", "2026-10-25 06:00"),
        ("sun 03:00 - sun 06:00", "2026-10-25 01:59", None),
        ("sun 03:00 - sun 06:00", "2026-10-25 02:00", "2026-10-25 06:00"),
        ("sat 22:00 - sun 02:30", "2026-03-29 00:59", "2026-03-29 02:30"),  # an hour that the clocks leave out
        ("sat 22:00 - sun 02:30", "2026-03-29 01:00", None),
    ],
)
def test_a_freeze_ends_once_when_the_clocks_change(workspace, berlin, text, utc, end):
    local = datetime.fromtimestamp(datetime.fromisoformat(f"{utc}+00:00").timestamp())  # noqa: DTZ006  # with its fold
    assert until(text, local) == end


def test_dates_in_the_wrong_order_freeze_nothing_and_are_refused(workspace):
    with pytest.raises(UsageProblem, match="ends before it begins"):
        until("2027-01-03 - 2026-12-20", "2026-12-25 18:00")


@pytest.mark.parametrize("text", ["weekend", "fri 25:00 - mon 08:00", "2026-13-01 - 2026-13-02", "fri 16:00"])
def test_a_window_that_nobody_can_read_is_refused(workspace, text):
    with pytest.raises(UsageProblem, match="which is no time"):
        until(text, "2026-12-25 18:00")
