"""What happened by itself since the last cell, such as a rollback or a budget that is half spent: said once, below the
next cell that holds a line of ours."""

from __future__ import annotations

import contextlib
import time

from .. import signal_records
from ..config import settings
from ..errors import LabError
from ..show import Card, sentence
from ..show.states import STATES
from ..store import Record, Store, has_store, open_store

# Between two looks at the budgets, which take a query or two.
LOOK_S = 5.0


class News:
    """The signals of a workspace that this kernel has not shown yet; what was sent before its first line is old."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._looked_at = float("-inf")

    def show(self) -> None:
        """Show what is new, each for itself. A store that cannot be asked has no news."""
        with contextlib.suppress(LabError):
            where = settings()
            if has_store(where):
                self._show(str(where.home), open_store())

    def _show(self, home: str, store: Store) -> None:
        # A notebook may move on to another workspace, and come back.
        seen = self._seen.get(home)
        if seen is None:
            seen = self._seen[home] = _newest(signal_records.since(store, 0))
        if time.monotonic() - self._looked_at >= LOOK_S:
            from ..cost import budgets  # it loads more than a line that looks at nothing should

            budgets.look()
            self._looked_at = time.monotonic()
        found = signal_records.since(store, seen)
        self._seen[home] = max(seen, _newest(found))
        for signal in found:
            _display(signal.body)


def _newest(found: list[Record[signal_records.Signal]]) -> int:
    return max((signal.rev for signal in found), default=0)


def _display(signal: signal_records.Signal) -> None:
    from IPython.display import display

    fix = [f"Next: {signal.fix}"] if signal.fix else []
    lead = f"**{sentence(signal.what)}**"
    card = Card(kind="Notice", uri=signal.subject, state=STATES["needs a look"], lead=lead, next=fix)
    display(card.bundle(), raw=True)  # type: ignore[no-untyped-call]
