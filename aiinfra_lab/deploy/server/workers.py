"""The processes of one version, as the endpoint sees them: one that answers, and a warm one that takes its place.

Requests that arrive together are answered together; none ever waits for a clock. A process that is lost, because it
died or was ended since a batch took too long, is replaced by the spare one at once. What it had in hand is suspected:
it is tried again apart from all else, in a process of its own, one by one, or halved first where that would take long,
so that only the request that is to blame gets the error. See `blamed` for when the same body is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from ... import errors
from ...config import Settings
from ...errors import Failed, LabError, UsageProblem
from ...jobs import process
from ...train import signature
from ...train.signature import Signature
from ...uris import Uri
from .answering import unanswered
from .blamed import BlamedBodies
from .channel import Channel
from .forks import Forks
from .messages import Began, CannotServe, FromWorker, Open, RawRequest, Ready, Replies, Reply

_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FromWorker).decode

MOST_REQUESTS = 64
MOST_BYTES = 256 << 10  # a longer request goes alone; of more the first would wait for the last
LEAST_S = 0.5  # a machine that is busy with something else must not look like a model that hangs
TIMES_EXPECTED = 20
TIMES_STARVED = 10  # of its deadline a process may take when it is runnable and gets no processor
REQUEST_S = 10.0
LOAD_S = 100.0  # so that one that never gets ready is given up by the supervisor: 5 restarts within 10 minutes
SWEEP_S = 0.1
FORK_S = 5.0  # a fork takes milliseconds
MEMORY_S = 1.0
MOST_PAUSE_S = 5.0
MOST_UNMADE = 3  # in a row: one may have met a machine that had no process left
MEMORY_GIB = 2.0
MEMORY_BYTES = int(MEMORY_GIB * 2**30)
_PAGE = os.sysconf("SC_PAGE_SIZE")


def memory_bytes(where: Settings) -> int:
    """What a process may take beyond what it has when it is ready. UsageProblem for a setting that is no size."""
    gib = where.get("deploy.memory_gib", MEMORY_GIB)
    if not gib > 0:
        raise UsageProblem(f"deploy.memory_gib = {gib:g} leaves no room for a prediction", "give it GiB, e.g. 2")
    return int(gib * 2**30)


def load_seconds(where: Settings) -> float:
    """How long a version may take until it is loaded and warmed up. UsageProblem for a setting that is no time."""
    seconds = where.get("deploy.load_s", LOAD_S)
    if not seconds > 0:
        raise UsageProblem(f"deploy.load_s = {seconds:g} lets no version get ready", "give it seconds, e.g. 100")
    return float(seconds)


class Asked(Protocol):
    """A request, and who takes its reply: `done` is called exactly once."""

    @property
    def raw(self) -> RawRequest: ...

    def done(self, reply: Reply) -> None: ...


@dataclass(frozen=True)
class VersionFiles:
    """A version as the endpoint's own process knows it: it never loads the model.

    digests: file → what it was when it was registered; with none nothing is compared.
    """

    uri: str
    folder: Path
    digests: Mapping[str, str] = field(default_factory=dict)
    signature: Signature = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "signature", signature.read(self.folder))


@dataclass(eq=False)
class _Worker:
    """One process. due: when what it does now has taken too long, in monotonic seconds; 0 while it does nothing."""

    channel: Channel
    due: float
    pid: int = 0
    handle: int = -1
    batch: list[Asked] = field(default_factory=list)
    suspects: _Suspects | None = None
    sent_at: float = 0.0
    cpu_s: float | None = None
    memory: int = 0  # bytes, when it was ready

    def began(self, pid: int) -> None:
        self.pid = pid
        with contextlib.suppress(OSError):  # it is gone already, and its end of the channel will tell
            self.handle = os.pidfd_open(pid)

    def end(self) -> None:
        """End the process, whatever it does; nothing when it has ended."""
        if self.handle >= 0:
            process.end_by(self.handle)

    def close(self) -> None:
        self.channel.close()
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    @property
    def used_s(self) -> float:
        """Processor time of all its threads."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # the clock of another process: clock_getcpuclockid(3)
        except OSError:
            return 0.0

    @property
    def is_runnable(self) -> bool:
        """Whether it would run if it got a processor, or waits for a disk."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "RD"
        except OSError:
            return False

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE
        except OSError:
            return 0


@dataclass(eq=False)
class _Suspects:
    """Requests that a lost process had in hand. lost: how many processes they have cost."""

    asked: list[Asked]
    lost: int


class Workers:
    """Answers requests by one version. To be used on the event loop's thread.

    lost: is called for each process that died or was ended. memory_bytes: what a process may take beyond what it has
    when it is ready; it is replaced at half of that. load_s: how long it may take until it is ready.
    """

    def __init__(
        self,
        files: VersionFiles,
        forks: Forks,
        loop: asyncio.AbstractEventLoop,
        lost: Callable[[], None],
        memory_bytes: int,
        load_s: float | None = None,
    ) -> None:
        self._files = files
        self._load_s = LOAD_S if load_s is None else load_s
        self._forks = forks
        self._loop = loop
        self._count_lost = lost
        self._memory_bytes = memory_bytes
        self._active: _Worker | None = None
        self._spare: _Worker | None = None
        self._trial: _Worker | None = None  # for what is suspected
        self._blamed = BlamedBodies()
        self._loading: list[_Worker] = []
        self._draining: list[_Worker] = []
        self._planned = 0
        self._waiting: deque[Asked] = deque()
        self._suspects: deque[_Suspects] = deque()
        self._opened: Callable[[LabError | None], None] | None = None
        self._was_ready = self._is_retired = self._is_sending = self._is_sweeping = False
        self._ready = Ready(0.0, 0.0)
        self._memory_at = 0.0
        self._losses = self._unmade = 0
        self._unmade_by: LabError | None = None
        self.waiting = 0
        self.waiting_bytes = 0

    # ---- what the endpoint asks ----

    def open(self, opened: Callable[[LabError | None], None]) -> None:
        """Start; `opened` is called when requests are answered, or with what is the matter."""
        self._opened = opened
        self._start()

    def submit(self, asked: Asked) -> None:
        """Take a request into the next batch."""
        self.waiting += 1
        self.waiting_bytes += len(asked.raw.body)
        active = self._active
        if active is None and (problem := self.problem):
            self._refuse(asked, problem.what, 503)
            return
        if self._blamed and (why := self._blamed.refusal(asked.raw.body)):
            self._refuse(asked, why, 503)
            return
        self._waiting.append(asked)
        if active is None:
            self._watch()
        elif not self._is_sending and not active.batch:
            self._is_sending = True
            self._loop.call_soon(self._send)

    def retire(self) -> None:
        """Answer what was taken, and end."""
        self._is_retired = True
        self._end_when_done()

    def close(self) -> None:
        """End now."""
        self._is_retired = True
        for worker in list(self._all()):
            self._forget(worker)
            worker.close()

    @property
    def problem(self) -> LabError | None:
        """Why it answers nothing: its processes are gone, and none can be made in their place. It is tried on."""
        is_gone = self._active is None and self._spare is None
        return self._unmade_by if is_gone and self._unmade >= MOST_UNMADE else None

    @property
    def runtime(self) -> str:
        """The version of ONNX Runtime that answers."""
        return self._ready.runtime

    @property
    def pids(self) -> list[int]:
        """The processes that live, the one that answers first."""
        return [worker.pid for worker in self._all()]

    # ---- a batch, there and back ----

    def _send(self) -> None:
        self._is_sending = False
        worker = self._active
        if worker is None or worker.batch or not self._waiting:
            return
        batch = [self._waiting.popleft()]
        size = len(batch[0].raw.body)
        while self._waiting and len(batch) < MOST_REQUESTS:
            size += len(self._waiting[0].raw.body)
            if size > MOST_BYTES:
                break
            batch.append(self._waiting.popleft())
        self._hand(worker, batch)

    def _hand(self, worker: _Worker, batch: list[Asked]) -> None:
        worker.batch = batch
        worker.sent_at = time.perf_counter()
        worker.cpu_s = None
        try:
            worker.channel.send(_encode([asked.raw for asked in batch]))
        except OSError:  # also a full buffer: it never read what came before, although it said that it was idle
            self._lost(worker, "died")
            return
        worker.due = worker.sent_at + self._allowed_s(batch)
        self._watch()

    def _allowed_s(self, batch: list[Asked]) -> float:
        return max(LEAST_S, TIMES_EXPECTED * self._expected_s(batch))

    def _expected_s(self, batch: list[Asked]) -> float:
        """What they take one by one, and at most together."""
        size = sum([asked.raw.expected_bytes for asked in batch])
        return self._ready.fixed_s * len(batch) + self._ready.byte_s * size

    def _hear(self, worker: _Worker) -> None:
        try:
            message = worker.channel.receive()
        except BlockingIOError:
            return
        if message is None:
            self._lost(worker, "died")
            return
        said = _decode(message)
        if isinstance(said, Replies):
            self._answered(worker, said.replies)
        elif isinstance(said, Began):
            worker.began(said.pid)
            self._forks.has_made = True
        elif isinstance(said, Ready):
            self._take(worker, said)
        else:
            self._cannot(worker, said)

    def _answered(self, worker: _Worker, replies: list[Reply]) -> None:
        batch, worker.batch, worker.due, worker.suspects = worker.batch, [], 0.0, None
        self._losses = 0
        if worker is self._active:
            self._send()  # before the answers are written: it computes meanwhile
        self.waiting -= len(batch)
        self.waiting_bytes -= sum([len(asked.raw.body) for asked in batch])
        for asked, reply in zip(batch, replies, strict=True):
            if self._blamed:
                self._blamed.clear(asked.raw.body)
            asked.done(reply)
        if worker is self._trial or worker in self._draining:
            self._go_on()
        self._end_when_done()

    def _refuse(self, asked: Asked, why: str, status: int) -> None:
        self.waiting -= 1
        self.waiting_bytes -= len(asked.raw.body)
        asked.done(unanswered(asked.raw, self._files.uri, self._files.signature.answered, why, status))

    # ---- processes come and go ----

    def _start(self) -> None:
        try:
            channel, there = Channel.pair()
        except OSError as problem:  # all descriptors are taken: it is tried again, later each time
            what = f"no process can be started for {self._files.uri}: {problem}"
            _log.warning("%s", what)
            self._losses += 1
            self._report_open(Failed(what, "raise the limit of open files (ulimit -n), or close what holds them"))
            self._fill()
            return
        channel.socket.setblocking(False)
        worker = _Worker(channel, time.perf_counter() + self._load_s)
        self._loading.append(worker)
        self._loop.add_reader(channel.socket, self._hear, worker)
        files = self._files
        order = Open(files.uri, str(files.folder), dict(files.digests), self._memory_bytes)
        self._forks.open(order, there)
        self._watch()

    def _fill(self) -> None:
        """See to it that one answers and one is spare; the later, the more were lost without an answer."""
        if self._is_retired and not self.waiting:
            return
        ready = sum(one is not None for one in (self._active, self._spare, self._trial))
        there = ready + len(self._loading) + self._planned
        for _ in range((2 if self._was_ready else 1) + bool(self._suspects) - there):
            pause_s = 0.0 if self._losses <= 3 else min(MOST_PAUSE_S, 0.1 * 2 ** (self._losses - 3))
            self._planned += 1
            self._loop.call_later(pause_s, self._start_planned)

    def _start_planned(self) -> None:
        self._planned -= 1
        if not self._is_retired or self.waiting:
            self._start()

    def _take(self, worker: _Worker, ready: Ready) -> None:
        self._loading.remove(worker)
        self._ready, self._was_ready, worker.due, worker.memory = ready, True, 0.0, worker.resident
        self._unmade = 0
        if self._active is None:
            self._active = worker
        elif self._spare is None:
            self._spare = worker
        elif self._trial is None and self._suspects:
            self._trial = worker
        else:
            self._forget(worker)
            worker.close()
        self._report_open(None)
        self._go_on()

    def _go_on(self) -> None:
        """Whatever can be done next with the processes that are there."""
        for worker in [one for one in self._draining if not one.batch]:
            self._forget(worker)
            worker.close()
        if self._active is None:
            self._active, self._spare = self._spare, None
        if self._trial is not None and not self._trial.batch and not self._suspects:
            if self._spare is None:
                self._spare = self._trial
            else:
                self._draining.append(self._trial)
            self._trial = None
            self._go_on()
            return
        self._fill()
        self._send()
        self._try_suspects()

    def _cannot(self, worker: _Worker, said: CannotServe) -> None:
        self._forget(worker)
        worker.close()
        problem = getattr(errors, said.kind, Failed)(said.what, said.fix)
        if self._was_ready:
            _log.warning("%s cannot be loaded again: %s", self._files.uri, problem)
        self._losses += 1
        self._not_made(problem)
        self._report_open(problem)
        self._fill()
        self._end_when_done()

    def _not_made(self, problem: LabError) -> None:
        """After some of these in a row nobody waits for the next one: what was taken is refused."""
        self._unmade, self._unmade_by = self._unmade + 1, problem
        if self.problem:
            taken = [*self._waiting, *(asked for suspects in self._suspects for asked in suspects.asked)]
            self._waiting.clear()
            self._suspects.clear()
            for asked in taken:
                self._refuse(asked, problem.what, 503)

    def _report_open(self, problem: LabError | None) -> None:
        opened, self._opened = self._opened, None
        if opened:
            self._is_retired = self._is_retired or problem is not None
            opened(problem)

    def _lost(self, worker: _Worker, how: str) -> None:
        """A process is gone, or is to go: another takes its place, and what it had in hand is suspected."""
        batch, suspects = worker.batch, worker.suspects
        is_loading = worker in self._loading
        self._forget(worker)
        worker.end()
        worker.close()
        self._losses += 1
        self._count_lost()
        _log.warning("a process of %s (pid %d) %s with %d requests", self._files.uri, worker.pid, how, len(batch))
        if batch:
            self._suspect(batch, (suspects.lost if suspects else 0) + 1, how)
        if is_loading:
            uri = self._files.uri
            fix = f"let another version serve; `%models show {Uri.parse(uri).label}` tells how it was made"
            problem = Failed(f"{uri} {how}, while it was loaded and warmed up", fix)
            if worker.pid:  # else it is the fork server that was lost
                self._not_made(problem)
            self._report_open(problem)
        self._go_on()
        self._end_when_done()

    def _forget(self, worker: _Worker) -> None:
        self._loop.remove_reader(worker.channel.socket)
        self._active = None if worker is self._active else self._active
        self._spare = None if worker is self._spare else self._spare
        self._trial = None if worker is self._trial else self._trial
        for group in (self._loading, self._draining):
            if worker in group:
                group.remove(worker)

    def _all(self) -> Iterator[_Worker]:
        yield from (one for one in (self._active, self._spare, self._trial) if one is not None)
        yield from self._loading
        yield from self._draining

    def _end_when_done(self) -> None:
        if self._is_retired and not self.waiting:
            self.close()

    # ---- what a lost process had in hand ----

    def _suspect(self, batch: list[Asked], lost: int, how: str) -> None:
        if len(batch) == 1 and (lost > 1 or how != "died"):
            # Alone, and no accident: one that died on it for the first time may have been killed from outside.
            self._blamed.blame(batch[0].raw.body, lost)
            self._refuse(batch[0], f"the model's process {how} on this request", 500)
        elif lost == 1 and len(batch) > 1 and self._expected_s(batch) > LEAST_S:
            # One that hangs again costs the others as much as those of one by one would.
            half = len(batch) // 2
            self._suspects += [_Suspects(batch[:half], lost), _Suspects(batch[half:], lost)]
        else:
            self._suspects += [_Suspects([asked], lost) for asked in batch]

    def _try_suspects(self) -> None:
        worker = self._trial
        if self._suspects and worker is not None and not worker.batch:
            suspects = self._suspects.popleft()
            worker.suspects = suspects
            self._hand(worker, suspects.asked)

    # ---- what has taken too long, or too much ----

    def _watch(self) -> None:
        if not self._is_sweeping:
            self._is_sweeping = True
            self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now = time.perf_counter()
        for worker in [one for one in self._all() if one.due]:
            if worker in self._loading:
                if not worker.pid and self._forks.has_made and now > worker.due - self._load_s + FORK_S:
                    self._forks.replace()  # it hangs: the order is lost with it, and given again
                if now > worker.due:
                    self._lost(worker, f"was not ready after {self._load_s:g} s")
            else:
                self._look(worker, now)
        self._expire(now - REQUEST_S)
        if now > self._memory_at + MEMORY_S:
            self._memory_at = now
            self._replace_the_big()
        self._is_sweeping = False
        if self.waiting or self._loading or self._planned:
            self._watch()
        self._end_when_done()

    def _look(self, worker: _Worker, now: float) -> None:
        """Tell a process that hangs or spins from one that merely gets no processor on a busy machine."""
        used_s = worker.used_s
        if worker.cpu_s is None:
            worker.cpu_s = used_s
        if now < worker.due or worker.channel.has_message:
            return
        allowed_s = self._allowed_s(worker.batch)
        spins = used_s - worker.cpu_s >= allowed_s - SWEEP_S
        if spins or not worker.is_runnable or now - worker.sent_at > TIMES_STARVED * allowed_s:
            self._lost(worker, f"gave no answer within {now - worker.sent_at:.1f} s")

    def _expire(self, oldest: float) -> None:
        while self._waiting and self._waiting[0].raw.started < oldest:
            self._refuse(self._waiting.popleft(), f"it was not answered within {REQUEST_S:g} s", 503)
        for suspects in list(self._suspects):
            if suspects.asked[0].raw.started < oldest:
                self._suspects.remove(suspects)
                for asked in suspects.asked:
                    self._refuse(asked, f"it was not answered within {REQUEST_S:g} s", 503)

    def _replace_the_big(self) -> None:
        """A process that grows is replaced before it is refused memory: the spare one first, then this one drains."""
        for worker in [one for one in (self._active, self._spare) if one is not None]:
            if self._memory_bytes and worker.resident - worker.memory > self._memory_bytes / 2:
                if worker is self._active:
                    if self._spare is None:
                        continue  # as soon as there is one
                    self._active, self._spare = self._spare, None
                else:
                    self._spare = None
                _log.warning("a process of %s (pid %d) has grown too big: replaced", self._files.uri, worker.pid)
                self._draining.append(worker)
                self._go_on()
