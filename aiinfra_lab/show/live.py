"""Outputs that change while a verb works: live frames, and a word on what it waits for."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from .card import Card
from .states import mark_of

EVERY_S = 1.0
"""How often a ticking frame is drawn."""
_MOST_OF_THE_TIME = 0.1


class Drawn(Protocol):
    """What can be shown: a card."""

    def bundle(self) -> dict[str, str]:
        """Its forms, as Jupyter wants them."""


class LiveFrame:
    """Work in progress as one output, updated at most four times a second, whose last frame stays in the file.

    Outside a notebook it writes nothing: a command line prints the result at its end.
    """

    MIN_S = 0.25

    def __init__(self, first: Drawn) -> None:
        self._handle: Any = None
        self._shown_at = time.monotonic()
        if in_notebook():
            from IPython.display import display

            self._handle = display(first.bundle(), raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def update(self, card: Drawn) -> None:
        """Show this frame, unless the last one is too young."""
        if time.monotonic() - self._shown_at >= self.MIN_S:
            self.close(card)

    def close(self, card: Drawn) -> None:
        """Show this frame in any case."""
        self._shown_at = time.monotonic()
        if self._handle is not None:
            self._handle.update(card.bundle(), raw=True)

    def clear(self) -> None:
        """Take the frame away, when the result that follows says all of it."""
        if self._handle is not None:
            # `clear_output` would take all of the cell's outputs.
            self._handle.update({"text/plain": ""}, raw=True)


class TickingFrame:
    """A live frame that a thread draws anew each second, however busy its caller is.

    draw: makes the frame; it is called in that thread. after_s: what ends sooner shows none; nor does what may not, as
    is asked then. Outside a notebook it shows nothing.
    """

    def __init__(
        self, draw: Callable[[], Drawn], after_s: float = 0.0, may_show: Callable[[], bool] = lambda: True
    ) -> None:
        self._draw, self._after_s, self._may_show = draw, after_s, may_show
        self._frame = None if after_s else LiveFrame(draw())
        self._over = threading.Event()
        # The output belongs to the cell of this context, whichever runs when the thread gets to it.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._tick,), name="live-frame", daemon=True)
        if in_notebook():
            self._thread.start()

    def close(self, card: Drawn) -> None:
        """Show this frame, and no other after it."""
        self._end()
        if self._frame is not None:
            self._frame.close(card)

    def clear(self) -> None:
        """Take the frame away; none comes after it."""
        self._end()
        if self._frame is not None:
            self._frame.clear()

    def _end(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _tick(self) -> None:
        if self._over.wait(self._after_s) or not (self._frame or self._may_show()):
            return
        self._frame = self._frame or LiveFrame(self._draw())
        drew_s = 0.0
        while not self._over.wait(wait_s(drew_s)):
            began = time.monotonic()
            # A picture that cannot be drawn now must end neither the work nor the pictures after it.
            with contextlib.suppress(Exception):
                self._frame.update(self._draw())
            drew_s = time.monotonic() - began


def wait_s(drew_s: float) -> float:
    """How long to wait with the next frame, so that drawing takes little of the time. drew_s: what the last took."""
    return max(EVERY_S, drew_s / _MOST_OF_THE_TIME)


def waiting(uri: str, what: str, state: str = "waiting") -> None:
    """Say what a verb waits for, or did first: an output of the cell, outside a notebook a line of stderr."""
    if in_notebook():
        LiveFrame(Card(kind="", uri=uri, state=mark_of(state), lead=what))
    else:
        sys.stderr.write(f"{what}\n")
        sys.stderr.flush()


def in_notebook() -> bool:
    """Whether outputs of this process go to a notebook."""
    # Looked up, not imported: a notebook's process has it in memory, and a command need not wait for it.
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and getattr(shell, "kernel", None) is not None
