"""Requests that are no JSON, read and answered by the model's own process: tensors, and streams of Arrow's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from ...features.contract import ROW_ID
from ...train.signature import Tensor
from ...train.texts import LOGGED_CHARACTERS, as_logged
from . import arrow_stream
from . import inference_protocol as v2
from .array_rows import Named, listed
from .messages import Form, RawRequest, Reply
from .rows import Parsed, Refusal

if TYPE_CHECKING:
    from .model import LoadedModel

# Rows whose arrays are not equally long have one each.
_encode = msgspec.json.Encoder(enc_hook=lambda array: array.tolist()).encode


class Forms:
    """Reads and writes them for one version."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def read(self, raw: RawRequest) -> Parsed:
        """The rows of a request. Refusal."""
        columns, outputs = self._tensors(raw) if raw.body_form == "tensors" else (self._arrow(raw), None)
        parsed = self._model.reader.columns(columns)
        parsed.outputs, parsed.logged = outputs, logged_columns(columns)
        return parsed

    def write(
        self, reply: Reply, raw: RawRequest, parsed: Parsed, columns: Mapping[str, list[Any]], errors: Mapping[int, str]
    ) -> None:
        """Put into a reply what its request is answered, in the form that it asks for."""
        if raw.answer_form == "arrow":
            reply.body = self._answers.write(raw.id, parsed.ids, columns, errors)
            reply.form = Form("arrow")
        elif errors:
            # The protocol has no place for a row that got no outputs.
            at = min(errors)
            reply.status, reply.body = 500, Refusal(500, f"row {at}: {errors[at]}").body("tensors")
        else:
            reply.body, size = v2.write(columns, parsed.outputs, self._model.uri, self._outputs)
            if size is not None:
                reply.form = Form("tensors", json_bytes=size)

    def _tensors(self, raw: RawRequest) -> tuple[dict[str, Named], v2.Inference]:
        inputs = [*self._inputs, Tensor(ROW_ID, "BYTES", (-1,))]
        try:
            return v2.read(raw.body, raw.json_bytes, self._outputs, inputs)
        except v2.BadTensors as problem:
            raise Refusal(400, str(problem)) from None

    def _arrow(self, raw: RawRequest) -> dict[str, Named]:
        shapes = {item.name: item.row_shape for item in self._inputs if not item.is_scalar}
        return arrow_stream.read(raw.body, {ROW_ID, *(item.name for item in self._inputs)}, shapes)

    @cached_property
    def _inputs(self) -> list[Tensor]:
        return v2.inputs_of(self._model.saved)

    @cached_property
    def _outputs(self) -> list[Tensor]:
        return v2.outputs_of(self._model.saved)

    @cached_property
    def _answers(self) -> arrow_stream.AnswerWriter:
        return arrow_stream.AnswerWriter(self._model.uri, self._model.signature)


def logged_columns(columns: Mapping[str, Named]) -> bytes:
    """Columns as the log has them: JSON, of long texts the beginning."""
    return _encode({"columns": {name: _logged(values) for name, values in columns.items()}})


def _logged(values: Named) -> list[Any]:
    if not isinstance(values, list):
        found: list[Any] = values.tolist()  # what is missing among them is written as null
        return found
    kinds = {*map(type, values)}
    texts = values if kinds == {str} else [value for value in values if isinstance(value, str)]
    return [*map(as_logged, values)] if max(map(len, texts), default=0) > LOGGED_CHARACTERS else values


def columns_as_they_came(raw: RawRequest) -> dict[str, list[Any]]:
    """The columns of a request of tensors, where no model is at hand. BadTensors."""
    found = v2.columns_as_they_came(raw.body, raw.json_bytes)
    return {name: listed(values, as_rows=False) for name, values in found.items()}
