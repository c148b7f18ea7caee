"""What the target has applied is served, and a canary that breaks its rule loses its traffic.

It runs on a thread of its own. A version is loaded and has answered its own example before requests reach it. All that
it knows beyond what was applied is in `Observed`, by which a process that is started again goes on; it needs no store.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from ... import jobs
from ...errors import Failed, LabError, Unavailable
from ..record import DesiredState
from ..server import model
from ..server.counts import Counts
from ..server.fronts import Fronts
from ..server.predictor import Predictor, ServedVersion
from ..server.served_state import ServedState
from ..server.workers import VersionFiles
from . import state
from .answerer import TritonAnswerer
from .repository import NoRoom, Repository
from .session import TritonModel, Unreachable
from .state import Applied, AppliedVersion, Observed

POLL_S = 0.2
BEAT_S = 1.0
WRITE_S = 2.0
_CHAMPIONS_KEPT = 5
_MOST_UNANSWERED = 3

_log = logging.getLogger(__name__)


class FrontPredictor(Predictor):
    """One that can be held while what computes does not answer: then requests are refused at once.

    is_held: whether it is.
    """

    is_held = False

    @property
    def ready(self) -> bool:
        return super().ready and not self.is_held


class Rollout:
    """Follows what is applied to one claim. leave: called, on this thread, with why the process has to end."""

    def __init__(
        self,
        folder: Path,
        predictor: FrontPredictor,
        repository: Repository,
        leave: Callable[[str], object],
        look_s: float,
    ) -> None:
        self._folder, self._predictor, self._repository = folder, predictor, repository
        self._leave, self._look_s = leave, look_s
        self._served = ServedState(Fronts(predictor), look_s)
        self._in_triton: dict[str, TritonModel] = {}
        self._applied: dict[str, AppliedVersion] = {}
        self._answerers: dict[str, TritonAnswerer] = {}
        self._unanswered = 0
        self._refused = 0
        self._observed = self._written = state.read(Observed, folder) or Observed()
        self._warned = ""
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
            self._leave(f"the endpoint ends: {problem}")
        except BaseException as problem:  # noqa: BLE001  # serving on without following would be worse than ending
            _log.exception("it cannot follow what is applied")
            self._leave(f"the endpoint ends: it cannot follow what is applied: {type(problem).__name__}: {problem}")

    def _tick(self, now: float) -> None:
        with self._lock:
            waiting, self._flushed = self._flushed, []
            gone, self._gone = self._gone, []
        for each in gone:
            # It may have been asked for again meanwhile.
            if all(each.name != live.name for live in self._in_triton.values()):
                self._repository.unload(each)
        applied = state.read(Applied, self._folder)
        try:
            if applied and applied.desired.generation not in (self._refused, self._served.generation):
                self._follow(applied)
            if now >= self._beat_at:
                self._beat_at = now + BEAT_S
                jobs.beat()
                self._served.sample()
                self._look_after()
        except NoRoom as problem:
            self._warn_once(f"it waits for room on the disk: {problem}")
        if waiting or now >= self._judge_at:
            self._judge()
            self._judge_at = time.monotonic() + self._look_s
        if waiting or now >= self._write_at:
            self._write()
            self._write_at = now + WRITE_S
        for done in waiting:
            done()

    def _look_after(self) -> None:
        """End with a Triton that has ended, or hangs; load again what lost its process, since Triton starts it no more,
        and what hangs.
        """
        if (code := self._repository.exit_code) is not None:
            raise Unavailable(f"Triton has ended by itself (exit code {code})", "its output says more")
        self._unanswered = 0 if self._repository.answers() else self._unanswered + 1
        if self._unanswered >= _MOST_UNANSWERED:
            raise Unavailable(f"Triton hangs: it has not answered {self._unanswered} times", "its output says more")
        for uri, each in self._in_triton.items():
            if self._answerers[uri].hangs:
                _log.warning("%s in Triton hangs: its process is ended", uri)
                self._repository.end_network(each)
        gone = {uri: each for uri, each in self._in_triton.items() if not self._repository.is_ready(each)}
        champion = self._served.desired and (self._served.desired.champion or self._served.desired.canary)
        self._predictor.is_held = self._unanswered > 1 or champion in gone
        for uri, each in gone.items():
            _log.warning("the process of %s in Triton is gone: it is loaded again", uri)
            self._served.versions[uri].counts.lost += 1
            self._repository.unload(each)
            self._repository.load(uri, self._applied[uri])
            self._answerers[uri].start_anew()
        if gone:
            self._predictor.is_held = False

    # ---- what is to be served ----

    def _follow(self, applied: Applied) -> None:
        desired, loaded, problems = applied.desired, dict[str, ServedVersion](), list[str]()
        for uri in desired.models:
            if uri in self._served.versions:
                continue
            try:
                loaded[uri] = self._load(uri, applied.versions[uri])
            except NoRoom:
                self._unload([*loaded])
                raise
            except LabError as why:
                _log.warning("%s", why)
                # Whoever is started again does without an arm that the champion can do without.
                if self._served.desired or uri == (desired.champion or desired.canary):
                    self._unload([*loaded])
                    self._refuse(desired.generation, uri, why)
                    return
                problems.append(f"{uri} cannot be served, and the others serve without it: {why}")
                desired = _without_arm(desired, uri)
        self._serve(desired, {**self._served.versions, **loaded})
        if desired.generation == self._observed.convicted_generation:
            self._served.take_canary_off()
        if desired.champion:
            alone = DesiredState(champion=desired.champion, generation=desired.generation)
            last = Applied(alone, {desired.champion: applied.versions[desired.champion]})
            others = [each for each in self._observed.champions if each.desired.champion != desired.champion]
            self._write(champions=(*others, last)[-_CHAMPIONS_KEPT:])
        if problems or self._observed.problem_generation == desired.generation:
            self._write(problem="; ".join(problems), problem_generation=desired.generation)

    def _serve(self, desired: DesiredState, versions: Mapping[str, ServedVersion]) -> None:
        serving = {uri: versions[uri] for uri in desired.models}
        self._in_triton = {uri: each for uri, each in self._in_triton.items() if uri in serving}
        self._served.serve(desired, serving, self._observed.judged)
        self._judge_at = 0.0  # a stratum begins now

    def _load(self, uri: str, meant: AppliedVersion) -> ServedVersion:
        in_triton = self._repository.load(uri, meant)
        try:
            loaded = model.load(uri, in_triton.folder, in_triton)
        except Unreachable as problem:
            self._repository.unload(in_triton)
            raise Unavailable(f"{uri} cannot be served: {problem}", "its output says more") from None
        except LabError:
            self._repository.unload(in_triton)
            raise
        answerer = TritonAnswerer(loaded, self._predictor.loop, lambda: self._ended(in_triton))
        self._in_triton[uri], self._applied[uri], self._answerers[uri] = in_triton, meant, answerer
        counts = self._predictor.counts.setdefault(uri, Counts())  # it goes on counting where it was
        return ServedVersion(VersionFiles(uri, in_triton.folder), answerer, counts)

    def _unload(self, uris: Sequence[str]) -> None:
        for uri in uris:
            self._repository.unload(self._in_triton.pop(uri))

    def _ended(self, gone: TritonModel) -> None:
        """It answers nothing any more."""
        with self._lock:
            self._gone.append(gone)
        self._wake.set()

    def _refuse(self, generation: int, failed: str, why: LabError) -> None:
        """A version that cannot be served: go on with what is live, or with the last champion that can be; end when
        there is none.
        """
        instead = None if self._served.desired else self._fall_back(failed)
        problem = why
        if instead:
            problem = Failed(f"{failed} cannot be served, and {instead} serves in its place: {why.what}", why.fix)
        self._refused = generation
        self._write(problem=str(problem), problem_generation=generation)
        if self._served.desired is None:
            raise why

    def _fall_back(self, failed: str) -> str | None:
        """Serve the last champion before it that can be, in the generation in which it did; which one."""
        for each in reversed(self._observed.champions):
            [(uri, meant)] = each.versions.items()
            if uri != failed:
                try:
                    self._serve(each.desired, {uri: self._load(uri, meant)})
                except NoRoom:
                    raise
                except LabError as problem:
                    _log.warning("%s", problem)
                else:
                    return uri
        return None

    # ---- the rule ----

    def _judge(self) -> None:
        served = self._served
        if served.desired is None or not served.is_judged:
            return
        verdict = served.evaluate()
        if verdict.state == "breach" and served.desired.champion:
            _log.warning("rollback: %s broke the rule: %s", served.desired.canary, "; ".join(verdict.reasons))
            served.take_canary_off()
            # At once: a process that is started again must not give the canary its traffic back.
            self._write(convicted_generation=served.generation)

    # ---- what happened ----

    def _warn_once(self, what: str) -> None:
        """A disk may be full for hours."""
        if what != self._warned:
            self._warned = what
            _log.warning("%s", what)

    def _write(self, **more: object) -> None:
        """Write what was counted until now, and what more there is."""
        versions = {uri: counts.to_record() for uri, counts in self._predictor.counts.copy().items()}
        judged = self._served.evidence or self._observed.judged
        self._observed = replace(self._observed, versions=versions, judged=judged, **more)
        if self._observed == self._written:
            return
        try:
            state.write(self._observed, self._folder)
            self._written = self._observed
            self._warned = ""
        except (OSError, LabError) as problem:  # it costs what would be known after a restart, and nobody an answer
            self._warn_once(f"what was counted is not written down for now: {problem}")


def _without_arm(desired: DesiredState, uri: str) -> DesiredState:
    if uri == desired.canary:
        return replace(desired, canary=None, share=0.0)
    return replace(desired, others=tuple(arm for arm in desired.others if arm.model != uri))
