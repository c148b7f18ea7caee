"""What a model's process does with a batch of requests: read each in its form, predict, and answer in that form.

A request that breaks the contract is refused alone. A batch that makes the model raise is halved until the rows are
found that do it: only they get the error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import msgspec

from ...features.contract import ROW_ID
from ...train.texts import LOGGED_CHARACTERS
from .arrow_messages import rows_of
from .forms import Forms, columns_as_they_came, logged_columns
from .messages import RawRequest, Reply
from .model import Answered, LoadedModel
from .rows import Parsed, Refusal, length_of, logged, logged_request

# Of a batch whose rows all make the model raise: twice as many runs as rows would take too long.
MOST_RUNS = 128
# What a network makes of more rows at once does not fit into a processor's own memory, and each takes longer.
MOST_ROWS = 1024

_encode = msgspec.json.Encoder().encode
Rows = Sequence[tuple[Any, ...]]


class Answering:
    """Answers requests by one model."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._forms = Forms(model)
        has_texts = any(item.is_text for item in model.signature.outputs)
        self._write = ReplyWriter(model.uri, model.signature.answered, self._forms, has_texts=has_texts)
        self._runs = 0

    def answer(self, requests: Sequence[RawRequest]) -> list[Reply]:
        """Each request's reply, in their order."""
        found = [self._read(raw) for raw in requests]
        self._runs = 0
        # Rows of several requests run together; those that came as many in columns are not taken apart for that.
        rows = [row for parsed in found if _runs_with_others(parsed) for row in parsed.values]
        together, at = self._answers(rows) if rows else Answered({}, {}), 0
        replies = []
        for raw, parsed in zip(requests, found, strict=True):
            if isinstance(parsed, Refusal):
                replies.append(Reply(parsed.status, parsed.body(raw.body_form)))
            elif _runs_with_others(parsed):
                replies.append(self._write.reply(raw, parsed, together, at))
                at += len(parsed.ids)
            else:
                replies.append(self._write.reply(raw, parsed, self._answers(parsed.values)))
        return replies

    def _read(self, raw: RawRequest) -> Parsed | Refusal:
        try:
            is_json = raw.form is None or raw.form.name == "json"
            return self._model.reader.request(raw.body) if is_json else self._forms.read(raw)
        except Refusal as refusal:
            return refusal

    def _answers(self, rows: Rows) -> Answered:
        return _joined([self._predict(part) for part in batched(rows)])

    def _predict(self, rows: Rows) -> Answered:
        self._runs += 1
        try:
            return self._model.predict(rows)
        except Exception as problem:  # noqa: BLE001  # a foreign model may raise anything; its rows get the message
            if len(rows) == 1 or self._runs >= MOST_RUNS:
                why = f"the model failed: {str(problem)[:200]}"
                return _all_refused(self._model.signature.answered, len(rows), why)
        half = len(rows) // 2
        return _joined([self._predict(rows[:half]), self._predict(rows[half:])])


def _runs_with_others(parsed: Parsed | Refusal) -> TypeGuard[Parsed]:
    # Not by `ColumnRows`: that is an abstract class, of which it takes ten times as long to ask.
    return isinstance(parsed, Parsed) and isinstance(parsed.values, list)


def batched(rows: Rows) -> Iterator[Rows]:
    """The rows in runs of the model."""
    return (rows[at : at + MOST_ROWS] for at in range(0, len(rows), MOST_ROWS))


def _joined(parts: Sequence[Answered]) -> Answered:
    """Answers one behind the other."""
    found = parts[0]
    for part in parts[1:]:
        before = len(next(iter(found.columns.values())))
        found.errors.update({before + at: why for at, why in part.errors.items()})
        for name, column in part.columns.items():
            found.columns[name] += column
    return found


def _all_refused(names: Sequence[str], rows: int, why: str) -> Answered:
    return Answered({name: [None] * rows for name in names}, dict.fromkeys(range(rows), why))


class _RowsAnswer(msgspec.Struct, gc=False):
    """What rows are answered; `model` as JSON."""

    request_id: str
    model: msgspec.Raw
    predictions: list[Any]


