"""What tests of gRPC share: a client, a process that speaks for an endpoint, requests and their answers."""

import struct

import pytest

from aiinfra_lab.deploy.grpc import messages
from tests.conftest import PATIENCE_S

from . import serving

grpc = pytest.importorskip("grpc", reason="grpcio is not installed: the extra `grpc`")

SERVICE, METHODS = messages.load()
MAX_BODY = 1 << 20
ROWS = [{"carrier": carrier, "temp": temp, "distance": 100 + temp} for carrier in ("AA", "UA") for temp in range(5)]


class Client:
    """Calls a method with a message, or with bytes that may be none."""

    def __init__(self, port: int, **options) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[*options.items()])

    def __call__(self, name: str, message=b"", timeout: float = PATIENCE_S, **how):
        return self.method(name)(message, timeout=timeout, **how)

    def method(self, name: str):
        return self.channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=_bytes,
            response_deserializer=METHODS[name].response.FromString if name in METHODS else None,
        )

    def stream(self, calls):
        method = METHODS["ModelStreamInfer"]
        call = self.channel.stream_stream(f"/{SERVICE}/{method.name}", _bytes, method.response.FromString)
        return [*call(iter(calls), timeout=PATIENCE_S)]


def _bytes(message) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


class Spoken(serving.Speaker):
    """With a client that calls it."""

    def __init__(self, endpoint_port: int, max_body: int = MAX_BODY, port: int = 0) -> None:
        super().__init__(endpoint_port, max_body, port)
        self.client = Client(self.port)

    def close(self) -> None:
        self.client.channel.close()
        super().close()


def asked(rows=ROWS, raw: bool = True, **more):
    """A request for the predictions of these rows, as bytes or as values."""
    request = METHODS["ModelInfer"].request(model_name="delay", **more)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for name, values in columns.items():
        is_text = isinstance(values[0], str)
        item = request.inputs.add(name=name, datatype="BYTES" if is_text else "FP64", shape=[len(values)])
        texts = [value.encode() for value in values] if is_text else []
        if not raw:
            (item.contents.bytes_contents if is_text else item.contents.fp64_contents).extend(texts or values)
        elif is_text:
            request.raw_input_contents.append(b"".join(struct.pack("<I", len(text)) + text for text in texts))
        else:
            request.raw_input_contents.append(struct.pack(f"<{len(values)}d", *values))
    return request


def scores(answer) -> list[float]:
    [item], [data] = answer.outputs, answer.raw_output_contents
    assert (item.name, item.datatype) == ("score", "FP32")
    return [*struct.unpack(f"<{item.shape[0]}f", data)]


def refused(call, *arguments, **more) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as problem:
        call(*arguments, **more)
    return problem.value.code().name, problem.value.details()
