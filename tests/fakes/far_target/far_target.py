"""Another package's target for endpoints: a cloud that knows no job, no process of ours, and none of our records.

It lives as long as the process. What it serves scores every row by its version's number, and it comes up at the second
question. `Far` counts nothing and keeps no log; `FarCounting` does both, in the cloud's own memory.
"""

import itertools
import json
import random
import threading
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from msgspec.structs import replace

from aiinfra_lab.config import Settings
from aiinfra_lab.deploy.base import Claim, PredictedRow, Report, Role, Serving, State, artifact
from aiinfra_lab.deploy.record import DesiredState, MeasuredLatency, Verdict, VersionCounts
from aiinfra_lab.errors import LabError, UsageProblem

CLOUD: dict[str, "Service"] = {}
_numbers = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        rows = body["rows"]
        if not isinstance(rows, list):
            self.answer(422, {"error": {"what": "rows must be a list"}})
            return
        model = self.server.service.choose(body.get("key"))  # type: ignore[attr-defined]
        score = float(model.rpartition("@")[2]) / 10
        found = [{"row_id": row.pop("row_id", "0"), "score": score} for row in rows]
        self.server.service.count(model, [(item["row_id"], row) for item, row in zip(found, rows, strict=True)], score)  # type: ignore[attr-defined]
        self.answer(200, {"request_id": "r", "model": model, "predictions": found})

    def answer(self, status: int, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words: object) -> None:
        self.server.service.lines.append(self.path)  # type: ignore[attr-defined]


@dataclass
class Service:
    """One endpoint in the cloud."""

    desired: DesiredState
    served: DesiredState = field(default_factory=DesiredState)
    problem: str = ""
    problem_generation: int = 0
    questions: int = 0
    is_up: bool = True
    lines: list[str] = field(default_factory=list)
    counts: dict[str, VersionCounts] = field(default_factory=dict)
    rows: list[PredictedRow] = field(default_factory=list)
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.service = self  # type: ignore[attr-defined]
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/endpoints/one"

    def choose(self, key: object) -> str:
        """The version that answers requests with that key."""
        text = f"{self.served.salt}{random.random() if key is None else key}"
        place = zlib.crc32(text.encode()) / 2**32
        for arm in sorted(self.served.arms, key=lambda arm: ("canary", "champion", "candidate").index(arm.role)):
            place -= arm.share
            if place < 0:
                break
        return arm.model

    def count(self, model: str, rows: list[tuple[str, dict[str, object]]], score: float) -> None:
        """Count a request and log its rows, before it is answered. A rule takes any canary off that was asked."""
        before = self.counts.get(model, VersionCounts())
        busy_ms = before.busy_ms + len(rows)
        latency = MeasuredLatency("the cloud's balancer over the last hour", 1.0, 2.5)
        self.counts[model] = VersionCounts(
            before.requests + 1, before.rows + len(rows), busy_ms=busy_ms, latency=latency
        )
        is_canary = model == self.served.canary
        arm: Role = "canary" if is_canary else "champion"
        for row_id, inputs in rows:
            self.rows.append(
                PredictedRow(
                    at=time.time(), request_id="r", row_id=row_id, model=model, arm=arm,
                    latency_ms=1.0, inputs=inputs, outputs={"score": score},
                )
            )  # fmt: skip
        if is_canary and self.served.rollback_if and self.served.champion:
            self.break_rule()

    def break_rule(self) -> None:
        """The cloud takes the canary's traffic away, as its rule says."""
        self.served = replace(self.served, canary=None, share=0.0)
        self.verdict = Verdict("breach", ("errors are 9 %, above 1 %",))

    def catch_up(self) -> None:
        """Serve what is wanted, at the second question about it."""
        self.questions += 1
        if self.desired.generation in (self.served.generation, self.problem_generation) or self.questions % 2:
            return
        try:
            for uri in self.desired.models:
                artifact(uri)
            self.served, self.verdict = self.desired, None
        except LabError as problem:
            self.problem, self.problem_generation = str(problem), self.desired.generation

    def end(self) -> None:
        self.is_up = False
        self.http.shutdown()
        self.http.server_close()


class Far:
    """See `Target`."""

    def __init__(self, where: Settings) -> None:
        self.where = where

    def claim(self, name: str, port: int | None) -> Claim:
        if port is not None:
            raise UsageProblem("the far cloud chooses its own port", "leave --port out")
        return Claim(f"far-{name}-{next(_numbers)}")

    def apply(self, claim: str, desired: DesiredState) -> None:
        if desired.share > 0.9:
            raise UsageProblem("the far cloud gives a canary at most 90 %", "give it less")
        if claim not in CLOUD:
            CLOUD[claim] = Service(desired)
        CLOUD[claim].desired = desired

    def observe(self, claims: Sequence[str]) -> Mapping[str, State]:
        return {
            claim: State("running" if CLOUD[claim].is_up else "stopped") if claim in CLOUD else State("lost")
            for claim in claims
        }

    def serving(self, claim: str) -> Serving:
        service = CLOUD.get(claim)
        if service is None or not service.is_up:
            return Serving()
        service.catch_up()
        return Serving(service.url, service.served.generation, service.problem, service.problem_generation)

    def stop(self, claim: str, timeout_s: float) -> None:
        if claim in CLOUD and CLOUD[claim].is_up:
            CLOUD[claim].end()

    def output(self, claim: str, lines: int) -> str:
        return "\n".join(CLOUD[claim].lines[-lines:]) if claim in CLOUD else ""


class FarCounting(Far):
    """See `Reporting`, `PredictionLog`, `ServingOthers` and `Paced`. Nothing of it lies where the workspace is."""

    def ready_within_s(self) -> float:
        return 60.0

    def ended_within_s(self) -> float:
        return 5.0

    def other_roles(self) -> Collection[Role]:
        return ("candidate",)

    def report(self, claim: str) -> Report | None:
        service = CLOUD.get(claim)
        if service is None or not service.is_up:
            return None
        judged = sum(counts.requests for counts in service.counts.values())
        served = service.served
        return Report(dict(service.counts), served.canary_share, served.generation, service.verdict, judged)

    def predictions(self, claim: str, log_dir: str, rows: int) -> Sequence[PredictedRow]:
        return CLOUD[claim].rows[::-1][:rows] if claim in CLOUD else []
