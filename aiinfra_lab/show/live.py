"""Outputs that change while a verb works: live frames, and a word on what it waits for."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from .card import Card
from .states import mark_of


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
