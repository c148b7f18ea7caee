"""What a core that has ended left: its last messages and its end, for an owner that was away."""

from __future__ import annotations

import json
import select
import time
from pathlib import Path

from .frames import UNREADABLE, Kind, MessageChannel, frame, pack
from .journal import Journal
from .spec import WAS_KILLED, HostState, read_state
from .stream import Stream

_WITHIN_S = 30.0


def serve(folder: Path, reads: int, writes: int) -> None:
    """Send an owner what it has not received yet, and return once it has, or has gone."""
    state = read_state(folder) or HostState()
    if state.phase != "ended":
        state = state.but(phase="ended", why=state.why or WAS_KILLED, socket="", kernel_pid=0)
    journal = Journal(folder / "journal")
    journal.append(pack(MessageChannel.STATE, [state.dump()], time.time()))
    stream = Stream(reads, writes, lambda: None)
    until, received = time.monotonic() + _WITHIN_S, -1
    try:
        while received < journal.last and time.monotonic() < until:
            stream.send(journal)
            poller = select.poll()
            poller.register(reads, select.POLLIN)
            if stream.is_behind(journal):
                poller.register(writes, select.POLLOUT | (select.POLLIN if reads == writes else 0))
            poller.poll(1000)
            for found in stream.receive():
                if found.kind == Kind.HELLO:
                    stream.go_on_after(int(json.loads(found.payload)["received"]))
                    stream.put(frame(Kind.WELCOME, 0, json.dumps({"received": 0, "exchange": ""}).encode()))
                elif found.kind == Kind.RECEIVED:
                    received = found.number
    except (OSError, *UNREADABLE):
        pass  # it has gone, or is none of this version
    finally:
        journal.close()
