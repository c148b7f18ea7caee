"""What a refusal is written as, and in the endpoint's log: one short line each, and few, whatever clients send."""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec

from .messages import FormName

EVERY_S = 1.0
_MOST_PATH, _MOST_BODY = 80, 300

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


def form_of(path: bytes) -> FormName:
    """In which form that path's refusals are, whatever asks there: the Open Inference Protocol has one of its own."""
    return "tensors" if (path.partition(b"?")[0] + b"/").startswith(b"/v2/") else "json"


def written(form: FormName, what: str, **more: Any) -> bytes:
    """A refusal's JSON. more: what else is known of it, where the form has a place for that."""
    return _encode({"error": what if form == "tensors" else {**more, "what": what}})


class RefusalLog:
    """At most one line of each status in EVERY_S; it says how many there were since the one before."""

    def __init__(self) -> None:
        self._written: dict[int, tuple[float, int]] = {}

    def add(self, status: int, method: bytes, path: bytes, answer: bytes) -> None:
        """Log an answer, or count it for the next line."""
        now = time.monotonic()
        at, since = self._written.get(status, (now - EVERY_S, 0))
        if now - at < EVERY_S:
            self._written[status] = (at, since + 1)
            return
        self._written[status] = (now, 0)
        more = f" (and {since} more before)" if since else ""
        level = logging.WARNING if status >= 500 else logging.INFO
        _log.log(level, "%d %s: %s%s", status, _line(method + b" " + path, _MOST_PATH), _line(answer, _MOST_BODY), more)


def _line(text: bytes, most: int) -> str:
    """The beginning of it as ASCII: no line end, and nothing that a terminal takes for a command."""
    return ascii(text[:most].decode("utf-8", "replace"))[1:-1] + ("..." if len(text) > most else "")
