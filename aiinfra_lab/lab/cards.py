"""How a workspace, a check of it, and what was freed look."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..cost import daily
from ..show import (
    Card,
    Cell,
    Code,
    Dim,
    Figure,
    Fold,
    Number,
    Part,
    RowHeader,
    StateMark,
    Table,
    mark_of,
    moment,
    shown,
    with_reason,
)  # fmt: skip
from ..units import counted
from .checks import HealthFinding

if TYPE_CHECKING:
    from . import Checkup, Freed, Workspace
    from .overview import NounLine, Overview

_STATES = ("bad", "off", "ok")
_MOST_PASSED = 30
_COMMAND = re.compile(r"`([^`]+)`")


def workspace(found: Workspace) -> Card:
    """What needs a look, what there is, and what it costs."""
    overview = found.overview
    parts: list[Part] = [] if overview is None else [*_looks(overview), *_nouns(overview.lines)]
    if overview is not None:
        parts += daily.picture(overview.spending.days)
    return Card(
        kind=found.kind,
        uri=Path(found.path).name or found.path,
        state=None if overview is None or not overview.lines else _state(overview),
        when=f"as of {moment(time.time())}" if found.lives else "",
        lead=_lead(found),
        figures=_figures(found),
        facts=[("wrote", ", ".join(found.wrote))] if found.wrote else [],
        parts=parts,
        notes=[f"Folder `{found.path}`, {counted(sum(found.exists.values()), 'thing')}."],
        next=[f"Next: {_next(found)}"],
    )


def _state(overview: Overview) -> StateMark:
    count = len(overview.looks)
    if not count:
        return StateMark("✓", "nothing needs a look", "good")
    is_bad = any(look.mark.tone == "bad" for look in overview.looks)
    return StateMark("▲", f"{count} need{'s' * (count == 1)} a look", "bad" if is_bad else "warn")


def _lead(found: Workspace) -> str:
    empty = "" if found.exists else "**Nothing is here yet**: `%data add NAME PATH` records data."
    return " ".join(filter(None, [*map(_sentence, found.notes), empty]))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "`")) else ".")


def _figures(found: Workspace) -> list[Figure]:
    if found.overview is None or not found.exists:
        return []
    spending = found.overview.spending
    figures = [Figure("live now", f"{len(found.lives):,}"), _money("price now", spending.usd_per_hour, " an hour")]
    return [*figures, _money("spent today", spending.today_usd), _money("spent so far", found.spent_usd)]


def _money(label: str, usd: float, more: str = "") -> Figure:
    amount, _, unit = shown("x_usd", usd).partition(" ")
    return Figure(label, amount, unit + more)


def _looks(overview: Overview) -> list[Table]:
    rows = [(look.mark, look.uri, look.why.replace("`", "") or Dim("–"), Code(look.command)) for look in overview.looks]
    return [Table(("state", RowHeader("what"), "why", "do"), rows, "Needs a look")] if rows else []


def _nouns(lines: Sequence[NounLine]) -> list[Table]:
    titles = (RowHeader("noun"), Number("live"), Number("all"), "newest", "state", "when")
    return [Table(titles, [_noun(line) for line in lines], "What there is")] if lines else []


def _noun(line: NounLine) -> tuple[Cell, ...]:
    mark, _ = with_reason(line.newest.state, line.newest.uri)
    state: Cell = mark if line.newest.state else Dim("–")
    live = f"{line.live:,}" if line.live else "–"
    return line.noun, live, f"{line.count:,}", line.newest.uri, state, moment(line.newest.changed_at)


def _next(found: Workspace) -> str:
    check = "`%lab check` judges the installation"
    lines = found.overview.lines if found.overview else ()
    if not lines:
        return check
    newest = max((line.newest for line in lines), key=lambda thing: thing.changed_at)
    return f"{check} · `%lab log {newest.uri}` says where it came from"


def checkup(found: Checkup) -> Card:
    """What does not work first, each with what helps; what works is folded."""
    by = {state: [one for one in found.findings if one.state == state] for state in _STATES}
    # None of what is not well is cut: it is all that somebody looks here for.
    rows = [(one.what, one.mark, one.detail, _typed(one.fix)) for one in (*by["bad"], *by["off"])]
    wrong = Table((RowHeader("what"), "state", "found", "what helps"), rows, most=len(rows))
    passed = Table((RowHeader("what"), "found"), [(one.what, one.detail) for one in by["ok"]], most=_MOST_PASSED)
    return Card(
        kind=found.kind,
        uri=found.uri,
        state=mark_of("good" if found.ok else "bad"),
        lead=_verdict(by["bad"], by["off"], len(found.findings)),
        advice=by["bad"][0].fix if by["bad"] else "",
        parts=[wrong, *([Fold(f"✓ {len(passed.rows)} passed", passed)] if passed.rows else [])],
    )


def _typed(fix: str) -> tuple[str | Code, ...]:
    """A sentence with its commands as what can be typed."""
    pieces = _COMMAND.split(fix)
    return tuple(Code(piece) if at % 2 else piece.strip() for at, piece in enumerate(pieces) if piece.strip())


def _verdict(bad: Sequence[HealthFinding], off: Sequence[HealthFinding], count: int) -> str:
    if bad:
        rest = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        return f"**{len(bad)} of {count} checks did not pass.** {bad[0].what}: {bad[0].detail}{rest}."
    looks = [one for one in off if one.mark.tone == "warn"]
    extras = len(off) - len(looks)
    more = [f"{counted(len(looks), 'thing')} need{'s' * (len(looks) == 1)} a look"] if looks else []
    more += [f"{extras} that nothing needs {'is' if extras == 1 else 'are'} not installed"] if extras else []
    return f"**All that is needed works.** {'; '.join(more) and '; '.join(more) + '.'}".strip()


def freed(found: Freed) -> Card:
    """Which files went, or would go, and why."""
    rows = [
        (file.path, file.uri, shown("x_bytes", file.size_bytes), moment(file.last_at), file.why) for file in found.files
    ]
    size, count = shown("x_bytes", found.size_bytes), counted(len(rows), "file")
    lead = f"**{size} would be freed**: {count}." if found.dry else f"**{size} freed**: {count}."
    titles = (RowHeader("file"), "of", Number("size"), "last written", "why")
    return Card(
        kind=found.kind,
        uri=found.uri,
        state=None if found.dry or not rows else mark_of("done"),
        lead=lead if rows else "**Nothing to free**: everything is within what the settings keep.",
        parts=[Table(titles, rows)],
        next=["Next: `%lab rm --expired` frees them"] if found.dry and rows else [],
    )
