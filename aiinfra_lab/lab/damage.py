"""What is damaged in the store, what helps, and putting a copy of it back."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from .. import audit, files, nouns
from ..alerts.record import AlertRecord
from ..errors import Conflict, Damaged, LabError, NotFound
from ..jobs import HomeRecord, JobRecord, restored
from ..leftovers import temporary
from ..show import moment
from ..store import Body, Event, EventIndex, HeadCopier, HeadKeeper, Key, Store, open_store
from ..store.sqlite import SqliteStore, copies, is_older, is_sound, offer, restore, signature

Condition = Literal["whole", "partly", "unusable"]
_WORKSPACE = "lab:workspace"
_OWN_BACKUP = (
    "restore the database from its own backup (of PostgreSQL: `pg_restore`, or point-in-time recovery): nothing here "
    "copies it"
)


def kinds() -> dict[str, type[Body]]:
    """Every kind of record that can be read here, by its name."""
    found: list[type[Body]] = [*nouns.kinds(), JobRecord, HomeRecord, AlertRecord]
    return {kind.kind: kind for kind in found}


def unreadable(store: Store) -> Iterator[tuple[Key, LabError]]:
    """Every record of a known kind that cannot be read, and why: it is damaged, or of a newer version."""
    keys = store.changed()
    for name, kind in kinds().items():
        try:
            store.list(kind)
        except LabError:
            # One by one: whatever hides it from its list, the store still has it under this name.
            for key in (key for key in keys if key.kind == name):
                try:
                    if store.get(kind, key.name) is None:
                        yield key, Damaged(f"the record {name} {key.name} cannot be found by its name", "")
                except LabError as problem:
                    yield key, problem


def repair(store: Store) -> str:
    """What helps when something in this store is damaged, as the fix of an error."""
    return offer(_better_copy(store, _condition(store))) if isinstance(store, SqliteStore) else _OWN_BACKUP


def restore_store(home: Path) -> list[str]:
    """Put the newest sound copy back, and in order what lives; says what was done and what is lost.

    Where only the index of the audit log is wrong it is written anew, and nothing is lost. Conflict when nothing is
    wrong with the store, or when it is a database elsewhere; NotFound when no copy is better.
    """
    if job := os.environ.get("AIINFRA_JOB"):  # the copy may not know it, and then it would have to end itself
        raise Conflict(f"this runs in the job {job}", "`%lab start --restore` in a terminal, or a kernel of its own")
    if notes := _rebuild_index(open_store()):
        return notes
    with restored.unsupervised(home):
        newest = _newest_event(open_store())
        store, chosen = _chosen_copy()
        made = moment(chosen.stat().st_mtime)
        note = f"restored the copy of {made}"

        def event(newest_in_copy: int) -> Event:
            lost = _lost(newest_in_copy + 1, newest)
            return Event("lab start", _WORKSPACE, detail={"restored": f"{note}; {lost}", "copy_of": made, "lost": lost})

        _, aside = restore(store.path, chosen, event, store.copied_in)
        first = store.head()[0]
        # Once the copy is in place, since it decides which jobs are known.
        ended = restored.end_unknown(home)
        restored.settle(home)
    notes = [f"{note}; the damaged store is kept in {aside.name}", _lost(first, newest)]
    if ended:
        count = f"{len(ended)} process" + "es" * (len(ended) > 1)
        notes.append(f"ended {count} that the copy knows nothing of: {', '.join(ended)}")
        store.commit([], Event("lab start", _WORKSPACE, tuple(ended), detail={"restored": notes[-1]}))
    return notes


def _newest_event(store: Store) -> int:
    """The number of the newest event that anything here tells of: the damaged store, or either note of its head."""
    found = [store.head()[0]] if isinstance(store, HeadKeeper) else []
    found += [store.head_copy().seq] if isinstance(store, HeadCopier) else []
    with contextlib.suppress(LabError):
        found += [logged.seq for logged in store.events(last=1)]
    return max(found, default=0)


def _rebuild_index(store: Store) -> list[str]:
    """What was done: nothing, unless only the index of the audit log is wrong."""
    try:
        is_wrong = audit.prove(store).is_index_wrong and not any(unreadable(store))
    except LabError:  # a store that cannot be read needs more than that
        return []
    if not is_wrong or not isinstance(store, EventIndex):
        return []
    store.rebuild_index()
    note = "the index of the audit log was written anew from its events; nothing is lost"
    store.commit([], Event("lab start", _WORKSPACE, detail={"restored": note}))
    return [note]


def _chosen_copy() -> tuple[SqliteStore, Path]:
    """The store, closed, and the copy that is to take its place."""
    store = open_store()
    if not isinstance(store, SqliteStore):
        raise Conflict("the store is a database elsewhere", _OWN_BACKUP)
    condition = _condition(store)
    if condition == "whole":
        raise Conflict("the store is sound: a copy would lose what was done since", "`%lab check --audit` says so")
    store.close()
    if (chosen := _better_copy(store, condition)) is None:
        raise NotFound(f"{store.path.parent} holds no sound copy of the store", offer(None))
    return store, chosen


def _better_copy(store: SqliteStore, condition: Condition) -> Path | None:
    """The newest copy in which nothing is damaged; for a store that cannot be used, else the newest that can be."""
    partly = None
    for copy in copies(store.path):
        found = _condition_of(copy, signature(copy))
        if found == "whole":
            return copy
        if found == "partly" and condition == "unusable":
            partly = partly or copy
    return partly


@functools.lru_cache(maxsize=32)
def _condition_of(copy: Path, _: tuple[int, ...]) -> Condition:
    if not is_sound(copy):
        return "unusable"
    if not is_older(copy):
        return _condition_closed(SqliteStore(copy, read_only=True))
    # Brought up to the newer schema elsewhere: a copy stays what it is.
    with temporary() as folder, files.lab_errors(folder):
        return _condition_closed(SqliteStore(Path(shutil.copyfile(copy, folder / "store.sqlite"))))


def _condition_closed(store: SqliteStore) -> Condition:
    try:
        return _condition(store)
    finally:
        store.close()


def _condition(store: SqliteStore) -> Condition:
    try:
        if not store.changed() or store.integrity() != "ok":
            return "unusable"
        damaged = any(isinstance(problem, Damaged) for _, problem in unreadable(store))
        return "whole" if not damaged and audit.prove(store).sound else "partly"
    except LabError:
        return "unusable"


def _lost(first: int, newest: int) -> str:
    if newest < first:
        return "no event is known to be lost"
    if newest == first:
        return f"event {first}, recorded after that copy, is lost"
    return f"events {first} to {newest}, recorded after that copy, are lost"
