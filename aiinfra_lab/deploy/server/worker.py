"""The process of one version: it loads the model, says that it is ready, and answers batches until its end is closed.

Whatever happens to it harms no other: it holds no socket of a client, and its end of the channel is all it shares.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import resource
import select
import socket
import threading
import time
from pathlib import Path

import msgspec

from ...errors import Damaged, LabError
from ...files import differences
from ...train.saved_model import runtime_version
from . import model
from .answering import Answering
from .channel import Channel
from .messages import Began, CannotServe, Open, RawRequest, Ready, Replies

_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[RawRequest]).decode
_ROUNDS = 3


def serve(end: socket.socket, order: Open) -> None:
    """Load and answer until the other end is closed."""
    channel = Channel(end)
    threading.Thread(target=_end_with, args=(end,), name="end", daemon=True).start()
    channel.send(_encode(Began(os.getpid())))
    try:
        # Each time: one that is made again after months must not answer by what became of the files since.
        _check_files(order)
        loaded = model.load(order.uri, Path(order.folder))
        answering = Answering(loaded)
        ready = _measured(answering, loaded)
    except LabError as problem:
        channel.send(_encode(CannotServe(type(problem).__name__, problem.what, problem.fix)))
        return
    _bound(order.memory_bytes)
    gc.collect()
    gc.freeze()
    channel.send(_encode(ready))
    with contextlib.suppress(OSError):  # nobody waits for the answer any more
        while (message := channel.receive()) is not None:
            channel.send(_encode(Replies(answering.answer(_decode(message)))))


def _check_files(order: Open) -> None:
    reasons = differences(Path(order.folder), order.digests) if order.digests else []
    if reasons:
        what = f"the files of {order.uri} are not what was registered: {'; '.join(reasons)}"
        raise Damaged(what, "put them back, or add the model again")


def _end_with(end: socket.socket) -> None:
    """End this process when the other end is closed, also in the middle of a prediction that never ends."""
    poll = select.poll()
    poll.register(end, select.POLLHUP)
    poll.poll()
    os._exit(0)


def _measured(answering: Answering, loaded: model.LoadedModel) -> Ready:
    """What a short and a long request take here, all of it, so that one that hangs can be told from one that is long.

    It warms too: no request pays for what happens only once.
    """
    rows = loaded.examples
    short, long = (_body(rows, size) for size in (1, model.MAX_BATCH))
    fixed_s, long_s = (min(_timed(answering, body) for _ in range(_ROUNDS)) for body in (short, long))
    byte_s = max(0.0, long_s - fixed_s) / max(1, len(long) - len(short))
    return Ready(fixed_s, byte_s, runtime_version())


def _body(rows: list[dict[str, object]], size: int) -> bytes:
    return json.dumps({"rows": [rows[at % len(rows)] for at in range(size)]}).encode()


def _timed(answering: Answering, body: bytes) -> float:
    started = time.perf_counter()
    answering.answer([RawRequest("warm", started, body)])
    return time.perf_counter() - started


def _bound(memory_bytes: int) -> None:
    """Let no single prediction take the machine's memory: more than that is refused to this process by the kernel."""
    if memory_bytes:
        held = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) << 10
        resource.setrlimit(resource.RLIMIT_DATA, (held + memory_bytes, resource.RLIM_INFINITY))
