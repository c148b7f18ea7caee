"""An endpoint's description says what it really takes and answers, and its page lets people try it."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator

import jsonschema
import pytest

from aiinfra_lab.deploy.server import docs_page

from . import serving
from .conftest import ROW
from .serving import LABELS, SocketEndpoint

PICTURE = {"image": [[1.0, 2.0], [3.0, 4.0]], "weight": [3]}
GOOD = {"table": ROW, "pictures": PICTURE}


@pytest.fixture(params=["table", "pictures"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def served(kind, tmp_path, artifacts) -> Iterator[SocketEndpoint]:
    folder = artifacts("plain") if kind == "table" else serving.pictures(tmp_path / "pictures")
    with serving.endpoint(tmp_path / "log", folder) as found:
        yield found


def schema(document, name: str):
    """One of the document's schemas, which refer to one another."""
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def holds(document, name: str, value) -> bool:
    return jsonschema.Draft202012Validator(schema(document, name)).is_valid(value)


def test_what_the_document_allows_is_answered_as_it_says(served, kind):
    code, document = served.ask("/openapi.json")
    assert (code, document["openapi"], document["info"]["version"]) == (200, "3.1.0", "models:delay@1")
    for each in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(each)
    for body in ({"rows": [GOOD[kind]]}, {"rows": [GOOD[kind] | {"row_id": 7}] * 3, "key": "k"}):
        assert holds(document, "Request", body)
        code, answer = served.ask("/predict", body)
        assert (code, holds(document, "Answer", answer)) == (200, True)
    assert not holds(document, "Answer", {**answer, "more": 1})
    columns = {name: [value] * 2 for name, value in GOOD[kind].items()}
    for body in ({"columns": columns}, {"columns": columns | {"row_id": ["a", "b"]}, "key": 1}):
        assert holds(document, "ColumnsRequest", body)
        code, answer = served.ask("/predict", body)
        assert (code, holds(document, "ColumnsAnswer", answer)) == (200, True)
    assert not holds(document, "ColumnsAnswer", {**answer, "more": 1})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: {**row, "nothing": 1},
        lambda row: {},
        lambda row: {name: {} for name in row},
        lambda row: [row],
        lambda row: {**row, "row_id": [1]},
    ],
)
def test_what_the_document_forbids_is_refused_as_it_says(served, kind, spoil):
    document, body = served.ask("/openapi.json")[1], {"rows": [spoil(GOOD[kind])]}
    assert not holds(document, "Request", body)
    code, answer = served.ask("/predict", body)
    assert (code, holds(document, "Refusal", answer)) == (422, True)


def test_the_examples_can_be_sent_and_every_path_is_there(served):
    document = served.ask("/openapi.json")[1]
    (example,) = document["components"]["schemas"]["Request"]["examples"]
    assert holds(document, "Request", example)
    assert served.ask("/predict", example)[0] == 200
    for path, methods in document["paths"].items():
        if "get" in methods:
            assert served.ask(path.replace("{model}", "delay"))[0] == 200
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert set(references) <= document["components"]["schemas"].keys()


def test_a_key_may_be_null_as_the_document_says(served, kind):
    document, body = served.ask("/openapi.json")[1], {"rows": [GOOD[kind]], "key": None}
    assert (holds(document, "Request", body), served.ask("/predict", body)[0]) == (True, 200)


@pytest.mark.parametrize(
    ("path", "at", "head", "status"),
    [
        ("/v2/models/{model}", "/v2/models/none", "", 404),
        ("/v2/models/{model}/infer", "/v2/models/none/infer", "", 404),
        ("/v2/models/{model}/infer", "/v2/models/delay/infer", "", 400),
        ("/v2/models/{model}/infer", "/v2/models/delay/infer", "content-encoding: deflate\r\n", 415),
        ("/v2/models/{model}/infer", "/v2/models/delay/infer", "", 413),
        ("/predict", "/predict", "x-aiinfra-model: models:none@1\r\n", 404),
        ("/predict", "/predict", "", 413),
    ],
)
def test_what_a_path_refuses_is_listed_with_its_form(served, path, at, head, status):
    document = served.ask("/openapi.json")[1]
    [operation] = document["paths"][path].values()
    body = None if "get" in document["paths"][path] else b" " * 2_000_000 if status == 413 else {}
    code, answer = served.ask(at, body, head)
    form = operation["responses"][str(code)]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert (code, holds(document, form, answer)) == (status, True)


def test_the_headers_that_are_read_are_listed(served):
    paths = served.ask("/openapi.json")[1]["paths"]
    for path in ("/predict", "/v2/models/{model}/infer"):
        listed = {item["name"]: item for item in paths[path]["post"]["parameters"] if item["in"] == "header"}
        assert listed.keys() == {"X-Aiinfra-Key", "X-Aiinfra-Model", "X-Aiinfra-Judged"}
        most = listed["X-Aiinfra-Key"]["schema"]["maxLength"]
        for length, code in ((1, 404), (most, 404), (most + 1, 400)):
            head = f"X-Aiinfra-Key: {'k' * length}\r\nX-Aiinfra-Model: models:none@1\r\n"
            assert served.ask("/predict", {"rows": []}, head)[0] == code


def test_labels_and_optional_columns_are_told(served, kind):
    schemas = served.ask("/openapi.json")[1]["components"]["schemas"]
    if kind == "table":
        assert schemas["Row"]["required"] == ["carrier", "distance"]
        assert schemas["Row"]["properties"]["temp"] == {"type": ["number", "null"]}
    else:
        assert schemas["Prediction"]["properties"]["kind"] == {"enum": [*LABELS, None]}
        assert schemas["Row"]["properties"]["image"]["items"]["maxItems"] == 2


def test_the_page_loads_nothing_and_its_command_works(served):
    code, page = served.ask("/docs", head="accept: text/html\r\n")
    text = page.decode()
    assert code == 200
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text)
    assert re.findall(r"<(script|style|link|img|iframe)\b", text) == ["style", "script"]
    command = re.search(r"<pre tabindex=0>(curl .*?)</pre>", text, re.DOTALL)[1]
    words = shlex.split(command.replace("&quot;", '"').replace("&#x27;", "'").replace("&amp;", "&"))
    words[2] = f"http://127.0.0.1:{served.address[1]}/predict"
    answer = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    assert "predictions" in answer


def test_nothing_that_a_name_holds_becomes_markup(tmp_path, artifacts):
    with serving.endpoint(tmp_path / "log", artifacts("plain"), uri="models:<script>x</script>@1") as served:
        text = served.ask("/docs")[1].decode()
    assert "<script>x" not in text
    assert "&lt;script&gt;x" in text


def test_the_pages_policy_allows_its_own_script_and_no_other(served):
    whole = served(b"GET /docs HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert b"content-security-policy: default-src 'none'" in whole
    assert docs_page._digest(docs_page._SCRIPT).encode() in whole


def test_an_endpoint_without_a_version_says_so(tmp_path):
    with serving.endpoint(tmp_path / "log") as served:
        for path in ("/openapi.json", "/docs"):
            code, answer = served.ask(path)
            assert (code, answer["error"]["what"]) == (503, "no version serves yet")
