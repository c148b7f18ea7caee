"""The default store: one SQLite file in WAL mode, flushed to disk at every commit.

A copy is made by SQLite's backup API at the first commit of a day and before each migration: it lacks what is done
later that day. The audit log's newest hash is also kept in a file of its own, so that a store that lost its newest
events is noticed rather than believed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .. import files, modes
from ..config import Settings
from ..errors import Damaged, Denied, Failed, LabError, NotFound, StoreUnavailable, Unavailable
from ..units import show_duration
from . import heads
from .base import Event, Seal
from .first_schema import fill_index
from .heads import Head
from .sql import SqlStore, seal_records

# One script per schema version, applied in order and never changed afterwards.
MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
    INSERT INTO meta VALUES ('rev', 0);
    CREATE TABLE records (
        kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, rev INTEGER NOT NULL, updated_at REAL NOT NULL,
        PRIMARY KEY (kind, name)) STRICT, WITHOUT ROWID;
    CREATE INDEX records_rev ON records (rev);
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY, at REAL NOT NULL, actor TEXT NOT NULL, body TEXT NOT NULL,
        prev TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
    """,
    """
    ALTER TABLE records ADD COLUMN schema_version INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE records ADD COLUMN base TEXT NOT NULL DEFAULT '';
    ALTER TABLE records ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE records ADD COLUMN about TEXT NOT NULL DEFAULT '';
    ALTER TABLE records ADD COLUMN is_open INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE records ADD COLUMN made_rev INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX records_made ON records (kind, made_rev);
    CREATE INDEX records_written ON records (kind, rev);
    CREATE INDEX records_base ON records (kind, base, number, made_rev);
    CREATE INDEX records_about ON records (kind, about, made_rev) WHERE about <> '';
    CREATE INDEX records_open ON records (kind, made_rev) WHERE is_open = 1;
    CREATE TABLE event_uris (uri TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (uri, seq)) STRICT, WITHOUT ROWID;
    """,
    """
    ALTER TABLE records ADD COLUMN digest TEXT NOT NULL DEFAULT '';
    ALTER TABLE events ADD COLUMN records TEXT NOT NULL DEFAULT '';
    CREATE TABLE seals (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    INSERT INTO seals VALUES ('records', '0');
    """,
)
# What a script cannot do, after the script of that schema version.
AFTERWARDS: dict[int, Callable[[SqlStore, sqlite3.Connection], None]] = {2: fill_index, 3: seal_records}
# File systems on which SQLite's locks cannot be trusted across machines (sqlite.org/wal.html: WAL needs one host).
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs"}
MOUNTS = Path("/proc/mounts")
# Result codes (sqlite.org/rescode.html): extended ones where they mean something else than their primary one, which is
# their low byte. Our statements are right: whatever is not listed is damage.
_TORN = {sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS, sqlite3.SQLITE_IOERR_DATA}
_MOVED = {sqlite3.SQLITE_READONLY_DBMOVED, sqlite3.SQLITE_IOERR_VNODE}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
_NO_MEMORY = {sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_IOERR_NOMEM}
_NOT_NOW = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_SCHEMA}
_NOT_ALLOWED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
WAIT_S = 30.0  # for another process, as the contract says
_COPIES_KEPT = 7
_LOOKS = 5  # at records while others write: between two notes that are equal nobody did


