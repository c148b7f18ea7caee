"""What a model's process does with a batch of requests: read, predict, answer, and write the lines for the log.

A request that breaks the contract is refused alone. A batch that makes the model raise is halved until the rows are
found that do it: only they get the error.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ...features.contract import ROW_ID
from ...train.texts import LOGGED_CHARACTERS, as_logged
from .messages import RawRequest, Reply
from .model import LoadedModel
from .predictions_log import Line, encoded
from .rows import Parsed, Refusal

NOT_FINITE = "the model gave a number that is not finite"
# Of a batch whose rows all make the model raise: twice as many runs as rows would take too long.
MOST_RUNS = 128
# What a network makes of more rows at once does not fit into a processor's own memory, and each takes longer.
MOST_ROWS = 512

Outputs = dict[str, Any]

_encode = msgspec.json.Encoder().encode


class Predictions(msgspec.Struct):
    """The answer to a request: of each row its id and its outputs, all of them null with `error` where it got none."""

    request_id: str
    model: str
    predictions: list[dict[str, Any]]


class Answering:
    """Answers requests by one model."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._write = ReplyWriter(model.uri, model.signature.answered)
        self._runs = 0

    def answer(self, requests: Sequence[RawRequest]) -> list[Reply]:
        """Each request's reply, in their order."""
        found = [self._read(raw) for raw in requests]
        rows = [values for parsed in found if isinstance(parsed, Parsed) for values in parsed.values]
        self._runs = 0
        answers = [answer for part in batched(rows) for answer in self._predict(part)]
        write, now = self._write, Now()
        replies, at = [], 0
        for raw, parsed in zip(requests, found, strict=True):
            if isinstance(parsed, Refusal):
                replies.append(Reply(parsed.status, parsed.body()))
                continue
            upto = at + len(parsed.ids)
            replies.append(write.reply(raw, parsed, answers[at:upto], now))
            at = upto
        return replies

    def _read(self, raw: RawRequest) -> Parsed | Refusal:
        try:
            return self._model.reader.request(raw.body)
        except Refusal as refusal:
            return refusal

    def _predict(self, rows: list[tuple[Any, ...]]) -> list[Outputs | str]:
        """Each row's outputs, or why it has none."""
        self._runs += 1
        try:
            return [NOT_FINITE if row is None else row for row in self._model.predict(rows)]
        except Exception as problem:  # noqa: BLE001  # a foreign model may raise anything; its rows get the message
            if len(rows) == 1 or self._runs >= MOST_RUNS:
                return [f"the model failed: {str(problem)[:200]}"] * len(rows)
        half = len(rows) // 2
        return self._predict(rows[:half]) + self._predict(rows[half:])


