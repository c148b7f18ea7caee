"""Triton's process and its model repository: one model for each version, loaded while the others answer."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ...errors import Denied, Failed, Unavailable
from ...files import lab_errors, make_folder, write
from ...jobs import process
from ...train.saved_model import ONNX
from ...train.signature import Tensor
from ...uris import Uri
from ..ports import HOST, bind
from ..server.rows import MAX_ROWS
from ..versions import whole
from .environment import Installation
from .session import TritonModel
from .state import AppliedVersion

READY_S = 30.0
END_S = 2.0
QUICK_S = 2.0
_SHARED = Path("/dev/shm")  # noqa: S108  # the folder of POSIX shared memory, where the Python backend keeps tensors


class NoRoom(Unavailable):
    """The disk takes nothing now, which says nothing about any version: whoever waits may find it otherwise."""


class Repository:
    """A Triton that runs for one endpoint, on this machine's loopback address.

    folder: for its files, of which nothing is kept from an earlier process. token: begins the names of what it shares
    in memory. load_s: how long a version may take to be loaded. NoRoom when the disk takes nothing.
    """

    def __init__(self, installation: Installation, folder: Path, token: str, load_s: float) -> None:
        self._folder, self._token, self._load_s = folder, token, load_s
        shutil.rmtree(folder, ignore_errors=True)
        free_shared(token)
        with _room(folder):
            make_folder(folder / "models")
            installation.backends(folder / "backends")
        self.port, grpc, metrics = _free_ports(3)
        options: dict[str, object] = {
            "model-repository": folder / "models",
            "model-control-mode": "explicit",
            "backend-directory": folder / "backends",
            "backend-config": f"python,shm-region-prefix-name={token}",
            **{f"{name}-address": HOST for name in ("http", "grpc", "metrics")},
            "http-port": self.port,
            "grpc-port": grpc,
            "metrics-port": metrics,
            "allow-gpu-metrics": "false",
            "exit-timeout-secs": 1,
        }
        command = [str(installation.server), *(f"--{name}={value}" for name, value in options.items())]
        # In a session of its own: it is to answer until the endpoint has, and a job's end signals the whole group.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=installation.environment(),
            # Without its front nobody would end it. No other thread runs yet that could hold a lock across the fork.
            preexec_fn=process.end_with_parent,  # noqa: PLW1509
        )

    @property
    def url(self) -> str:
        """Where any client of Triton finds it."""
        return f"http://{HOST}:{self.port}"

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait_ready(self) -> None:
        """Wait until it takes models. Unavailable when it ends, or takes too long."""
        until_at = time.monotonic() + READY_S
        while not self.answers():
            if self.exit_code is not None or time.monotonic() > until_at:
                raise Unavailable(f"Triton does not start (exit code {self.exit_code})", "its output says why")
            time.sleep(0.05)

    def load(self, uri: str, meant: AppliedVersion) -> TritonModel:
        """Have a version loaded. Failed, or Damaged, with what is wrong with it; Unavailable when nothing answers,
        NoRoom when the disk takes nothing.
        """
        # Compared each time: whoever is started again finds the files as they are by then.
        return self._load(uri, whole(uri, Path(meant.folder), meant.files))

    def _load(self, uri: str, files: Path) -> TritonModel:
        meant = Uri.parse(uri)
        version = str(meant.version)
        model = TritonModel(files, url=self.url, name=f"{meant.name}-{version}", version=version)
        place = self._folder / "models" / model.name
        try:
            config = _config(model)
        except OSError as problem:
            raise Failed(f"{uri} cannot be read: {problem}", f"`%models check {uri}` says more") from None
        with _room(place):
            make_folder(place / version)
            write(place / "config.pbtxt", config, flush=False)
            shutil.copyfile(Path(__file__).with_name("python_model.py"), place / version / "model.py")
        status, body = self._ask("POST", f"/v2/repository/models/{model.name}/load", self._load_s)
        if status != 200:
            self.unload(model)
            # Of an exception in Python Triton tells the traceback too.
            why = str(json.loads(body)["error"]).partition("\n\nAt:")[0][:300]
            raise Failed(f"Triton cannot load {uri}: {why}", f"`%models check {uri}` says more")
        return model

    def unload(self, model: TritonModel) -> None:
        """Take a version away; nothing when Triton is gone."""
        with contextlib.suppress(Unavailable):
            self._ask("POST", f"/v2/repository/models/{model.name}/unload")
        shutil.rmtree(self._folder / "models" / model.name, ignore_errors=True)

    def is_ready(self, model: TritonModel) -> bool:
        """Whether the process of a version's network lives: Triton itself calls the version ready all the same."""
        return any(self._processes(model))

    def end_network(self, model: TritonModel) -> None:
        """End the process of a version's network, whatever it does."""
        for pid in self._processes(model):
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                if pid in self._processes(model):  # the number is its own still
                    process.end_by(handle)
                os.close(handle)

    def _processes(self, model: TritonModel) -> list[int]:
        """Those that Triton has started for a version, and that have not ended."""
        file = str(self._folder / "models" / model.name / model.version / "model.py").encode()
        return [pid for pid, command in self._children() if file in command.split(b"\0")]

    def _children(self) -> Iterator[tuple[int, bytes]]:
        """The processes that Triton has started, with their commands; empty of those that have ended."""
        for path in Path(f"/proc/{self._process.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # a thread, or a child, that has just ended
                for pid in path.read_text().split():
                    yield int(pid), Path(f"/proc/{pid}/cmdline").read_bytes()

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.end_child(self._process)
            self._process.wait()
        free_shared(self._token)
        shutil.rmtree(self._folder, ignore_errors=True)

    def answers(self) -> bool:
        """Whether Triton itself answers, within QUICK_S."""
        try:
            return self._ask("GET", "/v2/health/live")[0] == 200
        except Unavailable:
            return False

    def _ask(self, method: str, path: str, timeout_s: float = QUICK_S) -> tuple[int, bytes]:
        """Status and body of one answer, which is empty when all is well. Unavailable when none comes."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout_s)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as problem:
            raise Unavailable(f"Triton does not answer: {problem}", "its output says more") from None
        finally:
            connection.close()


@contextlib.contextmanager
def _room(place: Path) -> Iterator[None]:
    try:
        with lab_errors(place):
            yield
    except (Denied, Unavailable) as problem:
        raise NoRoom(problem.what, problem.fix) from problem


def token_of(claim: str) -> str:
    """How the names of what a claim's Triton shares in memory begin: short, since the system limits them."""
    return f"aiinfra-{claim.rpartition('-')[2]}-"


def free_shared(token: str) -> None:
    """Free the shared memory of a Triton that was killed."""
    for path in _SHARED.glob(f"{token}*"):
        path.unlink(missing_ok=True)


def _free_ports(count: int) -> list[int]:
    """Found free all at once, so that they differ. Should somebody be faster, Triton ends, and is started again."""
    with contextlib.ExitStack() as held:
        return [held.enter_context(bind(0)).getsockname()[1] for _ in range(count)]


def _config(model: TritonModel) -> str:
    """`config.pbtxt` of a version."""
    lines = [
        f"name: {json.dumps(model.name)}",
        'backend: "python"',
        f"max_batch_size: {MAX_ROWS}",
        *(f"input {{ {_described(item)} }}" for item in model.tensors),
        *(f"output {{ {_described(item)} }}" for item in model.signature.outputs),
        f"version_policy {{ specific {{ versions: [{model.version}] }} }}",
        "dynamic_batching {}",
        "instance_group { kind: KIND_CPU count: 1 }",
        f'parameters {{ key: "onnx" value {{ string_value: {json.dumps(str(model.folder / ONNX))} }} }}',
    ]
    return "\n".join(lines) + "\n"


def _described(tensor: Tensor) -> str:
    kind = "STRING" if tensor.is_text else tensor.datatype
    # A batch of Triton's needs a size behind the rows, which the network does not see.
    sizes = ", ".join(map(str, tensor.row_shape)) or "1"
    flat = " reshape { shape: [] }" if tensor.is_scalar else ""
    return f"name: {json.dumps(tensor.name)} data_type: TYPE_{kind} dims: [{sizes}]{flat}"
