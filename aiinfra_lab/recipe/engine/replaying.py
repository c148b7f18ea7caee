"""A kernel that has ended, as its journal has it: cells are executed in it once more as they were, and nothing runs."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from jupyter_client.jsonutil import extract_dates
from jupyter_client.session import Session

from ...host import journal
from ...host.frames import Message, MessageChannel, unpack
from ...host.spec import HostState
from ...kernels.recovery import OUTPUTS, message_of
from ...secrets import Redactor
from ..archives import LOST
from .archive import Archive
from .client import ArchiveClient, KernelDied, is_exit_of

_NOBODY_S = 30.0
_SKIPPED = ArchiveClient.skip_cells_with_tag.default_value
MOST_BYTES = 1 << 29
"""Of messages: all of them are in memory at once, and an archive with so much in it is read by nobody."""
LEFT_OUT = "what this cell put out then is left out: it may hold a secret that is not known any more"


class Lost(KernelDied):
    """The process of the run vanished while a cell ran."""


@dataclass(frozen=True)
class RecoveredSecrets:
    """What is known of a run's secrets after it was killed. after: the id of the last message that can be shown without
    them; None for all, empty for none. unknown: the names of those whose values nobody knows any more."""

    redactor: Redactor
    after: str | None = None
    unknown: tuple[str, ...] = ()

    def learn(self) -> bool:
        """See `KnownSecrets`: nothing comes to be known any more."""
        return False


@dataclass
class Recording:
    """What a kernel has sent.

    published, replies: in their order, the latter by request. begun: the requests that ran code, in their order, each
    with when it began; codes: what they ran. times: of messages, by their id. is_whole: whether nothing of it is
    missing. crash: how the kernel ended, where it did so by itself. language: as Jupyter has it; empty where the kernel
    had not answered yet.
    """

    published: list[dict[str, Any]] = field(default_factory=list)
    replies: dict[str, dict[str, Any]] = field(default_factory=dict)
    begun: dict[str, datetime] = field(default_factory=dict)
    times: dict[str, datetime] = field(default_factory=dict)
    is_whole: bool = True
    crash: str = ""
    language: Mapping[str, Any] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)

    def take(self, channel: int, at: float, parts: Sequence[bytes]) -> None:
        """The next of its messages."""
        if channel == MessageChannel.STATE:
            self.crash = HostState.load(parts[0]).crash
            return
        message = message_of(parts)
        if message is None:
            return
        message["header"] = extract_dates(message["header"])
        self.times[message["msg_id"]] = datetime.fromtimestamp(at, UTC)
        parent = message["parent_header"].get("msg_id", "")
        if channel == MessageChannel.IOPUB:
            self.published.append(message)
            if message["msg_type"] == "execute_input":
                self.begun[parent] = self.times[message["msg_id"]]
                self.codes.append(message["content"]["code"])
        elif message["msg_type"] == "execute_reply":
            self.replies[parent] = message
        elif message["msg_type"] == "kernel_info_reply":
            self.language = message["content"].get("language_info", {})

    def settle(self) -> None:
        """A request that has published all, and whose reply is missing, as of a kernel that was killed in between, has
        ended by what it has published."""
        errors: dict[str, Mapping[str, Any]] = {}
        for message in self.published:
            parent, content = message["parent_header"].get("msg_id", ""), message["content"]
            if message["msg_type"] == "error":
                errors[parent] = content
            is_idle = message["msg_type"] == "status" and content.get("execution_state") == "idle"
            if is_idle and parent in self.begun and parent not in self.replies:
                how = {"status": "error", **errors[parent]} if parent in errors else {"status": "ok"}
                self.replies[parent] = {**message, "msg_type": "execute_reply", "content": how}

    def without(self, secrets: RecoveredSecrets) -> Recording:
        """The same with a note in the place of what cannot be shown without secrets."""
        if secrets.after is None:
            return self
        ids = [message["msg_id"] for message in self.published]
        until = ids.index(secrets.after) + 1 if secrets.after in ids else 0
        later = self.published[until:]
        hidden = {message["parent_header"].get("msg_id") for message in later if message["msg_type"] in OUTPUTS}
        shown = [*self.published[:until], *_noted(later)]
        replies = {parent: _plain(reply) if parent in hidden else reply for parent, reply in self.replies.items()}
        return replace(self, published=shown, replies=replies)


def recorded(folders: Sequence[Path], first: int, client: str = "") -> Recording:
    """What journals hold of a kernel, from the message of that number on up to the first that is missing, or to
    MOST_BYTES. client: see `JournalFacts`"""
    recording, size = Recording(), 0
    last = None if client else first - 1
    for number, payload in _entries(folders):
        if number < first:
            continue
        message = unpack(payload)
        is_meant = not client or _answers(message, client)
        if last is None and not is_meant:  # of somebody else, before
            continue
        size += len(payload) if is_meant else 0
        recording.is_whole = last in (None, number - 1) and size <= MOST_BYTES
        if not recording.is_whole:
            break
        last = number
        if is_meant:
            recording.take(*message)
    # What it answered before it ran anything is among the oldest, which a session's journal drops first.
    recording.is_whole = recording.is_whole and bool(recording.language)
    recording.settle()
    return recording


def _entries(folders: Sequence[Path]) -> Iterator[journal.JournalEntry]:
    """The records of several journals in order; one that several hold once."""
    last = 0
    # A machine that went away may leave a file with nothing in it.
    journals = [(entry for entry in journal.read(folder) if entry.payload) for folder in folders]
    for entry in heapq.merge(*journals, key=lambda entry: entry.number):
        if entry.number > last:
            last = entry.number
            yield entry


def _answers(message: Message, client: str) -> bool:
    """Whether it is about a request of that client."""
    found = message_of(message.parts)
    return found is not None and found["parent_header"].get("session") == client


class RecordedKernel:
    """What nbclient takes for a kernel's client, and its manager. now: when what it has sent last was sent, or when it
    began. next_at: when the next code ran that has run; None when no more did."""

    allow_stdin = False

    def __init__(self, recording: Recording, began: datetime) -> None:
        self.now = began
        self.session = Session(key=b"of nobody")  # widgets answer by it, and none hears them
        self.iopub_channel = _Channel(self._published)
        self.shell_channel = _Channel(self._reply)
        self.recording, self._published_at, self._request = recording, 0, ""
        self._later = iter([*recording.begun.items(), ("", None)])
        self.next_request, self.next_at = next(self._later)
        self._drained = asyncio.Event()

    async def is_alive(self) -> bool:
        """That it is not is heard where its messages end."""
        return True

    def execute(self, _code: str, **_options: Any) -> str:
        """The id of the request by which that was executed."""
        self._request = self.next_request
        self.next_request, self.next_at = next(self._later)
        return self._request

    def _at(self, message: Mapping[str, Any]) -> datetime:
        return self.recording.times.get(message["header"]["msg_id"], self.now)

    async def _published(self) -> dict[str, Any]:
        message = next(iter(self.recording.published[self._published_at : self._published_at + 1]), None)
        if message is not None and not self._is_of_a_later_cell(message):
            self._published_at, self.now = self._published_at + 1, self._at(message)
            return message
        if self._request in self.recording.replies:  # it never said that it had published all
            raise queue.Empty
        self._drained.set()
        return await asyncio.Future()

    def _is_of_a_later_cell(self, message: Mapping[str, Any]) -> bool:
        is_begin: bool = message["msg_type"] == "execute_input"
        return is_begin and message["parent_header"].get("msg_id") != self._request

    async def _reply(self) -> dict[str, Any]:
        reply = self.recording.replies.get(self._request)
        if reply is None:
            await self._until_drained()
            raise KernelDied(self.recording.crash) if self.recording.crash else Lost(LOST)
        self.now = self._at(reply)
        return reply

    async def _until_drained(self) -> None:
        """Or until nobody takes any more of it, as where one of its messages could not be taken."""
        at = -1
        while not self._drained.is_set() and at != self._published_at:
            at = self._published_at
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), _NOBODY_S)


class RecordedClient(ArchiveClient):
    """Executes the archive's notebook as it was. archive: its time is that of `kernel`, which is that recording."""

    def __init__(self, archive: Archive, secrets: RecoveredSecrets, kernel: RecordedKernel) -> None:
        super().__init__(archive, secrets)
        self._kernel, self._first = kernel, 0
        self.is_whole = True  # whether all cells ran that were to

    def replay(self, first: int) -> None:
        """Execute that cell and those behind it, as far as they ran; CellRaised, KernelDied and `Lost` as they did."""
        self._first = first
        self.run(lambda: 0)

    async def _run_cells(self, stop_requested: Callable[[], int], kernel: Mapping[str, Any]) -> None:
        self.km = self.kc = cast("Any", self._kernel)
        if self._kernel.recording.language:
            self.nb.metadata["language_info"] = self._kernel.recording.language
        await self._run_from(self._first, stop_requested)

    async def _run_cell(self, cell: Any) -> None:
        if is_executed(cell):
            if self._kernel.next_at is None:
                self._is_over, self.is_whole = True, False
                return
            self._kernel.now = self._kernel.next_at
        await super()._run_cell(cell)


