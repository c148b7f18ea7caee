"""What the target has applied is served, and a canary that breaks its rule loses its traffic.

It runs on a thread of its own. A version is loaded and has answered its own example before requests reach it. All that
it knows beyond what was applied is in `Observed`, by which a process that is started again goes on; it needs no store.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

from msgspec.structs import replace

from ... import jobs
from ...errors import LabError, Unavailable
from ..record import DesiredState, RuleCounts
from ..server import model
from ..server.counts import Counts
from ..server.judge import Judge
from ..server.predictor import Predictor, Routes, ServedArm, ServedVersion
from ..server.workers import VersionFiles
from . import state
from .answerer import TritonAnswerer
from .repository import Repository
from .session import TritonModel, Unreachable
from .state import Applied, Observed

POLL_S = 0.2
BEAT_S = 1.0
WRITE_S = 2.0

_log = logging.getLogger(__name__)


@dataclass
class _InTriton:
    model: TritonModel
    served: ServedVersion


class Rollout:
    """Follows what is applied to one claim. leave: called, on this thread, when the process has to end."""

    def __init__(
        self,
        folder: Path,
        predictor: Predictor,
        repository: Repository,
        leave: Callable[[int], object],
        look_s: float,
    ) -> None:
        self._folder, self._predictor, self._repository = folder, predictor, repository
        self._leave, self._look_s = leave, look_s
        self._versions: dict[str, _InTriton] = {}
        self._live: DesiredState | None = None
        self._refused = 0
        self._observed = state.read(Observed, folder) or Observed()
        self._beat_at = self._judge_at = self._write_at = 0.0
        self._gone: list[TritonModel] = []
        self._flushed: list[Callable[[], None]] = []
        self._stop, self._wake, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="rollout", daemon=True)

    def start(self, url: str) -> None:
        """Go on counting where an earlier process of the same claim ended, and begin to follow."""
        for uri, counts in self._observed.versions.items():
            self._predictor.counts[uri] = Counts.of(counts)
        self._write(url=url, triton_url=self._repository.url)
        self._thread.start()

    def flush(self, done: Callable[[], None]) -> None:
        """Judge and write what was counted until now; `done` is called, on this thread, when that was tried."""
        with self._lock:
            self._flushed.append(done)
        self._wake.set()

    def close(self) -> None:
        """Write the last counts."""
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self._write()

    def _run(self) -> None:
        try:
            self._repository.wait_ready()
            while not self._stop.is_set():
                # Cleared before the tick: who asks while it runs is served by the next one.
                self._wake.clear()
                self._tick(time.monotonic())
                self._wake.wait(POLL_S)
        except LabError as problem:
            _log.error("the endpoint ends: %s", problem)
            self._leave(1)
        except BaseException:  # noqa: BLE001  # serving on without following what is applied would be worse than ending
            _log.exception("the endpoint ends: it cannot follow what is applied")
            self._leave(1)

    def _tick(self, now: float) -> None:
        with self._lock:
            waiting, self._flushed = self._flushed, []
            gone, self._gone = self._gone, []
        for each in gone:
            # It may have been asked for again meanwhile.
            if all(each.name != live.model.name for live in self._versions.values()):
                self._repository.unload(each)
        applied = state.read(Applied, self._folder)
        if applied and applied.desired.generation not in (self._refused, self._live and self._live.generation):
            self._follow(applied)
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            jobs.beat()
            self._look_after()
        if waiting or now >= self._judge_at:
            self._judge()
            self._judge_at = time.monotonic() + self._look_s
        if waiting or now >= self._write_at:
            self._write()
            self._write_at = now + WRITE_S
        for done in waiting:
            done()

    def _look_after(self) -> None:
        """End with a Triton that has ended; load again what lost its process, since Triton starts it no more."""
        if (code := self._repository.exit_code) is not None:
            raise Unavailable(f"Triton has ended by itself (exit code {code})", "its output says more")
        for uri, each in self._versions.items():
            if not self._repository.is_ready(each.model):
                _log.warning("the process of %s in Triton is gone: it is loaded again", uri)
                each.served.counts.lost += 1
                self._repository.unload(each.model)
                self._repository.load(uri, each.model.folder)

    # ---- what is to be served ----

    def _follow(self, applied: Applied) -> None:
        desired, versions = applied.desired, dict[str, _InTriton]()
        try:
            for uri in desired.models:
                versions[uri] = self._versions.get(uri) or self._load(uri, Path(applied.folders[uri]))
        except LabError as problem:
            self._reject(desired, versions, problem)
            return
        arms = [ServedArm(versions[arm.model].served, arm.role, arm.share) for arm in desired.arms]
        routes = Routes(arms, desired.salt, desired.generation, self._judge_for(desired))
        if desired.generation == self._observed.convicted_generation:
            routes = _without_canary(routes)
        gone = [each.served for uri, each in self._versions.items() if uri not in versions]
        self._versions, self._live = versions, desired
        self._predictor.loop.call_soon_threadsafe(self._switch, routes, gone)

    def _switch(self, routes: Routes, gone: Sequence[ServedVersion] = ()) -> None:
        self._predictor.routes = routes
        for version in gone:
            version.workers.retire()

    def _load(self, uri: str, folder: Path) -> _InTriton:
        in_triton = self._repository.load(uri, folder)
        try:
            loaded = model.load(uri, folder, in_triton)
        except Unreachable as problem:
            self._repository.unload(in_triton)
            raise Unavailable(f"{uri} cannot be served: {problem}", "its output says more") from None
        except LabError:
            self._repository.unload(in_triton)
            raise
        answerer = TritonAnswerer(loaded, self._predictor.loop, lambda: self._ended(in_triton))
        counts = self._predictor.counts.setdefault(uri, Counts())  # it goes on counting where it was
        return _InTriton(in_triton, ServedVersion(VersionFiles(uri, folder), answerer, counts))

    def _ended(self, gone: TritonModel) -> None:
        """It answers nothing any more."""
        with self._lock:
            self._gone.append(gone)
        self._wake.set()

    def _reject(self, desired: DesiredState, versions: dict[str, _InTriton], problem: LabError) -> None:
        """A version that cannot be served: go on with what is live, or end when nothing is."""
        _log.warning("%s", problem)
        for uri in versions.keys() - self._versions.keys():
            self._repository.unload(versions[uri].model)
        self._refused = desired.generation
        self._write(problem=str(problem), problem_generation=desired.generation)
        if self._live is None:
            raise problem

    # ---- the rule ----

    def _judge_for(self, desired: DesiredState) -> Judge | None:
        """The judge of this canary: the same as before while what it is judged by stays the same."""
        running = self._predictor.routes.judge
        if running and self._live and self._live.judged == desired.judged:
            return running
        self._judge_at = 0.0
        earlier = self._judged() or self._observed.judged
        return Judge.of(desired, self._predictor.counts.get(desired.champion or ""), earlier, self._look_s)

    def _judge(self) -> None:
        routes, live = self._predictor.routes, self._live
        if routes.judge is None or routes.canary is None or live is None:
            return
        verdict = routes.judge.evaluate()
        if verdict.state == "breach" and routes.champion is not None:
            _log.warning("rollback: %s broke the rule: %s", live.canary, "; ".join(verdict.reasons))
            self._predictor.loop.call_soon_threadsafe(self._switch, _without_canary(routes))
            # At once: a process that is started again must not give the canary its traffic back.
            self._write(convicted_generation=live.generation)

    # ---- what happened ----

    def _judged(self) -> RuleCounts | None:
        judge, live = self._predictor.routes.judge, self._live
        return judge.to_record(live.judged) if judge and live and live.judged else None

    def _write(self, **more: object) -> None:
        """Write what was counted until now, and what more there is."""
        versions = {uri: counts.to_record() for uri, counts in self._predictor.counts.copy().items()}
        new = replace(self._observed, versions=versions, judged=self._judged() or self._observed.judged, **more)
        if new != self._observed:
            state.write(new, self._folder)
            self._observed = new


def _without_canary(routes: Routes) -> Routes:
    """All traffic to the champion, in the same generation; the judge stays, for its verdict is to be reported."""
    return replace_fields(routes.without_canary(), judge=routes.judge)
