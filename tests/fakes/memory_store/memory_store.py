"""A store from a package of its own: neither SQL nor a file, and nothing of ours but what `aiinfra_lab.store` exports.

It lives as long as the process.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any, Literal

from aiinfra_lab.config import Settings
from aiinfra_lab.errors import Conflict, LabError
from aiinfra_lab.store import (
    GENESIS,
    B,
    Body,
    Event,
    HeadCopy,
    Key,
    LoggedEvent,
    Record,
    Seal,
    StoreUnavailable,
    actor,
    canonical,
    chain_hash,
    decode,
    encode,
    event_of,
    leave_out,
)
from aiinfra_lab.uris import Uri

STORES: dict[str, "Memory"] = {}


def opened(where: Settings) -> "Memory":
    """The store of that workspace."""
    return STORES.setdefault(str(where.home), Memory())


@dataclass(frozen=True)
class Row:
    """A record as it is kept: its body is text, so that nobody can change it from outside."""

    key: Key
    text: str
    schema_version: int
    about: str
    is_open: bool
    made_rev: int
    updated_at: float
    digest: str = ""

    def digest_now(self) -> str:
        return hashlib.sha256(repr(replace(self, digest="")).encode()).hexdigest()


@dataclass
class Memory:
    """See `Store`, `HeadKeeper`, `EventIndex`, `NameIndex` and `Sealed` for the contracts."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    log: list[tuple[int, float, str, str, str, str, dict[str, str]]] = field(default_factory=list)
    known: dict[tuple[str, str], str] = field(default_factory=dict)
    rev: int = 0
    noted: tuple[int, str] = (0, GENESIS)
    noted_elsewhere: tuple[int, str] = (0, GENESIS)
    index: dict[int, set[str]] = field(default_factory=dict)
    is_away: bool = False
    reported: set[str] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def _reach(self) -> None:
        if self.is_away:
            raise StoreUnavailable("the memory is away", "wait until it is back")

    def get(self, kind: type[B], name: str) -> Record[B] | None:
        self._reach()
        row = self.rows.get((kind.kind, name))
        return _record(kind, row) if row else None

    def list(
        self,
        kind: type[B],
        *,
        name: str | None = None,
        about: str | None = None,
        is_open: bool | None = None,
        since_rev: int = 0,
        limit: int | None = None,
        order: Literal["made", "written"] = "made",
        skip_unreadable: bool = False,
    ) -> Sequence[Record[B]]:
        def fits(row: Row, record: Record[B]) -> bool:
            return (
                (name is None or record.base == name)
                and (about is None or _names(about, row.about))
                and is_open in (None, row.is_open)
                and row.key.rev > since_rev
            )

        self._reach()
        with self.lock:
            rows = [row for row in self.rows.values() if row.key.kind == kind.kind]
        read = [(row, self._read(kind, row, skip_unreadable=skip_unreadable)) for row in rows]
        found = [(row, record) for row, record in read if record is not None and fits(row, record)]
        by_rev = sorted(found, key=lambda item: item[0].key.rev if order == "written" else item[0].made_rev)
        if name is not None and order == "made":
            by_rev.sort(key=lambda item: item[1].version)
        return [record for _, record in by_rev[::-1]][:limit]

    def _read(self, kind: type[B], row: Row, *, skip_unreadable: bool) -> Record[B] | None:
        try:
            return _record(kind, row)
        except LabError as problem:
            if not skip_unreadable:
                raise
            leave_out(row.key.kind, row.key.name)
            if problem.what not in self.reported:
                self.reported.add(problem.what)
                logging.getLogger(__name__).warning("%s; fix: %s", problem.what, problem.fix)
            return None

    def names(self, kinds: Sequence[type[Body]], starts: str, most: int) -> Sequence[Sequence[str]]:
        return [self._names(kind, starts, most) for kind in kinds]

    def _names(self, kind: type[Body], starts: str, most: int) -> Sequence[str]:
        found = [record for record in self.list(kind, skip_unreadable=True) if record.name.startswith(starts)]
        there = [record for record in found if not record.body.is_removed]
        highest = {record.base: record for record in sorted(there, key=lambda record: record.version)}
        return [*dict.fromkeys(record.name for record in [*highest.values(), *there])][:most]

    def changed(self, since_rev: int = 0) -> Sequence[Key]:
        self._reach()
        with self.lock:
            keys = [row.key for row in self.rows.values() if row.key.rev > since_rev]
        return sorted(keys, key=lambda key: -key.rev)

    def commit(self, records: Sequence[Record[Any]], event: Event | None = None) -> Sequence[Record[Any]]:
        self._reach()
        with self.lock:
            rows, rev = dict(self.rows), self.rev
            written, digests = [], dict[str, str]()
            for record in records:
                rev += 1
                before = rows.get((record.kind, record.name))
                if (before.key.rev if before else 0) != record.rev:
                    raise Conflict(f"{record.name} was changed meanwhile", "look at it again and repeat")
                row = _row(record, rev, before.made_rev if before else rev)
                rows[record.kind, record.name] = row
                written.append(Record(record.kind, record.name, record.body, rev, row.updated_at))
                digests[f"{record.kind} {record.name}"] = f"{rev} {row.digest}"
            if event:
                self._append(event, digests)
            self.rows, self.rev = rows, rev
            self.known = {key: row.digest for key, row in rows.items()}
        return written

    def events(self, since: int = 0, *, naming: str | None = None, last: int | None = None) -> Iterable[LoggedEvent]:
        self._reach()
        logged = [LoggedEvent(*entry[:3], event_of(entry[3]), *entry[4:]) for entry in self.log[since:]]
        if naming is None:
            found = logged
        else:
            found = [one for one in logged if any(_names(naming, uri) for uri in self.index.get(one.seq, ()))]
        yield from found if last is None else found[len(found) - last :]

    def close(self) -> None:
        pass

    def head(self) -> tuple[int, str]:
        return self.noted

    def head_copy(self) -> HeadCopy:
        return HeadCopy(*self.noted_elsewhere, "the memory of another machine")

    def seals(self) -> tuple[Sequence[Seal], bool]:
        self._reach()
        with self.lock:
            rows, known = list(self.rows.values()), dict(self.known)
        seals = [Seal(*astuple(row.key), row.digest_now(), row.digest_now() == row.digest) for row in rows]
        return seals, known == {(seal.kind, seal.name): seal.digest for seal in seals}

    def indexed(self, after: int, until: int | None) -> dict[int, set[str]]:
        self._reach()
        return {seq: set(uris) for seq, uris in self.index.items() if after < seq and (until is None or seq <= until)}

    def rebuild_index(self) -> None:
        self._reach()
        with self.lock:
            self.index = {entry[0]: set(event_of(entry[3]).uris) for entry in self.log}

    def edit(self, name: str) -> None:
        """As if somebody had changed the note of that name in memory."""
        self.rows["testing.note", name] = replace(self.rows["testing.note", name], text='{"n": 7}')

    def lose(self, name: str) -> None:
        """As if it had never been."""
        del self.rows["testing.note", name]

    def _append(self, event: Event, records: dict[str, str]) -> None:
        (last, prev), at, who = self.noted, time.time(), actor()
        digest = chain_hash(last + 1, at, who, event, prev, records)
        self.log.append((last + 1, at, who, canonical(asdict(event)), prev, digest, records))
        self.noted = self.noted_elsewhere = (last + 1, digest)
        self.index[last + 1] = set(event.uris)


def _row(record: Record[Any], rev: int, made_rev: int) -> Row:
    body = record.body
    key = Key(record.kind, record.name, rev)
    row = Row(key, encode(body), body.schema_version, body.about, body.is_open, made_rev, time.time())
    return replace(row, digest=row.digest_now())


def _record(kind: type[B], row: Row) -> Record[B]:
    body = decode(kind, row.key.name, row.text, row.schema_version)
    return Record(row.key.kind, row.key.name, body, row.key.rev, row.updated_at)


def _names(uri: str, text: str) -> bool:
    """Whether a text is that URI or, when the URI has no version, a version of it."""
    return text == uri or (Uri.is_bare(uri) and text.startswith(f"{uri}@"))
