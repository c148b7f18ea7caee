"""The Open Inference Protocol, version 2: cases of its specification, by hand, on a real socket."""

import json
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from aiinfra_lab.deploy.server.predictor import Routes, ServedArm
from tests.fakes import inline_workers

from . import serving
from .conftest import ROW
from .serving import LABELS, SocketEndpoint

TABLE = [
    {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["AA", "UA"]},
    {"name": "temp", "shape": [2, 1], "datatype": "FP32", "data": [[3.0], [None]]},
    {"name": "distance", "shape": [2], "datatype": "INT64", "data": [250, 300]},
]
IMAGES = [[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [5.0, 1.0]]]
PICTURES = [
    {"name": "image", "shape": [2, 2, 2], "datatype": "FP32", "data": IMAGES},
    {"name": "weight", "shape": [2, 1], "datatype": "INT64", "data": [1, 2]},
]


@pytest.fixture
def table(tmp_path, artifacts) -> Iterator[SocketEndpoint]:
    with serving.endpoint(tmp_path / "log", artifacts("plain")) as found:
        yield found


@pytest.fixture
def pictures(tmp_path) -> Iterator[SocketEndpoint]:
    with serving.endpoint(tmp_path / "log", serving.pictures(tmp_path / "pictures")) as found:
        yield found


def test_the_server_says_what_it_is_and_whether_it_is_well(table):
    code, about = table.ask("/v2")
    assert (code, about["name"], about["extensions"]) == (200, "aiinfra-lab", ["binary_tensor_data"])
    assert table.ask("/v2/health/live") == (200, {"live": True})
    assert table.ask("/v2/health/ready") == (200, {"ready": True})


def test_a_server_without_a_version_lives_and_is_not_ready(tmp_path):
    with serving.endpoint(tmp_path / "log") as empty:
        assert empty.ask("/v2/health/live")[0] == 200
        assert empty.ask("/v2/health/ready") == (503, {"ready": False})
        for path in ("/v2/models/delay", "/v2/models/delay/ready"):
            assert empty.ask(path)[0] == 503
        assert empty.ask("/v2/models/delay/infer", {"inputs": TABLE})[0] == 503


@pytest.mark.parametrize("path", ["/v2/models/delay", "/v2/models/delay/versions/1"])
def test_a_table_has_a_tensor_of_each_column(table, path):
    code, found = table.ask(path)
    assert (code, found["name"], found["versions"]) == (200, "delay", ["1"])
    assert found["inputs"] == [
        {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
        {"name": "temp", "datatype": "FP64", "shape": [-1]},
        {"name": "distance", "datatype": "FP64", "shape": [-1]},
    ]
    assert found["outputs"] == [{"name": "score", "datatype": "FP32", "shape": [-1]}]
    assert table.ask(f"{path}/ready") == (200, {"name": "delay", "ready": True})


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/other",
        "/v2/models/other/ready",
        "/v2/models/delay/versions/9",
        "/v2/models/delay/versions/9/ready",
        "/v2/models/delay/nothing",
        "/v2/nothing",
    ],
)
def test_what_is_not_there_is_404(table, path):
    assert table.ask(path)[0] == 404
    assert table.ask("/v2/models/other/infer", {"inputs": TABLE})[0] == 404


def test_infer_answers_as_predict_does(table):
    code, found = table.ask("/v2/models/delay/versions/1/infer", {"id": "mine", "inputs": TABLE})
    assert (code, found["model_name"], found["model_version"], found["id"]) == (200, "delay", "1", "mine")
    rows = [{"carrier": "AA", "temp": 3.0, "distance": 250}, {"carrier": "UA", "temp": None, "distance": 300}]
    scores = [row["score"] for row in table.ask("/predict", {"rows": rows})[1]["predictions"]]
    assert found["outputs"] == [
        {"name": "score", "datatype": "FP32", "shape": [2], "data": pytest.approx(scores, rel=1e-6)}
    ]
    assert "id" not in table.ask("/v2/models/delay/infer", {"inputs": TABLE})[1]


