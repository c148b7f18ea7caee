"""The grammar of quantities: durations, money, shares and sizes, read from words and shown as words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Annotated, overload

from .errors import UsageProblem

_DURATIONS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
# As people write them out, each also with an s behind it.
_SPELLED = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hr": "h", "hour": "h", "day": "d", "week": "w"}
_DURATIONS_S |= {word + end: _DURATIONS_S[unit] for word, unit in _SPELLED.items() for end in ("", "s")}
# What a number without a unit means behind one with that unit: `1h30`.
_BELOW = {"w": "d", "d": "h", "h": "m", "m": "s"}
_LONGEST_S = 10 * 366 * 86400.0
_PART = re.compile(r"([0-9]*\.?[0-9]+)\s*([a-z]+)")


@dataclass(frozen=True, slots=True)
class Unit:
    """How a verb's parameter of this kind is read: carried in its annotation.

    usual: what is often given. write: how a number of it is typed, where its own words would need quotes.
    """

    name: str
    read: Callable[[object], float]
    usual: tuple[str, ...] = ()
    write: Callable[[float], str] | None = None


def parse_duration(value: object) -> float:
    """Seconds from `90`, `20s`, `1h30m`, `2d` or `2 hours`; more than 0.

    >>> parse_duration("1h30m")
    5400.0
    """
    fix = "write 30s, 20m, 2h or 1h30m"
    seconds = _positive(value, _sum(value, _DURATIONS_S, "duration", fix), "duration", fix)
    if seconds > _LONGEST_S:
        raise UsageProblem(f"{value!r} is longer than ten years", fix)
    return seconds


def read_duration(value: object) -> float:
    """Seconds as a verb takes them: a number in Python, a text only with its unit, since nobody sees what `90` means.

    >>> read_duration("2 hours"), read_duration(90)
    (7200.0, 90.0)
    """
    seconds = parse_duration(value)
    text = str(value).strip()
    if isinstance(value, str) and not text[-1:].isalpha():
        raise UsageProblem(f"{value!r} has no unit", f"write {text}s, {text}m or {text}h")
    return seconds


def parse_usd(value: object) -> float:
    """US dollars from `5`, `0.5usd`, `$5` or `5 dollars`; 0 or more.

    >>> parse_usd("5usd")
    5.0
    """
    text = str(value).strip().lower()
    bare = re.sub(r"\s*(usd|dollars?)$", "", text.removeprefix("$"))
    number = _number(bare, "amount of money", "write 5 or 5usd")
    if number < 0:
        raise UsageProblem(f"{value!r} is less than nothing", "write 5 or 5usd")
    return number


def parse_share(value: object) -> float:
    """A share from 0 to 1, from `0.05` or `5%`.

    >>> parse_share("5%")
    0.05
    """
    number = _of_one(value, "share")
    if not 0 <= number <= 1:
        fix = "write 0.05 or 5%"
        meant = f"did you mean {plain(number)}%? If not, {fix}"
        is_percent = 1 < number <= 100 and "%" not in str(value)
        raise UsageProblem(f"{value!r} is no share: it must lie between 0 and 1", meant if is_percent else fix)
    return number


def parse_difference(value: object) -> float:
    """By how much two measured values differ, from `0.02` or `2%`, which is the same and not relative to either.

    >>> parse_difference("2%")
    0.02
    """
    return _of_one(value, "difference")


_MULTIPLES = {"": 0, "k": 3, "thousand": 3, "m": 6, "million": 6, "b": 9, "bn": 9, "billion": 9}


def parse_count(value: object) -> float:
    """How many, from `250000`, `250k`, `10M` or `1.5 million`; more than 0.

    >>> parse_count("10M"), parse_count("250k")
    (10000000.0, 250000.0)
    """
    fix = "write 250000, 250k or 10M"
    text = str(value).strip().lower().replace(",", "").replace("_", "")
    found = re.fullmatch(r"([-+0-9.e]*[0-9.])\s*([a-z]*)", text)
    if found is None or found[2] not in _MULTIPLES:
        raise UsageProblem(f"{value!r} is no number of things", fix)
    count = _number(found[1], "number of things", fix)
    return scaled(_positive(value, count, "number of things", fix), _MULTIPLES[found[2]])


def write_duration(seconds: float) -> str:
    """A duration as it is typed, in the largest unit of which it is a whole number.

    >>> write_duration(7200), write_duration(5400), write_duration(90)
    ('2h', '90m', '90s')
    """
    size, unit = next((each for each in ((3600, "h"), (60, "m")) if seconds % each[0] == 0), (1, "s"))
    return f"{plain(seconds / size)}{unit}"


def write_count(count: float) -> str:
    """How many, as it is typed.

    >>> write_count(10_000_000), write_count(2_500), write_count(1234)
    ('10M', '2500', '1234')
    """
    for power, letter in ((9, "B"), (6, "M"), (3, "k")):
        if count and count % 10**power == 0:
            return f"{plain(scaled(count, -power))}{letter}"
    return plain(float(count))


def parse_ms(value: object) -> float:
    """Milliseconds from `50`, `50ms` or `0.5s`; more than 0.

    >>> parse_ms("50"), parse_ms("0.5s")
    (50.0, 500.0)
    """
    text, fix = str(value).strip(), "write 50, 50ms or 0.5s"
    if text[-1:].isalpha():
        return scaled(parse_duration(text), 3)
    return _positive(value, _number(text, "latency", fix), "latency", fix)


def write_share(share: float) -> str:
    """A share as it is typed, in percent.

    >>> write_share(0.05), write_share(0.007)
    ('5%', '0.7%')
    """
    return f"{plain(scaled(share, 2))}%"


def _unless_none(read: Callable[[object], float]) -> Callable[[object], float]:
    def read_limit(value: object) -> float:
        return math.inf if value == math.inf or str(value).strip().lower() == "none" else read(value)

    return read_limit


_DURATIONS = ("30s", "10m", "1h", "2h", "8h", "1d")
Duration = Annotated[float | str, Unit("duration", read_duration, _DURATIONS)]
DurationLimit = Annotated[float | str, Unit("duration", _unless_none(read_duration), (*_DURATIONS, "none"))]
"""A duration, or infinity for `none`, which takes off what was set before."""
_AMOUNTS = ("1", "5", "20")
Usd = Annotated[float | str, Unit("usd", parse_usd, _AMOUNTS)]
UsdLimit = Annotated[float | str, Unit("usd", _unless_none(parse_usd), (*_AMOUNTS, "none"))]
Share = Annotated[float | str, Unit("share", parse_share, ("1%", "5%", "10%", "50%"), write_share)]
Count = Annotated[float | str, Unit("count", parse_count, ("10k", "1M", "10M"), write_count)]
Milliseconds = Annotated[float | str, Unit("ms", parse_ms, ("20", "50", "100"))]
Difference = Annotated[float | str, Unit("difference", parse_difference, ("0.5%", "1%", "2%"), write_share)]


@overload
def number(quantity: float | str) -> float: ...
@overload
def number(quantity: None) -> None: ...
def number(quantity: float | str | None) -> float | None:
    """The number that a verb's quantity is in its body: callers may write `"2h"`, and it was read before the call."""
    assert not isinstance(quantity, str), "the verb's decorator reads quantities"
    return quantity


