"""Talking to an endpoint over HTTP from verbs: one question at a time. No proxy is asked: the address is loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from ..errors import Failed, Unavailable


def ask(url: str, path: str, body: object = None, timeout_s: float = 10.0) -> tuple[int, Any]:
    """Status and JSON of one answer. Unavailable when nobody answers in time."""
    connection = http.client.HTTPConnection(str(urlsplit(url).netloc), timeout=timeout_s)
    try:
        data = None if body is None else json.dumps(body, allow_nan=False)
        connection.request("GET" if body is None else "POST", path, data)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException) as problem:
        raise Unavailable(f"{url} does not answer: {problem}", "look with `%deploy show NAME`") from None
    finally:
        connection.close()


def readiness(url: str) -> dict[str, Any] | None:
    """What the endpoint says of its readiness; None when nobody answers."""
    return _quietly(url, "/readyz")


def status(url: str) -> dict[str, Any] | None:
    """Everything the endpoint says of itself; None when nobody answers."""
    return _quietly(url, "/status")


def predict(url: str, rows: list[dict[str, Any]], key: str | None = None) -> list[dict[str, Any]]:
    """The predictions for these rows. Failed with row and column when the endpoint refuses one."""
    code, answer = ask(url, "/predict", {"rows": rows} | ({} if key is None else {"key": key}))
    if "error" in answer:
        error = answer["error"]
        where = f"row {error['row']}, column {error['column']}: " if error.get("column") else ""
        raise Failed(f"the endpoint refused the rows ({code}): {where}{error['what']}", "correct the rows")
    predictions: list[dict[str, Any]] = answer["predictions"]
    return predictions


def _quietly(url: str, path: str) -> dict[str, Any] | None:
    if url:
        with contextlib.suppress(Unavailable, ValueError):
            answer: dict[str, Any] = ask(url, path, timeout_s=2.0)[1]
            return answer
    return None