class ReplyWriter:
    """Writes the replies of one version.

    answered: the names of a row's outputs. forms: writes what is answered in another form than JSON. has_texts: whether
    some of the outputs may be long texts.
    """

    def __init__(
        self, uri: str, answered: Sequence[str], forms: Forms | None = None, *, has_texts: bool = False
    ) -> None:
        self._uri = msgspec.Raw(_encode(uri))
        self._forms = forms
        self._has_texts = has_texts
        # An output's name may be no Python identifier.
        fields = {f"o{at}": name for at, name in enumerate(answered)}
        self._prediction: Any = msgspec.defstruct(
            "Prediction", [("row_id", str), *((field, Any) for field in fields)], rename=fields, gc=False
        )

    def reply(self, raw: RawRequest, parsed: Parsed, answered: Answered, start: int = 0) -> Reply:
        """The reply to a request whose rows were read, and stand from `start` on in what was answered."""
        count, columns, errors = len(parsed.ids), answered.columns, answered.errors
        if count == 1 and raw.form is None and not (errors or parsed.is_columns or self._has_texts):
            # Most requests: nothing of them needs to be looked at.
            own = parsed.ids[0]
            row = self._prediction(f"{raw.id}-0" if own is None else own, *[it[start] for it in columns.values()])
            return Reply(200, _encode(_RowsAnswer(raw.id, self._uri, [row])), 1, False, parsed.logged)
        if start or count < len(next(iter(columns.values()))):
            columns = {name: column[start : start + count] for name, column in columns.items()}
            errors = errors and {at - start: why for at, why in errors.items() if start <= at < start + count}
        answer = self._answer(raw.id, parsed, columns, errors)
        reply = Reply(500 if len(errors) == count else 200, answer, count, bool(errors), parsed.logged)
        if self._has_texts and len(answer) > LOGGED_CHARACTERS and (short := logged(columns)) is not columns:
            reply.logged_answer = self._answer(raw.id, parsed, short, errors)
        if raw.answer_form != "json":
            reply.logged_answer = reply.logged_answer or answer
            if self._forms:
                self._forms.write(reply, raw, parsed, columns, errors)
            else:  # no row got an answer
                reply.body = Refusal(500, next(iter(errors.values()))).body(raw.body_form)
        return reply

    def _answer(
        self, request_id: str, parsed: Parsed, columns: Mapping[str, list[Any]], errors: Mapping[int, str]
    ) -> bytes:
        if parsed.is_columns:
            head = b'{"request_id":"%b","model":%b,' % (request_id.encode(), self._uri)
            ids = {} if parsed.ids[0] is None else {ROW_ID: parsed.ids}
            more = b',"errors":%b' % _encode({str(at): why for at, why in errors.items()}) if errors else b""
            return b'%b"columns":%b%b}' % (head, _encode({**ids, **columns}), more)
        ids_of = [f"{request_id}-{at}" if own is None else own for at, own in enumerate(parsed.ids)]
        rows: list[Any] = list(map(self._prediction, ids_of, *columns.values()))
        if errors:
            for at, why in errors.items():
                rows[at] = {**msgspec.to_builtins(rows[at]), "error": why}
        return _encode(_RowsAnswer(request_id, self._uri, rows))


def unanswered(raw: RawRequest, uri: str, answered: Sequence[str], why: str, status: int) -> Reply:
    """The reply to a request that was lost together with the process that had it: its rows are logged as they came."""
    try:
        parsed = _as_it_came(raw)
    except Exception:  # noqa: BLE001  # whatever it is made of: it is answered and counted all the same
        return Reply(status, Refusal(status, why).body(raw.body_form), failed=True)
    lost = ReplyWriter(uri, answered).reply(raw, parsed, _all_refused(answered, len(parsed.ids), why))
    lost.status = status
    return lost


def _as_it_came(raw: RawRequest) -> Parsed:
    if raw.body_form == "arrow":
        # Its values may be what ended the process: here they are counted, and nothing is made of them.
        rows = rows_of(raw.body)
        return Parsed([], [None] * rows, logged=_encode({"rows": [{}] * rows}))
    if raw.body_form == "tensors":
        columns = columns_as_they_came(raw)
        parsed = _of_body({"columns": columns})
        parsed.logged = parsed.logged or logged_columns(columns)
        return parsed
    return _of_body(msgspec.json.decode(raw.body))


def _of_body(body: dict[str, Any]) -> Parsed:
    if columns := body.get("columns"):
        ids = columns.get(ROW_ID) or [None] * length_of(columns)
    else:
        ids = [dict(row).get(ROW_ID) for row in body["rows"]]
    texts = [None if row_id is None else str(row_id) for row_id in ids]
    return Parsed([], texts, is_columns=bool(columns), logged=logged_request(body))