def is_executed(cell: Any) -> bool:
    """Whether a kernel is asked to run it."""
    is_code = cell.cell_type == "code" and bool(cell.source.strip())
    return is_code and _SKIPPED not in cell.metadata.get("tags", [])


@dataclass(frozen=True)
class _Channel:
    """take: gives the next message."""

    take: Callable[[], Any]

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        message: dict[str, Any] = await self.take()
        return message

    def send(self, _message: object) -> None:
        """Nobody hears it."""


def _noted(messages: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    noted = set()
    for message in messages:
        parent = message["parent_header"].get("msg_id")
        if message["msg_type"] in OUTPUTS and parent not in noted:
            noted.add(parent)
            content = {"name": "stderr", "text": f"[{LEFT_OUT}]\n"}
            yield {**message, "msg_type": "stream", "content": content, "metadata": {}, "buffers": []}
        elif message["msg_type"] in ("status", "execute_input"):
            yield message


def _plain(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply without what the kernel says of an error."""
    content = reply["content"]
    kept = {name: content[name] for name in ("status", "execution_count") if name in content}
    if content.get("status") == "error" and not is_exit_of(content.get("ename"), content.get("evalue")):
        kept |= {"ename": "LeftOut", "evalue": LEFT_OUT, "traceback": [LEFT_OUT]}
    elif content.get("status") == "error":
        kept |= {"ename": "SystemExit", "evalue": content["evalue"], "traceback": []}
    return {**reply, "content": kept}
