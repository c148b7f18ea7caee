"""A run of a recipe as it is seen while it goes on: in a notebook as one output, elsewhere line by line."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Callable
from dataclasses import replace

from ..show import LiveFrame, in_notebook, mark_of
from ..units import show_duration
from .base import Recipe
from .history import ObservedRun
from .recorded import RecordedRun
from .results import RecipeRun, recipe_run

_EVERY_S = 2.0


def shown_while(
    go: Callable[[Callable[[RecordedRun], None]], RecordedRun], recipe: Recipe, title: str, *, is_report: bool = False
) -> RecipeRun:
    """Run it, and show its steps as they begin and end; what it hands over.

    In a notebook the output is taken away at the end of a run that succeeded, whose result says the same, and so where
    is_report says that it follows in any case; else it stays, for an error follows.
    """
    if not in_notebook():
        return recipe_run(ObservedRun(go(ProgressLines())), title, recipe)
    frame = _Frame(recipe, title)
    try:
        done = recipe_run(ObservedRun(go(frame)), title, recipe)
    finally:
        frame.end()
    frame.close(done, is_shown_again=is_report or done.state == "done")
    return done


class ProgressLines:
    """A line on stderr for each change of a step's state."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def __call__(self, record: RecordedRun) -> None:
        for step in record.steps:
            if step.state not in ("waiting", self._shown.get(step.name)):
                self._shown[step.name] = step.state
                time = f" {show_duration(step.seconds)}" if step.seconds else ""
                mark = mark_of(step.state)
                sys.stderr.write(f"{mark.glyph} {step.name} {mark.word}{time}\n")


class _Frame:
    """The run's card, drawn anew when a step's state changes, and every two seconds, since its times go on."""

    def __init__(self, recipe: Recipe, title: str) -> None:
        self._recipe, self._title = recipe, title
        self._run: RecipeRun | None = None
        self._frame: LiveFrame | None = None
        self._lock, self._over = threading.Lock(), threading.Event()
        # The output belongs to the cell of this context.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._go_on,), name="recipe-frame", daemon=True)

    def __call__(self, record: RecordedRun) -> None:
        with self._lock:
            # What runs before are like does not change while this one goes on.
            known = self._run.context if self._run else None
            run = recipe_run(ObservedRun(record), self._title, None if known else self._recipe)
            self._run = replace(run, context=known) if known else run
            if self._frame is None:
                self._frame = LiveFrame(self._run.card())
                self._thread.start()
            else:
                # `close` and not `update`, which leaves out a frame that follows the last one too soon.
                self._frame.close(self._run.card())

    def end(self) -> None:
        """Draw no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def close(self, done: RecipeRun, *, is_shown_again: bool) -> None:
        """The last frame."""
        if self._frame is None:
            return
        if is_shown_again:
            self._frame.clear()
        else:
            self._frame.close(done.card())

    def _go_on(self) -> None:
        while not self._over.wait(_EVERY_S):
            with self._lock:
                if self._frame and self._run:
                    self._frame.update(self._run.card())