class SqliteStore(SqlStore):
    """See `Store` for the contract."""

    def __init__(self, path: Path, *, read_only: bool = False, copies_in: Path | None = None) -> None:
        """read_only: of a file to which nobody writes, such as a copy; nothing is then made beside it. copies_in: a
        folder for a copy of what is noted beside the store, so that who rewrites both is found."""
        # By the place of the store: a copy of a workspace goes its own way.
        super().__init__(heads.copy_of(copies_in, str(path.resolve())) if copies_in else None)
        self.path = path
        self._read_only = read_only
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._file: tuple[int, int] | None = None
        self._copied_on = ""  # the day of the last copy that was seen: looking for it costs more than a commit

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def copy(self, reason: str) -> Path:
        """Copy the whole store by SQLite's backup API into `backups/`, checked before it gets its name."""
        target = self.path.parent / "backups" / f"{self.path.stem}-{time.strftime('%Y%m%d')}-{reason}.sqlite"
        with self._session() as db, files.writing(target, mode=modes.OWNER_ONLY) as aside:
            _copy(db, aside)
        for old in copies(self.path)[_COPIES_KEPT:]:
            old.unlink(missing_ok=True)
        return target

    def integrity(self) -> str:
        """`ok`, or what SQLite's own full check found."""
        with self._session() as db:
            found = str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])
        # Its heading names the database, which is always this one.
        return " ".join(line for line in found.splitlines() if not line.startswith("***"))

    def head(self) -> tuple[int, str]:
        """Sequence number and hash of the newest event that the head file holds."""
        noted = heads.read(self.head_path)
        return noted.seq, noted.hash

    def write_head(self) -> None:
        """Write down what the store holds now, whatever was noted before."""
        with self._session() as db:
            head = self._head(db)
        for path in self._noted_in():
            heads.write(path, head)
        self.close()

    @functools.cached_property
    def head_path(self) -> Path:
        """The file that holds the newest event's hash."""
        return self.path.with_name("audit.head")

    def _noted_in(self) -> Sequence[Path]:
        return [self.head_path, *super()._noted_in()]

    def seals(self) -> tuple[Sequence[Seal], bool]:
        for _ in range(_LOOKS):
            noted = heads.read_note(self.head_path)
            found, is_complete = super().seals()
            with self._session() as db:
                there = self._head(db)
                is_as_noted = any(heads.agree(each, there) for each in noted[:2]) or self._is_stale(db, noted, there)
            # Every writer of this file notes what it commits before and after: who changed it otherwise did not.
            if heads.read_note(self.head_path) == noted:
                return found, is_complete and is_as_noted
        return found, is_complete

    def _announce(self, db: sqlite3.Connection, before: Head, after: Head) -> bool:
        super()._announce(db, before, after)
        return heads.announce(self.head_path, before, after, lambda noted: self._is_stale(db, noted, before))

    def _is_stale(self, db: sqlite3.Connection, noted: heads.HeadNote, there: Head) -> bool:
        """Whether it is the note that is wrong: the copy, which is outside of the workspace, tells what is there, or a
        power cut has taken from the note what it lacks."""
        copied = heads.read(self.copied_in)
        if copied.seq and heads.agree(copied, there):
            return True
        may_lack = not noted.is_of_now and heads.is_before(noted.now, there)
        return may_lack and self._has_gone_on(db, noted.now)

    def _committed(self, head: Head, is_as_noted: bool) -> None:
        super()._committed(head, is_as_noted)
        if is_as_noted:
            heads.confirm(self.head_path, head)
        self._daily_copy()

    def _daily_copy(self) -> None:
        today = time.strftime("%Y%m%d")
        if self._copied_on == today:
            return
        newest = next(iter(copies(self.path)), None)
        if newest and today in newest.name:
            self._copied_on = today
            return
        # A commit that is on disk must not be reported as failed because its spare copy could not be made;
        # `lab check` reports a copy that is too old.
        with contextlib.suppress(OSError, LabError):
            self.copy("daily")

    @contextlib.contextmanager
    def _session(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _plainly(self.path):
            there = _file(self.path)
            if self._connection is not None and self._pid == os.getpid() and there is None:
                # Not made anew: what is written now would be lost to whoever moved the other.
                raise _moved(self.path)
            if self._connection is None or self._pid != os.getpid() or self._file != there:
                # A forked child must not use its parent's connection, and nobody one to a file that was replaced.
                self.close()
                self._connection, self._pid = self._connect(), os.getpid()
                self._file = _file(self.path)
            yield self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._session() as db:
            # Not deferred: a reader that turns writer after another has written fails at once, without waiting.
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                # A full disk and its like roll back by themselves, and a second ROLLBACK would be the error shown.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _connect(self) -> sqlite3.Connection:
        if self._read_only:
            return _read_only_connection(self.path)
        refuse_network_drive(self.path.parent)
        # SQLite would make a new, empty store in its place without a word.
        lost = self.head()[0] > 0 and (not self.path.exists() or self.path.stat().st_size == 0)
        if lost:
            raise _damaged(self.path, "the file is missing or empty, although events were recorded in it")
        files.make_folder(self.path.parent)
        # The folder decides: even a reader in WAL mode makes files beside the store.
        if not os.access(self.path.parent, os.W_OK) or _read_only(self.path.parent):
            return _read_only_connection(self.path)
        if not self.path.exists():
            self._refuse_to_forget()
            # SQLite's log, which holds the newest records, gets the modes that the file has when both are made.
            self.path.touch(mode=modes.OWNER_ONLY)
            if self.copied_in:  # of another store, which lay here before
                self.copied_in.unlink(missing_ok=True)
        db = _connection(str(self.path))
        try:
            if _use_wal(db) != "wal":
                raise Unavailable(f"{self.path.parent} cannot hold a shared store", "use a folder on a local disk")
            # With NORMAL, which a build may have as its default, a power cut takes the newest commits.
            db.execute("PRAGMA synchronous=FULL")
            self._migrate(db)
            self._verify_head(db)
        except BaseException:
            db.close()
            raise
        # Those of before were made with the modes of a umask.
        for path in (self.path, self.head_path, self.path.with_name("backups")):
            modes.tighten(path)
        return db

    def _refuse_to_forget(self) -> None:
        """Damaged where a store was, by its copies and the copy of its head; a workspace that was cleared is new."""
        copied = self.head_copy()
        if copied.seq and copies(self.path):
            why = f"the file and its head are gone, although event {copied.seq} was recorded in it by {copied.where}"
            anew = f"; to begin a new store, delete {copied.where}"
            raise Damaged(f"the store {self.path} is damaged: {why}", offer(_newest_sound(self.path)) + anew)

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = _schema_of(db, self.path)
        if 0 < version < len(MIGRATIONS):
            name = f"{self.path.stem}-{time.strftime('%Y%m%d')}-schema{version}.sqlite"
            with files.writing(self.path.parent / "backups" / name, mode=modes.OWNER_ONLY) as aside:
                _copy(db, aside)
        while version < len(MIGRATIONS):
            db.execute("BEGIN IMMEDIATE")
            # Again, now that nobody else writes: another process may have done this step while we waited.
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version < len(MIGRATIONS):
                # One by one: `executescript` would first commit what was begun.
                for statement in filter(str.strip, MIGRATIONS[version].split(";")):
                    db.execute(statement)
                if version + 1 in AFTERWARDS:
                    AFTERWARDS[version + 1](self, db)
                # A part of the file's first page, so it is committed with the script or not at all.
                db.execute(f"PRAGMA user_version={version + 1}")
            # No ROLLBACK after an error: `_connect` then closes the connection, which does the same.
            db.execute("COMMIT")
            version += 1

    def _verify_head(self, db: sqlite3.Connection) -> None:
        recorded = self.head()[0]  # first: another process may commit, and write its head, between the two looks
        seq = db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
        if seq < recorded:
            raise _damaged(self.path, f"it ends at event {seq}, but event {recorded} was recorded")


def opened(where: Settings) -> SqliteStore:
    """The store of a workspace."""
    return SqliteStore(where.home / "store.sqlite", copies_in=heads.folder(where))


def copies(path: Path) -> list[Path]:
    """The store's copies, newest first."""
    found = (path.parent / "backups").glob(f"{path.stem}-*.sqlite")
    return sorted(found, key=lambda copy: copy.stat().st_mtime, reverse=True)


def offer(copy: Path | None) -> str:
    """What helps when a store is damaged that has this sound copy, or none, as the fix of an error."""
    if copy is None:
        return "there is no sound copy of it: put back `.aiinfra` from your own backup"
    made_at = copy.stat().st_mtime
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(made_at))
    age = show_duration(max(0.0, time.time() - made_at))
    return f"`%lab start --restore` puts back the copy of {day}, {age} old: what was done since is lost"


