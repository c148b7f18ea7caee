"""`kubectl exec` of a fake cluster: the remote command protocol over a websocket, v5.channel.k8s.io.

The first byte of a message is its channel: 0 to 2 are the standard ones, 3 carries how it ended, and 255 says which
channel is closed. As in a real one, the process there goes on when the connection breaks: it reads an end of file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from tornado import iostream, websocket

from .kube_nodes import Container
from .kube_objects import ApiError, Object, unknown_to_this_fake

PROTOCOL = "v5.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255


class Exec(websocket.WebSocketHandler):
    """One of them. cluster: a `Kube`, which is not named here since it imports this."""

    def initialize(self, cluster: Any) -> None:
        self._cluster = cluster
        self._process: asyncio.subprocess.Process | None = None
        self._running: asyncio.Task[None] | None = None

    async def get(self, *args: str, **kwargs: str) -> None:
        if await self._may(*args):
            await super().get(*args, **kwargs)

    async def post(self, *args: str) -> None:
        """A client whose websocket was refused asks again for SPDY, and hears the same."""
        await self._may(*args)

    async def _may(self, *args: str) -> bool:
        try:
            self._container = await self._cluster.ask_exec(self.request, *args)
            if PROTOCOL in self.request.headers.get("Sec-WebSocket-Protocol", ""):
                return True
            raise unknown_to_this_fake(f"other protocols than {PROTOCOL}")
        except ApiError as problem:
            self.set_status(problem.code)
            self.finish(problem.status)
            return False

    def check_origin(self, origin: str) -> bool:
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return PROTOCOL if PROTOCOL in subprotocols else None

    async def open(self, *_: str, **__: str) -> None:
        container: Container = self._container
        self._process = await container.exec(self.get_query_arguments("command", strip=False))
        self._running = asyncio.create_task(self._run(self._process))
        if self.get_query_argument("stdin", "false") != "true":
            self._close_stdin()

    async def on_message(self, message: str | bytes) -> None:
        if not isinstance(message, bytes) or not message:
            self.close(1003)
            return
        channel, data = message[0], message[1:]
        stdin = self._process.stdin if self._process else None
        if channel == _CLOSE and data == bytes([_STDIN]):
            self._close_stdin()
        elif channel == _STDIN and stdin is not None and not stdin.is_closing():
            with contextlib.suppress(ConnectionError):
                stdin.write(data)
                await stdin.drain()

    def on_close(self) -> None:
        self._close_stdin()
        if self._running is not None:
            self._running.cancel()

    def _close_stdin(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _run(self, process: asyncio.subprocess.Process) -> None:
        """Pass on what it writes, and then how it ended. It has ended when nobody holds its outputs any more."""
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            with contextlib.suppress(websocket.WebSocketClosedError, iostream.StreamClosedError):
                await asyncio.gather(self._copy(process.stdout, _STDOUT), self._copy(process.stderr, _STDERR))
                code = await process.wait()
                await self.write_message(bytes([_ERROR]) + json.dumps(_status(code)).encode(), binary=True)
                self.close(1000)
        finally:
            for pipe in (process.stdout, process.stderr):
                pipe._transport.close()  # type: ignore[attr-defined]  # whoever writes on gets EPIPE

    async def _copy(self, source: asyncio.StreamReader, channel: int) -> None:
        while data := await source.read(1 << 15):
            await self.write_message(bytes([channel]) + data, binary=True)


def _status(code: int) -> Object:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    code = 128 - code if code < 0 else code
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
