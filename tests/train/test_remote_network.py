"""A network in a process of another environment answers as one here does, whatever it takes and however it ends."""

import gc
import os
import signal

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from aiinfra_lab.errors import Failed
from aiinfra_lab.train import remote_network
from aiinfra_lab.train.environments import Environment
from aiinfra_lab.train.remote_network import NetworkRaised, RemoteSession
from aiinfra_lab.train.saved_model import opened
from tests.conftest import until

from .test_environments import OLD, asked

__all__ = ["asked"]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Takes texts, numbers and an index; it raises for an index that is not there."""
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    texts, doubles, whole, halves = (getattr(TensorProto, name) for name in ("STRING", "DOUBLE", "INT64", "FLOAT16"))
    take = [("text", texts, ["n"]), ("x", doubles, ["n", 2]), ("at", whole, ["n"])]
    give = [("same", texts, ["n"]), ("sum", doubles, ["n"]), ("row", halves, ["n"])]
    nodes = [
        helper.make_node("Identity", ["text"], ["same"]),
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
        helper.make_node("Gather", ["table", "at"], ["row"]),
    ]
    weights = [
        numpy_helper.from_array(np.array([1]), "axis"),
        numpy_helper.from_array(np.array([0.5, 1.5], np.float16), "table"),
    ]
    infos = [[helper.make_tensor_value_info(*each) for each in side] for side in (take, give)]
    graph = helper.make_graph(nodes, "all", *infos, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture
def session(asked, network):
    found = RemoteSession(Environment.made(OLD), network, 1)
    yield found
    found.close()


ROWS = {
    "text": np.array(["ä", ""], object),
    "x": np.array([[1.0, np.nan], [3.0, 4.0]])[:, ::-1],
    "at": np.array([1, 0]),
}


def test_it_gives_what_one_here_gives(session, network):
    here = opened(network)
    for found, wanted in zip(session.run(None, ROWS), here.run(None, ROWS), strict=True):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert found.tobytes() == wanted.tobytes() or found.tolist() == wanted.tolist()
    [only] = session.run(["row"], ROWS)
    assert only.tolist() == [1.5, 0.5]
    only += 1  # it is the caller's own
    described = [[(item.name, item.type, list(item.shape)) for item in each.get_inputs()] for each in (session, here)]
    assert described[0] == described[1]
    assert session.runtime == onnxruntime.__version__


def test_what_the_network_raises_is_raised_here_and_it_goes_on(session):
    with pytest.raises(NetworkRaised, match="Gather"):
        session.run(None, {**ROWS, "at": np.array([5, 0])})
    assert len(session.run(None, ROWS)) == 3


def test_a_file_that_is_no_network_says_so(asked, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(NetworkRaised, match=r"model\.onnx"):
        RemoteSession(Environment.made(OLD), tmp_path / "model.onnx", 1)


def test_a_process_that_ends_is_told(session):
    os.kill(session._process.pid, signal.SIGKILL)
    with pytest.raises(Failed, match="with SIGKILL"):
        session.run(None, ROWS)
    assert len(session.run(None, ROWS)) == 3  # by another one


def test_an_answer_that_nobody_waited_for_is_not_that_of_the_next(session, monkeypatch):
    decode = remote_network._decode_answer

    def stopped(message):
        monkeypatch.setattr(remote_network, "_decode_answer", decode)
        raise KeyboardInterrupt

    monkeypatch.setattr(remote_network, "_decode_answer", stopped)
    with pytest.raises(KeyboardInterrupt):
        session.run(["row"], ROWS)
    [found] = session.run(["same"], ROWS)
    assert found.tolist() == ["ä", ""]


def test_the_process_ends_with_its_session(session, request):
    process = RemoteSession(Environment.made(OLD), session._path, 1)._process
    gc.collect()
    until(lambda: process.poll() is not None)
    assert process.returncode == 0


def test_mappings_of_labels_come_back_as_such(asked, tmp_path):
    node = helper.make_node("ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"])
    take = helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 2])
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    graph = helper.make_graph([node], "zip", [take], [helper.make_value_info("z", kind)])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), tmp_path / "model.onnx")
    session = RemoteSession(Environment.made(OLD), tmp_path / "model.onnx", 1)
    [found] = session.run(None, {"p": np.array([[0.25, 0.75]], np.float32)})
    assert found == [{"no": 0.25, "yes": 0.75}]
