"""Another package's target for endpoints: a cloud that knows no job, no process of ours, and none of our records.

It lives as long as the process. What it serves scores every row by its version's number. It comes up at the second
question, counts nothing, and keeps no log.
"""

import itertools
import json
import random
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiinfra_lab.config import Settings
from aiinfra_lab.deploy.base import Claim, Serving, State, artifact
from aiinfra_lab.deploy.record import DesiredState
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
        is_canary = zlib.crc32(text.encode()) / 2**32 < self.served.canary_share
        return str(self.served.canary if is_canary else self.served.champion)

    def catch_up(self) -> None:
        """Serve what is wanted, at the second question about it."""
        self.questions += 1
        if self.desired.generation in (self.served.generation, self.problem_generation) or self.questions % 2:
            return
        try:
            for uri in self.desired.models:
                artifact(uri)
            self.served = self.desired
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
