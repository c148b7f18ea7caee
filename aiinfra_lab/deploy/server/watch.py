"""The endpoint's tie to the workspace: what its record orders is done, and what happened is written back.

It runs on a thread of its own, so that no request waits for the disk. A version is loaded and warmed here, aside, and
only then handed to the event loop. A store that cannot be reached for a while changes nothing about serving.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from ... import jobs
from ...errors import LabError
from ...stats.bounds import Judgement, parse_rule
from ...store import Event, Loose, Record, Store, update
from ..orders import KIND, Traffic
from ..versions import artifact
from . import model
from .counts import Counts
from .endpoint import Endpoint, Routes, Version
from .judge import Judge

_log = logging.getLogger(__name__)

POLL_S = 0.2
JUDGE_S = 1.0
WRITE_S = 2.0


def is_named(body: Loose) -> bool:
    """Whether the record names this process's job as the one that serves; outside a job every process may."""
    job = os.environ.get("AIINFRA_JOB")
    return job is None or bool(body["job"] == job)


class Watch:
    """Follows the record of one endpoint. `leave` is called, on this thread, when the process has to end."""

    def __init__(self, name: str, store: Store, endpoint: Endpoint, leave: Callable[[int], None]) -> None:
        self.name = name
        self.store = store
        self.endpoint = endpoint
        self._leave = leave
        self._versions: dict[str, Version] = {}
        self._live: Traffic | None = None
        self._judge_at = self._write_at = 0.0
        self._written: Loose = {}
        self._owed: Callable[[], None] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self, record: Record) -> None:
        """Go on counting where an earlier process of the same start ended, and begin to follow."""
        for uri, body in record.body["versions"].items():
            self.endpoint.counts[uri] = Counts.from_body(body)
        self._thread.start()

    def close(self, code: int) -> None:
        """Write the last counts, and that it ended: when `code` is 0, because it was told to."""
        self._stop.set()
        self._thread.join()
        try:
            self._write(ended_at=time.time(), **({} if code else {"stopped_at": time.time()}))
        except LabError as problem:
            _log.warning("%s", problem)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._tick(time.monotonic())
            except LabError as problem:
                _log.warning("%s", problem)
            except Exception:  # noqa: BLE001  # serving on without following the record would be worse than ending
                _log.exception("the endpoint ends: it cannot follow its record")
                self._end(1)
            self._stop.wait(POLL_S)

    def _end(self, code: int) -> None:
        self._stop.set()
        self._leave(code)

    def _tick(self, now: float) -> None:
        if self._owed:
            self._owed()
            self._owed = None
        record = self.store.get(KIND, self.name)
        if record is None or not is_named(record.body):
            _log.info("another process serves this endpoint now")
            self._end(0)
            return
        if self._live is None or record.body["generation"] != self._live.generation:
            self._follow(record)
        if now >= self._judge_at:
            jobs.beat()
            self._judge()
            # Judging many requests takes a while: it may take a twentieth of the time, not more.
            self._judge_at = now + max(JUDGE_S, 20 * (time.monotonic() - now))
        if now >= self._write_at:
            self._write()
            self._write_at = now + WRITE_S

    # ---- the record's orders ----

    def _follow(self, record: Record) -> None:
        traffic = Traffic.of(record.body)
        try:
            versions = {uri: self._versions.get(uri) or self._load(uri) for uri in traffic.uris}
        except LabError as problem:
            self._reject(traffic, problem)
            return
        routes = Routes(
            champion=versions.get(traffic.champion or ""),
            canary=versions.get(traffic.canary or ""),
            share=traffic.share,
            salt=traffic.salt,
            generation=traffic.generation,
            judge=self._judge_for(traffic, record.body.get("judged")),
        )
        self._versions, self._live = versions, traffic
        gc.freeze()  # what lives now lives long: no collection looks at it again
        self.endpoint.loop.call_soon_threadsafe(self._switch, routes)

    def _switch(self, routes: Routes) -> None:
        self.endpoint.routes = routes

    def _load(self, uri: str) -> Version:
        return self.endpoint.version(model.load(uri, artifact(uri)))

    def _judge_for(self, traffic: Traffic, earlier: Loose | None) -> Judge | None:
        """The judge of this canary under this rule: the same as before while both and the salt stay the same."""
        if not traffic.rollback_if or not traffic.canary:
            return None
        running = self.endpoint.routes.judge
        if running and self._live and self._live.judged == traffic.judged:
            return running
        rule = parse_rule(traffic.rollback_if)
        return Judge.from_body(rule, earlier) if earlier and earlier["of"] == traffic.judged else Judge(rule)

    def _reject(self, traffic: Traffic, problem: LabError) -> None:
        """A version that cannot be served: go on with what is live, or end when nothing is."""
        _log.warning("%s", problem)
        live = self._live
        if live is None:
            self._write(problem=str(problem), problem_generation=traffic.generation)
            self._end(1)
            return
        self._order(
            lambda body: {**_back_to(live, body), "problem": str(problem), "problem_generation": traffic.generation},
            Event(
                "deploy rollback",
                f"deploy:{self.name}",
                inputs=tuple(traffic.uris),
                outputs=(f"deploy:{self.name}",),
                detail={"reason": problem.what, "by": "the endpoint", "kept": live.uris},
            ),
            traffic.generation,
        )

    # ---- the rule ----

    def _judge(self) -> None:
        judge, live = self.endpoint.routes.judge, self._live
        if judge is None or live is None or live.canary is None:
            return
        said = judge.look()
        if said.verdict == "breach" and live.champion is not None:
            self._roll_back(live, said)

    def _roll_back(self, live: Traffic, said: Judgement) -> None:
        """Take the canary's traffic away at once, then write down that and why."""
        routes = self.endpoint.routes
        safe = Routes(champion=routes.champion, generation=routes.generation)
        self.endpoint.loop.call_soon_threadsafe(self._switch, safe)
        reason = "; ".join(said.reasons)
        _log.warning("rollback: %s broke the rule: %s", live.canary, reason)
        told = {"model": live.canary, "reason": reason, "at": time.time(), "by": "rule"}
        # Should the store be out of reach now, it is tried again until it is written.
        self._owed = lambda: self._order(
            lambda _: {"canary": None, "share": 0.0, "rolled_back": told, "judged": None},
            Event(
                "deploy rollback",
                f"deploy:{self.name}",
                inputs=(str(live.canary),),
                outputs=(f"deploy:{self.name}",),
                detail={"reason": reason, "by": "rule", "rule": live.rollback_if, "kept": live.champion},
            ),
            live.generation,
        )
        self._owed()
        self._owed = None

    def _order(self, changes: Callable[[Loose], Loose], event: Event, generation: int) -> None:
        """Change what the record orders, unless somebody ordered something else meanwhile."""

        def change(body: Loose) -> Loose:
            if body["generation"] != generation:
                raise _Overtaken
            return {**body, **changes(body), "generation": generation + 1}

        try:
            self._follow(update(self.store, KIND, self.name, change, event))
        except _Overtaken:
            _log.info("somebody ordered something else meanwhile")

    # ---- what happened ----

    def _write(self, **more: Any) -> None:
        """Write counts and verdict into the record when they changed."""
        state = {**self._state(), **more}
        if state == self._written:
            return
        update(self.store, KIND, self.name, lambda body: {**body, **state} if is_named(body) else body)
        self._written = state

    def _state(self) -> Loose:
        endpoint, live = self.endpoint, self._live
        versions = {uri: counts.to_body() for uri, counts in endpoint.counts.copy().items()}
        state: Loose = {
            "versions": versions,
            "count": sum(counts["rows"] for counts in versions.values()),
            "log_lost_rows": endpoint.log.lost,
        }
        if (judge := endpoint.routes.judge) and live:
            state["judged"] = {"of": live.judged, **judge.to_body()}
            state["verdict"] = {"state": judge.said.verdict, "reasons": list(judge.said.reasons)}
        return state


class _Overtaken(Exception):
    """The record orders something else by now."""


def _back_to(traffic: Traffic, body: Loose) -> Loose:
    """What makes a body order the traffic that is live again."""
    live = {name: getattr(traffic, name) for name in Traffic.__dataclass_fields__ if name != "generation"}
    earlier = body["earlier"]
    return {**live, "earlier": earlier[:-1] if earlier[-1:] == [traffic.champion] else earlier}
