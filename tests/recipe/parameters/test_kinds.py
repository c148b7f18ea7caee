"""What becomes of a value by the annotation of its parameter."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab.errors import Failed
from aiinfra_lab.recipe.parameters import Misfit, Secret, as_text, read_schema, stored
from aiinfra_lab.verbs import Typed

IMPORTS = """
import datetime as clock, typing as t
from datetime import date, datetime, date as Day
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Optional, Union
from aiinfra_lab.recipe import Range, Secret
"""
DAY, NOON = dt.date(2013, 7, 1), dt.datetime.fromisoformat("2013-07-01T12:00")


def declared(line: str):
    schema = read_schema(Path("n.ipynb"), [IMPORTS, line])
    return schema.of(next(iter(schema)))


@pytest.mark.parametrize(
    ("line", "given", "found"),
    [
        ("x: int = 1", "7", 7),
        ("x: int = 1", np.int64(7), 7),
        ("x: float = 1", "7", 7.0),
        ("x: float = 1", 7, 7.0),
        ("x: float = 1", np.float32(0.5), 0.5),
        ("x = 1.5", 2, 2.0),
        ("x: bool = True", "False", False),
        ("x: bool = True", "yes", True),
        ("x: bool = 0", "1", True),
        ("x: bool = True", np.bool_(False), False),
        ("x: str = ''", 2013, "2013"),
        ("x: str = ''", DAY, "2013-07-01"),
        ("x: date = date(2026, 1, 1)", "2013-07-01", DAY),
        ("x: date = date(2026, 1, 1)", pd.Timestamp("2013-07-01"), DAY),
        ("x: date = date(2026, 1, 1)", np.datetime64("2013-07-01"), DAY),
        ("x: Day = Day(2026, 1, 1)", DAY, DAY),
        ("x: clock.date = clock.date(2026, 1, 1)", "2013-07-01", DAY),
        ("x = date(2026, 1, 1)", "2013-07-01", DAY),
        ("x: datetime = datetime(2026, 1, 1)", "2013-07-01T12:00", NOON),
        ("x: datetime = datetime(2026, 1, 1)", DAY, dt.datetime.fromisoformat("2013-07-01")),
        ("x: clock.datetime = datetime(2026, 1, 1)", pd.Timestamp("2013-07-01 12:00"), NOON),
        ("x: datetime = datetime(2026, 1, 1)", np.datetime64("2013-07-01T12:00", "ns"), NOON),
        ("x: datetime = datetime(2026, 1, 1)", "2013-07-01T12:00Z", NOON.replace(tzinfo=dt.UTC)),
        ("x: Path = Path('a') / 'b'", "c/d", Path("c/d")),
        ("x: Decimal = Decimal('1.10')", 0.1, Decimal("0.1")),
        ("x: Decimal = Decimal('1.10')", "2.50", Decimal("2.50")),
        ("x: Secret = Secret('HF_TOKEN')", "OTHER", Secret("OTHER")),
        ("x: Secret = Secret('HF_TOKEN')", str(Secret("OTHER")), Secret("OTHER")),
        ("x: Literal['a', 2, True] = 'a'", "2", 2),
        ("x: Literal['a', 2, True] = 'a'", "true", True),
        ("x: Literal['a', 2, True] = 'a'", 2, 2),
        ("x: Optional[int] = 3", "none", None),
        ("x: int | None = 3", "4", 4),
        ("x: int = None", None, None),
        ("x: Union[int, str] = 3", "a", "a"),
        ("x: t.Union[str, int, None] = 3", Typed("4"), 4),
        ("x: int | str = 3", "007", "007"),
        ("x: float | str = 0.5", "1e3", "1e3"),
        ("x: bool | str = False", "true", "true"),
        ("x: int | str = 3", 7, 7),
        ("x: list[int] | str = ''", "1,2", "1,2"),
        ("x: date | str = ''", "2013-07-01", DAY),
        ("x: Decimal | str = ''", "1.50", Decimal("1.50")),
        ("x: list[int | str] = []", Typed("1,a"), [1, "a"]),
        ("x: list[int | str] = []", ["1", "a", 1], ["1", "a", 1]),
        ("x: float | int = 3", 4, 4),
        ("x: 'list[int]' = []", "1,2", [1, 2]),
        ("x: list[date] = []", ["2013-07-01"], [DAY]),
        ("x: list[str] = []", '["a,b"]', ["a,b"]),
        ("x: list[str] = []", "", []),
        ("x: list = []", "['a', 1]", ["a", 1]),
        ("x: list[int] = []", np.array([1, 2]), [1, 2]),
        ("x = [1, 2]", (3, "4"), [3, 4]),
        ("x = (1, 'a')", [3, "b"], (3, "b")),
        ("x: tuple[int, str] = (1, 'a')", ["3", 4], (3, "4")),
        ("x: tuple[date, ...] = ()", "2013-07-01", (DAY,)),
        ("x: set[int] = set()", [2, 2], {2}),
        ("x: frozenset[str] = frozenset()", ["a"], frozenset("a")),
        ("x: dict[int, date] = {}", '{"1": "2013-07-01"}', {1: DAY}),
        ("x = {1: 'a'}", {"2": "b"}, {2: "b"}),
        ("x: Annotated[float, Range(1e-5, 1), 'rate'] = 0.1", "1", 1.0),
        ("x: Annotated[date, Range(date(2013, 1, 1))] = date(2014, 1, 1)", "2013-07-01", DAY),
        ("x: Optional[Annotated[int, Range(0, 9)]] = None", "none", None),
        ("x: SomethingElse = 3", "a", "a"),
    ],
)
def test_a_value_becomes_what_the_annotation_asks_for(line, given, found):
    parameter = declared(line)
    read = parameter.read(given)
    assert (read, type(read)) == (found, type(found))
    assert parameter.read(read) == found, "read again it stays the same"
    assert parameter.read(stored(read)) == found, "as it does when a record had it meanwhile"
    if "| str" in line:
        return  # a number and its text are typed alike
    again = parameter.read(Typed(as_text(stored(read))))
    assert (again, type(again)) == (found, type(found)), "and when a command gives it again"


def test_a_default_that_is_a_text_is_no_number():
    assert declared("x: int | str = '007'").stored_default == "007"


@pytest.mark.parametrize(
    ("line", "given", "wanted"),
    [
        ("x: int = 1", "abc", "of type int"),
        ("x: str = ''", "a\udcff", "of Unicode, which records and notebooks are written in"),
        ("x: Path = Path('a')", "a\udcff", "of Unicode, which records and notebooks are written in"),
        ("x: list[str] = []", "a,b\udcff", "of Unicode, which records and notebooks are written in"),
        ("x = None", {"\udcff": 1}, "of Unicode, which records and notebooks are written in"),
        ("x: int = 1", 2.5, "of type int"),
        ("x: int = 1", True, "of type int"),
        ("x = 1", 0.5, "of type int"),
        ("x: float = 1", "nan", "a finite number"),
        ("x: float = 1", True, "of type float"),
        ("x: bool = True", "maybe", "of type bool"),
        ("x: bool = True", 2, "of type bool"),
        ("x: str = ''", ["a"], "of type str"),
        ("x: date = date(2026, 1, 1)", "2013-02-30", "of type date"),
        ("x: date = date(2026, 1, 1)", NOON, "of type date"),
        ("x: datetime = datetime(2026, 1, 1)", "noon", "of type datetime"),
        ("x: Path = Path('a')", "a\0b", "of type Path"),
        ("x: Decimal = Decimal(1)", "Infinity", "a finite number"),
        ("x: Literal['small', 'base'] = 'small'", "smal", "one of 'small', 'base'"),
        ("x: Annotated[float, Range(1e-5, 1)] = 0.1", 2, "from 1e-05 to 1"),
        ("x: Annotated[int, Range(low=0)] = 0", -1, "at least 0"),
        ("x: Annotated[int, Range(high=9)] = 0", 10, "at most 9"),
        ("x: list[int] = []", ["1", "b"], "of type int in item 2"),
        ("x: list[int] = []", "[1", r"of type list\[int\]"),
        ("x: tuple[int, int] = (1, 2)", [1], "with 2 items"),
        ("x: dict[str, int] = {}", [1], r"of type dict\[str, int\]"),
        ("x: int = 1", None, "of type int"),
        ("x: Something = 1", object(), "a text, a number"),
        ("x: Literal['a', 'b'] = 'a'", "", "one of 'a', 'b'"),
        ("x: set = set()", [[1]], "of type set"),
        ("x: dict[list[int], int] = {}", {(1,): 2}, "of type dict"),
        ("x: Annotated[datetime, Range(datetime(2026, 1, 1))] = None", "2026-02-01T00:00Z", "at least 2026"),
        ("x: int = 1", "9" * 5000, "of type int"),
        ("x: Something = 1", float("inf"), "a text, a number"),
    ],
)
def test_a_value_that_it_cannot_be_is_a_misfit(line, given, wanted):
    with pytest.raises(Misfit, match=wanted):
        declared(line).read(given)


@pytest.mark.parametrize("name", ["HF_TOKEN", "keyring:lab/me", "file:/run/secrets/db", "aws-secrets:lab/db#password"])
def test_a_secret_has_a_name(name):
    assert declared("x: Secret = Secret('HF_TOKEN')").read(name) == Secret(name)


@pytest.mark.parametrize("value", ["ghp_ab12Cd34", "hunter2", "", "sk-proj-Abc", 7, "postgres://me:pw@db/x", "b:c"])
def test_a_secret_that_is_given_itself_is_not_shown(value):
    with pytest.raises(Misfit) as problem:
        declared("x: Secret = Secret('HF_TOKEN')").read(value)
    assert str(value) not in problem.value.shown or not value


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("x: int = 'a'", "n.ipynb cell 2 line 1: parameter x must be of type int, and its default is 'a'"),
        ("\n\nx: Annotated[int, Range(2, 1)] = 2", "cell 2 line 3: parameter x: the range begins at 2 and ends at 1"),
        ("x: Annotated[int, Range('a')] = 2", "the range is none of int"),
        ("x: Annotated[list[int], Range(1)] = []", r"list\[int\] has no range"),
        ("x: Annotated[int, Range(0, 5)] = 9", "must be from 0 to 5, and its default is 9"),
        ("x: 'not a type' = 9", "is no type"),
        ("x: date = date(2026, 2, 30)", "computes x: day is out of range"),
        ("x: date = date.today()", r"computes x: date.today\(\) is no plain value"),
        ("x: str = ''.join('a')", "computes x"),
        ("x: int = undefined", "computes x"),
    ],
)
def test_a_cell_that_contradicts_itself_is_refused_with_its_line(line, problem):
    with pytest.raises(Failed, match=problem):
        declared(line)


@pytest.mark.parametrize("line", ["x: object = {1: b'a'}", "x = 1j", "x: clock.timedelta = clock.timedelta(days=1)"])
def test_a_default_may_be_what_no_record_holds(line):
    parameter = declared(line)
    assert as_text(parameter.stored_default)
    problem = parameter.problem(Misfit("of type x", 3), "n.ipynb", "recipe")
    assert "of type x" in problem.what


def test_an_annotation_has_a_text_and_choices():
    assert declared("x: Annotated[int, 'how many', object()] = 1").text == "how many"
    assert declared("x: Literal['a', 'b'] | None = 'a'").choices == ["a", "b", "none"]
    assert declared("x: bool = True").choices == ["true", "false"]
    assert declared("x: int = 1").choices == []
