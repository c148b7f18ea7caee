"""How two models on the same held out rows are shown: a sentence, a table with intervals, and what limits it."""

from __future__ import annotations

from ..show import Cell, Number, RowHeader, Table
from ..units import apart, show_difference
from .paired import CONFIDENCE, PairedComparison, PairedMetric


def sentence_of(found: PairedComparison, ours: str, theirs: str) -> str:
    """What can be told beyond chance: `b is **better in holdout_rmse** than a on the same 90 held out rows.`"""
    by = {word: [one.name for one in found.metrics if one.verdict == word] for word in ("better", "worse")}
    judged = [f"**{word} in {', '.join(names)}**" for word, names in by.items() if names]
    where = f"on the same {found.rows:,} held out rows"
    if judged:
        return f"{ours} is {' and '.join(judged)} than {theirs} {where}."
    if all(one.verdict == "same" for one in found.metrics):
        return f"{ours} and {theirs} are the same {where}."
    return f"Which of {ours} and {theirs} is better **cannot be told** {where}."


def table_of(found: PairedComparison, ours: str, theirs: str) -> Table:
    """Each metric of both, with the interval of the difference."""
    titles = (
        RowHeader("metric"), Number(theirs), Number(ours), "difference", f"{CONFIDENCE:.0%} interval", "that is",
    )  # fmt: skip
    return Table(titles, [_row(one) for one in found.metrics], f"On the same {found.rows:,} held out rows")


def notes_of(found: PairedComparison) -> list[str]:
    """How it was made, and what limits it."""
    return [found.how, *found.notes]


def interval(one: PairedMetric) -> str:
    """`−0.03 to +0.01`, or that there is none."""
    if one.low is None or one.high is None:
        return "unknown"
    return f"{show_difference(one.low, 0.0)} to {show_difference(one.high, 0.0)}"


def _row(one: PairedMetric) -> tuple[Cell, ...]:
    return (one.name, *apart(one.theirs, one.ours), show_difference(one.ours, one.theirs), interval(one), one.verdict)
