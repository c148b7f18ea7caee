"""A session through a real Jupyter server, as JupyterLab uses it: REST and the websocket."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.session import Session
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from aiinfra_lab import gpu
from tests.conftest import PATIENCE_S, until

TOKEN = "a-token-of-this-test"


class Server:
    """Jupyter's REST interface, with the token in every request."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.root = f"127.0.0.1:{port}"
        self.process = process

    def call(self, method: str, path: str, body: object = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.root}{path}", data, method=method)
        request.add_header("Authorization", f"token {TOKEN}")
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def printed(self, kernel: str, code: str) -> str:
        return asyncio.run(self._printed(kernel, code))

    async def _printed(self, kernel: str, code: str) -> str:
        url = f"ws://{self.root}/api/kernels/{kernel}/channels?token={TOKEN}"
        socket_ = await websocket_connect(HTTPRequest(url))
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "user_expressions": {}}
        message = Session().msg("execute_request", content)
        await socket_.write_message(json.dumps({**message, "channel": "shell", "buffers": []}, default=str))
        text, missing = "", {"reply", "idle"}  # they come by two channels, in either order
        while missing:
            got = json.loads(await asyncio.wait_for(socket_.read_message(), PATIENCE_S))
            if got["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                text += got["content"].get("text", "") + got["content"].get("ename", "") * (got["msg_type"] == "error")
                missing -= {got["msg_type"].removeprefix("execute_"), got["content"].get("execution_state")}
        socket_.close()
        return text


def answers(server: Server, log: Path) -> bool:
    """Whether it is up; an error when it has ended."""
    assert server.process.poll() is None, log.read_text()
    with contextlib.suppress(OSError):
        server.call("GET", "/api/status")
        return True
    return False


@pytest.fixture
def server(kept, workspace) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fast = "--AsyncIOLoopKernelRestarter.time_to_dead=0.2"  # seconds between two looks at a kernel
    options = [fast, f"--port={port}", "--port-retries=0", f"--IdentityProvider.token={TOKEN}", "--allow-root"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", *options, f"--ServerApp.root_dir={workspace}"],
        stderr=(workspace / "server.log").open("w"),
    )
    found = Server(port, process)
    until(lambda: answers(found, workspace / "server.log"))
    yield found
    process.terminate()
    process.wait(PATIENCE_S)


def open_notebook(server: Server, path: str) -> str:
    wanted = {"path": path, "type": "notebook", "name": path, "kernel": {"name": "aiinfra-trainer"}}
    return server.call("POST", "/api/sessions", wanted)["kernel"]["id"]


def test_a_notebooks_whole_life_in_a_session(server, run, kept):
    assert "trainer · cpu" in json.dumps(server.call("GET", "/api/kernelspecs"), ensure_ascii=False)
    run("x = 41")
    first, second = open_notebook(server, "a.ipynb"), open_notebook(server, "b.ipynb")
    assert server.printed(first, "print(x); y = 1") == "41\n"
    server.call("DELETE", f"/api/kernels/{first}")
    assert server.printed(second, "print(y)") == "1\n"
    server.call("POST", f"/api/kernels/{second}/restart", {})
    assert server.printed(second, "print(y)") == "NameError"
    server.call("POST", f"/api/kernels/{second}/interrupt", {})
    server.call("DELETE", f"/api/kernels/{second}")
    assert kept.is_alive()
    assert run("print('still here')") == "still here\n"


def test_a_session_that_ends_is_reported_dead(server, kept):
    kernel = open_notebook(server, "a.ipynb")
    gpu.stop("trainer")
    # It forgets a kernel that it gave up.
    until(lambda: all(known["id"] != kernel for known in server.call("GET", "/api/kernels")), "it never noticed")


def test_a_server_that_ends_leaves_the_session_alive(kept, run, server):
    assert server.printed(open_notebook(server, "a.ipynb"), "z = 3") == ""
    server.process.terminate()
    assert server.process.wait(PATIENCE_S) == 0
    assert run("print(z)") == "3\n"
