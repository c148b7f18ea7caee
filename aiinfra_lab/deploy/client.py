"""Talking to an endpoint over HTTP from verbs, one request at a time. No proxy is used."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ..errors import Failed, Unavailable, UsageProblem
from .base import Report
from .record import Verdict, VersionCounts

# A look must not hang on an endpoint that does: `Target.serving` promises an answer within this.
QUICK_S = 2.0
FLUSH_S = 15.0
# What our server takes in one request, with room for what stands around the rows. One that takes less says so.
MOST_ROWS = 4096
ROOM_BYTES = 4096
MOST_BYTES = (1 << 20) - ROOM_BYTES
_CONNECTIONS: dict[str, type[http.client.HTTPConnection]] = {
    "http": http.client.HTTPConnection,
    "https": http.client.HTTPSConnection,
}


def ask(url: str, path: str, body: object = None, timeout_s: float = 10.0) -> tuple[int, Any]:
    """Status and JSON of one answer. Unavailable when none comes in time, or none that is JSON."""
    parts = urlsplit(url)
    connect = _CONNECTIONS.get(parts.scheme)
    if connect is None:
        raise Unavailable(
            f"the endpoint has no address that can be asked from here ({url!r})", "look with `%deploy show NAME`"
        )
    data = None if body is None else _json(body)
    # http.client knows no proxy settings: an address of this machine must never be sent to one.
    connection = connect(parts.netloc, timeout=timeout_s)
    try:
        # An endpoint elsewhere may answer below a path of its server.
        connection.request("GET" if body is None else "POST", parts.path.rstrip("/") + path, data)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as problem:
        raise Unavailable(f"{url} does not answer: {problem}", "look with `%deploy show NAME`") from None
    finally:
        connection.close()


def _json(value: object) -> str:
    """UsageProblem for what JSON does not have: NaN and Infinity, which Python would write all the same, and dates."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError as problem:
        fix = "put None where a value is missing or infinite"
        raise UsageProblem(f"a row cannot be sent: {problem}", fix) from None
    except TypeError as problem:
        fix = "give texts, numbers, True, False or None, and names that are texts: of a date its text, by `str`"
        raise UsageProblem(f"a row cannot be sent: {problem}", fix) from None


_OF_REPORT = {"versions", "canary_share", "generation", "verdict"}


def readiness(url: str) -> dict[str, Any] | None:
    """What our server reports of its readiness; None when nobody answers, and nothing when somebody else does."""
    answer = _quietly(url, "/readyz")
    return answer if isinstance(answer, dict) or answer is None else {}


def served(url: str, claim: str) -> tuple[str, int]:
    """Where our server can be asked, and the generation that it serves; nothing of one that serves another claim."""
    ready = readiness(url)
    if ready is None:
        return url, 0
    # Somebody else may have been given its port. A server that 0.1.0 started, and that serves on, names no claim.
    is_itself = ready.get("claim", claim) == claim and {"ready", "generation"} <= ready.keys()
    return (url, int(ready["generation"]) if ready["ready"] else 0) if is_itself else ("", 0)


def report(url: str, claim: str) -> Report | None:
    """What our server has counted; None when it does not answer, or one that serves another claim does."""
    status = _quietly(url, "/status")
    # A server that 0.1.0 started, and that serves on, names no claim.
    if not isinstance(status, dict) or status.get("claim", claim) != claim or not status.keys() >= _OF_REPORT:
        return None
    verdict = status["verdict"]
    return Report(
        versions=msgspec.convert(status["versions"], dict[str, VersionCounts]),
        canary_share=status["canary_share"],
        generation=status["generation"],
        verdict=_verdict(verdict) if verdict else None,
        requests=verdict["requests"] if verdict else 0,
        unanswered=verdict.get("unanswered", 0) if verdict else 0,  # an endpoint may run since an earlier version
        log_lost_rows=status["log_lost_rows"],
    )


def _verdict(said: dict[str, Any]) -> Verdict:
    # An endpoint that an earlier version started states fewer numbers.
    stated = {name: said[name] for name in Verdict.__struct_fields__ if name in said}
    return msgspec.convert(stated, Verdict)


def flush(url: str) -> None:
    """Have our server write what it has logged and counted so far; without effect when it does not answer."""
    # On a busy machine that takes a while, and who reads the log must find what was answered.
    _quietly(url, "/flush", {}, FLUSH_S)


def predict(url: str, rows: Sequence[dict[str, Any]], key: str | None = None) -> list[dict[str, Any]]:
    """The predictions for these rows, in as many requests as they need.

    Failed with row and column when the endpoint refuses one, what came before it is counted all the same.
    """
    found: list[dict[str, Any]] = []
    sizes, most = [len(_json(row)) + 2 for row in rows], MOST_BYTES
    while True:
        upto = _upto(sizes, len(found), most)
        code, answer = ask(url, "/predict", {"rows": rows[len(found) : upto]} | ({} if key is None else {"key": key}))
        if code == 413 and upto > len(found) + 1:
            taken = answer["error"].get("most_bytes", 0) - ROOM_BYTES
            most = taken if 0 < taken < most else most // 2
            continue
        if "error" in answer:
            raise _refused(code, answer["error"], len(found))
        found += answer["predictions"]
        if len(found) >= len(rows):
            return found


def _refused(code: int, error: dict[str, Any], before: int) -> Failed:
    row = "" if error.get("row") is None else f"row {before + error['row']}"
    column = f"{row}, column {error['column']}: " if error.get("column") else row and f"{row}: "
    fix = "let its endpoint take longer ones: `deploy.body_mib`" if code == 413 else "correct the rows"
    return Failed(f"the endpoint refused the rows ({code}): {column}{error['what']}", fix)


def _upto(sizes: Sequence[int], start: int, most: int) -> int:
    """Where a request that begins with that row ends; a row that is too long alone is the endpoint's to refuse."""
    size, at = 0, start
    while at < len(sizes) and at - start < MOST_ROWS and (at == start or size + sizes[at] <= most):
        size += sizes[at]
        at += 1
    return at


def _quietly(url: str, path: str, body: object = None, timeout_s: float = QUICK_S) -> Any:
    if url:
        with contextlib.suppress(Unavailable):
            return ask(url, path, body, timeout_s)[1]
    return None
