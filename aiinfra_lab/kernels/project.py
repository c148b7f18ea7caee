"""The project on the host of a kept kernel: its files, the same on both sides, and the packages that it asks for.

The keeper does it, since it has the way to the host: before a kernel begins, when somebody asks, and by itself when
code has run, before the deadline, and when the machine is announced to be taken away. Who asks does so by files below
`sync` in the kernel's folder, so that no keeper that was killed in between leaves anybody waiting for an answer:

    state       what both sides had, see `sync.state`
    asked       one file for each question
    answered    one for each answer
    last.json   what the last sync did
    there.json  what is installed in the environment there
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from .. import errors, files, modes
from ..config import settings
from ..errors import LabError, Unavailable
from ..jobs.home import make_home_id
from ..units import counted, show_bytes
from .base import Place
from .client import await_keeper, wake
from .environment import KernelEnvironment, Skew, installed, skew
from .errand import send_off
from .kept import KeptKernel
from .specs import kernel_argv
from .sync import SyncReport, readable, sync

_log = logging.getLogger(__name__)

FOLDER = "sync"
QUIET_S = 3.0  # after the last that a kernel has put out, what it wrote is brought here
NEAR_END_S = 20.0  # before the deadline
_NEAR_EVERY_S = 5.0  # the machine will be gone soon: what is written until then is brought too
_AT_MOST_EVERY_S = 60.0  # while a kernel puts something out all the time
_AGAIN_S = 3.0  # a connection that was cut is tried once more
_WAIT_S, _ASK_S = 0.02, 1.0


class _Answer(msgspec.Struct, frozen=True):
    """What became of a sync that was asked for. problem: the kind of error, what it was, and what helps."""

    report: SyncReport | None = None
    problem: tuple[str, str, str] | None = None


@dataclass(slots=True)
class ProjectCopy:
    """What a keeper does for it. folder: the project here. has_files, has_packages: which of both is wanted."""

    kernel: KeptKernel
    folder: Path
    has_files: bool
    has_packages: bool
    there: str = ""  # the project's folder on the host
    is_near_end: bool = False  # whether its machine will be gone soon
    _going: Future[SyncReport] | None = None
    _asked_by: tuple[str, ...] = ()
    _is_second_try: bool = False
    _try_at: float = 0.0
    _seen: int = 0  # the last message of the kernel that was seen, and until which one files were brought
    _brought: int = 0
    _is_reached: bool = False
    _seen_at: float = 0.0
    _synced_at: float = 0.0

    def prepare(self, place: Place, report: Callable[[str], None]) -> Place:
        """The place with what a kernel that begins there is to have. LabError when it cannot have it."""
        place = self.known(place)
        if place.is_here:
            return place
        if self.has_packages:
            report("makes the project's environment there")
            environment = KernelEnvironment.of_project(self.folder)
            made = environment.make(place.reach, host=place.name or "the host")
            files.make_private_folder(self._area)
            files.write_json(self._area / "there.json", dict(made.packages), mode=modes.OWNER_ONLY)
            place = replace(place, argv=kernel_argv(made.python), reach=place.reach.run_by(made.python))
        if self.has_files:
            report("brings the project's files there")
            self._note(self._sync(place))
        return place

    def known(self, place: Place) -> Place:
        """The place, whose kernel works in the project's folder there."""
        if not self.has_files or place.is_here:
            return place
        name = f"{self.folder.name or 'project'}-{make_home_id(settings().home)[:8]}"
        self.there = f"{settings().get('gpu.sync_folder', place.projects)}/{name}"
        return replace(place, cwd=self.there)

    def turn(self, place: Place | None, last: int, wakeup: int) -> None:
        """See what is due; nothing is waited for. place: of a host that is reached; last: the number of the last
        message of the kernel; wakeup: see `send_off`."""
        now = time.monotonic()
        self._is_reached = place is not None
        if last != self._seen:
            self._seen, self._seen_at = last, now
        if self._going is not None:
            if self._going.done():
                self._end_one(self._going, now)
            return
        if not self.has_files or place is None or place.is_here or now < self._try_at:
            return
        asked = self._asked()
        if asked or self._asked_by or self._is_due(now):
            self._asked_by = tuple({*self._asked_by, *asked})
            self._brought, there = self._seen, place
            self._going = send_off(lambda: self._sync(there), wakeup)

    def due_in(self) -> float | None:
        """Seconds until something is to be done unasked; None for nothing."""
        now = time.monotonic()
        if self._going is None and self._try_at > now:
            return self._try_at - now
        is_even = self._seen == self._brought
        if not self.has_files or not self._is_reached or self._going is not None:
            return None
        if self.is_near_end:
            return max(0.05, self._synced_at + _NEAR_EVERY_S - now)
        if is_even:
            return None
        quiet_at = min(self._seen_at + QUIET_S, max(self._synced_at + _AT_MOST_EVERY_S, self._seen_at))
        return max(0.05, quiet_at - now)

    def _is_due(self, now: float) -> bool:
        if self.is_near_end:
            return now - self._synced_at >= _NEAR_EVERY_S
        is_quiet = now - self._seen_at >= QUIET_S
        return self._seen != self._brought and (is_quiet or now - self._synced_at >= _AT_MOST_EVERY_S)

    def _asked(self) -> set[str]:
        with contextlib.suppress(FileNotFoundError):
            return {path.name for path in (self._area / "asked").iterdir()}
        return set()

    def _end_one(self, going: Future[SyncReport], now: float) -> None:
        self._going, self._synced_at = None, now
        try:
            report = going.result()
        except Unavailable as problem:
            if not self._is_second_try:
                self._is_second_try, self._try_at = True, now + _AGAIN_S
                self._brought = -1  # also where nobody has asked
                return
            self._answer(_Answer(problem=(type(problem).__name__, problem.what, problem.fix)))
        except LabError as problem:
            self._answer(_Answer(problem=(type(problem).__name__, problem.what, problem.fix)))
        except Exception as problem:  # noqa: BLE001  # a mistake of ours is no end of the kernel
            _log.exception("the project's files")
            what = f"the project's files were not synced: {type(problem).__name__}: {problem}"
            self._answer(_Answer(problem=("Failed", what, "sync again; the log of its keeper says more")))
        else:
            self._note(report)
            self._answer(_Answer(report=report))
        self._is_second_try = False

    def _answer(self, answer: _Answer) -> None:
        if answer.problem:
            kind, what, fix = map(readable, answer.problem)
            answer = _Answer(problem=(kind, what, fix))
            _log.warning("the project's files: %s; %s", what, fix)
        for token in self._asked_by:
            with contextlib.suppress(OSError):  # whoever asked has gone, or the disk is full: it is asked again
                files.write(self._area / "answered" / token, msgspec.json.encode(answer), flush=False)
                (self._area / "asked" / token).unlink()
        self._asked_by = ()

    def _note(self, report: SyncReport) -> None:
        if report != SyncReport():
            _log.info("the project's files: %s", " ".join(sentences(report)))
            with contextlib.suppress(OSError):
                files.write(self._area / "last.json", msgspec.json.encode(report), mode=modes.OWNER_ONLY, flush=False)

    def _sync(self, place: Place) -> SyncReport:
        files.make_private_folder(self._area)
        stream = place.reach.serve("sync", self.there)
        try:
            with stream.as_files() as (reader, writer):
                state, most_bytes = self._area / "state", settings().get("gpu.sync_bytes", MOST_BYTES)
                return sync(self.folder, reader, writer, state=state, host=place.name, most_bytes=most_bytes)
        except Unavailable as problem:
            if why := stream.problem():
                raise Unavailable(f"{problem.what}: {why}", problem.fix) from None
            raise

    @property
    def _area(self) -> Path:
        return self.kernel.folder / FOLDER