def restore(
    path: Path, copy: Path | None = None, event: Callable[[int], Event] | None = None, copied_in: Path | None = None
) -> tuple[Path, Path]:
    """Put a copy, or the newest sound one, in the store's place and the damaged store aside; (copy, set aside).

    event: what the audit log says of it, given the number of the copy's newest event. It is a part of what takes the
    store's place: whoever stops this in the middle cannot leave a store that lost something and does not say so.
    copied_in: where a copy of the head is. NotFound when there is no sound copy.
    """
    copy = copy or _newest_sound(path)
    if copy is None:
        raise NotFound(f"{path.parent} holds no sound copy of the store", offer(None))
    store = SqliteStore(path)
    store.copied_in = copied_in
    # Whole before anything is moved: a full disk then changes nothing.
    with _plainly(path), files.building(path.with_name("restored")) as folder:
        made = folder / path.name
        with contextlib.closing(_unchanging(copy)) as db:
            _copy(db, made)
        if event:
            _commit_to(made, event)
        with files.writing(path, mode=modes.OWNER_ONLY) as new, contextlib.closing(_unchanging(made)) as db:
            _copy(db, new)
            head = _newest_event(db)
            aside = _set_aside(store, head)
    # Last: until then the store is damaged, which another restore mends, and not one that lost nothing.
    files.overwrite(store.head_path, heads.line(head), mode=modes.OWNER_ONLY)
    store.write_head()
    return copy, aside


