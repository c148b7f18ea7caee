"""What is wrong with the values that a notebook is to be given, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...errors import Failed, UsageProblem


class ComputedParameter(Failed):
    """A parameters cell computes what it is to declare."""


@dataclass(frozen=True)
class ParameterProblem:
    """One thing that is wrong, and how to correct it."""

    what: str
    fix: str


def refuse(problems: Iterable[ParameterProblem], where: str = "") -> None:
    """UsageProblem with all of them; nothing where there is none."""
    found = list(dict.fromkeys(problems))
    if found:
        what = "; ".join(each.what for each in found)
        fixes = dict.fromkeys(each.fix for each in found)
        raise UsageProblem(f"{where}: {what}" if where else what, "; ".join(fixes))