MOST_BYTES = 2 << 30


def begin_anew(kernel: KeptKernel) -> None:
    """Remove what was asked of an earlier keeper."""
    for name in ("asked", "answered", "last.json", "there.json"):
        path = kernel.folder / FOLDER / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def sync_project(kernel: KeptKernel, note: Callable[[str], object] = lambda _: None) -> SyncReport | None:
    """Make the project's files the same here and on the kernel's host, now; None where they are not synced.

    note: gets what is waited for. LabError when it cannot be done; Ctrl-C ends the waiting.
    """
    if not kernel.state().project:
        return None
    token, area = secrets.token_hex(8), kernel.folder / FOLDER
    asked, answered = area / "asked" / token, area / "answered" / token
    for each in (asked, answered):
        files.make_private_folder(each.parent)
    asked.touch(modes.OWNER_ONLY)
    asked_at = -_ASK_S
    try:
        while not answered.exists():
            if time.monotonic() - asked_at >= _ASK_S:
                asked_at = time.monotonic()
                await_keeper(kernel)
                wake(kernel)
                if kernel.state().unreached_at:
                    note(f"waits for its host, which is not reached ({kernel.state().unreached})")
            time.sleep(_WAIT_S)
        answer = msgspec.json.decode(answered.read_bytes(), type=_Answer)
    finally:
        for each in (asked, answered):
            each.unlink(missing_ok=True)
    if answer.problem is not None:
        kind, what, fix = answer.problem
        raise getattr(errors, kind, Unavailable)(what, fix)
    return answer.report


def last_report(kernel: KeptKernel) -> SyncReport | None:
    """What the last sync did that did something."""
    try:
        return msgspec.json.decode((kernel.folder / FOLDER / "last.json").read_bytes(), type=SyncReport)
    except (OSError, msgspec.MsgspecError):
        return None


def differing(kernel: KeptKernel) -> list[Skew]:
    """The packages that both sides have, and not in the same version; nothing where no environment was made."""
    try:
        there = json.loads((kernel.folder / FOLDER / "there.json").read_bytes())
    except (OSError, ValueError):
        return []
    return [each for each in skew(installed(), there) if each.ours and each.theirs]


def sentences(report: SyncReport) -> list[str]:
    """What a sync did, for people; nothing where there was nothing to do."""
    found = []
    if report.sent_files:
        found.append(f"{counted(report.sent_files, 'file')} ({show_bytes(report.sent_bytes)}) went there.")
    if report.received_files:
        found.append(f"{counted(report.received_files, 'file')} ({show_bytes(report.received_bytes)}) came back.")
    if report.deleted:
        found.append(f"{counted(report.deleted, 'file')} deleted on one side went on the other.")
    found += [
        f"**Both sides had changed {each.path}: that of the host is beside it, as {each.kept_as}.**"
        for each in report.conflicts
    ]
    if report.left_out:
        first = report.left_out[0]
        more = f", and {len(report.left_out) - 1:,} more" if len(report.left_out) > 1 else ""
        found.append(f"Not synced: {first.path} ({first.why}){more}.")
    return found
