"""The times that a line of cron means."""

import itertools
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.recipe.schedule.calendar import Calendar

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def shown(calendar: Calendar, after: str, until: str) -> list[str]:
    found = calendar.between(at(after), at(until))
    return [f"{calendar.local(due):%d. %H:%M %Z}" for due in found]


def test_a_time_that_the_clocks_leave_out_comes_right_after():
    nightly = Calendar("30 2 * * *", "Europe/Berlin")
    assert shown(nightly, "2026-03-28T12:00", "2026-03-30T12:00") == ["29. 03:00 CEST", "30. 02:30 CEST"]


def test_a_time_that_comes_twice_comes_once():
    nightly = Calendar("30 2 * * *", "Europe/Berlin")
    assert shown(nightly, "2026-10-24T12:00", "2026-10-26T12:00") == ["25. 02:30 CEST", "26. 02:30 CET"]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_every_hour_goes_by_the_time_that_passes(day, hours):
    begin = at(f"{day}T00:00")
    found = Calendar("0 * * * *", "Europe/Berlin").between(begin - 1, begin + hours * 3600 - 1)
    assert [round(due - begin) for due in found] == [3600 * hour for hour in range(hours)]


def test_the_last_friday_and_the_last_day_of_a_month():
    assert shown(Calendar("0 9 * * 5L", "Europe/Berlin"), "2026-02-01T00:00", "2026-03-01T00:00") == ["27. 09:00 CET"]
    assert shown(Calendar("0 9 L * *", "Europe/Berlin"), "2028-02-01T00:00", "2028-03-01T00:00") == ["29. 09:00 CET"]


def test_names_and_words():
    assert Calendar("@daily").between(0, 86400 * 2) == [86400.0, 172800.0]
    assert Calendar("0 3 * * *", "Europe/Berlin").words == "At 03:00 every day (Europe/Berlin)"


@pytest.mark.parametrize(
    ("cron", "tz", "what"),
    [
        ("61 * * * *", "UTC", "bad minute"),
        ("0 24 * * *", "UTC", "bad hour"),
        ("0 3 * *", "UTC", "is no line of cron"),
        ("* * * * * *", "UTC", "is no line of cron"),  # with seconds
        ("", "UTC", "is no line of cron"),
        ("@reboot", "UTC", "is no line of cron"),
        ("0 0 30 2 *", "UTC", "30 2"),
        ("0 3 * * *", "Mars/Olympus", "there is no time zone"),
        ("0 3 * * *", "../etc/passwd", "there is no time zone"),
        ("0 3 * * *", "", "there is no time zone"),
    ],
)
def test_what_is_no_schedule_is_refused(cron, tz, what):
    with pytest.raises(UsageProblem) as problem:
        Calendar(cron, tz)
    assert what in problem.value.what
    assert problem.value.fix


@pytest.mark.parametrize("line", ["0 * * * *", "*/20 1-3 * * *", "15 2,3 * * *", "30 2 * * *", "0 2 * * SUN"])
@pytest.mark.parametrize("day", ["2026-03-28T20:00", "2026-10-24T20:00"])
def test_from_each_minute_the_next_time_is_the_same(line, day):
    calendar, begin = Calendar(line, "Europe/Berlin"), at(day)
    whole = calendar.between(begin, begin + 86400 * 8)
    for minute in range(0, 1440, 5):
        now = begin + 60 * minute
        assert calendar.next(now) == next(due for due in whole if due > now)


CHANGES = [
    ("Australia/Lord_Howe", "2026-04-04T12:00"),  # by half an hour
    ("Australia/Lord_Howe", "2026-10-03T12:00"),
    ("Europe/Berlin", "2026-03-28T12:00"),
    ("Europe/Berlin", "2026-10-24T12:00"),
    ("America/Havana", "2026-03-07T12:00"),  # at midnight
    ("America/Havana", "2026-10-31T12:00"),
]


@pytest.mark.parametrize(
    ("line", "minutes", "hours"),
    [
        ("0 */2 * * *", {0}, set(range(0, 24, 2))),
        ("*/15 2 * * *", {0, 15, 30, 45}, {2}),
        ("* 2 * * *", set(range(60)), {2}),
        ("45 * * * *", {45}, set(range(24))),
        ("*/20 1-3 * * *", {0, 20, 40}, {1, 2, 3}),
        ("*/10 0 * * *", {0, 10, 20, 30, 40, 50}, {0}),
    ],
)
@pytest.mark.parametrize(("tz", "day"), CHANGES)
def test_lines_with_a_star_go_by_what_the_clock_shows(tz, day, line, minutes, hours):
    calendar, begin = Calendar(line, tz), at(day, ZoneInfo(tz))
    moments = [(begin + 60 * minute, calendar.local(begin + 60 * minute)) for minute in range(1, 2 * 1440)]
    wanted = [due for due, local in moments if local.minute in minutes and local.hour in hours]
    assert calendar.between(begin, begin + 2 * 86400 - 1) == wanted
    for minute in range(0, 2 * 1440 - 180, 7):
        now = begin + 60 * minute
        assert calendar.next(now) == next((due for due in wanted if due > now), calendar.next(now))


@pytest.mark.parametrize(
    ("line", "tz", "day", "of_that_day"),
    [
        ("* 0 29 * *", "Asia/Beirut", "2026-03-29", 0),
        ("*/15 0 24 * *", "Africa/Cairo", "2026-04-24", 0),
        ("*/30 0 * * 0", "America/Santiago", "2026-09-06", 0),
        ("*/30 0-1 * * 0", "America/Santiago", "2026-09-06", 2),
        ("*/30 0 1 4 *", "Europe/Berlin", "2026-04-01", 2),
        ("30 * 29 * *", "Asia/Beirut", "2026-03-29", 23),
    ],
)
def test_a_midnight_that_the_clocks_leave_out_is_no_time_of_a_line_with_a_star(line, tz, day, of_that_day):
    calendar, begin = Calendar(line, tz), at(f"{day}T12:00", ZoneInfo(tz)) - 86400
    due = [calendar.local(each) for each in calendar.between(begin, begin + 1.5 * 86400)]
    assert len([each for each in due if each.date().isoformat() == day]) == of_that_day
    assert all(each.hour in (0, 1) for each in due if "0" in line.split()[1])


def test_a_change_of_the_clocks_within_an_hour_that_is_none_of_the_line_has_an_end():
    # At 3:45 they are put back to 2:45 on the Chatham Islands, and 2 is no hour of the line.
    calendar = Calendar("56 */3 * * *", "Pacific/Chatham")
    begin = datetime(2026, 4, 5, 1, tzinfo=ZoneInfo("Pacific/Chatham")).timestamp()
    found = itertools.islice(calendar.after(begin), 2)
    assert [f"{calendar.local(at):%H:%M}" for at in found] == ["03:56", "06:56"]
