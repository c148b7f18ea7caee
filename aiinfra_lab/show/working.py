"""What a verb is doing, for the one that may take longer than a second."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Callable, Iterator, Sequence

from ..units import show_duration
from .card import Card, Part
from .live import TickingFrame, in_notebook
from .states import mark_of

SHOWN_AFTER_S = 0.4
"""A verb that ends sooner leaves no trace of a frame."""
_OUTER: contextvars.ContextVar[Callable[[str], None] | None] = contextvars.ContextVar("working", default=None)


@contextlib.contextmanager
def working(
    kind: str,
    uri: str,
    first: str,
    parts: Callable[[], Sequence[Part]] = tuple,
    *,
    state: str = "running",
    may_show: Callable[[], bool] = lambda: True,
) -> Iterator[Callable[[str], None]]:
    """Show in the cell, once it takes longer, at which step a verb is and for how long it has been at work.

    What it gives says that the next step begins. At the end, also with an error, the frame is taken away: what follows
    says all. Outside a notebook it does nothing. Within another one it only says the next step of that. Begin it before
    what takes long to import.

    parts: what stands below it, asked for anew for each frame. state: in the words of the thing, where `running` would
    say that it is what it only becomes. may_show: asked before the first frame
    """
    if outer := _OUTER.get():
        outer(first)
        yield outer
        return
    if not in_notebook():
        yield lambda _: None
        return
    step, began = [first], time.monotonic()

    def begin(text: str) -> None:
        step[0] = text

    def draw() -> Card:
        lead = f"It {step[0]}, {show_duration(time.monotonic() - began)} so far."
        return Card(kind=kind, uri=uri, state=mark_of(state), lead=lead, parts=list(parts()))

    frame = TickingFrame(draw, SHOWN_AFTER_S, may_show)
    token = _OUTER.set(begin)
    try:
        yield begin
    finally:
        _OUTER.reset(token)
        frame.clear()
