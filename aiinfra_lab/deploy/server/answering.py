"""What a model's process does with a batch of requests: read, predict, answer, and write the lines for the log.

A request that breaks the contract is refused alone. A batch that makes the model raise is halved until the rows are
found that do it: only they get the error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .messages import RawRequest, Reply
from .model import LoadedModel
from .predictions_log import Line
from .rows import Parsed, Refusal, open_envelope

NOT_FINITE = "the model gave a number that is not finite"
# Of a batch whose rows all make the model raise: twice as many runs as rows would take too long.
MOST_RUNS = 128

_encoder = msgspec.json.Encoder()
_anything = msgspec.json.Decoder()


class Predictions(msgspec.Struct):
    """The answer to a request: of each row its id and its outputs, all of them null with `error` where it got none."""

    request_id: str
    model: str
    predictions: list[dict[str, Any]]


class Answering:
    """Answers requests by one model."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._runs = 0

    def answer(self, calls: Sequence[RawRequest]) -> list[Reply]:
        """Each request's reply, in their order."""
        found = [self._read(raw) for raw in calls]
        rows = [values for parsed in found if isinstance(parsed, Parsed) for values in parsed.values]
        self._runs = 0
        answers = self._predict(rows) if rows else []
        replies, at = [], 0
        for raw, parsed in zip(calls, found, strict=True):
            if isinstance(parsed, Refusal):
                replies.append(Reply(parsed.status, parsed.body()))
                continue
            upto = at + len(parsed.ids)
            replies.append(reply(raw, self._model.uri, self._model.signature.answered, parsed, answers[at:upto]))
            at = upto
        return replies

    def _read(self, raw: RawRequest) -> Parsed | Refusal:
        try:
            return self._model.reader.read(open_envelope(raw.body).rows)
        except Refusal as refusal:
            return refusal

    def _predict(self, rows: list[tuple[Any, ...]]) -> list[dict[str, Any] | str]:
        """Each row's outputs, or why it has none."""
        self._runs += 1
        try:
            return [NOT_FINITE if row is None else row for row in self._model.predict(rows)]
        except Exception as problem:  # noqa: BLE001  # a foreign model may raise anything; its rows get the message
            if len(rows) == 1 or self._runs >= MOST_RUNS:
                return [f"the model failed: {str(problem)[:200]}"] * len(rows)
        half = len(rows) // 2
        return self._predict(rows[:half]) + self._predict(rows[half:])


def reply(
    raw: RawRequest, uri: str, answered: Sequence[str], parsed: Parsed, answers: Sequence[Mapping[str, Any] | str]
) -> Reply:
    """The reply to a request whose rows were read. answered: the names of a row's outputs."""
    ids = [row_id or f"{raw.id}-{at}" for at, row_id in enumerate(parsed.ids)]
    failed = not all(isinstance(row, Mapping) for row in answers)
    predictions = [
        {"row_id": row_id, **(dict.fromkeys(answered) | {"error": row} if isinstance(row, str) else row)}
        for row_id, row in zip(ids, answers, strict=True)
    ]
    is_answered = not failed or any(isinstance(row, Mapping) for row in answers)
    at, took = round(time.time(), 4), round((time.perf_counter() - raw.started) * 1000, 3)
    lines = _encoder.encode_lines(
        Line(at, raw.id, row_id, uri, raw.canary, took, inputs, *((None, row) if isinstance(row, str) else (row,)))
        for row_id, row, inputs in zip(ids, answers, parsed.inputs, strict=True)
    )
    body = _encoder.encode(Predictions(raw.id, uri, predictions))
    return Reply(200 if is_answered else 500, body, len(ids), failed, lines)


def unanswered(raw: RawRequest, uri: str, answered: Sequence[str], why: str, status: int) -> Reply:
    """The reply to a request that was lost together with the process that had it: its rows are logged as they came."""
    try:
        rows = _anything.decode(raw.body)["rows"]
        rows = [dict(row) for row in rows]
    except Exception:  # noqa: BLE001  # whatever it is made of: it is answered and counted all the same
        body = _encoder.encode({"error": {"what": why}})
        return Reply(status, body, failed=True)
    ids = [str(row.pop("row_id")) if isinstance(row.get("row_id"), str | int) else None for row in rows]
    lost = reply(raw, uri, answered, Parsed([], ids, rows), [why] * len(rows))
    return Reply(status, lost.body, lost.rows, True, lost.lines)
