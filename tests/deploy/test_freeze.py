"""Freeze windows: when no version gets more traffic."""

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
    found = freeze.frozen_until(where, datetime.fromisoformat(now))
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


def test_dates_in_the_wrong_order_freeze_nothing_and_are_refused(workspace):
    with pytest.raises(UsageProblem, match="ends before it begins"):
        until("2027-01-03 - 2026-12-20", "2026-12-25 18:00")


@pytest.mark.parametrize("text", ["weekend", "fri 25:00 - mon 08:00", "2026-13-01 - 2026-13-02", "fri 16:00"])
def test_a_window_that_nobody_can_read_is_refused(workspace, text):
    with pytest.raises(UsageProblem, match="which is no time"):
        until(text, "2026-12-25 18:00")
