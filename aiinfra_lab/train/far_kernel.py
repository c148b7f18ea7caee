"""One run in a kernel that has nothing of the workspace: what it needs came as one file, and all of it goes back.

What is measured goes as messages of the kernel, which nobody need be there to hear; checkpoints and what the run leaves
go as files, each at a path that ends in a part of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..config import FILE as SETTINGS
from ..config import inside
from ..features.results import FeatureRows
from ..files import make_folder
from ..store import Record
from . import checkpoint, code, record, worker
from .checkpoint import CheckpointProgress
from .far_messages import COMM, STOP, RunReport, SentRun, part_of
from .history import FILE, Point, read
from .plain import PlainRows
from .worker import RunExecution, TrainingEnd

EVERY_S = 0.25
"""Between two looks whether there is something to send."""


def execute(inputs: str, outputs: str, name: str) -> None:
    """Run what came, see `far_boot.train`. Raises as a run here does, once all of it is on its way back."""
    parts = Parts(outputs, name)
    work = parts.folder.parent / "train"
    shutil.rmtree(work, ignore_errors=True)  # of a run whose kernel was killed: one kernel trains once at a time
    make_folder(work)
    try:
        with zipfile.ZipFile(inputs) as sent:
            sent.extractall(work)
        Path(inputs).unlink()
        given = msgspec.json.decode((work / "run.json").read_bytes(), type=SentRun)
        (work / SETTINGS).touch()
        with inside(work):
            _execute(given, work, parts)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _execute(given: SentRun, work: Path, parts: Parts) -> None:
    run = Record.new(given.label, given.run)
    folder = record.folder(run.name)
    worker.prepare(run, folder)
    ledger = MessageLedger(given, work, folder, parts)
    try:
        RunExecution(run, folder, ledger, parts.is_stop_requested).go()
    except (code.Stopped, KeyboardInterrupt):
        raise worker.stopped(run) from None
    finally:
        ledger.close()


class Parts:
    """The files that go back, and those that came while it runs."""

    def __init__(self, outputs: str, name: str) -> None:
        self._outputs, self._name = outputs, name
        self._looked_at, self._is_asked = 0.0, False

    @property
    def folder(self) -> Path:
        """Where all exchanges are."""
        return Path(self._outputs.partition("{part}")[0])

    def is_stop_requested(self) -> bool:
        """Cheap: it looks at most five times a second."""
        if not self._is_asked and time.monotonic() - self._looked_at >= 0.2:
            self._looked_at = time.monotonic()
            self._is_asked = self.has_come(STOP)
        return self._is_asked

    def has_come(self, part: str) -> bool:
        """Whether something came by that name."""
        return self._path(part, "in").exists()

    def was_fetched(self, part: str) -> bool:
        """Whether what was put there is known to have arrived."""
        return self.has_come(part) or not self._path(part, "out").exists()

    def put(self, part: str, file: Path) -> int:
        """Give a file back by that name; its size. The file may be replaced afterwards, and not changed."""
        target = self._path(part, "out")
        target.parent.mkdir(mode=0o700, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(file, target)
        except OSError:  # another disk; nobody reads it before it is reported
            shutil.copyfile(file, target)
        return target.stat().st_size

    def remove(self, part: str) -> None:
        """It was fetched."""
        for way in ("in", "out"):
            self._path(part, way).unlink(missing_ok=True)

    def _path(self, part: str, way: str) -> Path:
        path = Path(self._outputs.replace("{part}", part_of(self._name, part)))
        return path.with_name(way) if path.name == "out" else path.with_suffix(f".{way}")


class MessageLedger:
    """See `worker.Ledger`: the machine that asked, by messages of this kernel and files."""

    def __init__(self, given: SentRun, work: Path, folder: Path, parts: Parts) -> None:
        self._given, self._work, self._folder, self._parts = given, work, folder, parts
        self._send = _sender()
        self._lock = threading.Lock()
        self._points: list[Point] = []
        self._sent = 0
        self._kept: CheckpointProgress | None = None
        self._on_its_way = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send_now_and_then, name="training-reports", daemon=True)

    def begin(self) -> None:
        self._send(RunReport(machine=record.machine(), at=time.time()))
        self._thread.start()

    def open_rows(self) -> Any:
        given, body = self._given, self._given.run
        if given.features is not None:
            return msgspec.convert(
                {**given.features, "path": self._work / "rows.parquet"}, FeatureRows, dec_hook=_as_it_is
            )
        from ..data.handle import Dataset

        opened = msgspec.convert(
            {**(given.data or {}), "path": self._work / "data" / given.file}, Dataset, dec_hook=_as_it_is
        )
        return opened if body.table is None else PlainRows(opened, body.table)

    def resumed(self) -> dict[str, Any] | None:
        source = self._work / checkpoint.FILE
        return checkpoint.load(source) if source.exists() else None

    def earlier(self) -> Sequence[Point]:
        return read(self._work / FILE)

    def add(self, points: Sequence[Point]) -> None:
        with self._lock:
            self._points += points

    def end(self, ended: TrainingEnd) -> None:
        self.close()
        self._flush()
        archive = self._work / "end.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            for path, name in self._left():
                packed.write(path, name)
        size = self._parts.put("end", archive)
        self._send(RunReport(ended=ended, part="end", size=size))

    def close(self) -> None:
        """Send nothing more by itself."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _left(self) -> Iterator[tuple[Path, str]]:
        """What the run leaves, by its path below the folder of runs."""
        home = record.home()
        is_sent = self._kept is not None and checkpoint.progress(self._folder / checkpoint.FILE) == self._kept
        for path in sorted(home.rglob("*")):
            if path.is_file() and not (is_sent and path == self._folder / checkpoint.FILE):
                yield path, path.relative_to(home).as_posix()

    def _send_now_and_then(self) -> None:
        while not self._over.wait(EVERY_S):
            with contextlib.suppress(OSError):  # a full disk: what is left is sent at the end
                self._send_checkpoint()
            self._flush()

    def _send_checkpoint(self) -> None:
        """The newest one, once the one before has been fetched: on a slow link some are passed over."""
        if self._on_its_way and not self._parts.was_fetched(self._on_its_way):
            return
        if self._on_its_way:
            self._parts.remove(self._on_its_way)
            self._on_its_way = ""
        path = self._folder / checkpoint.FILE
        kept = checkpoint.progress(path)
        if kept is None or kept == self._kept:
            return
        self._flush()  # what was measured in an epoch comes before its checkpoint
        part = f"c{kept.epoch + 1}s{kept.step}"
        size = self._parts.put(part, path)
        self._kept, self._on_its_way = kept, part
        self._send(RunReport(kept=kept, part=part, size=size))

    def _flush(self) -> None:
        with self._lock:
            points, self._points = self._points, []
            first, self._sent = self._sent, self._sent + len(points)
        if points:
            self._send(RunReport(points=points, first=first))


def _sender() -> Any:
    """Sends a report to whoever listens to this kernel, as part of the request that runs now."""
    from IPython import get_ipython

    kernel: Any = get_ipython().kernel
    parent = kernel.get_parent()

    def send(report: RunReport) -> None:
        # A message of a widget that nobody has: notebooks pass it over, and save nothing of it.
        content = {"comm_id": COMM, "data": msgspec.to_builtins(report)}
        kernel.session.send(kernel.iopub_socket, "comm_msg", content, parent=parent, ident=b"comm_msg")

    return send


def _as_it_is(_type: type, value: Any) -> Any:
    return value
