"""All fronts of an endpoint, as its agent has them: what it decides reaches each, and their counts come together.

A front has sockets, routing, limits, counts and log, see `front.py`; the agent has the desired state, the judge and the
record, see `watch.py`. One front is in the agent's own process; for more see `many_fronts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...errors import LabError
from ..record import VersionCounts
from .counts import Counts
from .forks import Forks
from .judged_requests import JudgedRequests
from .predictor import Predictor, Routes, ServedVersion


class Fronts:
    """The one front of an endpoint. A change may be made on any thread: it returns at once, and is done on the loop's.

    predictor: of the front in this process. forks: make the processes of versions, where `open` is called.
    """

    def __init__(self, predictor: Predictor, forks: Forks | None = None) -> None:
        self._predictor, self._forks = predictor, forks

    @property
    def counts(self) -> dict[str, Counts]:
        """What each version has done, in all fronts together."""
        return self._predictor.counts

    @property
    def log_lost(self) -> int:
        """How many rows are missing in the logs."""
        return self._predictor.log.lost

    def restore(self, versions: Mapping[str, VersionCounts]) -> None:
        """Go on counting from what an earlier process has counted."""
        for uri, counts in versions.items():
            self._predictor.counts.setdefault(uri, Counts()).take(counts)

    def open(
        self, uri: str, folder: Path, digests: Mapping[str, str], opened: Callable[[ServedVersion | LabError], None]
    ) -> None:
        """Have a version loaded in every front; `opened` gets it when all could answer by it, or what is the matter."""
        self._predictor.loop.call_soon_threadsafe(self._open, uri, folder, digests, opened)

    def serve(self, routes: Routes, gone: Sequence[ServedVersion]) -> None:
        """Serve this from now on; the versions that are gone are retired."""
        self._predictor.loop.call_soon_threadsafe(self._serve, routes, gone)

    def retire(self, versions: Sequence[ServedVersion]) -> None:
        """End versions that were loaded and are not to serve."""
        self._predictor.loop.call_soon_threadsafe(self._retire, versions)

    def show(self, judge: JudgedRequests) -> None:
        """Show the verdict of a new look, wherever it is asked for."""

    def flush(self, done: Callable[[], None]) -> None:
        """Have the other fronts write their logs; `done` is called, on any thread, when that was tried."""
        done()

    async def begin(self) -> None:
        """Start the other fronts, once this process answers."""

    def drain(self) -> None:
        """Have the other fronts answer what they have taken, and end."""

    async def close(self) -> None:
        """Wait for their ends, while the front here drains too."""

    # ---- on the event loop ----

    def _open(
        self, uri: str, folder: Path, digests: Mapping[str, str], opened: Callable[[ServedVersion | LabError], None]
    ) -> None:
        assert self._forks is not None
        self._predictor.open(uri, folder, digests, self._forks, opened)

    def _serve(self, routes: Routes, gone: Sequence[ServedVersion]) -> None:
        self._predictor.routes = routes
        for version in gone:
            version.workers.retire()

    def _retire(self, versions: Sequence[ServedVersion]) -> None:
        for version in versions:
            version.workers.retire()
