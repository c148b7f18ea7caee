"""One row's keys as they are typed, and the vector that is made of what is known."""

from datetime import UTC, datetime, timedelta

import pytest

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.features.online import parse_key, vector
from aiinfra_lab.features.record import Spec, TypedColumn, ViewSpec

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def columns(**types: str) -> tuple[TypedColumn, ...]:
    return tuple(TypedColumn(*item) for item in types.items())


SPEC = Spec(
    name="late", version=1, code="", timestamp="at", label="", row_id="", columns=columns(hour="integer", vip="truth"),
    views=(
        ViewSpec("weather", columns(place="text"), "t", None, 3600.0, columns(temp="number", wet="truth"), ("x",)),
        ViewSpec("gate", columns(number="integer"), "t", None, None, columns(free="integer"), ("x",)),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("place=JFK,number=7", {"place": "JFK", "number": 7}),
        (" place = JFK , number = 7 ,", {"place": "JFK", "number": 7}),
        ('{"place": "J,F=K", "number": 7}', {"place": "J,F=K", "number": 7}),
        ("place=007,number=007", {"place": "007", "number": 7}),
        ("place=a,number=1,hour=5,vip=True", {"place": "a", "number": 1, "hour": 5, "vip": True}),
        ("place=a,number=1,hour=", {"place": "a", "number": 1, "hour": None}),
        ('{"place": "a", "number": 1, "vip": false}', {"place": "a", "number": 1, "vip": False}),
    ],
)
def test_a_row_is_read_in_the_types_of_the_set(text, row):
    assert parse_key(SPEC, text) == (row, None)


@pytest.mark.parametrize(
    ("when", "at"),
    [("2024-05-01T12:00", NOON), ("2024-05-01T12:00:00Z", NOON), ("2024-05-01T14:00+02:00", NOON)],
)
def test_the_timestamp_is_the_moment_that_is_asked_about(when, at):
    assert parse_key(SPEC, f"place=a,number=1,at={when}")[1] == at


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("place=a", "--online place=…,number=…"),
        ("place=a,number=", "--online place=…,number=…"),
        ("plcae=a,number=1", "did you mean place?"),
        ("place=a,number=x", "give number as a whole number"),
        ("place=a,number=1,vip=perhaps", "give vip as true or false"),
        ("place=a,number=1,at=noon", "write it as 2013-03-31T18:00, in UTC"),
        ("", "write --online origin=JFK"),
        ("=a", "write --online origin=JFK"),
        ('{"place"', "write --online origin=JFK"),
    ],
)
def test_a_row_that_cannot_be_read_says_how_to_write_it(text, fix):
    with pytest.raises(UsageProblem) as problem:
        parse_key(SPEC, text)
    assert problem.value.fix.startswith(fix)


def known(hours: float = 0.0) -> dict[str, tuple[datetime, dict[str, object]]]:
    weather = (NOON - timedelta(hours=hours), {"temp": 20.5, "wet": False})
    return {"weather": weather, "gate": (NOON - timedelta(days=900), {"free": 3})}


def test_a_vector_is_in_the_order_in_which_a_model_gets_it():
    found = vector(SPEC, {"vip": True, "hour": 5, "place": "a"}, known(), NOON)
    assert list(found.items()) == [("hour", 5), ("vip", True), ("temp", 20.5), ("wet", False), ("free", 3)]


@pytest.mark.parametrize(("hours", "temp"), [(0.0, 20.5), (1.0, 20.5), (1.001, None)])
def test_a_value_counts_up_to_its_time_to_live_and_not_beyond(hours, temp):
    found = vector(SPEC, {}, known(hours), NOON)
    assert (found["temp"], found["free"]) == (temp, 3)


def test_what_is_unknown_is_missing():
    found = vector(SPEC, {}, {"weather": None, "gate": None}, NOON)
    assert found == dict.fromkeys(("hour", "vip", "temp", "wet", "free"))
