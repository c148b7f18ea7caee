"""The protocol over gRPC as KServe's client has it, in an environment of its own."""

import json

import pytest

from tests.deploy import serving
from tests.deploy.conftest import artifact

from .environments import python_of, run

pytestmark = pytest.mark.slow

ASKED = """
import asyncio, json, sys
import grpc, numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

async def asked():
    found = {}
    async with InferenceGRPCClient(sys.argv[1], retries=2) as client:
        found["live"], found["ready"] = await client.is_server_live(), await client.is_server_ready()
        found["model"] = await client.is_model_ready("delay")
        try:
            await client.is_model_ready("other")
        except grpc.RpcError as problem:
            found["other"] = problem.code().name
        for form in (True, False):
            columns = [("carrier", "BYTES", np.array(["AA", "UA"], object)), ("temp", "FP64", np.array([3.0, 1.0])),
                       ("distance", "INT64", np.array([250, 300]))]
            inputs = [InferInput(name, [2], kind) for name, kind, _ in columns]
            for item, (_, _, values) in zip(inputs, columns):
                item.set_data_from_numpy(values, binary_data=form)
            answer = await client.infer(InferRequest("delay", inputs, request_id="mine"))
            found[str(form)] = [answer.id, answer.model_version, answer.outputs[0].as_numpy().tolist()]
    print(json.dumps(found))

asyncio.run(asked())
"""


def test_kserves_client_finds_what_predict_answers(tmp_path):
    python = python_of("kserve")
    with serving.endpoint(tmp_path / "log", artifact(tmp_path / "model")) as served:
        speaker = serving.Speaker(served.address[1])
        found = json.loads(run(python, "-c", ASKED, f"127.0.0.1:{speaker.port}").splitlines()[-1])
        speaker.close()
        rows = [{"carrier": "AA", "temp": 3.0, "distance": 250}, {"carrier": "UA", "temp": 1.0, "distance": 300}]
        wanted = [row["score"] for row in served.ask("/predict", {"rows": rows})[1]["predictions"]]
    assert [found[each] for each in ("live", "ready", "model", "other")] == [True, True, True, "NOT_FOUND"]
    for form in ("True", "False"):
        assert found[form] == ["mine", "1", pytest.approx(wanted, rel=1e-6)]
