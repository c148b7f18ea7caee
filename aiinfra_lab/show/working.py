"""What a verb is doing, for the one that may take longer than a second."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Callable, Iterator

from ..units import show_duration
from .card import Card
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
    beside: Callable[[], str] | None = None,
    may_show: Callable[[], bool] = lambda: True,
) -> Iterator[Callable[[str], None]]:
    """Show in the cell, once it takes longer, at which step a verb is and for how long it has been at work.

    What it gives says that the next step begins. beside: gives a line that is drawn below, each time anew. may_show:
    asked before the first. At the end, also with an error, the frame is taken away: what follows says all. Outside a
    notebook it does nothing. Within another one it only says the next step of that. Begin it before what takes long to
    import.
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
        notes = [line] if beside and (line := beside()) else []
        return Card(kind=kind, uri=uri, state=mark_of("running"), lead=lead, notes=notes)

    frame = TickingFrame(draw, SHOWN_AFTER_S, may_show)
    token = _OUTER.set(begin)
    try:
        yield begin
    finally:
        _OUTER.reset(token)
        frame.clear()