def batched(rows: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows in runs of the model."""
    return (rows[at : at + MOST_ROWS] for at in range(0, len(rows), MOST_ROWS))


@dataclass(frozen=True, slots=True)
class Now:
    """The moment of a batch's answers: in epoch seconds, and on the clock of `RawRequest.started`."""

    at: float = field(default_factory=lambda: round(time.time(), 4))
    clock: float = field(default_factory=time.perf_counter)


class ReplyWriter:
    """Writes the replies of one version. answered: the names of a row's outputs."""

    def __init__(self, uri: str, answered: Sequence[str]) -> None:
        self._uri = uri
        self._uri_json = _encode(uri)
        self._nothing = dict.fromkeys(answered)

    def reply(self, raw: RawRequest, parsed: Parsed, answers: Sequence[Outputs | str], now: Now) -> Reply:
        """The reply to a request whose rows were read."""
        latency_ms = (now.clock - raw.started) * 1000
        if parsed.columns:
            return self._of_columns(raw, parsed, answers, now.at, round(latency_ms, 3))
        if len(answers) == 1 and not isinstance(answers[0], str) and len(raw.body) <= LOGGED_CHARACTERS:
            return self._of_one(raw, parsed, answers[0], now.at, latency_ms)
        latency_ms = round(latency_ms, 3)
        ids = [row_id or f"{raw.id}-{at}" for at, row_id in enumerate(parsed.ids)]
        predictions, lines, failed = [], [], 0
        for row_id, row, inputs in zip(ids, answers, parsed.inputs, strict=True):
            outputs, error = (None, row) if isinstance(row, str) else (row, None)
            failed += outputs is None
            predictions.append({"row_id": row_id, **(outputs or {**self._nothing, "error": error})})
            lines.append(Line(now.at, raw.id, row_id, self._uri, raw.arm, latency_ms, inputs, outputs, error))
        body = _encode(Predictions(raw.id, self._uri, predictions))
        status = 500 if failed == len(ids) else 200
        return Reply(status, body, len(ids), failed > 0, encoded(lines))

    def _of_columns(
        self, raw: RawRequest, parsed: Parsed, answers: Sequence[Outputs | str], at: float, latency_ms: float
    ) -> Reply:
        """The same as columns: an answer and one line of the log, however many rows there are."""
        errors = {str(row): why for row, why in enumerate(answers) if isinstance(why, str)}
        outputs = [self._nothing if isinstance(row, str) else row for row in answers] if errors else answers
        columns = {name: [row[name] for row in outputs] for name in self._nothing}  # type: ignore[index]
        more = {"errors": errors} if errors else {}
        ids = {} if parsed.ids[0] is None else {"row_id": parsed.ids}
        body = _encode({"request_id": raw.id, "model": self._uri, "columns": {**ids, **columns}, **more})
        head = {"at": at, "request_id": raw.id, "model": self._uri, "arm": raw.arm, "latency_ms": latency_ms}
        # The columns as they came, which spares to write them again.
        line = b'%b,"columns":%b,%b\n' % (_encode(head)[:-1], parsed.columns, _encode({"outputs": columns, **more})[1:])
        return Reply(500 if len(errors) == len(answers) else 200, body, len(answers), bool(errors), line)

    def _of_one(self, raw: RawRequest, parsed: Parsed, outputs: Outputs, at: float, latency_ms: float) -> Reply:
        """The same, of the request that most are: by bytes, which spares half of the time."""
        answer, request_id = _encode(outputs), raw.id.encode()
        own = parsed.ids[0]
        row_id = b'"%b-0"' % request_id if own is None else _encode(own)
        body = b'{"request_id":"%b","model":%b,"predictions":[{"row_id":%b,%b]}' % (
            request_id, self._uri_json, row_id, answer[1:],
        )  # fmt: skip
        logged = answer if len(answer) <= LOGGED_CHARACTERS else _encode({k: as_logged(v) for k, v in outputs.items()})
        line = (
            b'{"at":%.4f,"request_id":"%b","row_id":%b,"model":%b,"arm":"%b","latency_ms":%.3f,"inputs":%b,"outputs":%b}\n'
            % (at, request_id, row_id, self._uri_json, raw.arm.encode(), latency_ms, _encode(parsed.inputs[0]), logged)
        )
        return Reply(200, body, 1, False, line)


def unanswered(raw: RawRequest, uri: str, answered: Sequence[str], why: str, status: int) -> Reply:
    """The reply to a request that was lost together with the process that had it: its rows are logged as they came."""
    try:
        parsed = _as_it_came(msgspec.json.decode(raw.body))
    except Exception:  # noqa: BLE001  # whatever it is made of: it is answered and counted all the same
        return Reply(status, _encode({"error": {"what": why}}), failed=True)
    lost = ReplyWriter(uri, answered).reply(raw, parsed, [why] * len(parsed.ids), Now())
    return Reply(status, lost.body, lost.rows, True, lost.lines)


def _as_it_came(body: dict[str, Any]) -> Parsed:
    if columns := body.get("columns"):
        ids = columns.get(ROW_ID) or [None] * len(next(iter(columns.values())))
        return Parsed([], [None if row_id is None else str(row_id) for row_id in ids], (), _encode(columns))
    rows = [dict(row) for row in body["rows"]]
    ids = [None if (row_id := row.pop(ROW_ID, None)) is None else str(row_id) for row in rows]
    return Parsed([], ids, rows)
