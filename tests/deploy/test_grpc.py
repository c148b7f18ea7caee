"""The Open Inference Protocol over gRPC: a process beside an endpoint that answers what the endpoint does."""

import contextlib
import gzip
import json
import random
import signal
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aiinfra_lab.deploy.grpc import messages, tensors
from tests.conftest import PATIENCE_S, until

from . import serving
from .conftest import artifact
from .speaking import MAX_BODY, METHODS, ROWS, Client, Spoken, asked, grpc, refused, scores


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endpoint")
    with serving.endpoint(folder / "log", artifact(folder / "model"), max_body=MAX_BODY) as found:
        yield found


@pytest.fixture(scope="module")
def spoken(endpoint):
    found = Spoken(endpoint.address[1])
    yield found
    found.close()


@pytest.fixture(scope="module")
def client(spoken):
    return spoken.client


def predicted(endpoint, rows=ROWS) -> list[float]:
    status, answer = endpoint.ask("/predict", {"rows": rows})
    assert status == 200
    return pytest.approx([row["score"] for row in answer["predictions"]], rel=1e-6)


# ---- what it answers ----


@pytest.mark.parametrize("raw", [True, False], ids=["bytes", "values"])
def test_rows_are_answered_as_over_http(endpoint, client, raw):
    answer = client("ModelInfer", asked(raw=raw, id="mine"))
    assert (answer.model_name, answer.model_version, answer.id) == ("delay", "1", "mine")
    assert scores(answer) == predicted(endpoint)


def test_pictures_are_answered_with_texts_and_numbers(tmp_path):
    with serving.endpoint(tmp_path / "log", serving.pictures(tmp_path / "model")) as served:
        spoken = Spoken(served.address[1])
        request = METHODS["ModelInfer"].request(model_name="delay")
        request.inputs.add(name="image", datatype="FP32", shape=[1, 2, 2]).contents.fp32_contents.extend([0, 5, 1, 0])
        request.inputs.add(name="weight", datatype="INT64", shape=[1, 1]).contents.int64_contents.append(2)
        request.outputs.add(name="vector")
        request.outputs.add(name="kind")
        answer = spoken.client("ModelInfer", request)
        found = dict(zip([item.name for item in answer.outputs], answer.raw_output_contents, strict=True))
        spoken.close()
    assert found == {"kind": b"\x03\0\0\0dog", "vector": struct.pack("<2f", 2, 10)}


def test_it_tells_about_itself_and_its_model(endpoint, client):
    assert client("ServerLive").live
    assert client("ServerReady").ready
    assert client("ServerMetadata").name == "aiinfra-lab"
    named = METHODS["ModelReady"].request(name="delay", version="1")
    assert client("ModelReady", named).ready
    metadata = client("ModelMetadata", METHODS["ModelMetadata"].request(name="delay"))
    assert [(item.name, item.datatype, [*item.shape]) for item in metadata.inputs] == [
        ("carrier", "BYTES", [-1]), ("temp", "FP64", [-1]), ("distance", "FP64", [-1])
    ]  # fmt: skip
    assert (metadata.name, [*metadata.versions], metadata.outputs[0].name) == ("delay", ["1"], "score")


def test_without_a_version_it_lives_and_is_not_ready(tmp_path):
    with serving.endpoint(tmp_path / "log") as served:
        spoken = Spoken(served.address[1])
        found = [spoken.client("ServerLive").live, spoken.client("ServerReady").ready]
        code, _ = refused(spoken.client, "ModelInfer", asked())
        spoken.close()
    assert (found, code) == ([True, False], "UNAVAILABLE")


