"""Another package's target for endpoints: a cloud that knows no job, no process of ours, and none of our records.

It lives as long as the process. What it serves scores every row by its version's number. It comes up at the second
question. `Far` counts nothing and keeps no log, `Counting` does both.
"""

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from aiinfra_lab.config import Settings
from aiinfra_lab.deploy.base import Claim, Report, Serving, State, artifact
from aiinfra_lab.deploy.record import DesiredState, Verdict, VersionCounts
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
        model = self.server.service.choose()  # type: ignore[attr-defined]
        score = float(model.rpartition("@")[2]) / 10
        self.server.service.log(model, rows, score)  # type: ignore[attr-defined]
        found = [{"row_id": row.get("row_id", "0"), "score": score} for row in rows]
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
    predictions: list[dict[str, Any]] = field(default_factory=list)
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.service = self  # type: ignore[attr-defined]
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/endpoints/one"

    def choose(self) -> str:
        is_canary = random.random() < self.served.canary_share
        return str(self.served.canary if is_canary else self.served.champion)

    def log(self, model: str, rows: list[dict[str, Any]], score: float) -> None:
        for row in rows:
            line = {"at": time.time(), "request_id": "r", "row_id": row.get("row_id", "0"), "model": model}
            inputs = {name: value for name, value in row.items() if name != "row_id"}
            canary = model == self.served.canary
            self.predictions.append({**line, "canary": canary, "latency_ms": 1.0, "inputs": inputs, "score": score})

    def break_rule(self) -> None:
        """The cloud takes the canary's traffic away, as its rule says."""
        self.served = msgspec.structs.replace(self.served, canary=None, share=0.0)
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


class Counting(Far):
    """See `Reporting` and `PredictionLog`. Nothing of it lies where the workspace is."""

    def report(self, claim: str) -> Report | None:
        service = CLOUD[claim]
        counts = Counter(line["model"] for line in service.predictions)
        versions = {model: VersionCounts(count, count, 0, 0, float(count)) for model, count in counts.items()}
        return Report(versions, service.served.canary_share, service.verdict, sum(counts.values()))

    def predictions(self, claim: str, log_dir: str, rows: int) -> Sequence[Mapping[str, Any]]:
        return CLOUD[claim].predictions[::-1][:rows] if claim in CLOUD else []
