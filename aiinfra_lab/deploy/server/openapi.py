"""An endpoint's description for programs: OpenAPI 3.1, made of the signature and the columns of what it serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ...features.contract import CATEGORY, ROW_ID
from ...train.saved_model import SavedModel
from ...train.signature import Tensor, probabilities
from .protocol import ARROW_STREAM, MOST_KEY
from .rows import MAX_ROWS

# A picture as an example would make the document longer than all the rest of it.
MOST_EXAMPLE = 8 << 10
_MOST_CATEGORIES = 20

Schema = dict[str, Any]


def document(name: str, uri: str, saved: SavedModel) -> Schema:
    """The description of an endpoint that serves that version."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Endpoint {name}",
            "version": uri,
            "description": f"Predictions of {uri}: {saved.signature.summary}.",
        },
        "servers": [{"url": "."}],
        "paths": {
            "/predict": {"post": _predict()},
            "/healthz": {"get": _look("Whether the process answers.")},
            "/readyz": {
                "get": _look("Which version serves.") | {"responses": {**_ok(), "503": _other("It takes none.")}}
            },
            "/status": {"get": _look("What was answered, how fast, and what the canary's rule says.")},
            "/metrics": {"get": _look("Counts in Prometheus' text format.", "text/plain")},
            "/v2/models/{model}": {"get": _tensors_of_model()},
            "/v2/models/{model}/infer": {"post": _infer()},
        },
        "components": {
            "schemas": {
                "Row": row_schema(saved),
                "Request": _request(saved),
                "Prediction": _prediction(saved),
                "ColumnsRequest": _columns_request(saved),
                "Answer": _object({"request_id": _TEXT, "model": _TEXT, "predictions": _list_of("Prediction")}),
                "ColumnsAnswer": _columns_answer(saved),
                "Refusal": _REFUSAL,
                "TensorsRefusal": _object({"error": _TEXT}),
            }
        },
    }


def row_schema(saved: SavedModel) -> Schema:
    """What a row has: its columns, or its arrays."""
    found: dict[str, Schema] = {}
    required: list[str] = []
    if saved.is_of_table:
        for column in saved.columns:
            kind = "string" if column.type == CATEGORY else "number"
            found[column.name] = {"type": kind if column.required else [kind, "null"]}
            if column.categories:
                found[column.name]["examples"] = [*column.categories[:_MOST_CATEGORIES]]
            if column.required:
                required.append(column.name)
    else:
        for tensor in saved.signature.inputs:
            if tensor.name in saved.rows.names:
                found[tensor.name] = _array(tensor) | {"description": str(tensor)}
                required.append(tensor.name)
    found[ROW_ID] = {"type": ["string", "integer"], "description": "stands in the answer and in the log"}
    return _object(found, required)


def example(saved: SavedModel) -> dict[str, Any]:
    """A request that can be sent as it is; without rows where the model has no example, or a long one."""
    rows = [{name: value for name, value in row.items() if name in saved.rows.names} for row in saved.example.rows[:1]]
    body = {"rows": rows}
    return body if rows and len(msgspec.json.encode(body)) <= MOST_EXAMPLE else {}


_TEXT: Schema = {"type": "string"}
_TYPES = {"BOOL": "boolean", "BYTES": "string"}


def _object(properties: Mapping[str, Schema], required: list[str] | None = None) -> Schema:
    named = [*properties] if required is None else required
    return {"type": "object", "properties": {**properties}, "required": named, "additionalProperties": False}


_REFUSAL = _object(
    {
        "error": {
            "type": "object",
            "properties": {
                "what": _TEXT,
                "row": {"type": "integer"},
                "column": {"type": ["string", "null"]},
                "most_bytes": {"type": "integer"},
            },
        }
    }
)
_KEY: Schema = {
    "type": ["string", "integer", "null"],
    "description": "requests of one key get one version while a canary runs",
}
_MODEL: Schema = {"parameters": [{"name": "model", "in": "path", "required": True, "schema": _TEXT}]}
_HEAD: list[Schema] = [
    {"name": name, "in": "header", "required": False, "schema": schema, "description": what}
    for name, schema, what in (
        ("X-Aiinfra-Key", {**_TEXT, "minLength": 1, "maxLength": MOST_KEY}, "the key, whatever the body says"),
        ("X-Aiinfra-Model", _TEXT, "the version that shall answer, as `models:NAME@N`, whatever the key says"),
        ("X-Aiinfra-Judged", {"enum": ["yes", "no"]}, "no: it counts neither for nor against a canary"),
    )
]


def _request(saved: SavedModel) -> Schema:
    rows = {**_list_of("Row"), "minItems": 1, "maxItems": MAX_ROWS}
    found = _object({"rows": rows, "key": _KEY}, ["rows"])
    return found | ({"examples": [one]} if (one := example(saved)) else {})


