"""The endpoint's own HTTP, asked over connections that stay open: one for each request that is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import httptools

CONNECT_S = 5.0
# Fewer than the endpoint takes, so that its other clients keep their share.
MAX_CONNECTIONS = 256


class EndpointAway(Exception):
    """The endpoint is away, or went away before it had answered."""


@dataclass(frozen=True)
class RestAnswer:
    """What came back. json_bytes: how much of the body is JSON, where bytes of tensors follow."""

    status: int
    body: bytes
    json_bytes: int | None


class Rest:
    """Asks what listens there. To be used on one event loop."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._free: list[_Connection] = []
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)

    async def ask(
        self, method: str, path: str, fields: Sequence[tuple[str, str]] = (), body: Sequence[bytes] = ()
    ) -> RestAnswer:
        """The answer. EndpointAway when there is none. A caller that is cancelled takes its connection with it."""
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in fields]
        lines += [f"content-length: {sum(map(len, body))}", "", ""]
        head = "\r\n".join(lines).encode("ascii")
        async with self._places:
            # One that was idle may be closed at this moment, and a new one then is not.
            while self._free:
                if (answer := await self._asked(self._free.pop(), head, body)) is not None:
                    return answer
            if (answer := await self._asked(await self._connect(), head, body)) is not None:
                return answer
        raise EndpointAway("the endpoint ended before it had answered")

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, made = await loop.create_connection(_Connection, self._host, self._port)
        except (OSError, TimeoutError) as problem:
            raise EndpointAway(f"the endpoint does not answer: {str(problem) or 'no connection in time'}") from None
        return made

    async def _asked(self, connection: _Connection, head: bytes, body: Sequence[bytes]) -> RestAnswer | None:
        """The answer; None when the connection was lost before anything of it came."""
        try:
            answer = await connection.ask(head, body)
        except BaseException:
            connection.abort()  # whatever still comes on it belongs to nobody
            raise
        if answer is not None and connection.is_open:
            self._free.append(connection)
        return answer


class _Connection(asyncio.Protocol):
    """One connection, with at most one request on its way."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[RestAnswer | None] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._json_bytes: int | None = None
        self._has_begun = False

    async def ask(self, head: bytes, body: Sequence[bytes]) -> RestAnswer | None:
        """The answer; None when the connection was closed before anything of it came. EndpointAway when it is cut."""
        if not self.is_open or self._transport is None:
            return None
        self._begin()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines([head, *body])
        return await self._answer

    def abort(self) -> None:
        self.is_open = False
        if self._transport:
            self._transport.abort()

    # ---- what the event loop calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def connection_lost(self, problem: Exception | None) -> None:
        self.is_open = False
        if self._answer and not self._answer.done():
            if self._has_begun:
                self._answer.set_exception(EndpointAway("the endpoint ended in the middle of its answer"))
            else:
                self._answer.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._has_begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    # ---- what the parser calls ----

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"inference-header-content-length":
            self._json_bytes = int(value)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.is_open = False
            if self._transport:
                self._transport.close()
        if self._answer and not self._answer.done():
            self._answer.set_result(RestAnswer(self._parser.get_status_code(), b"".join(self._body), self._json_bytes))