def test_a_stream_answers_each_request_in_its_order(endpoint, client):
    calls = [asked(ROWS[:2], id="first"), asked(ROWS[:1], id="bad", model_version="9"), b"\xff", asked(id="last")]
    first, bad, unread, last = client.stream(calls)
    assert scores(first.infer_response) == predicted(endpoint, ROWS[:2])
    assert (bad.infer_response.id, unread.infer_response.id, last.infer_response.id) == ("bad", "", "last")
    assert "versions that do: 1" in bad.error_message
    assert unread.error_message == "this is no ModelInferRequest"
    assert scores(last.infer_response) == predicted(endpoint)


def test_what_it_does_not_have_is_unimplemented(client):
    assert refused(client, "RepositoryIndex")[0] == "UNIMPLEMENTED"


def test_metadata_goes_on_as_header_fields(endpoint, client):
    known, unknown = ("x-aiinfra-model", "models:delay@1"), ("x-aiinfra-model", "models:delay@7")
    assert client("ModelInfer", asked(), metadata=[known]).model_version == "1"
    assert "models:delay@7" in refused(client, "ModelInfer", asked(), metadata=[unknown])[1]
    assert refused(client, "ModelInfer", asked(), metadata=[("x-aiinfra-judged", "perhaps")])[0] == "INVALID_ARGUMENT"
    assert scores(client("ModelInfer", asked(), metadata=[("x-aiinfra-judged", "no"), ("other", "x")]))


# ---- what it refuses ----


def changed(**fields):
    """A good request, of whose first input these fields are others."""
    request = asked(ROWS[:1])
    for name, value in fields.items():
        if name == "shape":
            request.inputs[0].shape[:] = value
        else:
            setattr(request.inputs[0], name, value)
    return request


def without_bytes(request):
    del request.raw_input_contents[-1]
    return request


def typed(datatype: str, field: str, values: list):
    request = METHODS["ModelInfer"].request(model_name="delay")
    getattr(request.inputs.add(name="temp", datatype=datatype, shape=[1]).contents, field).extend(values)
    return request


def both():
    request = asked(ROWS[:1])
    request.inputs[1].contents.fp64_contents.append(1.0)
    return request


def shared():
    request = asked(ROWS[:1])
    request.inputs[1].parameters["shared_memory_region"].string_param = "mine"
    return request


