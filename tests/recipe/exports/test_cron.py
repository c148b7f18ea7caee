"""A cron line, and what systemd makes of it."""

import shutil
import subprocess

import pytest

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.recipe.exports.cron import CronLine


@pytest.mark.parametrize(
    ("text", "calendars"),
    [
        ("0 3 * * *", ["*-*-* 03:00:00 UTC"]),
        ("*/15 8-10 * * mon-fri", ["Mon,Tue,Wed,Thu,Fri *-*-* 08,09,10:00,15,30,45:00 UTC"]),
        ("5 0 1 JAN *", ["*-01-01 00:05:00 UTC"]),
        ("0 0 * * 0,7", ["Sun *-*-* 00:00:00 UTC"]),
        # Either day, as cron takes it.
        ("0 0 13 * fri", ["*-*-13 00:00:00 UTC", "Fri *-*-* 00:00:00 UTC"]),
        # A day of both, as it takes it where one begins with a star.
        ("0 0 */10 * 1", ["Mon *-*-01,11,21,31 00:00:00 UTC"]),
        ("0 0 1 * */2", ["Sun,Tue,Thu,Sat *-*-01 00:00:00 UTC"]),
        ("0 0 */16 * *", ["*-*-01,17 00:00:00 UTC"]),
        ("* * * * *", ["*-*-* *:*:00 UTC"]),
        ("10/20 4 * * *", ["*-*-* 04:10,30,50:00 UTC"]),
    ],
)
def test_it_is_written_as_a_calendar(text: str, calendars: list[str]) -> None:
    assert CronLine.parse(text).calendars() == calendars
    if analyze := shutil.which("systemd-analyze"):
        for calendar in calendars:
            subprocess.run([analyze, "calendar", calendar], check=True, capture_output=True)


@pytest.mark.parametrize(
    "text",
    ["", "0 3 * *", "0 3 * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "a * * * *",
     "5-1 * * * *", "*/0 * * * *", "*-3 * * * *", "1,,2 * * * *", "@daily", "² * * * *", "-1 * * * *", "0 3 * * *; id"],
)  # fmt: skip
def test_what_is_no_cron_line_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageProblem) as raised:
        CronLine.parse(text)
    assert '"0 3 * * *"' in raised.value.fix


@pytest.mark.parametrize("tz", ["Europe/Berln", "", "../etc/passwd", "UTC\nx", "/etc/localtime"])
def test_a_time_zone_that_there_is_not_is_refused(tz: str) -> None:
    with pytest.raises(UsageProblem, match="there is no time zone"):
        CronLine.parse("0 3 * * *", tz)


def test_blanks_between_its_fields_do_not_count() -> None:
    assert CronLine.parse(" 0  3\t* * * ", "Europe/Berlin") == CronLine("0 3 * * *", "Europe/Berlin")
