"""What of a workspace needs a look, what there is of each noun, and what it costs now."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .. import cost, nouns
from ..errors import LabError
from ..nouns import TABLE, Details, Notice, Observation, Thing
from ..show import StateMark, with_reason
from ..show.states import STATES
from ..units import counted
from ..uris import Uri

_COMMAND = re.compile(r"`([^`]+)`")
_NEEDS_A_LOOK = ("bad", "warn", "unsure")


@dataclass(frozen=True, slots=True)
class Look:
    """Something that somebody should look at: its state, why, and the command that helps."""

    mark: StateMark
    uri: str
    why: str
    command: str


@dataclass(frozen=True, slots=True)
class NounLine:
    """How much there is of a noun: how many live, how many there are, and the one that changed last."""

    noun: str
    live: int
    count: int
    newest: Thing


@dataclass(frozen=True, slots=True)
class Overview:
    """A workspace at a glance."""

    looks: tuple[Look, ...]
    lines: tuple[NounLine, ...]
    spending: cost.Summary


def overview(
    things: Sequence[Thing], seen: Sequence[Observation], spending: cost.Summary, unreadable: int = 0
) -> Overview:
    """Of all things, the last changed first, and of what lives or has ended of late. unreadable: records that cannot be
    read, of which nobody knows more."""
    live = Counter(Uri.parse(item.uri).noun for item in seen if item.is_live)
    by_noun = {noun: [thing for thing in things if Uri.parse(thing.uri).noun == noun] for noun in TABLE}
    lines = tuple(NounLine(noun, live[noun], len(found), found[0]) for noun, found in by_noun.items() if found)
    why = f"{counted(unreadable, 'record')} cannot be read"
    lost = [Look(STATES["needs a look"], "lab:store", why, "%lab check")] if unreadable else []
    return Overview((*lost, *_looks(things, seen)), lines, spending)


def _looks(things: Sequence[Thing], seen: Sequence[Observation]) -> list[Look]:
    """What stops a pipeline first."""
    states = {thing.uri: thing.state for thing in things}
    noticed = [_noticed(notice, states.get(notice.uri, "")) for notice in _notices()]
    # A notice says more than the state alone: it takes its place.
    has_notice = {look.uri for look in noticed}
    found = {look.uri: look for look in (*(_ending(item) for item in seen if item.ends_soon), *_wrong(things))}
    return sorted([*(look for look in found.values() if look.uri not in has_notice), *noticed], key=_rank)


def _rank(look: Look) -> int:
    return _NEEDS_A_LOOK.index(look.mark.tone) if look.mark.tone in _NEEDS_A_LOOK else len(_NEEDS_A_LOOK)


def _wrong(things: Sequence[Thing]) -> Iterable[Look]:
    """The newest of each name, where its state is wrong: a later one that went well is the answer to earlier ones."""
    newest: dict[str, Thing] = {}
    for thing in things:
        newest.setdefault(str(Uri.parse(thing.uri).bare), thing)
    for thing in newest.values():
        mark, reason = with_reason(thing.state or thing.checked, thing.uri)
        if mark.tone in _NEEDS_A_LOOK:
            details = _details(thing.uri)
            # Where the thing itself has no more to show than its state, its fix names what has, such as its newest run.
            shown = re.search(rf"`(%{Uri.parse(thing.uri).noun} show [^`]+)`", details.fix)
            why = details.problem.partition("\n")[0].removeprefix(f"{thing.uri} failed ") or reason
            yield Look(mark, thing.uri, why, shown[1] if shown else _show(thing.uri))


def _details(uri: str) -> Details:
    with contextlib.suppress(LabError):  # removed meanwhile, or its provider cannot be asked: the state stands alone
        return nouns.find(Uri.parse(uri).noun).details(uri)
    return Details()


def _show(uri: str) -> str:
    asked = Uri.parse(uri)
    return f"%{asked.noun} show {asked.label}"


def _ending(item: Observation) -> Look:
    from ..units import show_duration

    left_s = max(0.0, (item.deadline_at or 0.0) - time.time())
    return Look(STATES["ends soon"], item.uri, f"{show_duration(left_s)} left", _show(item.uri))


def _notices() -> Iterable[Notice]:
    for noun in nouns.every():
        with contextlib.suppress(LabError):  # what a provider cannot tell now, `lab check` says
            yield from noun.notices()


def _noticed(notice: Notice, state: str) -> Look:
    mark, _ = with_reason(notice.state or state, notice.uri)
    mark = mark if mark.tone in _NEEDS_A_LOOK else STATES["needs a look"]
    command = _COMMAND.search(notice.fix)
    return Look(mark, notice.uri, notice.detail, command[1] if command else notice.fix)