def scaled(number: float, power: int) -> float:
    """The number times 10 to that power as its decimal text gives it: 0.7 % is 0.007, which 0.7 / 100 is not.

    >>> scaled(0.7, -2)
    0.007
    """
    return float(Decimal(repr(number)).scaleb(power))


def difference(number: float, other: float) -> float:
    """The number less the other as their decimal texts give it: 0.84 less 0.82 is 0.02, which 0.84 - 0.82 is not.

    >>> difference(0.84, 0.82)
    0.02
    """
    return float(Decimal(repr(number)) - Decimal(repr(other)))


def show_difference(number: float, other: float) -> str:
    """By how much the number is more than the other, with its sign and three digits.

    >>> show_difference(0.84, 0.82), show_difference(1, 1)
    ('+0.02', '0')
    """
    off = difference(number, other)
    return f"{off:+.3g}".replace("-", "−") if off else "0"


def rounded(number: float, *, up: bool, digits: int = 4) -> float:
    """The number with so many digits that matter; never less than it was with `up`, else never more.

    >>> rounded(1.47008156, up=True), rounded(-0.123456, up=False), rounded(0.82, up=True)
    (1.471, -0.1235, 0.82)
    """
    exact = Decimal(repr(number))
    last = Decimal(1).scaleb(exact.adjusted() - digits + 1)
    return float(exact.quantize(last, ROUND_CEILING if up else ROUND_FLOOR))


def plain(number: float) -> str:
    """All digits of a number, without the `.0` of a whole one.

    >>> plain(80.0), plain(80.00001)
    ('80', '80.00001')
    """
    return repr(number).removesuffix(".0")


def apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers with four digits, or with as many more as tell them apart; alike only when they are equal.

    >>> apart(0.69996, 0.7), apart(0.5, 0.25)
    (('0.69996', '0.7'), ('0.5', '0.25'))
    """
    digits, texts = 4, ("", "")
    while texts[0] == texts[1] and digits <= 17:  # 17 tell any two floats apart
        texts = f"{one:.{digits}g}", f"{other:.{digits}g}"
        digits += 1
    return texts if one != other else (f"{one:.4g}",) * 2


def show_duration(seconds: float) -> str:
    """The two largest parts of a duration.

    >>> show_duration(5400)
    '1 h 30 min'
    """
    if not math.isfinite(seconds):
        return "–"
    # Where the rounded number would reach the next form: never 1000 ms, 10.0 s or 60 s.
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if (seconds := round(seconds)) < 60:
        return f"{seconds} s"
    for size, unit, small, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = int(seconds % size // small)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {part}" if rest else "")
    raise AssertionError(seconds)


def counted(count: int, thing: str, do: str = "") -> str:
    """A number of things, whose plural ends in s, and what they do.

    >>> counted(1, "row"), counted(1200, "row"), counted(1, "file", "differ")
    ('1 row', '1,200 rows', '1 file differs')
    """
    does = f" {do}{'s' * (count == 1)}" if do else ""
    return f"{count:,} {thing}{'s' * (count != 1)}{does}"


def about_usd(amount: float) -> str:
    """Dollars of an estimate: at most three digits that matter, unless cents do.

    >>> about_usd(6425.82), about_usd(12.345), about_usd(0.00042)
    ('6,430 USD', '12.35 USD', '0.00042 USD')
    """
    return f"{float(f'{amount:.3g}'):,.0f} USD" if amount >= 100 else show_usd(amount)


def show_usd(amount: float) -> str:
    """Dollars with as many digits as the amount needs.

    >>> show_usd(0.00042)
    '0.00042 USD'
    """
    if not math.isfinite(amount):
        return "–"
    if amount == 0 or abs(amount) >= 1:
        return f"{amount:,.2f} USD"
    return f"{amount:.{max(2, 1 - math.floor(math.log10(abs(amount))))}f} USD"


def read_bytes(value: object) -> int:
    """A size with its unit, which is a power of 1000 or, with an i, of 1024.

    >>> read_bytes("4 GiB"), read_bytes("500MB")
    (4294967296, 500000000)
    """
    found = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?)\s*([KMGT])(i?)B", str(value).strip(), re.IGNORECASE)
    if found is None:
        raise UsageProblem(f"{value!r} is no size", "write 4GiB, 500MB or the like")
    power = "KMGT".index(found[2].upper()) + 1
    size = int(Decimal(found[1]) * (1024 if found[3] else 1000) ** power)
    if size < 1:
        raise UsageProblem(f"{value!r} is no size: it must be more than 0", "write 4GiB, 500MB or the like")
    return size


def show_bytes(count: float) -> str:
    """A size in binary units.

    >>> show_bytes(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(count, 1) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def show_share(share: float) -> str:
    """A share in percent.

    >>> show_share(0.05)
    '5 %'
    """
    percent = share * 100
    if 99.95 <= percent < 100:  # with as many digits as it takes not to read as all of it
        return f"{percent:.{-math.floor(math.log10(100 - percent))}f}".rstrip("0") + " %"
    return f"{percent:.3g} %"


def _of_one(value: object, what: str) -> float:
    """A number, also in percent of one."""
    text = re.sub(r"\s*(%|per ?cents?|pct)$", "", str(value).strip().lower())
    is_percent = text != str(value).strip().lower()
    return scaled(_number(text, what, "write 0.05 or 5%"), -2 if is_percent else 0)


def _number(text: str, what: str, fix: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise UsageProblem(f"{text!r} is no {what}", fix) from None
    if not math.isfinite(number):
        raise UsageProblem(f"{text!r} is no {what}", fix)
    return number


def _positive(value: object, number: float, what: str, fix: str) -> float:
    if number <= 0:
        raise UsageProblem(f"{value!r} is no {what}: it must be more than 0", fix)
    return number


def _sum(value: object, units: dict[str, float], what: str, fix: str) -> float:
    text = str(value).strip().lower()
    parts = _PART.findall(text)
    if not parts:
        return _number(text, what, fix)
    # `findall` passes over what it does not know, as in `1h?30m`.
    if "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        last = re.fullmatch(r".*[0-9]\s*([wdhm])\s*[0-9]+", text)
        raise UsageProblem(f"{value!r} is no {what}", f"did you mean {text}{_BELOW[last[1]]}?" if last else fix)
    if unknown := [unit for _, unit in parts if unit not in units]:
        raise UsageProblem(f"{unknown[0]!r} in {value!r} is no unit of a {what}", fix)
    return float(sum(Decimal(number) * Decimal(repr(units[unit])) for number, unit in parts))
