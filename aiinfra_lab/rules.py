"""Threshold texts such as `p95_ms > 80 or errors > 1%`: one grammar for every flag and file that takes one.

`and` binds tighter than `or`, a comma is an `and`, and there are no parentheses. Which metrics, signs and connectives
make sense, and what a rule means for measured values, is for the caller to say.
"""

from __future__ import annotations

import math
import operator
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, cast

import msgspec

from .errors import UsageProblem, did_you_mean
from .units import plain, scaled

__all__ = ["CONNECTIVES", "SIGNS", "Connective", "Rule", "Sign", "Term", "Unit", "parse"]

Sign = Literal[">=", "<=", ">", "<"]
Unit = Literal["", "%", "ms", "s"]
Connective = Literal["and", "or"]

SIGNS: tuple[Sign, ...] = (">=", "<=", ">", "<")
CONNECTIVES: tuple[Connective, ...] = ("and", "or")
EXAMPLE = "auc > 0.7 and loss < 0.5"

_METRIC = re.compile(r"[A-Za-z_][\w./-]*")
# Wider than what is allowed, so that `=>` or `==` is refused as a whole, with what it may have been meant to be.
_SIGN = re.compile(r"[<>=!≤≥]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[^\W\d]+|%")
_CONNECTIVE = re.compile(r",|[^\W\d]+")
_SPACE = re.compile(r"\s*")
_SECONDS: dict[str, float] = {"ms": 0.001, "s": 1.0}
# As people write the units out, without the s of several.
_SPELLED = {"percent": "%", "pct": "%", "milli": "ms", "millisecond": "ms", "sec": "s", "second": "s"}
_HOLDS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Term(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One comparison. value: as it was written, in `unit`. connective: what joins it to the term before."""

    metric: str
    sign: Sign
    value: float
    unit: Unit = ""
    connective: Connective = "and"

    @property
    def threshold(self) -> float:
        """The value as the metric is measured: `1%` is 0.01, and a duration is in the unit that ends its name."""
        if self.unit == "%":
            return scaled(self.value, -2)
        own = _own_unit(self.metric)
        if not self.unit or own is None or self.unit == own:
            return self.value
        return scaled(self.value, 3 if self.unit == "s" else -3)

    def holds(self, measured: float) -> bool:
        """Whether a measured value satisfies it; NaN satisfies nothing."""
        return _HOLDS[self.sign](measured, self.threshold)

    def covers(self, other: Term) -> bool:
        """Whether whatever satisfies this one satisfies the other too."""
        if (self.metric, self.wants_more) != (other.metric, other.wants_more):
            return False
        beyond = (self.threshold - other.threshold) * (1 if self.wants_more else -1)
        return beyond > 0 or (beyond == 0 and (self.sign == other.sign or "=" in other.sign))

    def excludes(self, other: Term) -> bool:
        """Whether no value satisfies both this one and the other."""
        if self.metric != other.metric or self.wants_more == other.wants_more:
            return False
        least, most = (self, other) if self.wants_more else (other, self)
        both_include = "=" in least.sign and "=" in most.sign
        return least.threshold > most.threshold or (least.threshold == most.threshold and not both_include)

    @property
    def wants_more(self) -> bool:
        """Whether a higher value satisfies it sooner."""
        return self.sign.startswith(">")

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {plain(self.value)}{self.unit}"


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Terms in the order in which they stand in the text; at least one. Its text is the canonical spelling."""

    terms: tuple[Term, ...]

    @property
    def groups(self) -> Sequence[Sequence[Term]]:
        """The terms that `and` joins, group by group: the rule holds when all of one group do."""
        found: list[list[Term]] = []
        for term in self.terms:
            if not found or term.connective == "or":
                found.append([])
            found[-1].append(term)
        return found

    def holds(self, measured: Mapping[str, float]) -> bool:
        """Whether the measured values satisfy it. A metric that was not measured satisfies nothing."""
        return any(all(term.holds(measured.get(term.metric, math.nan)) for term in group) for group in self.groups)

    def __str__(self) -> str:
        first, *others = self.terms
        return " ".join([str(first), *(f"{term.connective} {term}" for term in others)])


def parse(
    text: str,
    *,
    metrics: Collection[str] | None = None,
    signs: Collection[Sign] = SIGNS,
    connectives: Collection[Connective] = CONNECTIVES,
    example: str = EXAMPLE,
    clamp: bool = False,
) -> Rule:
    """Read a threshold text.

    UsageProblem for anything else, with the position and what may stand there.

    metrics: the names that make sense; None for any
    signs, connectives: those that the caller can use
    example: what the fix of an error shows
    clamp: take a number that is too large for the largest there is, as a text that was accepted once may need
    """
    if not text.strip():
        raise UsageProblem("the rule is empty", f'leave it out, or write "{example}"')
    scanner = _Scanner(text, f'write "{example}"', clamp)
    terms = [scanner.term(metrics, signs, "and")]
    while scanner.is_open:
        terms.append(scanner.term(metrics, signs, scanner.connective(connectives)))
    return Rule(tuple(terms))


class _Scanner:
    """Goes through a text once; `at` is the first character that was not read yet."""

    def __init__(self, text: str, fix: str, clamp: bool) -> None:
        self.text = text
        self.at = 0
        self._fix = fix
        self._clamp = clamp
        self._skip_space()

    @property
    def is_open(self) -> bool:
        """Whether something is left to read."""
        return self.at < len(self.text)

    def term(self, metrics: Collection[str] | None, signs: Collection[Sign], connective: Connective) -> Term:
        at = self.at
        metric = self._take(_METRIC, "the name of a metric")
        if metrics is not None and metric not in metrics:
            raise self._problem(f"there is no metric {metric!r}", at, did_you_mean(metric, metrics))
        sign = cast(Sign, self._one_of(_SIGN, signs, f"a comparison of {metric}"))
        at = self.at
        number = self._take(_NUMBER, f"the number that {metric} is compared with")
        value = float(number)
        if not math.isfinite(value) and self._clamp:
            value = math.copysign(sys.float_info.max, value)
        if not math.isfinite(value):
            raise self._problem("the number is too large", at, self._fix)
        self._refuse_spelled(number)
        return Term(metric, sign, value, self._unit(metric), connective)

    def connective(self, connectives: Collection[Connective]) -> Connective:
        """The word before the next term; a comma is an `and`."""
        at, word = self.at, self._take(_CONNECTIVE, what := " or ".join(map(repr, connectives)))
        meant = "and" if word == "," else word
        if meant not in connectives:
            raise self._problem(f"{word!r} is not {what}", at, _nearest(word, connectives))
        return cast(Connective, meant)

    def _refuse_spelled(self, number: str) -> None:
        word = self._peek(_WORD)
        if meant := _SPELLED.get(word.lower().rstrip("s")):
            raise self._problem(f"{word!r} is not how a unit is written", self.at, f"did you mean {number}{meant}?")

    def _unit(self, metric: str) -> Unit:
        """The unit right behind a number; a word after a space is one only when it is known."""
        before, word = self.at, self._peek(_WORD)
        # "> 80 or" has no unit and "> 80or" has a wrong one: a typing error is better named than guessed.
        is_attached = self.text[before - 1 : before].strip() != ""
        if not word or (word not in ("%", *_SECONDS) and not is_attached):
            return ""
        unit = cast(Unit, self._one_of(_WORD, ("%", *_SECONDS), "a unit"))
        own = _own_unit(metric)
        if unit in _SECONDS and own is None:
            names = " or ".join(f"{metric}_{known}" for known in _SECONDS)
            raise self._problem(f"{metric} is no duration", before, f"leave {unit!r} out, or compare {names}")
        if unit == "%" and own:
            raise self._problem(f"{metric} is a duration and no share", before, f"write {own} for '%'")
        return unit

    def _one_of(self, pattern: re.Pattern[str], known: Collection[str], what: str) -> str:
        at, found = self.at, self._take(pattern, what)
        if found not in known:
            raise self._problem(f"{found!r} is not {what}", at, _nearest(found, known))
        return found

    def _peek(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        return found[0] if found else ""

    def _take(self, pattern: re.Pattern[str], what: str) -> str:
        found = self._peek(pattern)
        if not found:
            rest = repr(self.text[self.at :][:20]) if self.is_open else "the end"
            raise self._problem(f"{what} is missing before {rest}", self.at, self._fix)
        self.at += len(found)
        self._skip_space()
        return found

    def _skip_space(self) -> None:
        self.at += len(self._peek(_SPACE))

    def _problem(self, what: str, at: int, fix: str) -> UsageProblem:
        return UsageProblem(f"{what} (character {at + 1} of {self.text!r})", fix)


def _own_unit(metric: str) -> str | None:
    """The unit that a duration's name ends in; None for any other metric, also for a rate such as `rows_per_s`."""
    return next(
        (unit for unit in _SECONDS if metric.endswith(f"_{unit}") and not metric.endswith(f"_per_{unit}")), None
    )


def _nearest(found: str, known: Collection[str]) -> str:
    """What was meant: `=>` is `>=` and no `>`, and capitals are no mistake of another kind."""
    for meant in (found[::-1], found.lower(), {"≥": ">=", "≤": "<="}.get(found, "")):
        if meant in known:
            return f"did you mean {meant}?"
    if len(known) == 1:
        return f"write {next(iter(known))}, nothing else is read here"
    return did_you_mean(found, known)
