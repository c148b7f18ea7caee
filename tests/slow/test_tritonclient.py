"""The protocol as a client has it that is not ours: tritonclient, in an environment of its own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import serving
from tests.deploy.conftest import artifact

from .environments import python_of, run

pytestmark = pytest.mark.slow

# What the client is asked to do; it prints what it found.
ASKED = """
import json, sys
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

client, binary = InferenceServerClient(sys.argv[1]), sys.argv[3] == "binary"
given = [(name, np.array(values, kind)) for name, kind, values in json.loads(sys.argv[2])]

def asked(arrays, outputs=None, **more):
    inputs = []
    for name, array in arrays:
        inputs.append(InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in outputs] if outputs else None
    return client.infer("delay", inputs, outputs=outputs, **more)

metadata = client.get_model_metadata("delay")
names = [item["name"] for item in metadata["outputs"]]
whole, chosen = asked(given, request_id="mine"), asked(given, names)
try:
    asked([(name, array[:1]) for name, array in given[:1]])
    refused = ""
except InferenceServerException as problem:
    refused = f"{problem.status()} {problem.message()}"

def plain(array):
    return [item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()]

print(json.dumps({
    "live": client.is_server_live(), "ready": client.is_server_ready(),
    "model": client.is_model_ready("delay"), "version": client.is_model_ready("delay", "1"),
    "other": client.is_model_ready("other"), "server": client.get_server_metadata()["name"],
    "inputs": [item["name"] for item in metadata["inputs"]], "id": whole.get_response()["id"], "refused": refused,
    "outputs": {name: [list(whole.as_numpy(name).shape), plain(whole.as_numpy(name))] for name in names},
    "chosen": {name: [list(chosen.as_numpy(name).shape), plain(chosen.as_numpy(name))] for name in names},
}))
"""

# The same of REST and gRPC: columns come in by standard input.
ASKED_BOTH = """
import json, queue, sys
import numpy as np
import tritonclient.grpc, tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

given = [(name, np.array(values, kind)) for name, kind, values in json.load(sys.stdin)]

