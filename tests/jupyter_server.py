"""A real Jupyter server, as JupyterLab uses it: REST and the websocket."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from jupyter_client.session import Session
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.conftest import PATIENCE_S, until

TOKEN = "a-token-of-this-test"
# By itself the server drops what comes faster than a browser would show.
UNLIMITED = (
    "--ZMQChannelsWebsocketConnection.iopub_data_rate_limit=1e12",
    "--ZMQChannelsWebsocketConnection.iopub_msg_rate_limit=1e12",
)
Message = dict[str, Any]


class Page:
    """One open notebook: the kernel's websocket."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection, self._session = connection, Session()

    async def ask(self, kind: str, channel: str = "shell", **content: Any) -> str:
        """Send a request; its message's id."""
        message = self._session.msg(kind, content)
        await self._connection.write_message(json.dumps({**message, "channel": channel, "buffers": []}, default=str))
        return str(message["header"]["msg_id"])

    async def execute(self, code: str) -> str:
        flags = {"silent": False, "store_history": True, "allow_stdin": False, "user_expressions": {}}
        return await self.ask("execute_request", code=code, **flags)

    async def next(self, within_s: float = PATIENCE_S) -> Message:
        """The next message. ConnectionError when the server is gone."""
        text = await asyncio.wait_for(self._connection.read_message(), within_s)
        if text is None:
            raise ConnectionError("the server has closed the websocket")
        found: Message = json.loads(text)
        return found

    def close(self) -> None:
        self._connection.close()


class Server:
    """Jupyter's REST interface, with the token in every request."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.root = f"127.0.0.1:{port}"
        self.process = process

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.root}{path}", data, method=method)
        request.add_header("Authorization", f"token {TOKEN}")
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def open(self, path: str, kernel: str) -> str:
        """Open a notebook with that kernel; the kernel's id."""
        wanted = {"path": path, "type": "notebook", "name": path, "kernel": {"name": kernel}}
        return str(self.call("POST", "/api/sessions", wanted)["kernel"]["id"])

    @contextlib.asynccontextmanager
    async def page(self, kernel: str) -> AsyncIterator[Page]:
        url = f"ws://{self.root}/api/kernels/{kernel}/channels?token={TOKEN}"
        found = Page(await websocket_connect(HTTPRequest(url, request_timeout=PATIENCE_S), max_message_size=1 << 30))
        try:
            yield found
        finally:
            found.close()

    def printed(self, kernel: str, code: str) -> str:
        return asyncio.run(self._printed(kernel, code))

    async def _printed(self, kernel: str, code: str) -> str:
        async with self.page(kernel) as page:
            asked = await page.execute(code)
            text, missing = "", {"reply", "idle"}  # they come by two channels, in either order
            while missing:
                got = await page.next()
                if got["parent_header"].get("msg_id") == asked:
                    is_error = got["msg_type"] == "error"
                    text += got["content"].get("text", "") + got["content"].get("ename", "") * is_error
                    missing -= {got["msg_type"].removeprefix("execute_"), got["content"].get("execution_state")}
        return text


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    """A server for the notebooks of a folder, which ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = [f"--port={port}", "--port-retries=0", f"--IdentityProvider.token={TOKEN}", "--allow-root", *options]
    log = folder / "server.log"
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", *flags, f"--ServerApp.root_dir={folder}"], stderr=log.open("a")
    )
    found = Server(port, process)
    try:
        until(lambda: _answers(found, log), most_s=3 * PATIENCE_S)
        yield found
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _answers(server: Server, log: Path) -> bool:
    """Whether it is up; an error when it has ended."""
    assert server.process.poll() is None, log.read_text()
    with contextlib.suppress(OSError):
        server.call("GET", "/api/status")
        return True
    return False
