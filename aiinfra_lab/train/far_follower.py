"""`python -m aiinfra_lab.train.far_follower train:NAME@N`: the job of a run that is done in a kernel without our store.

It sends what the run needs, and writes down here what comes of it, as a run here does itself: also when the notebook
that asked for it is closed. When it is killed it is started again, and goes on from what the kernel's journal has.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from .. import files, jobs, kernels, logs, modes, signals
from ..errors import Failed, LabError
from ..gpu import sessions
from ..host.frames import MessageChannel
from ..kernels import KeptKernel, recovery
from ..kernels.client import RunningCode, connected
from ..kernels.errand import send_off
from ..kernels.exchange import Exchange, exchanging
from ..leftovers import temporary
from ..resolve import resolve
from ..store import Record, StoreUnavailable, open_store, patiently, update
from . import checkpoint, far_package, far_rows, record, worker
from .far_messages import COMM, STOP, FarRun, RunReport, part_of
from .history import FILE, MetricLog, latest, read
from .record import RunProblem, TrainingRun
from .worker import OUTPUT, StoreLedger, TrainingEnd

_log = logging.getLogger("aiinfra_lab.train.far_follower")  # __name__ is __main__ here
_LOOK_S = 0.25
_PIECE = 1 << 20


class Follower:
    """One run, from here. stop_requested: whether somebody asked for its end."""

    def __init__(self, run: Record[TrainingRun]) -> None:
        self.run = run
        self.folder = record.folder(run.name)
        self.ledger = StoreLedger(run)
        self.stop_requested = run.body.stop_requested_at is not None
        self.problem: Failed | None = None
        self.ended: TrainingEnd | None = None
        self.far = FarRun.read(self.folder) or FarRun(exchange=secrets.token_hex(8))
        self._is_again = bool(self.far.request)
        self._held = contextlib.ExitStack()
        self._kernel: KeptKernel
        self._exchange: Exchange
        self._history: MetricLog
        self._checkpoint: RunReport | None = None
        self._end: RunReport | None = None
        self._began_at = 0.0
        self._errand: Future[None] | None = None
        self._is_stop_sent = False
        self._looked_at = 0.0

    def go(self) -> None:
        """Have it run to its end, and write that down."""
        worker.prepare(self.run, self.folder)
        self._history = MetricLog(self.folder / FILE)
        self._have = len(read(self.folder / FILE))
        try:
            self._go()
        except StoreUnavailable:
            raise  # another attempt comes
        except kernels.MachineLost as lost:
            self._go_on_on_the_next_machine()
            self._write_end("killed", lost)
        except LabError as problem:
            self._write_end("killed" if self.far.request else "failed", problem)

    def _go(self) -> None:
        with self._held:
            self._kernel = kernel = sessions.kernel_of(self.run.body.on)
            self.ledger.begin()
            self._exchange = self._held.enter_context(exchanging(kernel, self.far.exchange))
            self._exchange.keep()
            with connected(kernel) as client:
                running = FollowedCode(self, kernel, client)
                if self._is_again:
                    running.go_on(self.far)
                else:
                    running.run(self._prepared(kernel, client), interrupt=False)
            if self._end is None:
                raise self.problem or Failed("its kernel has run it, and reported no end", "run its cell again")
            self._finish(self._end)

    def _prepared(self, kernel: KeptKernel, client: Any) -> str:
        """Bring there all that it needs; the code that begins it."""
        name = self.far.exchange
        far_package.bring(kernel, client, part_of(name, "package"))
        with temporary() as aside:
            packed = aside / "run.tar"
            far_rows.pack(self.run, self.ledger.source(), packed)
            self._exchange.send(_pieces(packed))
        self.tick()
        return far_package.request(
            self._exchange.paths["in"], self._exchange.paths_of_parts()["out"], name, self.run.uri
        )

    # ---- what comes ----

    def note(self, **changes: Any) -> None:
        """Keep how far it has come, for whoever goes on with it, and for the notebook that shows it."""
        self.far = replace(self.far, **changes)
        self.far.write(self.folder)

    def take_output(self, output: recovery.Output) -> None:
        """What the code printed, or the error that it ended by."""
        content = output["content"]
        if output["msg_type"] == "stream" and content["name"] == "stdout":
            with open(self.folder / OUTPUT, "a", encoding="utf-8", opener=modes.opener) as file:
                file.write(content["text"])
        elif output["msg_type"] == "error":
            what = f"{content.get('ename')}: {content.get('evalue')}".strip(": ")
            self.problem = Failed(
                f"{self.run.uri} failed in {self.run.body.on}: {what}", "see to that, and run it again"
            )

    def take_report(self, report: RunReport) -> None:
        """What the run says of itself."""
        if report.machine:
            self._begin(report)
        if report.points:
            new = report.points[max(0, self._have - report.first) :]
            self._history.take(new)
            self._have += len(new)
            self.ledger.add(new)
        if report.kept is not None:
            self._checkpoint = report
        if report.ended is not None:
            self._end = report

    def tick(self) -> None:
        """Do what is due beside listening."""
        if time.monotonic() - self._looked_at < _LOOK_S:
            return
        self._looked_at = time.monotonic()
        jobs.beat()
        self._exchange.keep()
        if self._errand is not None and not self._errand.done():
            return
        self._errand = None
        if self.stop_requested and not self._is_stop_sent:
            self._is_stop_sent = True
            stop = self._held.enter_context(exchanging(self._kernel, part_of(self.far.exchange, STOP)))
            self._errand = send_off(lambda: stop.send([STOP.encode()]))
        elif (found := self._checkpoint) is not None:
            self._checkpoint = None
            self._errand = send_off(lambda: self._fetch_checkpoint(found))

    def _begin(self, report: RunReport) -> None:
        self._began_at = report.at
        self._exchange.forget_sent()

        def begun(body: TrainingRun) -> TrainingRun | None:
            is_new = body.state == "starting"
            return replace(body, state="running", started_at=time.time(), machine=report.machine) if is_new else None

        self.run = patiently(lambda: update(open_store(), TrainingRun, self.run.name, begun))
        self.stop_requested |= self.run.body.stop_requested_at is not None

    def _fetch_checkpoint(self, report: RunReport) -> None:
        part = part_of(self.far.exchange, report.part)
        path = self.folder / checkpoint.FILE
        with exchanging(self._kernel, part) as exchange:
            here = checkpoint.progress(path)
            if here is None or report.kept is None or here < report.kept:
                found = exchange.fetch_file(report.size)
                with files.writing(path) as aside:
                    shutil.copyfile(found, aside)
            exchange.send([b"fetched"])

    # ---- the end ----

    def _finish(self, report: RunReport) -> None:
        assert report.ended is not None
        if self._errand is not None:
            self._errand.result()
        if self._checkpoint is not None:
            self._fetch_checkpoint(self._checkpoint)
        with exchanging(self._kernel, part_of(self.far.exchange, report.part)) as exchange:
            file = exchange.fetch_file(report.size)
            self._history.close()
            far_rows.unpack(file, self.run.name)
        # Its clock may be another one.
        ahead = self._began_at - self.run.body.started_at if self._began_at else 0.0
        self.ledger.end(replace(report.ended, ended_at=min(time.time(), report.ended.ended_at - ahead)))

    def _go_on_on_the_next_machine(self) -> None:
        """Its machine is gone, and the session has the next one: another run goes on there, followed by its own job."""
        from . import far, remote

        planned = remote.goes_on(self.run)
        if jobs.find(planned.uri) is None:  # else begun by a follower that was killed before it could note that
            far.begin(planned)
        self.note(next=planned.uri)

    def _write_end(self, state: Any, problem: LabError) -> None:
        fix = problem.fix
        if state == "killed" and not self.far.next and checkpoint.progress(self.folder / checkpoint.FILE) is not None:
            fix = f"{fix}; then {worker.how_to_resume(self.run)}"
        metrics = latest(read(self.folder / FILE))
        said = RunProblem(problem.what, fix)
        self.ledger.end(TrainingEnd(state=state, ended_at=time.time(), metrics=metrics, problem=said))


class FollowedCode(RunningCode):
    """The code of a run, whose reports are taken beside its outputs."""

    def __init__(self, follower: Follower, kernel: KeptKernel, client: Any) -> None:
        super().__init__(kernel, client, follower.take_output, None)
        self._follower = follower

    def go_on(self, far: FarRun) -> None:
        """With what another process has begun."""
        self._id, self._incarnation, self._machine = far.request, far.incarnation, far.machine
        found = [*recovery.messages(self._kernel, MessageChannel.IOPUB, far.request)]
        (self._follower.folder / OUTPUT).unlink(missing_ok=True)  # all of it comes again
        for message in found:
            self._take(message)
            if message["msg_type"] in recovery.OUTPUTS:
                self._on_output(message)
            self._is_idle = _is_idle(message)
        self._seen = {message["msg_id"] for message in found}
        self._recovered = set(self._seen)
        if not self._is_idle:
            self._pass_outputs_on()

    def _once(self, code: str, metadata: dict[str, Any] | None, content: dict[str, Any]) -> None:
        self._is_idle = False
        self._id = self._client.execute(code, metadata=metadata, stop_on_error=False, **content)
        state = self._kernel.state()
        self._follower.note(request=self._id, incarnation=state.incarnation, machine=state.machine)
        self._finish()

    def _next(self, channel: MessageChannel) -> dict[str, Any]:
        message = super()._next(channel)
        self._take(message)
        self._follower.tick()
        return message

    def _check(self) -> None:
        super()._check()
        self._follower.tick()

    def _take(self, message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "comm_msg" and content.get("comm_id") == COMM:
            self._follower.take_report(msgspec.convert(content["data"], RunReport))


def _is_idle(message: dict[str, Any]) -> bool:
    return bool(message["msg_type"] == "status" and message["content"]["execution_state"] == "idle")


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def main(uri: str) -> int:
    """Follow that run until its end is written; the exit code of the job."""
    logs.configure()
    run = patiently(lambda: resolve(uri, TrainingRun))
    if not run.body.is_live:
        return 0
    follower = Follower(run)

    def ask(_number: int) -> None:
        follower.stop_requested = True

    try:
        with signals.taken(ask, is_final=True):
            follower.go()
    except LabError as problem:
        _log.error("%s", problem)
        return problem.exit_code
    return 0


if __name__ == "__main__":
    modes.keep_to_owner()
    sys.exit(main(*sys.argv[1:]))
