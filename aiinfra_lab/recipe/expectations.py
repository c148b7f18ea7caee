"""What is expected of the things that a step makes: thresholds on their metrics, as rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import UsageProblem, did_you_mean
from ..rules import Rule, parse
from ..units import rounded
from . import outputs


def read_expectations(where: str, table: Mapping[str, Any], outputs: Mapping[str, str]) -> dict[str, Rule]:
    """Output → its rule. UsageProblem for what is no rule, and for what the step does not make."""
    found: dict[str, Rule] = {}
    for name, text in table.items():
        if name not in outputs:
            first = f'write out = {{ {name} = "…" }} with what it makes, e.g. train:NAME'
            what = f"{where}: expect names {name!r}, which is not in `out`"
            raise UsageProblem(what, did_you_mean(name, outputs, first))
        try:
            found[name] = parse(str(text))
        except UsageProblem as problem:
            raise UsageProblem(f"{where}: expect {name}: {problem.what}", problem.fix) from None
    return found


def unmet(expected: Mapping[str, Rule], made: Mapping[str, str]) -> str:
    """What does not hold, in words; empty when all does. made: output → URI."""
    return "; ".join(filter(None, [_unmet(rule, made[name]) for name, rule in expected.items() if name in made]))


def _unmet(rule: Rule, uri: str) -> str:
    metrics = outputs.metrics(uri)
    if rule.holds(metrics):
        return ""
    measured = [f"{name} is {_shown(metrics, name)}" for name in dict.fromkeys(term.metric for term in rule.terms)]
    return f"{uri} is expected to have {rule}, and {' and '.join(measured)}"


def _shown(metrics: Mapping[str, float], name: str) -> str:
    value = metrics.get(name, math.nan)
    return "not measured" if math.isnan(value) else f"{rounded(value, up=False):g}"