def _columns_request(saved: SavedModel) -> Schema:
    row = row_schema(saved)
    lists = {name: {**_many(one), "minItems": 1, "maxItems": MAX_ROWS} for name, one in row["properties"].items()}
    return _object({"columns": _object(lists, row["required"]), "key": _KEY}, ["columns"])


def _columns_answer(saved: SavedModel) -> Schema:
    outputs = {name: _many(one) for name, one in _outputs(saved)}
    columns = _object({ROW_ID: _many(_TEXT), **outputs}, [*outputs])
    errors = {"type": "object", "additionalProperties": _TEXT, "description": "why, by the row's place from 0"}
    found = {"request_id": _TEXT, "model": _TEXT, "columns": columns}
    return _object({**found, "errors": errors}, [*found])


def _prediction(saved: SavedModel) -> Schema:
    outputs = dict(_outputs(saved))
    return _object({ROW_ID: _TEXT, **outputs, "error": _TEXT}, [ROW_ID, *outputs])


def _outputs(saved: SavedModel) -> Iterator[tuple[str, Schema]]:
    for item in saved.signature.outputs:
        if saved.signature.has_labels(item):
            labels = [*saved.signature.task.labels_of(item.name)]
            yield item.name, {"enum": [*labels, None]}
            each = _object({label: {"type": "number"} for label in labels})
            yield probabilities(item.name), each | {"type": ["object", "null"]}
        else:
            schema = _array(item)
            yield item.name, schema | {"type": [schema["type"], "null"]}


def _array(tensor: Tensor) -> Schema:
    """One row's part of a tensor, as nested lists."""
    kind = "number" if tensor.datatype.startswith("FP") else _TYPES.get(tensor.datatype, "integer")
    found: Schema = {"type": kind}
    for size in reversed(tensor.row_shape):
        found = {"type": "array", "items": found} | ({} if size < 0 else {"minItems": size, "maxItems": size})
    return found


def _list_of(schema: str) -> Schema:
    return _many(_ref(schema))


def _many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _ref(schema: str) -> Schema:
    return {"$ref": f"#/components/schemas/{schema}"}


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _ok() -> Schema:
    return {"200": {"description": "OK"}}


def _other(what: str, schema: str = "Refusal") -> Schema:
    return {"description": what, **_json(_ref(schema))}


def _look(what: str, kind: str = "application/json") -> Schema:
    return {"summary": what, "responses": {"200": {"description": what, "content": {kind: {}}}}}


def _predict() -> Schema:
    refused = {
        "400": "It is no JSON, or no stream of Arrow's.",
        "404": "The version that X-Aiinfra-Model names does not serve.",
        "413": "The body is too long.",
        "415": "The body, or a stream within it, is encoded in a way that is not read.",
        "422": "A row, a column or a value is wrong.",
        "503": "It serves nothing yet, or too much is waiting.",
    }
    asked, answered = _either("Request", "ColumnsRequest"), _either("Answer", "ColumnsAnswer")
    return {
        "summary": "Predict rows, given as rows or by column, as JSON or as an Arrow IPC stream, and answered so.",
        "parameters": _HEAD,
        "requestBody": {"required": True, **_or_arrow(asked)},
        "responses": {
            "200": {"description": "A prediction for each row, in their order.", **_or_arrow(answered)},
            **{status: _other(what) for status, what in refused.items()},
            "500": {"description": "The model failed on every row.", **_or_arrow(answered)},
        },
    }


def _or_arrow(schema: Schema) -> Schema:
    """That JSON, or its columns as a stream of Arrow's, uncompressed."""
    stream = {"schema": {**_TEXT, "contentMediaType": ARROW_STREAM.decode()}}
    return {"content": {**_json(schema)["content"], ARROW_STREAM.decode(): stream}}


def _either(*schemas: str) -> Schema:
    return {"oneOf": [_ref(schema) for schema in schemas]}


_UNSERVED = {"404": "There is no such model or version.", "503": "It serves nothing yet, or too much is waiting."}


def _refused_tensors(reasons: Mapping[str, str]) -> Schema:
    return {status: _other(what, "TensorsRefusal") for status, what in sorted(reasons.items())}


def _tensors_of_model() -> Schema:
    found = _look("The tensors, by the Open Inference Protocol.")
    return {**found, **_MODEL, "responses": {**found["responses"], **_refused_tensors(_UNSERVED)}}


def _infer() -> Schema:
    refused = {
        "400": "It does not fit the model, or the path.",
        "413": "The body is too long.",
        "415": "The body is encoded in a way that is not read.",
        "500": "The model failed on a row.",
    }
    tensors = {"type": "array", "items": {"type": "object"}}
    return {
        "summary": "Predict tensors, by the Open Inference Protocol, version 2.",
        "parameters": [*_MODEL["parameters"], *_HEAD],
        "requestBody": {"required": True, **_json({"type": "object", "properties": {"inputs": tensors}})},
        "responses": {**_ok(), **_refused_tensors(refused | _UNSERVED)},
    }
