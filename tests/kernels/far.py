"""An owner in this process, of a kernel that a host core keeps, here or on another machine."""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.session import Session

from aiinfra_lab.host.frames import Message, MessageChannel
from aiinfra_lab.host.spec import HostSpec, HostState
from aiinfra_lab.kernels.link import Gap, Link
from aiinfra_lab.kernels.reach import Reach
from tests.conftest import PATIENCE_S

KERNEL = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


class Far:
    """See `Link`. `states`, `outputs` and `replies` are what has arrived; `gaps` how many messages were lost."""

    def __init__(self, reach: Reach, host: Path, folder: Path, **spec: Any) -> None:
        self.key = secrets.token_hex(16)
        self.spec = HostSpec(
            **{"folder": str(host), "argv": KERNEL, "cwd": "/", "env": dict(os.environ), "key": self.key, **spec}
        )
        self.session = Session(key=self.key.encode(), signature_scheme="hmac-sha256")
        self.reach, self.folder = reach, folder
        self.states: list[HostState] = []
        self.outputs: list[dict[str, Any]] = []
        self.replies: list[dict[str, Any]] = []
        self.gaps = 0
        reach.begin(self.spec)
        self.link = Link(reach, folder, keep_bytes=1 << 30)

    def attach_again(self) -> None:
        """As a keeper that was killed and is started again."""
        self.link.close()
        self.link = Link(self.reach, self.folder, keep_bytes=1 << 30)

    def execute(self, code: str) -> None:
        flags = {"silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
        self.ask("execute_request", code=code, **flags)

    def ask(self, kind: str, **content: Any) -> None:
        parts = self.session.serialize(self.session.msg(kind, content))
        self.link.send(MessageChannel.SHELL, [b"client", *parts])

    def command(self, *parts: bytes) -> None:
        self.link.send(MessageChannel.COMMAND, parts)

    def serve(self, for_s: float = 0.05) -> None:
        until = time.monotonic() + for_s
        while True:
            for message in self.link.serve():
                self._take(message)
            if time.monotonic() > until:
                return
            time.sleep(0.002)

    def until(self, ready: Callable[[], Any], most_s: float = PATIENCE_S) -> None:
        end_at = time.monotonic() + most_s
        while not ready():
            assert time.monotonic() < end_at, (self.states[-1:], self.link.problem, str(self.outputs[-3:])[-500:])
            self.serve()

    @property
    def printed(self) -> str:
        return "".join(each["text"] for each in self.outputs if each.get("name") == "stdout")

    def lines(self) -> list[int]:
        return [int(found) for found in re.findall(r"line (\d+)", self.printed)]

    @property
    def state(self) -> HostState:
        return self.states[-1] if self.states else HostState(phase="none")

    def end(self) -> None:
        self.command(b"end", b"stopped")
        self.until(lambda: self.state.phase == "ended")
        self.serve()
        self.link.close()

    def _take(self, message: Message) -> None:
        if isinstance(message, Gap):
            self.gaps += int(message.parts[0])
        elif message.channel == MessageChannel.STATE:
            self.states.append(HostState.load(message.parts[0]))
        else:
            _, parts = self.session.feed_identities(message.parts)
            found = self.session.deserialize(parts)
            if message.channel == MessageChannel.IOPUB and found["msg_type"] != "status":
                self.outputs.append(found["content"])
            elif message.channel == MessageChannel.SHELL:
                self.replies.append(found["content"])