def test_optional_columns_may_be_left_out_and_row_ids_reach_the_log(table):
    ids = {"name": "row_id", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
    inputs = [TABLE[0], TABLE[2], ids]
    assert table.ask("/v2/models/delay/infer", {"inputs": inputs, "parameters": {"key": "k"}})[0] == 200


@pytest.mark.parametrize("form", [IMAGES, np.array(IMAGES).ravel().tolist(), np.array(IMAGES).reshape(2, 4).tolist()])
def test_arrays_come_nested_or_flat_and_labels_are_texts_and_numbers(pictures, form):
    image = {**PICTURES[0], "data": form}
    code, found = pictures.ask("/v2/models/delay/infer", {"inputs": [image, PICTURES[1]]})
    assert code == 200
    kind, probabilities, vector = found["outputs"]
    assert kind == {"name": "kind", "datatype": "BYTES", "shape": [2], "data": ["cat", "owl"]}
    assert (probabilities["name"], probabilities["datatype"], probabilities["shape"]) == (
        "kind_probabilities",
        "FP32",
        [2, len(LABELS)],
    )
    assert sum(probabilities["data"][:3]) == pytest.approx(1)
    assert (vector["shape"], vector["data"]) == ([2, 2], [1.0, 0.0, 10.0, 2.0])


def test_the_outputs_that_are_wanted_alone_are_given(pictures):
    body = {"inputs": PICTURES, "outputs": [{"name": "vector"}]}
    assert [item["name"] for item in pictures.ask("/v2/models/delay/infer", body)[1]["outputs"]] == ["vector"]
    body["outputs"].append({"name": "nothing"})
    code, answer = pictures.ask("/v2/models/delay/infer", body)
    assert (code, "nothing" in answer["error"]) == (400, True)


def binary(inputs: list, parts: list[bytes], **more) -> tuple[bytes, str]:
    """A body with bytes behind its JSON, and the head that says so."""
    listed = [
        {key: value for key, value in item.items() if key != "data"} | {"parameters": {"binary_data_size": len(part)}}
        for item, part in zip(inputs, parts, strict=True)
    ]
    text = json.dumps({"inputs": listed, **more}).encode()
    return text + b"".join(parts), f"inference-header-content-length: {len(text)}\r\n"


def test_tensors_may_come_and_go_as_bytes(pictures):
    image, weight = np.array(IMAGES, "<f4"), np.array([[1], [2]], "<i8")
    body, head = binary(PICTURES, [image.tobytes(), weight.tobytes()], parameters={"binary_data_output": True})
    line = f"POST /v2/models/delay/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n{head}\r\n"
    whole = pictures(line.encode() + body)
    assert whole.startswith(b"HTTP/1.1 200 OK")
    headers, _, answer = whole.partition(b"\r\n\r\n")
    size = int(headers.partition(b"inference-header-content-length: ")[2].split()[0])
    described, rest = json.loads(answer[:size])["outputs"], answer[size:]
    parts = {}
    for item in described:
        end = item["parameters"]["binary_data_size"]
        parts[item["name"]], rest = rest[:end], rest[end:]
    assert rest == b""
    assert parts["kind"] == struct.pack("<I3sI3s", 3, b"cat", 3, b"owl")
    assert np.frombuffer(parts["vector"], "<f4").tolist() == [1.0, 0.0, 10.0, 2.0]


def test_texts_may_come_as_bytes(table):
    parts = [
        struct.pack("<I2sI2s", 2, b"AA", 2, b"UA"),
        np.zeros(2, "<f4").tobytes(),
        np.array([1, 2], "<i8").tobytes(),
    ]
    body, head = binary(TABLE, parts)
    assert table.ask("/v2/models/delay/infer", body, head)[0] == 200


def one(at: int, **change) -> list:
    return [{**item, **change} if number == at else item for number, item in enumerate(TABLE)]


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        ([], "there are none"),
        (one(0, shape=[3]), "shape"),
        (one(0, shape=[]), "no shape"),
        (one(0, shape=[-2]), "shape"),
        (one(0, shape=[10**12]), "shape"),
        (one(0, shape=[10**20, 0], data=[]), "shape"),
        (one(0, shape=[2**62, 0], data=[]), "shape"),
        (one(0, shape=[0, 2**63 - 1], data=[]), "shape"),
        (one(0, shape=[10**9, 0], data=[]), "shape"),
        (one(0, shape=[1] * 65, data=["AA"]), "shape"),
        (one(0, shape=[1] * 33, data=["AA"]), "shape"),
        (one(0, shape=[2, 2]), "[rows]"),
        (one(0, datatype="TEXT"), "TEXT"),
        (one(0, data=["AA", 3]), "BYTES"),
        (one(0, data="AA"), "list"),
        (one(0, data=None), "list"),
        (one(1, data=[True, False]), "FP32"),
        (one(2, data=[1.5, 2]), "INT64"),
        (one(2, data=["1", "2"]), "INT64"),
        (one(2, shape=[1], data=[1]), "same number of rows"),
        (one(0, name="nothing"), "nothing"),
        (one(1, name="carrier"), "twice"),
        (one(0, name="x" * 100_000), "xxx"),
        (one(0, data=json.loads("[" * 500 + "]" * 500)), "nested"),
        (one(0, parameters={"binary_data_size": 4}), "behind the JSON"),
        (TABLE[:2], "distance"),
        ("text", "inputs"),
        ([{"name": "carrier"}], "shape"),
    ],
    ids=range(28),
)
def test_what_does_not_fit_is_400_with_the_reason(table, inputs, word):
    code, answer = table.ask("/v2/models/delay/infer", {"inputs": inputs})
    assert (code, list(answer)) == (400, ["error"])
    assert word in answer["error"]
    assert table.api.predictor.refused


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"inputs":[],"inputs":[]}',
        b'{"inputs":NaN}',
        b'{"inputs":[{"name":"\xff"}]}',
        b'{"inputs":' + b"[" * 300_000,
    ],
    ids=range(7),
)
def test_what_is_no_request_is_400(table, body):
    assert table.ask("/v2/models/delay/infer", body)[0] == 400


