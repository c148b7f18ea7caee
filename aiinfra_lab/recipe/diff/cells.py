"""The cells of two executions of a notebook, beside each other."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .normal import normal_outputs
from .times import ExecutionTimes

CellChange = Literal["added", "removed", "code", "outputs"]
_MOST_LINES, _LONGEST, _BEFORE = 30, 160, 40


@dataclass(frozen=True)
class CellDifference:
    """A cell that differs. change: it is only in one of them, its code differs, or its outputs alone. number: among the
    code cells of the later one, of the earlier one where it is only there. lines: what differs, as `diff -u` has it.
    """

    number: int
    change: CellChange
    lines: tuple[str, ...]


def differing_cells(
    old: Mapping[str, Any], new: Mapping[str, Any], own: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
) -> list[CellDifference]:
    """What differs between two executed notebooks, in the order of the cells. own: see `normal_text`, of each."""
    before, after = _code(old), _code(new)
    matcher = difflib.SequenceMatcher(None, list(map(_source, before)), list(map(_source, after)), autojunk=False)
    # Those of both for both: what is data in one of them must not be a time of the execution in the other.
    return list(_compared(before, after, matcher, own, ExecutionTimes.of(old, new)))


def _compared(
    before: Sequence[Any],
    after: Sequence[Any],
    matcher: difflib.SequenceMatcher[str],
    own: tuple[Mapping[str, str], Mapping[str, str]],
    times: ExecutionTimes,
) -> Iterator[CellDifference]:
    for tag, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        both = min(old_to - old_from, new_to - new_from)
        for step in range(both):
            one, two = before[old_from + step], after[new_from + step]
            number = new_from + step + 1
            if tag == "equal":
                outputs = _lines(one, own[0], times), _lines(two, own[1], times)
                if outputs[0] != outputs[1]:
                    yield CellDifference(number, "outputs", _difference(*outputs))
            else:
                yield CellDifference(number, "code", _difference(_source(one).splitlines(), _source(two).splitlines()))
        for step in range(old_from + both, old_to):
            yield CellDifference(step + 1, "removed", _difference(_source(before[step]).splitlines(), []))
        for step in range(new_from + both, new_to):
            yield CellDifference(step + 1, "added", _difference([], _source(after[step]).splitlines()))


def _code(notebook: Mapping[str, Any]) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _source(cell: Mapping[str, Any]) -> str:
    source = cell["source"]
    return (source if isinstance(source, str) else "".join(source)).strip()


def _lines(cell: Mapping[str, Any], own: Mapping[str, str], times: ExecutionTimes) -> list[str]:
    found = normal_outputs(cell["outputs"], own, times)
    return [line if kind == "stdout" else f"{kind}: {line}" for kind, text in found for line in text.split("\n")]


def _difference(old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    found = list(difflib.unified_diff(old, new, n=1, lineterm=""))[2:]
    for gone, come in _pairs(found):
        found[gone], found[come] = _where_they_differ(found[gone], found[come])
    found = [line[:_LONGEST] for line in found]
    more = [f"… {len(found) - _MOST_LINES} lines more"] if len(found) > _MOST_LINES else []
    return tuple(found[:_MOST_LINES] + more)


def _pairs(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where each line that is gone stands, and the one that is new in its place."""
    blocks = [(kind, list(each)) for kind, each in itertools.groupby(range(len(lines)), lambda at: lines[at][0])]
    for (kind, gone), (other, new) in itertools.pairwise(blocks):
        if (kind, other) == ("-", "+"):
            yield from zip(gone, new, strict=False)


def _where_they_differ(one: str, two: str) -> tuple[str, str]:
    """Both as they are or, where what is shown would be the same of both, from shortly before they differ."""
    if one[1:_LONGEST] != two[1:_LONGEST]:
        return one, two
    shorter = min(len(one), len(two))
    begin = next((at for at in range(_LONGEST, shorter) if one[at] != two[at]), shorter) - _BEFORE
    return f"-…{one[begin:]}", f"+…{two[begin:]}"
