"""The endpoint's tie to the workspace: what its record asks for is served, and what happened is written back.

It runs on a thread of its own, so that no request waits for the disk. A version is loaded and warmed in processes of
its own, and only then are requests handed to it. A store that cannot be reached for a while changes nothing about
serving.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from ... import jobs, models, signal_records
from ...errors import Failed, LabError, StoreUnavailable
from ...store import Event, Record, Store, update
from ...train.environments import Environment
from ...uris import Uri
from .. import freeze
from ..desired_state import back_to, fallen_back, last_good, stepped, without_arm, without_canary
from ..lifecycle import rejection
from ..record import BY_ENDPOINT, DesiredState, EndpointRecord, Rollback, Verdict
from ..versions import artifact, found_bad, objection, recorded
from .fronts import Fronts
from .predictor import ServedVersion
from .served_state import ServedState

_log = logging.getLogger(__name__)
T = TypeVar("T")

POLL_S = 0.2
BEAT_S = 1.0
WRITE_S = 2.0
LOOK_AFTER_S = 1.0
# For so long a version may be without any process before another takes its place: files may be on their way back.
UNABLE_S = 5.0
# For the last counts, once a process ends: with a store that hangs they are lost, and the process is not.
CLOSE_S = 3.0


def is_named(body: EndpointRecord) -> bool:
    """Whether the record names this process's job as the one that serves; outside a job every process may."""
    return os.environ.get("AIINFRA_JOB") in (None, body.job)