def _commit_to(path: Path, event: Callable[[int], Event]) -> None:
    """Commit that to a store in a folder of its own, and leave it closed, in one file."""
    store = SqliteStore(path)
    with store._session() as db:
        newest = _newest_event(db).seq
    store.commit([], event(newest))
    store.close()


def _set_aside(store: SqliteStore, head: Head) -> Path:
    """Move the damaged store into a folder of its own. Its head stays: without it, whoever opens the store before the
    copy is in its place would make a new, empty one."""
    path = store.path
    if store.head()[0] == 0:
        files.overwrite(store.head_path, heads.line(head), mode=modes.OWNER_ONLY)
    aside = Path(tempfile.mkdtemp(prefix=f"{path.stem}-damaged-{time.strftime('%Y%m%d-%H%M%S')}-", dir=path.parent))
    shutil.copyfile(store.head_path, aside / store.head_path.name)
    # A log that stays would be read as the new file's own.
    for part in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if part.exists():
            files.publish(part, aside / part.name, flush=False)
    modes.tighten(aside)
    return aside


def refuse_network_drive(folder: Path) -> None:
    """Unavailable when the folder lies on a network file system, where two machines' locks do not meet."""
    kind, best = "", -1
    target = str(folder.resolve())
    for line in MOUNTS.read_text().splitlines() if MOUNTS.exists() else ():
        _, point, name, *_ = line.split()
        # A space in a path stands there as \040; any other letter as itself.
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        # The last of equal ones is what is seen there: an automounted drive has two lines.
        if inside and len(point) >= best:
            kind, best = name, len(point)
    if kind in NETWORK_FILE_SYSTEMS:
        raise Unavailable(
            f"{folder} lies on a network drive ({kind}), where the store's locks cannot be trusted",
            "put the workspace on a local disk: AIINFRA_WORKSPACE=/local/folder",
        )


def _newest_event(db: sqlite3.Connection) -> Head:
    """What a copy holds, which may be of a schema that had no digests yet."""
    row = db.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    return heads.NOTHING._replace(seq=row[0], hash=row[1]) if row else heads.NOTHING


def _file(path: Path) -> tuple[int, int] | None:
    """Which file lies there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _use_wal(db: sqlite3.Connection) -> str:
    """Switch to WAL; the mode it then has. SQLite does not wait while another process switches, so it is done here."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            return str(db.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        except sqlite3.OperationalError as problem:
            # The low byte is the primary code: SQLITE_BUSY_RECOVERY and its like are busy too.
            if problem.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _connection(database: str, *, uri: bool = False) -> sqlite3.Connection:
    # Transactions are begun in `_transaction`, never by Python; `_lock` lets one thread in at a time.
    db = sqlite3.connect(database, timeout=WAIT_S, isolation_level=None, check_same_thread=False, uri=uri)
    db.text_factory = _text
    return db


def _text(raw: bytes) -> str:
    """The text; with a backslash before it when it is no UTF-8, as no JSON and no name begins.

    Then one record is damaged, while an error here would hide the whole list that it is in.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "\\" + raw.decode(errors="backslashreplace")


def _read_only(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return bool(os.statvfs(existing).f_flag & os.ST_RDONLY)


def _read_only_connection(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise Denied(f"{path.parent} may not be written", "choose a folder of your own: AIINFRA_WORKSPACE=…")
    # Without a -wal file nobody writes: the file may be read as it lies, which also works on a read-only medium.
    has_log = path.with_name(path.name + "-wal").exists()
    db = _connection(f"{path.absolute().as_uri()}?mode=ro", uri=True) if has_log else _unchanging(path)
    try:
        if (version := _schema_of(db, path)) < len(MIGRATIONS):
            raise Unavailable(
                f"{path} has schema {version} of an older aiinfra_lab, and may not be written to bring it up",
                "open it once as a user who may write it, or look at a copy of the workspace",
            )
    except BaseException:
        db.close()
        raise
    return db


def _unchanging(path: Path) -> sqlite3.Connection:
    """A connection to a file to which nobody writes: it makes no file beside it, and needs no space on the disk."""
    return _connection(f"{path.absolute().as_uri()}?immutable=1", uri=True)


def _schema_of(db: sqlite3.Connection, path: Path) -> int:
    """How many migrations the file has been through. Unavailable when that are more than are known here."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise Unavailable(
            f"{path} was written by a newer aiinfra_lab (schema {version}, this one knows {len(MIGRATIONS)})",
            "upgrade with `pip install -U aiinfra-lab`",
        )
    return version