@pytest.mark.parametrize("head", ["9999999", "1", "x", "-1", "99999999999999999999"])
def test_a_wrong_length_of_the_json_is_400(table, head):
    body = json.dumps({"inputs": TABLE}).encode()
    assert table.ask("/v2/models/delay/infer", body, f"inference-header-content-length: {head}\r\n")[0] == 400


@pytest.mark.parametrize(
    "part", [b"", b"\x02", b"\x02\0\0\0A", b"\xff\xff\xff\xffAA", b"\x02\0\0\0\xff\xff\x02\0\0\0AA"]
)
def test_bytes_that_are_no_texts_are_400(table, part):
    body, head = binary(TABLE, [part, bytes(8), bytes(16)])
    assert table.ask("/v2/models/delay/infer", body, head)[0] == 400


@pytest.mark.parametrize("shape", [[10**20, 0], [2**62, 0], [2**63 - 1, 0], [10**9, 0], [1, 10**9, 0], [1] * 65])
def test_a_shape_that_cannot_be_made_is_400_in_every_form(pictures, shape):
    image = {**PICTURES[0], "shape": shape}
    data, part = ([], b"") if 0 in shape else ([1.0], bytes(4))
    assert pictures.ask("/v2/models/delay/infer", {"inputs": [{**image, "data": data}, PICTURES[1]]})[0] == 400
    code, answer = pictures.ask("/v2/models/delay/infer", *binary([image, PICTURES[1]], [part, bytes(16)]))
    assert (code, "shape" in answer["error"]) == (400, True)
    assert not pictures.server.faults


@pytest.mark.parametrize(
    "data",
    [
        [[[1, 0], [0, 0]], [[0, 0], [5]]],
        [[1, 0, 0], [0, 0, 0, 5, 1]],
        [[1, 0, 0, 0], 0, 0, 5, 1],
        [[[[1], [0]], [[0], [0]]], [[[0], [0]], [[5], [1]]]],
        [[[1, 0, 0, 0], [0, 0, 5, 1]]],
        [[[1, 0]], [[0, 0]], [[0, 0]], [[5, 1]]],
        [[]] * 8,
    ],
    ids=range(7),
)
def test_nested_data_has_the_nesting_of_its_shape(pictures, data):
    code, answer = pictures.ask("/v2/models/delay/infer", {"inputs": [{**PICTURES[0], "data": data}, PICTURES[1]]})
    assert (code, "nested" in answer["error"]) == (400, True)


def test_a_refusal_is_counted_with_the_status_that_it_has(table):
    for inputs in (TABLE[:2], one(0, name="nothing"), [{**item, "shape": [0], "data": []} for item in TABLE]):
        assert table.ask("/v2/models/delay/infer", {"inputs": inputs})[0] == 400
    assert table.api.predictor.refused == table.server.answers == {400: 3}


INFER = "/v2/models/delay/infer"


