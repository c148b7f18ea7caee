"""What a check found, as people read it: the sentence, what to do, and the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..show import Cell, Dim, Number, RowHeader, Table, mark_of
from ..units import apart, difference, plain, show_difference
from .record import ModelFinding

_ORDER = ("bad", "cannot tell", "good")
_REQUIRED = {
    "files": "as they were recorded",
    "example": "gives the recorded scores",
    "data": "known and unchanged",
    "metrics": "at least one",
    "source": "known",
}
_MOST_IN_A_SENTENCE = 2


@dataclass(frozen=True, slots=True)
class Compared:
    """A version's measures beside those of the champion, or of the last one. measure: the one that decides, if any.

    rows: on how many held out rows both were measured, where those are the same. is_unclear: whether chance may explain
    by how much it is worse.
    """

    uri: str
    called: str
    measure: str
    higher_is_better: bool
    ours: Mapping[str, float]
    theirs: Mapping[str, float]
    rows: int = 0
    is_unclear: bool = False

    def table(self, margin: float) -> Table:
        """The measures that both have, first the one that decides."""
        shared = sorted((name for name in self.ours if name in self.theirs), key=lambda name: name != self.measure)
        titles = (RowHeader("measure"), Number(self.called), Number("this version"), Number("difference"), "state")
        where = f", on the same {self.rows:,} held out rows" if self.rows else ""
        return Table(titles, [self._row(name, margin) for name in shared], f"Against the {self.called}{where}")

    def _row(self, name: str, margin: float) -> tuple[Cell, ...]:
        ours, theirs = apart(self.ours[name], self.theirs[name])
        state: Cell = Dim("not judged")
        if name == self.measure:
            off = difference(self.ours[name], self.theirs[name])
            gain = off if self.higher_is_better else -off
            word = "better" if gain > 0 else "same" if gain == 0 else "holds" if -gain <= margin else "worse"
            state = mark_of("cannot tell" if word == "worse" and self.is_unclear else word)
        return name, theirs, ours, show_difference(self.ours[name], self.theirs[name]), state


def lead(findings: Sequence[ModelFinding], verdict: str) -> str:
    """The finding: how many checks ended how, and why the first that matter did."""
    count = len(findings)
    if not count:  # of a check by an early version, which kept no more than its end
        return {"good": "**Its last check passed.**", "bad": "**Its last check did not pass.**"}.get(verdict, "")
    by = {state: [one for one in findings if one.state == state] for state in _ORDER}
    if verdict == "good":
        compared = [one.detail for one in findings if _is_comparison(one)]
        return _sentences([f"**All {count} checks passed.**", *compared])
    off, unsure = by["bad"], by["cannot tell"]
    counts = [f"{len(off)} of {count} checks did not pass"] if off else []
    counts += (
        [f"{len(unsure)} cannot tell" if off else f"{len(unsure)} of {count} checks cannot tell"] if unsure else []
    )
    why = [_why(one) for one in [*off, *unsure][:_MOST_IN_A_SENTENCE]]
    return _sentences([f"**{', '.join(counts)}.**", *why])


def advice(findings: Sequence[ModelFinding]) -> str:
    """What helps, of what is worst."""
    states = [one.state for one in findings]
    worst = min(states, key=_ORDER.index, default="good")
    return "; ".join(joined(one.fix for one in findings if one.fix and one.state == worst))


_OR = ", or "


def joined(fixes: Iterable[str]) -> list[str]:
    """Fixes that end in the same command as one, which says each way once."""
    found: dict[str, dict[str, None]] = {}
    for fix in fixes:
        ways, colon, command = fix.partition(": ")
        each = ways.split(_OR) if command else [ways]
        found.setdefault(colon + command, {}).update(dict.fromkeys(each))
    return [(_OR if command else "; ").join(each) + command for command, each in found.items()]


def table(findings: Sequence[ModelFinding], margin: float) -> list[Table]:
    """Every check, what is wrong first; nothing without any. margin: what the comparison allowed."""
    ordered = sorted(findings, key=lambda one: _ORDER.index(one.state))
    rows = [(_name(one), mark_of(one.state), one.detail, _required(one, margin)) for one in ordered]
    return [Table((RowHeader("check"), "state", "evidence", "required"), rows)] if rows else []


def no_worse(margin: float) -> str:
    """What a margin asks for, before `than the champion`."""
    return f"at most {plain(margin)} worse" if margin else "no worse"


def finding_first(said: str, *, is_bold: bool = True) -> str:
    """What a verb did, `…; …`, as sentences of which the first stands out."""
    first, _, rest = said.partition("; ")
    first = first[:1].upper() + first[1:]
    if is_bold and "`" not in first:
        first = f"**{first}.**" if rest else f"**{first}**"
    return f"{first} {rest[:1].upper()}{rest[1:]}".strip()


def _is_comparison(one: ModelFinding) -> bool:
    return "champion " in one.what and "@" in one.what


def _is_bound(one: ModelFinding) -> bool:
    return one.what not in _REQUIRED and not _is_comparison(one)


def _name(one: ModelFinding) -> str:
    return one.what.partition(" ")[0] if _is_bound(one) else one.what


def _required(one: ModelFinding, margin: float) -> str:
    if _is_comparison(one):
        return no_worse(margin)
    return _REQUIRED.get(one.what, one.what)


def _why(one: ModelFinding) -> str:
    if _is_comparison(one):
        return one.detail
    return f"{one.what} is required: {one.detail}" if _is_bound(one) else f"{one.what}: {one.detail}"


def _sentences(texts: Sequence[str]) -> str:
    return " ".join(text if text.endswith("**") else f"{text}." for text in texts)