@contextlib.contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """Say what SQLite and the file system mean in our own errors."""
    try:
        yield
    except PermissionError as problem:
        raise Denied(f"{problem.filename or path} may not be written", "check who owns the workspace") from problem
    except UnicodeDecodeError as problem:  # SQLite's message names a table as it stands in the damaged schema
        raise _damaged(path, "its schema cannot be read") from problem
    except sqlite3.Error as problem:
        # A constraint that fails, or a wrong call, is a mistake of ours and no damage to the file.
        if isinstance(problem, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise _meaning(path, problem) from problem


def _meaning(path: Path, problem: sqlite3.Error) -> LabError:
    # An error of Python's own module has no code.
    code = getattr(problem, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if code in _TORN:
        return _damaged(path, "a part of the file is missing, or is not what was written")
    if code in _MOVED:
        return _moved(path)
    if {code, code & 0xFF} & _NOT_ALLOWED:
        return Denied(f"the workspace {path.parent} may not be written", "check who owns it, or use another")
    if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
        fix = "see whether it, and what is called like it with -wal and -shm, are files of yours; and `ulimit -n`"
        return Denied(f"the store {path} cannot be opened: {problem}", fix)
    if code & 0xFF == sqlite3.SQLITE_TOOBIG:
        return Failed(
            f"the store {path} takes no record this large", "keep what is large in a file, and record its path"
        )
    if fix := _when_to_repeat(code):
        return StoreUnavailable(f"the store {path} cannot be used now: {problem}", fix)
    return _damaged(path, str(problem))


def _when_to_repeat(code: int) -> str:
    """What to do before the same is tried again; nothing where that does not help."""
    if code in _NO_ROOM:
        return "free space on its disk, then repeat"
    if code in _NO_MEMORY:
        return "free memory, then repeat"
    if code & 0xFF in _NOT_NOW:
        return "wait for the other process, then repeat"
    if code & 0xFF == sqlite3.SQLITE_IOERR:
        return "see whether its disk works, as `dmesg` tells, and free space on it; then repeat"
    return ""


def _moved(path: Path) -> StoreUnavailable:
    return StoreUnavailable(
        f"the store {path} was moved or deleted while it was open",
        "put it back, or restart this process where the workspace is now",
    )


def _damaged(path: Path, why: str) -> Damaged:
    return Damaged(f"the store {path} is damaged: {why}", offer(_newest_sound(path)))


def _newest_sound(path: Path) -> Path | None:
    return next(filter(is_sound, copies(path)), None)


def is_sound(copy: Path) -> bool:
    """Whether SQLite finds nothing wrong with a copy."""
    # A process that meets a damaged store meets it again and again, and copies do not change.
    return _is_sound(copy, signature(copy))


def signature(copy: Path) -> tuple[int, ...]:
    """Numbers that change when the file does; none when it is gone."""
    try:
        found = copy.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def is_older(copy: Path) -> bool:
    """Whether a sound copy is of an older schema: it cannot be read as it lies."""
    with contextlib.closing(_unchanging(copy)) as db:
        return _schema_of(db, copy) < len(MIGRATIONS)


@functools.lru_cache(maxsize=4 * _COPIES_KEPT)
def _is_sound(copy: Path, _: tuple[int, ...]) -> bool:
    try:
        with contextlib.closing(_unchanging(copy)) as db:
            # To SQLite an empty file is sound: it is what a copy that was never finished leaves.
            is_filled = db.execute("PRAGMA user_version").fetchone()[0] > 0
            return bool(is_filled and db.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    except (sqlite3.Error, UnicodeDecodeError):
        return False


def _copy(source: sqlite3.Connection, target: Path) -> None:
    with contextlib.closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        if copy.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("a copy of the store is not sound")
