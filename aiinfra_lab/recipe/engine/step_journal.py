"""By which an executed notebook is completed where the process that executes it is killed: what the kernel's host core
and this process have written down, brought to the disk once in a while, and what it takes to read it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ... import modes
from ...errors import LabError
from ...files import flush_data, lab_errors, make_private_folder, put_in_place, remove_aside, take_lock, write_json
from ...leftovers import IN_MEMORY, make_temporary, remove_temporary
from ..archives import FACTS, OWNER, journal_of

BEGUN = "begun.ipynb"
"""The notebook before its first cell ran."""
MARK = "mark.json"
KEPT, SECRETS = "kept", "secrets"
JOURNALS = ("received", "host/journal")
"""Below the folder in which a kernel is kept: what has come to this process, and what its host core has still."""
_FLUSH_S = 0.75  # and a moment until it is on the disk: at most a second of output is lost with the machine

_JOIN_S = 5.0

_log = logging.getLogger(__name__)

Named = tuple[str, str]
"""The name of a secret, and its value."""


class JournalFacts(msgspec.Struct, frozen=True, kw_only=True):
    """place: where the journal was made: a copy of the project has no say in what that names. kept: where the kernel is
    kept, from there. first: the number of the first message that belongs to it. secrets: the file in memory with the
    secrets that the run knew; token is its first line, and makes the checks in marks its own. client: of whose messages
    to the kernel of a session the answers are meant, as Jupyter names it; empty where the kernel is the step's own.
    """

    place: str
    kept: str
    first: int
    secrets: str
    token: str
    client: str = ""


class JournalMark(msgspec.Struct, frozen=True):
    """How far the secrets are known of what is on the disk. after: the id of the kernel's last message that was
    processed by then. secrets: the name and the check of each that was known."""

    after: str
    secrets: tuple[Named, ...]


def check_of(value: str, token: str) -> str:
    """So short that it says whether a value is the same, and not what it is."""
    key = token.encode()[: hashlib.blake2b.MAX_KEY_SIZE]
    return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), key=key, digest_size=2).hexdigest()


class StepJournal:
    """That of one execution, from the first save of its archive on. kept: the folder in which its kernel is kept, where
    that is not in here. first: as in `JournalFacts`. LabError when it cannot be made."""

    def __init__(self, archive: Path, kept: Path | None = None, first: int = 1) -> None:
        self.folder = journal_of(archive)
        self.kept = kept or self.folder / KEPT
        aside = self.folder.with_suffix(".begun")  # until it is locked, somebody would take it for one that is left
        for each in (self.folder, aside):
            shutil.rmtree(each, ignore_errors=True)
        self._token = secrets.token_hex(16)
        with lab_errors(self.folder), contextlib.ExitStack() as undo:
            make_private_folder(aside)
            undo.callback(shutil.rmtree, aside, ignore_errors=True)
            self._owner = take_lock(aside / OWNER)
            self._in_memory = _in_memory(self._token)
            self.secrets = self._in_memory / SECRETS if self._in_memory else None
            self._facts = JournalFacts(
                place=str(self.folder),
                kept=os.path.relpath(self.kept, self.folder),
                first=first,
                secrets=str(self.secrets or ""),
                token=self._token,
            )
            (aside / FACTS).write_bytes(msgspec.json.encode(self._facts))
            _link(archive, aside / BEGUN)
            put_in_place(aside, self.folder)
            undo.pop_all()
        self._flushed: dict[Path, int] = {}
        self._mark = JournalMark("", ())

    def attach(self, kept: Path, client: str) -> None:
        """Its kernel is that of a session, whose messages are written down there by itself."""
        facts = replace(self._facts, kept=os.path.relpath(kept, self.folder), client=client)
        write_json(self.folder / FACTS, msgspec.to_builtins(facts), mode=modes.OWNER_ONLY)
        self.kept = kept

    @contextlib.contextmanager
    def flushing(self, processed: Callable[[], str], known: Callable[[], Sequence[Named]]) -> Iterator[None]:
        """While the block runs, what is written down is brought to the disk. processed: the id of the kernel's last
        message that was; known: the secrets that were known by then."""
        is_over = threading.Event()

        def flush() -> None:
            while not is_over.wait(_FLUSH_S):
                try:
                    self.flush(processed(), known())
                except (OSError, LabError) as problem:  # a disk that is full ends no work of hours
                    _log.debug("the journal is not on the disk: %s", problem)

        thread = threading.Thread(target=flush, name="journal", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join(_JOIN_S)  # a disk that hangs keeps no step going

    def flush(self, processed: str, known: Iterable[Named]) -> None:
        """Bring all that is written down to the disk. What was processed before is in it, without the secrets of then:
        that is said last."""
        if self._in_memory is not None:
            with contextlib.suppress(OSError):
                os.utime(self._in_memory)  # what lies there too long is swept
        folders = [self.kept / name for name in JOURNALS]
        files = [path for folder in folders for path in folder.glob("*") if _size(path) != self._flushed.get(path)]
        if not self._flushed:
            files += [self.folder / BEGUN, self.folder / FACTS]
        new = [path for path in files if path not in self._flushed]
        for path in files:
            with contextlib.suppress(FileNotFoundError):  # it was compressed meanwhile, or is needed no more
                size = _size(path)
                flush_data(path)
                self._flushed[path] = size
        if new:
            for folder in (*folders, self.kept / "host", self.kept, self.folder, self.folder.parent):
                with contextlib.suppress(FileNotFoundError):
                    flush_data(folder)
        mark = JournalMark(processed, tuple((name, check_of(value, self._token)) for name, value in known))
        if mark != self._mark:
            write_json(self.folder / MARK, msgspec.to_builtins(mark), mode=modes.OWNER_ONLY)
            self._mark = mark

    def remove(self) -> None:
        """The archive is whole: nothing is left to be completed."""
        self._let_go()  # first: to close a file that was removed waits for the disk
        remove_aside(self.folder)

    def close(self) -> None:
        """The execution is over; what was not removed is for whoever looks next."""
        if self._in_memory is not None and not self.folder.is_dir():
            remove_temporary(self._in_memory)
        self._let_go()

    def _let_go(self) -> None:
        if self._owner is not None:
            self._owner.close()


def _in_memory(token: str) -> Path | None:
    """A folder in memory for this user only, with the file for secrets; None where there is none, or no room in it."""
    folder = None
    try:
        folder = make_temporary(IN_MEMORY)
        with open(folder / SECRETS, "x", opener=modes.opener) as file:
            file.write(f"{token}\n")
    except OSError:
        if folder is not None:
            remove_temporary(folder)
        return None
    return folder


def _link(archive: Path, begun: Path) -> None:
    """The archive is replaced whenever it is saved: its first file stays by another name."""
    try:
        begun.hardlink_to(archive)
    except OSError:
        shutil.copyfile(archive, begun)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
