"""A network that runs in another process, by the packages of an environment of its own: both ends of it.

What goes between them are arrays: nothing that could carry code.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import Failed
from ..jobs import process as jobs_process
from . import environments
from .environments import Environment
from .saved_model import opened, runtime_version

END_S = 2.0
_PLAIN = "biufc"


class PackedArray(msgspec.Struct, tag=True):
    """An array. content: its bytes, or the texts in it."""

    dtype: str
    shape: tuple[int, ...]
    content: bytes | list[str]

    @classmethod
    def of(cls, values: Any) -> PackedArray:
        found = np.asarray(values)
        if found.dtype.kind in _PLAIN:
            return cls(found.dtype.str, found.shape, np.ascontiguousarray(found).tobytes())
        return cls("object", found.shape, [str(item) for item in found.ravel()])

    def array(self) -> NDArray[Any]:
        if isinstance(self.content, bytes):
            return np.frombuffer(bytearray(self.content), self.dtype).reshape(self.shape)
        return np.array(self.content, object).reshape(self.shape)


class PackedRows(msgspec.Struct, tag=True):
    """A mapping for each row, as some classifiers give their probabilities by label."""

    rows: list[dict[str, float]]


class DescribedTensor(msgspec.Struct, array_like=True):
    """An input or an output of a network, as the runtime describes it. type: e.g. tensor(float)."""

    name: str
    shape: tuple[int | str | None, ...]
    type: str


class Described(msgspec.Struct, tag=True):
    """The network is loaded. runtime: the version of ONNX Runtime."""

    inputs: list[DescribedTensor]
    outputs: list[DescribedTensor]
    runtime: str


class RunNetwork(msgspec.Struct, tag=True):
    """Run it. outputs: which are wanted, all when there are none."""

    outputs: list[str]
    inputs: dict[str, PackedArray]


class Gave(msgspec.Struct, tag=True):
    """What it gave, in the order that was asked for."""

    outputs: list[PackedArray | PackedRows]


class Raised(msgspec.Struct, tag=True):
    """The network raised, or could not be loaded."""

    reason: str


_encode = msgspec.msgpack.Encoder().encode
_decode_answer = msgspec.msgpack.Decoder(Described | Gave | Raised).decode
_decode_run = msgspec.msgpack.Decoder(RunNetwork).decode


class NetworkRaised(Exception):
    """The network itself raised, on these arrays or while it was loaded."""


class RemoteSession:
    """See `onnxruntime.InferenceSession`, of which it has what is needed here. Threads take turns.

    Its process ends with the last use of this object, or by `close`; one that has ended is started again when it is
    needed.
    """

    def __init__(self, environment: Environment, path: Path, threads: int, operators: Sequence[str] = ()) -> None:
        self._environment, self._path = environment, path
        self._words = [str(path.absolute()), str(threads), *operators]
        self._turn = threading.Lock()
        environment.build()
        self._start()

    def get_inputs(self) -> Sequence[DescribedTensor]:
        """What it takes."""
        return self._described.inputs

    def get_outputs(self) -> Sequence[DescribedTensor]:
        """What it gives."""
        return self._described.outputs

    @property
    def runtime(self) -> str:
        """The version of ONNX Runtime that runs it."""
        return self._described.runtime

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Any]) -> list[Any]:
        """What it gives for these arrays. NetworkRaised when it raises; Failed when its process ended."""
        wanted = [item.name for item in self.get_outputs()] if outputs is None else [*outputs]
        asked = RunNetwork(wanted, {name: PackedArray.of(values) for name, values in inputs.items()})
        with self._turn:
            if not self.close.alive:
                self._start()
            found = self._answer(_encode(asked))
        assert isinstance(found, Gave)
        return [item.array() if isinstance(item, PackedArray) else item.rows for item in found.outputs]

    def _start(self) -> None:
        here, there = socket.socketpair()
        with there:
            command = self._environment.command(__name__, str(there.fileno()), *self._words)
            self._process = subprocess.Popen(command, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL)
        self._connection = Connection(here.detach())
        self.close = weakref.finalize(self, _end, self._process, self._connection)
        found = self._answer()
        assert isinstance(found, Described)
        self._described = found

    def _answer(self, message: bytes = b"") -> Described | Gave:
        try:
            if message:
                self._connection.send_bytes(message)
            found: Described | Gave | Raised = _decode_answer(self._connection.recv_bytes())
        except (EOFError, OSError):
            how = self._how()
            self.close()
            fix = f"run it by other versions than {self._environment.names}: `%models add` takes them by --environment"
            raise Failed(f"{self._path} ended its process {how}", fix) from None
        except BaseException:  # Ctrl-C: what it still answers would be taken for the next answer
            self.close()
            raise
        if isinstance(found, Raised):
            raise NetworkRaised(found.reason)
        return found

    def _how(self) -> str:
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return "without an end"
        return f"with {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    """It ends by itself once its connection is closed, or is ended when it hangs."""
    connection.close()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        jobs_process.end_child(process)
        process.wait()


def main(descriptor: int, path: Path, threads: int, operators: Sequence[str]) -> None:
    """Load the network, and run it until the other end is closed."""
    connection = Connection(descriptor)
    try:
        session = opened(path, threads, operators)
        inputs, outputs = (
            [DescribedTensor(item.name, tuple(item.shape), item.type) for item in items]
            for items in (session.get_inputs(), session.get_outputs())
        )
    except Exception as problem:  # noqa: BLE001  # the runtime's exceptions share no base class
        connection.send_bytes(_encode(Raised(str(problem))))
        return
    connection.send_bytes(_encode(Described(inputs, outputs, runtime_version())))
    with contextlib.suppress(EOFError, OSError):
        while True:
            asked = _decode_run(connection.recv_bytes())
            connection.send_bytes(_encode(_ran(session, asked)))


def _ran(session: Any, asked: RunNetwork) -> Gave | Raised:
    try:
        found = session.run(asked.outputs, {name: item.array() for name, item in asked.inputs.items()})
        return Gave([*map(_packed, found)])
    except Exception as problem:  # noqa: BLE001  # a network may raise anything
        return Raised(str(problem))


def _packed(values: Any) -> PackedArray | PackedRows:
    if not isinstance(values, list):
        return PackedArray.of(values)
    return PackedRows([{str(label): float(value) for label, value in row.items()} for row in values])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is of whoever waits for it
    if sys.argv[1:] == ["packages"]:
        runtime_version()  # it has to be there, and to work with what is beside it
        os.write(1, environments.installed().encode())
    else:
        main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
