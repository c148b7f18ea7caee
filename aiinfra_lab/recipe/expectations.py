"""What is expected of the things that a step makes: thresholds on their metrics, as rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .. import nouns
from ..errors import UsageProblem, did_you_mean
from ..rules import Rule, parse
from ..units import plain
from ..uris import Uri
from . import made_things
from .base import is_file


def read_expectations(where: str, table: Mapping[str, Any], outputs: Mapping[str, str]) -> dict[str, Rule]:
    """Output → its rule. UsageProblem for what is no rule, and for what the step does not make."""
    found: dict[str, Rule] = {}
    for name, text in table.items():
        if name not in outputs:
            first = f'write out = {{ {name} = "…" }} with what it makes, e.g. train:NAME'
            what = f"{where}: expect names {name!r}, which is not in `out`"
            raise UsageProblem(what, did_you_mean(name, outputs, first))
        if is_file(outputs[name]):
            what = f"{where}: expect {name}: {outputs[name]} is a file, and `expect` is for things"
            raise UsageProblem(what, f"leave {name} out of `expect`, and `assert` it in a cell of the notebook")
        try:
            found[name] = _read(str(text), Uri.parse(outputs[name]).noun)
        except UsageProblem as problem:
            raise UsageProblem(f"{where}: expect {name}: {problem.what}", problem.fix) from None
    return found


def _read(text: str, noun: str) -> Rule:
    kind: Any = getattr(nouns.find(noun), "kind", None)
    if not hasattr(kind, "metrics"):
        having = [each for each in nouns.TABLE if hasattr(getattr(nouns.find(each), "kind", None), "metrics")]
        raise UsageProblem(f"nothing is measured of {noun}", f"leave it out, or expect it of {' or '.join(having)}")
    return parse(text, metrics=getattr(kind, "known_metrics", None))


def unmet(expected: Mapping[str, Rule], made: Mapping[str, str]) -> str:
    """What does not hold, in words; empty when all does. made: output → URI."""
    return "; ".join(filter(None, [_unmet(rule, made[name]) for name, rule in expected.items() if name in made]))


def _unmet(rule: Rule, uri: str) -> str:
    metrics = made_things.metrics(uri)
    if rule.holds(metrics):
        return ""
    names = dict.fromkeys(term.metric for term in rule.terms)
    measured = [f"{name} is {_shown(rule, name, metrics.get(name))}" for name in names]
    return f"{uri} is expected to have {rule}, and {' and '.join(measured)}"


def _shown(rule: Rule, name: str, value: float | None) -> str:
    """Four digits, or as many as it takes to lie where the value does; all of a whole number."""
    if value is None:
        return "not measured"
    if math.isnan(value):
        return "not a number (NaN)"
    thresholds = [term.threshold for term in rule.terms if term.metric == name]
    for digits in range(4, 17):
        short = float(f"{value:.{digits}g}")
        if not value.is_integer() and all(_side(short, each) == _side(value, each) for each in thresholds):
            return plain(short)
    return plain(value)


def _side(value: float, threshold: float) -> tuple[bool, bool]:
    return value < threshold, value > threshold