class Watch:
    """Follows the record of one endpoint. `leave` is called, on this thread, when the process has to end.

    beside: what else follows the record; it is called with it at every look.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        fronts: Fronts,
        leave: Callable[[int], None],
        look_s: float = 10.0,
        beside: Callable[[EndpointRecord], None] = lambda body: None,
    ) -> None:
        self.name = name
        self.store = store
        self._fronts = fronts
        self._leave = leave
        self._look_s = look_s
        self._beside = beside
        self._served = ServedState(fronts, look_s)
        self._beat_at = self._judge_at = self._write_at = self._look_after_at = 0.0
        self._unable_since: dict[str, float] = {}
        self._logged = self._held = ""
        self._owed: Callable[[], object] | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._flushed: deque[Callable[[], None]] = deque()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self, record: Record[EndpointRecord]) -> None:
        """Go on counting where an earlier process of the same start ended, and begin to follow."""
        self._fronts.restore(record.body.versions)
        self._thread.start()

    def flush(self, done: Callable[[], None]) -> None:
        """Write what was counted until now; `done` is called, on this thread, when that was tried."""
        self._flushed.append(done)
        self._wake.set()

    def close(self, code: int) -> None:
        """Write the last counts, and that it ended: when `code` is 0, for good. At most CLOSE_S."""
        self._leave_loop()
        last = threading.Thread(target=self._write_end, args=(code,), name="last counts", daemon=True)
        last.start()
        last.join(CLOSE_S)
        if last.is_alive():
            _log.warning("the store does not answer: the last counts are not written")

    def _write_end(self, code: int) -> None:
        self._thread.join()
        try:
            now, is_asked = time.time(), not code or self._is_asked_to_end()
            self._write(lambda body: replace(body, ended_at=now, stopped_at=now if is_asked else body.stopped_at))
        except LabError as problem:
            _log.warning("%s", problem)

    def _is_asked_to_end(self) -> bool:
        """Whether somebody has asked for its end: a machine that shuts down only ends its process."""
        job = os.environ.get("AIINFRA_JOB")
        record = self.store.get(jobs.JobRecord, job) if job else None
        return record is None or jobs.stop_requested(record)

    def _run(self) -> None:
        while not self._stop.is_set():
            # Cleared before the tick, and those who wait taken too: who asks while it runs is served by the next one.
            self._wake.clear()
            if waiting := [self._flushed.popleft() for _ in range(len(self._flushed))]:
                self._judge_at = self._write_at = 0.0
            try:
                self._tick(time.monotonic())
                self._logged = ""
            except LabError as problem:
                # Once: a store may be away for hours.
                if problem.what != self._logged:
                    self._logged = problem.what
                    _log.warning("%s", problem)
            except Exception:  # noqa: BLE001  # serving on without following the record would be worse than ending
                _log.exception("the endpoint ends: it cannot follow its record")
                self._end(1)
            for done in waiting:
                done()
            self._wake.wait(POLL_S)

    def _leave_loop(self) -> None:
        self._stop.set()
        self._wake.set()

    def _end(self, code: int) -> None:
        self._leave_loop()
        self._leave(code)

    def _tick(self, now: float) -> None:
        if self._owed:
            self._owed()
            self._owed = None
        record = self.store.get(EndpointRecord, self.name)
        if record is None or not is_named(record.body):
            _log.info("another process serves this endpoint now")
            self._end(0)
            return
        if record.body.outcome:  # somebody took a process that was about to come back for one that had ended
            self._write(lambda body: replace(body, outcome="", ended_at=None))
        self._beside(record.body)
        if self._served.desired is None or record.body.generation != self._served.generation:
            self._follow(record)
            self._write_at = 0.0  # somebody may wait where it can only be read that this is served
        if now >= self._look_after_at:
            self._look_after_at = now + LOOK_AFTER_S
            self._look_after(record)
        if now >= self._beat_at:
            self._beat()
            self._beat_at = now + BEAT_S
        if now >= self._judge_at:
            self._judge()
            self._judge_at = time.monotonic() + self._look_s  # not `now`: a version may have been loaded since
        if now >= self._write_at:
            self._write_at = now + WRITE_S  # first: a database that takes no writes is not asked at every tick
            self._write()

    def _beat(self) -> None:
        jobs.beat()
        self._served.sample()

    # ---- what is to be served ----

    def _follow(self, record: Record[EndpointRecord]) -> None:
        desired, before = record.body.desired, self._served.desired
        versions = {uri: self._served.versions[uri] for uri in desired.models if uri in self._served.versions}
        loaded: list[ServedVersion] = []
        folders: dict[str, Path] = {}
        uri = ""
        try:
            # All files before any process: a store that goes away in between would have them loaded again and again.
            for uri in desired.models:
                if uri not in versions:
                    folders[uri] = artifact(uri)
            for uri, folder in folders.items():
                versions[uri] = self._load(uri, folder)
                loaded.append(versions[uri])
        except StoreUnavailable:
            raise  # says nothing about the version: it is tried again
        except LabError as problem:
            self._served.retire(loaded)
            self._reject(record, uri, problem)
            return
        if self._served.desired is not before:
            self._served.retire(loaded)
            return  # a rollback meanwhile: the record is read again, and says more
        self._served.serve(desired, versions, record.body.judged)
        self._judge_at = 0.0  # a stratum begins now

    def _load(self, uri: str, folder: Path) -> ServedVersion:
        """Have it loaded in processes of its own; what is served meanwhile is judged, and lives on."""
        if environment := Environment.of(folder):
            self._build(uri, environment)
        opened: Future[ServedVersion | LabError] = Future()
        self._fronts.open(uri, folder, recorded(uri), opened.set_result)
        found = self._awaited(opened)
        if isinstance(found, LabError):
            raise found
        return found

    def _build(self, uri: str, environment: Environment) -> None:
        """Have the environment of a version built, unless it is there. Failed when it cannot be."""
        if environment.is_built:
            return
        _log.info("%s needs %s: its environment is built", uri, environment.names)
        built: Future[None] = Future()

        def build() -> None:
            try:
                environment.build()
                built.set_result(None)
            except LabError as problem:
                built.set_exception(problem)
            except Exception as problem:  # noqa: BLE001  # whoever waits for it must not wait for ever
                _log.exception("the environment of %s cannot be built", uri)
                built.set_exception(Failed(f"the environment of {uri} cannot be built: {problem!r}", "look at the log"))

        threading.Thread(target=build, name="build", daemon=True).start()
        self._awaited(built)

    def _awaited(self, future: Future[T]) -> T:
        """What it gives. What is served meanwhile is judged, and lives on."""
        while not self._stop.is_set():
            with contextlib.suppress(FutureTimeout):
                return future.result(BEAT_S)
            self._beat()
            self._judge()
        raise StoreUnavailable("the endpoint ends", "start it again")

    def _reject(self, record: Record[EndpointRecord], failed: str, problem: LabError) -> None:
        """A version that cannot be served: go on with what is live, or what was last; end when nothing can be."""
        _log.warning("%s", problem)
        live, desired = self._served.desired, record.body.desired
        if live is not None:
            event = rejection(self._uri, desired, live, problem)
            self._change(lambda body: back_to(body, live, str(problem)), event, desired.generation)
        elif desired.champion and failed != desired.champion:
            self._drop(record, failed, problem)
        elif not self._fall_back(record, failed, problem):
            self._set_problem(str(problem), desired.generation)
            self._end(1)

    def _drop(self, record: Record[EndpointRecord], failed: str, problem: LabError) -> None:
        """Serve without an arm that the champion can do without."""
        kept = [uri for uri in record.body.desired.models if uri != failed]
        detail = {"reason": problem.what, "by": BY_ENDPOINT, "kept": kept}
        event = Event("deploy rollback", self._uri, (failed,), (self._uri,), detail)
        self._change(partial(without_arm, failed=failed, problem=problem), event, record.body.generation)

    def _fall_back(self, record: Record[EndpointRecord], failed: str, problem: LabError) -> bool:
        """Serve the last champion before the one that failed that can be; whether there is one."""
        for uri in last_good(record.body, failed):
            try:
                if found_bad(uri) or uri in self._served.problems:
                    continue
                loaded = self._served.versions.get(uri) or self._load(uri, artifact(uri))
            except StoreUnavailable:
                raise
            except LabError as another:
                _log.warning("%s", another)
                continue
            self._served.versions = {**self._served.versions, uri: loaded}
            _log.warning("%s serves in place of %s", uri, failed)
            detail = {"reason": problem.what, "by": BY_ENDPOINT, "kept": [uri]}
            event = Event("deploy rollback", self._uri, (failed,), (self._uri,), detail)
            fall_back = partial(fallen_back, model=uri, failed=failed, problem=problem)
            self._change(fall_back, event, record.body.generation)
            return True
        return False

    def _look_after(self, record: Record[EndpointRecord]) -> None:
        """Do without a version whose processes are gone and cannot be made again, once that has lasted."""
        if record.body.generation != self._served.generation:
            return  # what is served is about to change, or was just now
        now, problems = time.monotonic(), self._served.problems
        self._unable_since = {uri: self._unable_since.get(uri, now) for uri in problems}
        for uri, problem in problems.items():
            if now < self._unable_since[uri] + UNABLE_S:
                continue
            self._unable_since[uri] = now  # where nothing helps it is tried no more often than that
            if uri != (record.body.champion or uri):
                self._drop(record, uri, problem)
                return
            if self._fall_back(record, uri, problem):
                return
            what = f"{uri} answers nothing, and no earlier champion can take its place: {problem.what}"
            self._set_problem(str(Failed(what, problem.fix)), record.body.generation)
        if record.body.is_unable and not problems:
            self._set_problem(None, None)

    def _set_problem(self, problem: str | None, generation: int | None) -> None:
        self._write(lambda body: replace(body, problem=problem, problem_generation=generation))

    # ---- the rule ----

    def _judge(self) -> None:
        live = self._served.desired
        if live is None or live.canary is None or not self._served.is_judged:
            return
        verdict = self._served.evaluate()
        # Without a champion nobody could take the traffic: then the breach is only shown.
        if verdict.state == "breach" and live.champion is not None:
            self._roll_back(live, live.canary, verdict)
        elif verdict.state == "ok" and self._may_step(live, live.canary):
            self._step(live, live.canary)

    def _may_step(self, live: DesiredState, canary: str) -> bool:
        """Whether a canary that was shown to be not worse is due for its next share; what holds it up is said once."""
        if not (live.champion and live.steps and time.time() >= live.step_at + live.bake_s):
            return False
        try:
            end = freeze.frozen_until()
            held = f"frozen until {end:%a %Y-%m-%d %H:%M}" if end else ""
            problem = objection(canary) if live.steps[0] >= 1 and not held else None
            held = problem.what if problem else held
        except LabError as problem:  # a window that nobody can read may be one of this moment
            held = problem.what
        if held and held != self._held:
            _log.warning("the next step of %s waits: %s", canary, held)
        self._held = held
        return not held

    def _step(self, live: DesiredState, canary: str) -> None:
        """Give a canary that was shown to be not worse its next share, and in the end all traffic and the alias."""
        share = live.steps[0]
        verb = "deploy promote" if share >= 1 else "deploy start"
        detail = {"canary": canary, "share": share, "by": "steps"}
        is_current = self._change(stepped, Event(verb, self._uri, (canary,), (self._uri,), detail), live.generation)
        if share < 1 or not is_current:
            return
        try:
            models.promote(canary)
        except LabError as problem:
            what = f"{canary} has all traffic, but not the alias: {problem.what}"
            _log.warning("%s", what)
            with contextlib.suppress(LabError):
                signal_records.send(self.store, self._uri, what, problem.fix)

    def _roll_back(self, live: DesiredState, canary: str, verdict: Verdict) -> None:
        """Take the canary's traffic away at once, then write down that and why."""
        self._served.take_canary_off()
        reason = "; ".join(verdict.reasons)
        _log.warning("rollback: %s broke the rule: %s", canary, reason)
        why = Rollback(canary, reason, time.time(), "rule")
        detail = {"reason": reason, "by": "rule", "rule": str(live.rollback_if), "kept": live.champion}
        event = Event("deploy rollback", self._uri, inputs=(canary,), outputs=(self._uri,), detail=detail)
        # Should the store be out of reach now, it is tried again until it is written.
        self._owed = lambda: self._change(lambda body: without_canary(body, why), event, live.generation)
        self._owed()
        self._owed = None
        with contextlib.suppress(LabError):  # the record and its event say it too
            signal_records.send(self.store, self._uri, str(why), f"look: `%deploy show {self.name}`")

    def _change(self, change: Callable[[EndpointRecord], EndpointRecord], event: Event, generation: int) -> bool:
        """Change what is to be served, unless somebody has asked for something else meanwhile; whether it was."""
        is_current = False

        def changed(body: EndpointRecord) -> EndpointRecord | None:
            nonlocal is_current
            is_current = body.generation == generation
            return change(body) if is_current else None

        record = update(self.store, EndpointRecord, self.name, changed, event)
        if is_current:
            self._follow(record)
        else:
            _log.info("somebody has asked for something else meanwhile")
        return is_current

    # ---- what happened ----

    @property
    def _uri(self) -> str:
        return str(Uri(EndpointRecord.kind, self.name))

    def _write(self, more: Callable[[EndpointRecord], EndpointRecord] = lambda body: body) -> None:
        """Write counts and verdict into the record when they changed, and what more there is."""

        # Another process may have taken this one's place: then the counts are its own.
        def changed(body: EndpointRecord) -> EndpointRecord | None:
            new = more(self._observed(body))
            return new if is_named(body) and new != body else None

        update(self.store, EndpointRecord, self.name, changed)

    def _observed(self, body: EndpointRecord) -> EndpointRecord:
        """The record with what was counted until now."""
        fronts, served = self._fronts, self._served
        versions = {uri: counts.to_record() for uri, counts in fronts.counts.copy().items()}
        lost, generation = fronts.log_lost, served.generation
        body = replace(body.with_counts(versions), log_lost_rows=lost, served_generation=generation)
        return replace(body, judged=served.evidence, verdict=served.verdict) if served.evidence else body