def inputs_of(module, arrays):
    inputs = []
    for name, array in arrays:
        inputs.append(module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    return inputs

def plain(answer):
    [name] = [item["name"] if isinstance(item, dict) else item.name for item in outputs_of(answer)]
    return [float(value).hex() for value in answer.as_numpy(name)]

def outputs_of(answer):
    response = answer.get_response()
    return response["outputs"] if isinstance(response, dict) else response.outputs

rest = tritonclient.http.InferenceServerClient(sys.argv[1], network_timeout=300.0, connection_timeout=300.0)
grpc = tritonclient.grpc.InferenceServerClient(sys.argv[2])
found = {
    "rest": plain(rest.infer("delay", inputs_of(tritonclient.http, given))),
    "grpc": plain(grpc.infer("delay", inputs_of(tritonclient.grpc, given), compression_algorithm="gzip")),
    "live": grpc.is_server_live(), "ready": grpc.is_server_ready(), "model": grpc.is_model_ready("delay", "1"),
    "server": grpc.get_server_metadata().name,
    "inputs": [item.name for item in grpc.get_model_metadata("delay").inputs],
    "by key": grpc.infer("delay", inputs_of(tritonclient.grpc, given), headers={"x-aiinfra-model": "models:delay@1"},
                         parameters={"key": "k"}).get_response().model_version,
}
for case, call in {
    "refused": lambda: grpc.infer("delay", inputs_of(tritonclient.grpc, [(n, a[:1]) for n, a in given[:1]])),
    "unknown": lambda: grpc.is_model_ready("other"),
}.items():
    try:
        call()
    except InferenceServerException as problem:
        found[case] = f"{problem.status()} {problem.message()}"
answers = queue.Queue()
grpc.start_stream(lambda result, error: answers.put((result, error)))
for at in range(20):
    grpc.async_stream_infer("delay", inputs_of(tritonclient.grpc, given), request_id=str(at))
streamed = [answers.get(timeout=60) for _ in range(20)]
grpc.stop_stream()
found["stream"] = [[str(error or ""), result.get_response().id, plain(result)] for result, error in streamed]
print(json.dumps(found))
"""

TABLE = [("carrier", "object", ["AA", "UA"]), ("temp", "float32", [3.0, 1.0]), ("distance", "int64", [250, 300])]
PICTURES = [("image", "float32", [[[1, 0], [0, 0]], [[0, 0], [5, 1]]]), ("weight", "int64", [[1], [2]])]


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter of the client's environment."""
    return python_of("tritonclient")


@pytest.fixture(params=["table", "pictures"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[serving.SocketEndpoint, list]]:
    is_table = request.param == "table"
    folder = artifact(tmp_path / "model") if is_table else serving.pictures(tmp_path / "model")
    with serving.endpoint(tmp_path / "log", folder) as found:
        yield found, TABLE if is_table else PICTURES


@pytest.mark.parametrize("form", ["json", "binary"])
def test_a_client_from_elsewhere_finds_what_predict_answers(python, case, form):
    served, arrays = case
    address = f"127.0.0.1:{served.address[1]}"
    found = json.loads(run(python, "-c", ASKED, address, json.dumps(arrays), form).splitlines()[-1])
    states = [found[each] for each in ("live", "ready", "model", "version", "other")]
    assert states == [True, True, True, True, False]
    assert (found["server"], found["id"]) == ("aiinfra-lab", "mine")
    assert found["inputs"] == [name for name, _, _ in arrays]
    assert found["refused"].startswith("400 row 0, ")
    rows = [
        dict(zip(found["inputs"], values, strict=True)) for values in zip(*(each[2] for each in arrays), strict=True)
    ]
    predictions = served.ask("/predict", {"rows": rows})[1]["predictions"]
    assert found["outputs"] == found["chosen"]
    for name, (shape, values) in found["outputs"].items():
        wanted = [flat for row in predictions for flat in flattened(row[name])]
        assert (shape[0], values) == (2, pytest.approx(wanted, rel=1e-6) if isinstance(wanted[0], float) else wanted)


def test_a_thousand_rows_are_answered_alike_over_grpc_rest_and_predict(python, tmp_path):
    rows = [
        {"carrier": ("AA", "UA", "9E")[at % 3], "temp": at / 7 - 50, "distance": 100 + at % 400} for at in range(1000)
    ]
    kinds = {"carrier": "object", "temp": "float64", "distance": "int64"}
    columns = [(name, kind, [row[name] for row in rows]) for name, kind in kinds.items()]
    with serving.endpoint(tmp_path / "log", artifact(tmp_path / "model")) as served:
        speaker = serving.Speaker(served.address[1])
        addresses = [f"127.0.0.1:{port}" for port in (served.address[1], speaker.port)]
        found = json.loads(run(python, "-c", ASKED_BOTH, *addresses, given=json.dumps(columns)).splitlines()[-1])
        speaker.close()
        predictions = served.ask("/predict", {"rows": rows})[1]["predictions"]
    assert [found[each] for each in ("live", "ready", "model", "server", "by key")] == [
        True, True, True, "aiinfra-lab", "1"
    ]  # fmt: skip
    assert found["inputs"] == [*kinds]
    assert found["grpc"] == found["rest"]
    wanted = [row["score"] for row in predictions]
    assert [float.fromhex(each) for each in found["grpc"]] == pytest.approx(wanted, rel=1e-6)
    assert found["refused"].startswith("StatusCode.INVALID_ARGUMENT row 0, ")
    assert found["unknown"].startswith("StatusCode.NOT_FOUND there is no model 'other'")
    assert found["stream"] == [["", str(at), found["rest"]] for at in range(20)]


def flattened(value) -> list:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else [value]
