"""The one alphabet of states: what a state's word looks like in text, on a card, in a picture and in the panel.

A tone is the class of a colour. `bad` means that a pipeline stops here, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..uris import Uri

Tone = Literal["good", "busy", "warn", "bad", "unsure", "off"]


@dataclass(frozen=True, slots=True)
class StateMark:
    """A state's glyph, its word as people read it, and its tone. The glyph alone tells states of one tone apart."""

    glyph: str
    word: str
    tone: Tone

    def __str__(self) -> str:
        return f"{self.glyph} {self.word}"


_WORDS: dict[tuple[str, Tone], str] = {
    ("●", "good"): "serving, scheduled",  # lives on until it is stopped
    ("◐", "busy"): "starting, running, stopping, reconnecting",  # will change by itself
    ("✓", "good"): "done, passed, no drift, holds, better, complete, same, added, fresh, unaltered, within budget",
    ("▲", "warn"): "ends soon, needs a look, schema changed, over budget, outdated, changed, removed, cannot be read",
    ("▲", "bad"): "drift",
    ("✕", "bad"): "failed, not passed, lost, killed, timed out, out of memory, worse, no answer, altered, breached",
    ("?", "unsure"): "cannot tell, undecided",
    ("○", "off"): "waits, not checked, not installed, never ran",
    ("»", "off"): "skipped",
    ("■", "off"): "stopped, interrupted, ended",
}
STATES: dict[str, StateMark] = {
    word: StateMark(glyph, word, tone) for (glyph, tone), words in _WORDS.items() for word in words.split(", ")
}
# What records and JSON call a state, where people read the word of the alphabet.
_READ_AS = {
    "good": "passed",
    "bad": "not passed",
    "ok": "holds",
    "breach": "breached",
    "waiting": "waits",
    "timeout": "timed out",
    "oom": "out of memory",
    # Neither ran: the reason beside it says which of the three it is.
    "blocked": "skipped",
    "not run": "skipped",
}
LIVING = StateMark("●", "running", "good")
"""Of what lives on until it is stopped: a session or an endpoint. A run that is running ends by itself."""
_LIVE_ON = ("gpu", "deploy")
ADDED, CHANGED, REMOVED = (
    StateMark("+", "added", "good"), StateMark("~", "changed", "warn"), StateMark("−", "removed", "warn"),
)  # fmt: skip
"""What became of a part, in a table of what differs between two things; `CHANGED` may say in a word what of it did."""


def mark_of(word: str, of: str = "") -> StateMark:
    """How a state looks, of a thing with that URI or of that noun; a word outside the alphabet has no verdict in it."""
    if word == LIVING.word and any(of == noun or Uri.is_one(of, noun) for noun in _LIVE_ON):
        return LIVING
    read = _READ_AS.get(word, word)
    return STATES.get(read) or StateMark("·", read, "off")


def with_reason(state: str, of: str = "") -> tuple[StateMark, str]:
    """How a state looks that carries its reason, `ended (budget)`, and the reason; see `mark_of`."""
    word, _, reason = state.partition(" (")
    return mark_of(word, of), reason.removesuffix(")")
