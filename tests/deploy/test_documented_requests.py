"""Whatever is sent to the paths that an endpoint documents, only the statuses that it documents come back."""

import json
from collections.abc import Iterator

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import serving
from .conftest import artifact
from .serving import SocketEndpoint

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module", params=["table", "pictures"])
def served(request, tmp_path_factory) -> Iterator[SocketEndpoint]:
    folder = tmp_path_factory.mktemp("served")
    found = artifact(folder / "model", "plain") if request.param == "table" else serving.pictures(folder / "pictures")
    with serving.endpoint(folder / "log", found) as endpoint:
        yield endpoint


def fitting(schema, document) -> st.SearchStrategy:
    """What a schema allows, as far as the document makes use of schemas."""
    if "$ref" in schema:
        return fitting(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if "oneOf" in schema:
        return st.one_of([fitting(each, document) for each in schema["oneOf"]])
    kinds = schema.get("type", [])
    return st.one_of(
        [_of_kind(kind, schema, document) for kind in ([kinds] if isinstance(kinds, str) else kinds)] or [ANY]
    )


def _of_kind(kind, schema, document) -> st.SearchStrategy:
    if kind == "object":
        named = {name: fitting(each, document) for name, each in schema.get("properties", {}).items()}
        required = {name: named[name] for name in schema.get("required", [])}
        return st.fixed_dictionaries(required, optional={name: named[name] for name in named.keys() - required})
    if kind == "array":
        least = schema.get("minItems", 0)
        most = min(schema.get("maxItems", 3), max(3, least))
        return st.lists(fitting(schema.get("items", {}), document), min_size=least, max_size=most)
    return {
        "number": st.floats(-1e3, 1e3, width=32), "integer": st.integers(-1000, 1000), "string": st.text(max_size=20),
        "boolean": st.booleans(), "null": st.none(),
    }[kind]  # fmt: skip


@st.composite
def spoiled(draw, body):
    """A body, of which one value at some depth is anything."""
    body = draw(body)
    at, place = body, None
    while isinstance(at, dict | list) and at and (place is None or draw(st.booleans())):
        holder, place = at, draw(st.sampled_from([*at] if isinstance(at, dict) else range(len(at))))
        at = holder[place]
    if place is not None:
        holder[place] = draw(ANY)
    return body


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
@pytest.mark.parametrize("spoil", [False, True])
def test_a_request_gets_a_status_that_the_document_has(served, spoil, data):
    document = served.ask("/openapi.json")[1]
    posts = [(path, item["post"]) for path, item in document["paths"].items() if "post" in item]
    path, operation = data.draw(st.sampled_from(posts))
    fits = fitting(operation["requestBody"]["content"]["application/json"]["schema"], document)
    body = data.draw(spoiled(fits) | ANY if spoil else fits)
    code, answer = served.ask(path.replace("{model}", "delay"), json.dumps(body).encode())
    assert str(code) in operation["responses"]
    assert code < 500
    found = operation["responses"][str(code)].get("content", {}).get("application/json", {}).get("schema")
    if found:
        jsonschema.Draft202012Validator({**found, "components": document["components"]}).validate(answer)
    if path == "/predict" and not spoil:
        assert code in (200, 422)


def test_what_only_looks_is_answered_as_the_document_says(served):
    document = served.ask("/openapi.json")[1]
    for path, item in document["paths"].items():
        if "get" in item:
            assert str(served.ask(path.replace("{model}", "delay"))[0]) in item["get"]["responses"]
