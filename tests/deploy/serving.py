"""An endpoint without a store: its paths on a real socket, with a version that serves or without any."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import uvloop
from onnx import TensorProto, helper, numpy_helper

from aiinfra_lab.deploy.grpc.sidecar import MODULE
from aiinfra_lab.deploy.ports import bind
from aiinfra_lab.deploy.server.http_api import HttpApi
from aiinfra_lab.deploy.server.predictions_log import PredictionsLog
from aiinfra_lab.deploy.server.predictor import Predictor
from aiinfra_lab.deploy.server.protocol import MAX_BODY, Server
from aiinfra_lab.train.signature import Signature, Task, Tensor
from tests.conftest import PATIENCE_S
from tests.fakes import inline_workers


@dataclass
class SocketEndpoint:
    """Where it listens, and what answers there."""

    address: tuple[str, int]
    api: HttpApi
    server: Server

    def __call__(self, data: bytes) -> bytes:
        """All that is answered to these bytes before the connection is closed."""
        with socket.create_connection(self.address, timeout=PATIENCE_S) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def ask(self, path: str, body: object = None, head: str = "") -> tuple[int, Any]:
        """Status and body of one answer: a GET, or a POST of a body (bytes as they are)."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        line = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nhost: localhost\r\n"
        answer = self(f"{line}content-length: {len(data)}\r\n{head}\r\n".encode() + data)
        headers, _, found = answer.partition(b"\r\n\r\n")
        is_json = b"application/json" in headers
        return int(headers.split(b" ", 2)[1]), json.loads(found) if is_json and found else found


@contextlib.contextmanager
def endpoint(
    log: Path,
    folder: Path | None = None,
    uri: str = "models:delay@1",
    max_body: int = MAX_BODY,
    port: int = 0,
) -> Iterator[SocketEndpoint]:
    """Serve the version in that folder."""
    loop, listener = uvloop.new_event_loop(), bind(port)
    predictor = Predictor(PredictionsLog(log, 1e9), loop, max_body=max_body)
    if folder is not None:
        predictor.routes = inline_workers.routes(inline_workers.served(predictor, uri, folder))
    api = HttpApi("delay", "deploy-delay-1", predictor, lambda done: done())
    server = Server(api.handle, loop, predictor.tallies, max_body)
    loop.run_until_complete(loop.create_server(server.connect, sock=listener))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield SocketEndpoint(listener.getsockname(), api, server)
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        predictor.log.close()
        loop.close()


class Speaker:
    """The process that speaks gRPC for an endpoint, and where it listens."""

    def __init__(self, endpoint_port: int, max_body: int = MAX_BODY, port: int = 0) -> None:
        self.parent, there = socket.socketpair()
        command = [sys.executable, "-m", MODULE, str(port), str(endpoint_port), str(max_body)]
        with there:
            self.process = subprocess.Popen(command, stdin=there.fileno())
        self.port = int(self.parent.recv(16) or 0)

    def close(self) -> None:
        self.parent.close()
        assert self.process.wait(PATIENCE_S) == 0


LABELS = ("cat", "dog", "owl")


def pictures(folder: Path) -> Path:
    """The folder of a model of arrays: `image` [2, 2] and `weight` → which of the labels, and two sums."""
    folder.mkdir(parents=True)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["linear"]),
        helper.make_node("Softmax", ["linear"], ["kind"]),
        helper.make_node("ReduceSum", ["image", "axis"], ["summed"], keepdims=0),
        helper.make_node("Cast", ["weight"], ["heavy"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["summed", "heavy"], ["vector"]),
    ]
    weights = {"w": np.eye(4, 3, dtype=np.float32), "axis": np.array([1], np.int64)}
    takes = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 2, 2]),
        helper.make_tensor_value_info("weight", TensorProto.INT64, ["n", 1]),
    ]
    gives = [
        helper.make_tensor_value_info("kind", TensorProto.FLOAT, ["n", 3]),
        helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 2]),
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "pictures", takes, gives, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, folder / "model.onnx")
    signature = Signature(
        (Tensor("image", "FP32", (-1, 2, 2)), Tensor("weight", "INT64", (-1, 1))),
        (Tensor("kind", "FP32", (-1, 3)), Tensor("vector", "FP32", (-1, 2))),
        Task("classification", LABELS),
        rows="arrays",
    )
    (folder / "signature.json").write_text(signature.to_json())
    (folder / "example.json").write_text(json.dumps({"rows": [{"image": [[1.0, 0.0], [0.0, 0.0]], "weight": [2]}]}))
    return folder


def sequences(folder: Path) -> Path:
    """The folder of a model that adds up `steps`, of which a row has any number."""
    folder.mkdir(parents=True)
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    takes = [helper.make_tensor_value_info("steps", TensorProto.FLOAT, ["n", "t"])]
    gives = [helper.make_tensor_value_info("total", TensorProto.FLOAT, ["n"])]
    node = helper.make_node("ReduceSum", ["steps", "axis"], ["total"], keepdims=0)
    graph = helper.make_graph([node], "sequences", takes, gives, [axis])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    signature = Signature((Tensor("steps", "FP32", (-1, -1)),), (Tensor("total", "FP32", (-1,)),), rows="arrays")
    (folder / "signature.json").write_text(signature.to_json())
    (folder / "example.json").write_text(json.dumps({"rows": [{"steps": [1.0, 2.0]}]}))
    return folder