@pytest.mark.parametrize(
    ("line", "head", "status"),
    [
        (f"POST {INFER}", "host: localhost\r\ncontent-length: 9999999", 413),
        (f"POST http://localhost{INFER}?x", "host: localhost\r\ncontent-length: 9999999", 413),
        (f"POST {INFER}", "host: localhost\r\ncontent-encoding: deflate\r\ncontent-length: 2", 415),
        (f"POST {INFER}", "host: localhost\r\ncontent-encoding: gzip\r\ncontent-length: 2", 400),
        (f"POST {INFER}", "host: localhost\r\nx-aiinfra-judged: maybe", 400),
        (f"POST {INFER}", "x: y", 400),
        (f"POST {INFER}", "host: localhost\r\nexpect: tea", 417),
        (f"POST {INFER}", "host: localhost\r\nx: " + "y" * 20_000, 431),
        (f"POST {INFER}", "host: example.org", 403),
        (f"POST {INFER}", "host: localhost\r\norigin: http://example.org", 403),
        (f"GET {INFER}", "host: localhost", 405),
        (f"POST {INFER}", "host: localhost\r\nx-aiinfra-model: models:nope@1", 404),
        ("GET /v2/models/delay/config", "host: localhost", 404),
        ("POST /v2/repository/index", "host: localhost", 404),
    ],
)
def test_whatever_is_refused_below_v2_is_an_error_of_text(table, line, head, status):
    answer = table(f"{line} HTTP/1.1\r\n{head}\r\n\r\n{{}}".encode())
    headers, _, body = answer.partition(b"\r\n\r\n")
    size = int(headers.lower().partition(b"content-length: ")[2].split()[0])
    error = json.loads(body[:size])["error"]
    assert (int(headers.split()[1]), type(error)) == (status, str)


def test_a_fault_of_ours_below_v2_is_an_error_of_text(table, monkeypatch):
    monkeypatch.setattr(table.server, "handler", lambda request: 1 / 0)
    assert table.ask(INFER, {})[1] == {"error": "the endpoint failed; its log says more"}
    assert (
        table.ask("/v2x")[1]
        == table.ask("/predict", {})[1]
        == {"error": {"what": "the endpoint failed; its log says more"}}
    )


def test_a_row_without_a_score_is_an_error_of_the_model(tmp_path, artifacts):
    with serving.endpoint(tmp_path / "log", artifacts("nan")) as patchy:
        values = zip({**ROW, "distance": 9000}.items(), ("BYTES", "FP32", "INT32"), strict=True)
        far = [{"name": name, "shape": [1], "datatype": kind, "data": [value]} for (name, value), kind in values]
        code, answer = patchy.ask("/v2/models/delay/infer", {"inputs": far})
    assert (code, "not finite" in answer["error"]) == (500, True)


def test_who_names_a_version_gets_it_whatever_the_key_says(table, artifacts):
    predictor = table.api.predictor
    canary = inline_workers.served(predictor, "models:delay@2", artifacts("plain", 2.0))
    predictor.routes = inline_workers.routes(predictor.routes.live[0], canary, 0.5)
    assert table.ask("/v2/models/delay")[1]["versions"] == ["1", "2"]
    for version in ("1", "2") * 4:
        code, answer = table.ask(f"/v2/models/delay/versions/{version}/infer", {"inputs": TABLE})
        assert (code, answer["model_version"]) == (200, version)
    assert table.ask("/v2/models/delay/infer", {"inputs": TABLE})[0] == 200


@pytest.fixture
def several(table, artifacts) -> SocketEndpoint:
    """The endpoint `delay`: two versions of the model `x`, and one of `y` beside them."""
    predictor = table.api.predictor
    x1, x2, y1 = (
        inline_workers.served(predictor, f"models:{name}", artifacts("plain", scale))
        for name, scale in (("x@1", 0.5), ("x@2", 2.0), ("y@1", 3.0))
    )
    arms = [ServedArm(x1, "champion", 0.4), ServedArm(x2, "canary", 0.3), ServedArm(y1, "candidate", 0.3)]
    predictor.routes = Routes(arms, "salt", 1)
    return table


def answered_by(there: SocketEndpoint, model: str) -> set[tuple[str, str]]:
    """Model and version of the answers to many keys."""
    found = [
        there.ask(f"/v2/models/{model}/infer", {"inputs": TABLE, "parameters": {"key": str(at)}})[1] for at in range(40)
    ]
    return {(answer["model_name"], answer["model_version"]) for answer in found}


def test_the_models_name_counts_where_several_models_serve(several):
    assert answered_by(several, "y/versions/1") == answered_by(several, "y") == {("y", "1")}
    assert answered_by(several, "x/versions/2") == {("x", "2")}
    assert answered_by(several, "x") == {("x", "1")}
    assert several.ask("/v2/models/y/versions/2/infer", {"inputs": TABLE})[0] == 404
    assert several.ask("/v2/models/y/versions/2")[0] == several.ask("/v2/models/y/versions/2/ready")[0] == 404
    assert [several.ask(f"/v2/models/{name}")[1]["versions"] for name in "xy"] == [["1", "2"], ["1"]]