BAD = {
    "bytes": (b"\xff\xff\xff", "this is no ModelInferRequest"),
    "nested": (b"\x2a\x02" * 300, "this is no ModelInferRequest"),
    "shape": (changed(shape=[7]), "carrier: 7"),
    "negative": (changed(shape=[-1]), "Expected `int` >= 0"),
    "huge shape": (changed(shape=[2**62, 2**62]), "1 to 4096 rows"),
    "datatype": (changed(datatype="FP33"), "is of 'FP33'"),
    "name": (changed(name="elsewhere"), "elsewhere"),
    "fewer bytes": (without_bytes(asked()), "raw_input_contents has 2 entries, and there are 3 inputs"),
    "both": (both(), "temp has contents beside raw_input_contents"),
    "shared memory": (shared(), "shared memory"),
    "no inputs": (asked(ROWS[:1]).__class__(model_name="delay"), "there are none"),
    "other field": (typed("FP32", "fp64_contents", [1.0]), "whose values are in fp32_contents, not in fp64_contents"),
    "no field": (typed("FP16", "fp32_contents", [1.0]), "for which contents has no field"),
    "too large": (typed("INT8", "int_contents", [300]), "temp has a number that is no INT8"),
    "output": (asked(outputs=[{"name": "nothing"}]), "there is no output 'nothing'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_an_invalid_argument_that_says_why(client, case):
    request, why = BAD[case]
    code, details = refused(client, "ModelInfer", request)
    assert (code, why in details) == ("INVALID_ARGUMENT", True), details
    assert client("ServerLive").live


def garbled(data: bytes, chance: random.Random) -> bytes:
    """A message with a few bytes of it changed, lost, or more."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(found)), chance.randint(1, 8)
        match chance.randrange(3):
            case 0:
                found[at] = chance.randrange(256)
            case 1:
                del found[at : at + min(length, len(found) - 1)]
            case 2:
                found[at:at] = chance.randbytes(length)
    return bytes(found)


def test_garbled_messages_are_answered_or_refused_and_harm_nobody(client):
    seed = random.randrange(2**32)
    chance, given = random.Random(seed), [asked().SerializeToString(), asked(raw=False).SerializeToString()]
    codes = set()
    for _ in range(300):
        try:
            client("ModelInfer", garbled(chance.choice(given), chance))
        except grpc.RpcError as problem:
            codes.add(problem.code().name)
    assert codes <= {"INVALID_ARGUMENT", "NOT_FOUND"}, f"seed {seed}"
    assert client("ServerReady").ready


@pytest.mark.parametrize(
    "named", [{"model_name": "other"}, {"model_name": ""}, {"model_name": "../../status"}, {"model_version": "9/infer"}]
)
def test_an_unknown_model_is_not_found(client, named):
    request = asked()
    for field, value in named.items():
        setattr(request, field, value)
    assert refused(client, "ModelInfer", request)[0] == "NOT_FOUND"
    assert refused(client, "ModelReady", METHODS["ModelReady"].request(name="other"))[0] == "NOT_FOUND"


def test_a_message_is_as_long_as_a_body_compressed_or_not(spoken):
    rows = [{**ROWS[0], "temp": at} for at in range(1000)]
    client = spoken.client
    assert len(scores(client("ModelInfer", asked(rows), compression=grpc.Compression.Gzip))) == 1000
    request = asked()
    request.raw_input_contents[0] = bytes(100 * MAX_BODY)
    assert len(gzip.compress(request.SerializeToString())) < MAX_BODY
    before = _peak_kib(spoken.process.pid)
    code, _ = refused(client, "ModelInfer", request, compression=grpc.Compression.Gzip)
    assert code == "RESOURCE_EXHAUSTED"
    # It is inflated no further than that.
    assert _peak_kib(spoken.process.pid) - before < 20 << 10
    request.raw_input_contents[0] = bytes(2 * MAX_BODY)
    assert refused(client, "ModelInfer", request)[0] == "RESOURCE_EXHAUSTED"
    request.raw_input_contents[0] = bytes(MAX_BODY - 200)  # as a message it fits, and as a body not any more
    assert refused(client, "ModelInfer", request)[0] == "RESOURCE_EXHAUSTED"


def _peak_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0])


# ---- many, late, away ----


def test_many_at_once_are_answered_each_its_own(endpoint, client):
    def call(at: int) -> bool:
        rows = [{**ROWS[0], "temp": at}]
        return client("ModelInfer", asked(rows, id=str(at))).id == str(at) and scores(
            client("ModelInfer", asked(rows))
        ) == pytest.approx(wanted[at], rel=1e-6)

    answer = endpoint.ask("/predict", {"rows": [{**ROWS[0], "temp": at} for at in range(256)]})[1]
    wanted = [[row["score"]] for row in answer["predictions"]]
    with ThreadPoolExecutor(64) as threads:
        assert all(threads.map(call, range(256)))
    assert len(endpoint.server.connections) <= 65


class Held:
    """An endpoint that takes requests and answers none before it is told to; it knows when a client goes away."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.taken, self.left, self.go = threading.Event(), threading.Event(), threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                threading.Thread(target=self._hold, args=(connection,), daemon=True).start()

    def _hold(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(0.02)
            while connection.recv(65_536):
                self.taken.set()
                while not self.go.is_set():
                    with contextlib.suppress(TimeoutError):
                        if not connection.recv(65_536):
                            self.left.set()
                            return
                body = b'{"live":true}'
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


@pytest.fixture
def held():
    found = Held()
    yield found
    found.go.set()
    found.socket.close()


def test_the_clients_deadline_holds_and_takes_its_request_away(held):
    spoken = Spoken(held.port)
    at = time.monotonic()
    assert refused(spoken.client, "ServerLive", timeout=0.3)[0] == "DEADLINE_EXCEEDED"
    assert time.monotonic() - at < PATIENCE_S
    assert held.left.wait(PATIENCE_S)
    spoken.close()


def test_a_cancelled_call_takes_its_request_away(held):
    spoken = Spoken(held.port)
    call = spoken.client.method("ServerLive").future(b"")
    assert held.taken.wait(PATIENCE_S)
    call.cancel()
    assert held.left.wait(PATIENCE_S)
    spoken.close()


def test_one_that_is_asked_to_end_answers_what_it_has_taken(held):
    spoken = Spoken(held.port)
    call = spoken.client.method("ServerLive").future(b"", timeout=PATIENCE_S)
    assert held.taken.wait(PATIENCE_S)
    spoken.process.send_signal(signal.SIGTERM)
    until(lambda: refused(Client(spoken.port), "ServerLive", timeout=1)[0] == "UNAVAILABLE")
    held.go.set()
    assert call.result().live
    spoken.close()


def test_while_the_endpoint_is_away_it_is_unavailable_and_comes_back(tmp_path):
    folder = artifact(tmp_path / "model")
    with serving.endpoint(tmp_path / "log", folder) as served:
        spoken, port = Spoken(served.address[1]), served.address[1]
        assert scores(spoken.client("ModelInfer", asked()))
    code, why = refused(spoken.client, "ModelInfer", asked())
    assert (code, why.startswith("the endpoint does not answer")) == ("UNAVAILABLE", True)
    with serving.endpoint(tmp_path / "log", folder, port=port):
        assert scores(spoken.client("ModelInfer", asked()))
    spoken.close()


def test_a_port_that_somebody_else_has_is_not_shared(held, endpoint):
    spoken = Spoken(endpoint.address[1], port=held.port)
    assert spoken.port not in (0, held.port)
    again = Spoken(endpoint.address[1], port=spoken.port)  # nor that of another of its kind
    assert again.port not in (0, spoken.port)
    again.close()
    spoken.close()


# ---- the messages ----


def test_a_request_becomes_what_rest_takes():
    request = asked(ROWS[:1], id="7")
    request.parameters["key"].string_param = "k"
    request.parameters["binary_data_output"].bool_param = False  # how tensors travel is not the client's to say
    text, parts = tensors.read(request)
    found = json.loads(text)
    assert found["parameters"] == {"key": "k", "binary_data_output": True}
    assert [item["parameters"] for item in found["inputs"]] == [{"binary_data_size": size} for size in (6, 8, 8)]
    assert (found["id"], [*map(len, parts)], "outputs" in found) == ("7", [6, 8, 8], False)


def test_every_integer_has_its_width():
    widths = {"BOOL": 1, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8, "FP32": 4, "FP64": 8}
    widths |= {"UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8}
    for datatype, width in widths.items():
        field, to_bytes = tensors._CONTENTS[datatype]
        request = typed(datatype, field, [1])
        assert len(to_bytes(getattr(request.inputs[0].contents, field))) == width


def test_the_numbers_are_the_protocols():
    request = METHODS["ModelInfer"].request(model_name="a", model_version="1", id="i", raw_input_contents=[b"x"])
    assert request.SerializeToString() == b"\x0a\x01a\x12\x011\x1a\x01i\x3a\x01x"
    assert {item.name: item.number for item in METHODS["ModelInfer"].response.DESCRIPTOR.fields} == {
        "model_name": 1, "model_version": 2, "id": 3, "parameters": 4, "outputs": 5, "raw_output_contents": 6
    }  # fmt: skip


def test_a_protocol_that_is_not_understood_is_refused(tmp_path):
    (tmp_path / "other.proto").write_text('syntax = "proto3";\nenum Kind {}\n')
    with pytest.raises(ValueError, match="'enum' is not understood"):
        messages.load(tmp_path / "other.proto")
