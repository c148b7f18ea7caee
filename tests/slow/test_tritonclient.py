"""The protocol as a client has it that is not ours: tritonclient, in an environment of its own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import serving
from tests.deploy.conftest import artifact

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))

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

TABLE = [("carrier", "object", ["AA", "UA"]), ("temp", "float32", [3.0, 1.0]), ("distance", "int64", [250, 300])]
PICTURES = [("image", "float32", [[[1, 0], [0, 0]], [[0, 0], [5, 1]]]), ("weight", "int64", [[1], [2]])]


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter of the client's environment, which is made when it is not there."""
    place = ROOT / ".venvs" / "tritonclient"
    found = place / "bin" / "python"
    if not found.exists():
        run(UV, "venv", "--quiet", "--python", sys.executable, str(place))
    run(UV, "pip", "install", "--quiet", "--python", str(found), "-r", str(ROOT / "constraints" / "tritonclient.txt"))
    return str(found)


def run(*command: str) -> str:
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


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


def flattened(value) -> list:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else [value]