def named(there: SocketEndpoint, model: str, uri: str) -> tuple[int, str]:
    """Status and version, or what is the matter, for a request whose head names that version."""
    code, answer = there.ask(
        f"/v2/models/{model}/infer", {"inputs": TABLE, "parameters": {"key": "1"}}, f"x-aiinfra-model: {uri}\r\n"
    )
    return code, answer.get("error") or f"models:{answer['model_name']}@{answer['model_version']}"


@pytest.mark.parametrize("uri", ["models:x@1", "models:x@2", "models:y@1"])
def test_the_version_that_the_head_names_answers_below_its_models_path_too(several, uri):
    model, _, version = uri.removeprefix("models:").partition("@")
    for path in ("delay", f"delay/versions/{version}", model, f"{model}/versions/{version}"):
        assert named(several, path, uri) == (200, uri)


@pytest.mark.parametrize(
    ("path", "uri"), [("x", "models:y@1"), ("x/versions/1", "models:x@2"), ("delay/versions/2", "models:x@1")]
)
def test_a_path_and_a_head_that_name_other_versions_are_refused_with_both(several, path, uri):
    code, problem = named(several, path, uri)
    assert (code, f"/v2/models/{path}" in problem, uri in problem) == (400, True, True)


def test_a_version_that_does_not_serve_is_404_below_every_path(several):
    for path in ("delay", "x", "x/versions/1"):
        code, problem = named(several, path, "models:nope@1")
        assert (code, "models:nope@1" in problem, "models:y@1" in problem) == (404, True, True)


def test_under_the_endpoints_own_name_the_key_decides_and_the_answer_names_who_gave_it(several):
    assert answered_by(several, "delay") == {("x", "1"), ("x", "2"), ("y", "1")}
    assert answered_by(several, "delay/versions/2") == {("x", "2")}


def test_the_key_decides_among_the_versions_of_the_only_model(several):
    predictor = several.api.predictor
    arms = predictor.routes.arms[:2]
    predictor.routes = Routes([*arms, ServedArm(predictor.routes.arms[2].version, "shadow", 0.1)], "salt", 2)
    assert answered_by(several, "x") == {("x", "1"), ("x", "2")}


def test_an_output_that_the_answering_arm_lacks_is_answered_by_the_champion_or_refused_with_the_names(
    pictures, tmp_path
):
    predictor = pictures.api.predictor
    only_vector = serving.pictures(tmp_path / "vector")
    signature = json.loads((only_vector / "signature.json").read_text())
    signature["outputs"] = [item for item in signature["outputs"] if item["name"] == "vector"]
    (only_vector / "signature.json").write_text(json.dumps({**signature, "task": {}}))
    candidate = inline_workers.served(predictor, "models:vector@1", only_vector)
    champion = predictor.routes.live[0]
    predictor.routes = inline_workers.routes(champion, candidates=[(candidate, 0.5)], salt="salt")
    found: dict[str, set] = {"kind": set(), "vector": set()}
    for name, by in found.items():
        for key in range(20):
            body = {"inputs": PICTURES, "outputs": [{"name": name}], "parameters": {"key": key}}
            code, answer = pictures.ask("/v2/models/delay/infer", body)
            assert (code, [item["name"] for item in answer["outputs"]]) == (200, [name])
            by.add(answer["model_name"])
    assert found == {"kind": {"delay"}, "vector": {"delay", "vector"}}
    predictor.routes = inline_workers.routes(candidate)
    code, answer = pictures.ask("/v2/models/delay/infer", {"inputs": PICTURES, "outputs": [{"name": "kind"}]})
    assert (code, answer["error"]) == (400, "there is no output 'kind'; known: vector")


@pytest.mark.parametrize(
    "inputs",
    [
        [{**TABLE[0], "shape": [2**62] * 1000}],
        [{**PICTURES[1], "name": "n" * 100_000}],
        [{**TABLE[0], "datatype": "n" * 100_000}],
        [{**TABLE[2], "data": ["n" * 100_000] * 2}],
        {"n" * 100_000: 1},
    ],
)
def test_a_refusal_repeats_little_of_what_was_sent(table, inputs):
    code, answer = table.ask("/v2/models/delay/infer", {"inputs": inputs})
    assert code == 400
    assert len(answer["error"]) < 500
