"""The same files on two machines: a hashed, resumable two-way sync over a pair of byte streams.

The other end of the streams is `host.sync`, which a `Reach` runs there. What is compared and decided stands in `plan`,
what is remembered in `state`, what is passed over in `ignore`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import files, modes
from ...errors import Conflict, Failed, NotFound, Unavailable, UsageProblem
from ...host.sync.entries import AREA, MOST_NAME, TreeEntry, same
from ...host.sync.tree import Full, Tree
from ...units import show_bytes
from .far import Far
from .ignore import NAME as IGNORED_BY
from .ignore import Ignore
from .plan import SyncPlan, compare, parents, without
from .state import SyncState

LARGEST_BYTES = 100 << 20
BATCH_FILES, BATCH_BYTES = 1000, 64 << 20


@dataclass(frozen=True, slots=True)
class SyncConflict:
    """Both sides had changed it: this side's keeps the name, the host's is beside it on both."""

    path: str
    kept_as: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not synced, on which side (`here`, or the host's name) the reason lies, and which it is."""

    path: str
    where: str
    why: str


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did. Bytes are those that went over the stream: what the other side had already did not."""

    sent_files: int = 0
    sent_bytes: int = 0
    received_files: int = 0
    received_bytes: int = 0
    deleted: int = 0
    conflicts: tuple[SyncConflict, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def sync(
    folder: Path,
    reader: Any,
    writer: Any,
    *,
    ignore: Iterable[str] = (),
    state: Path,
    host: str = "",
    largest_bytes: int = LARGEST_BYTES,
    most_bytes: int | None = None,
) -> SyncReport:
    """Make a folder here and the one that the host serves the same, in both directions.

    ignore: rules as in gitignore, between the ones that hold anyway and those of `.aiinfraignore`
    state: a folder of its own for this folder and this host, where what both had is remembered
    host: what to call the host, in the names of what lost a conflict; what it calls itself when none is given
    largest_bytes: a larger file is left out. most_bytes: of all files here; UsageProblem when these are more

    Unavailable when the stream ends or a disk is full: what arrived is not sent again by the next sync. Denied when the
    host sends what no host of ours does: nothing of it is written.
    """
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", "make it, or name another one")
    if folder.resolve() in state.resolve().parents and AREA[0] not in state.parts:
        raise UsageProblem(f"{state} is itself among what is synced", f"put it outside, or below {folder / AREA[0]}")
    files.make_folder(state)
    lock = files.take_lock(state / "lock")
    if lock is None:
        raise Conflict(f"another sync of {folder} is running", "wait until it is done, and sync again")
    with lock:
        remembered = SyncState.load(state)
        cache = remembered.load_cache()
        near = Tree(str(folder), modes.users_umask(), cache)
        is_done = False
        try:
            report = _Sync(near, Far(reader, writer, host), remembered, Ignore(ignore), largest_bytes, most_bytes).run()
            is_done = True
        except OSError as problem:
            raise Failed(f"{folder} cannot be synced: {problem}", "see to that, and sync again") from problem
        finally:
            if near.cache != cache:
                remembered.save_cache(near.cache)
            near.close(is_done=is_done)
    return report


def readable(text: str) -> str:
    """A name as people and files of text can have it: what of it is no UTF-8 as `\\udce9`."""
    return text.encode(errors="backslashreplace").decode()


class _Sync:
    """One sync, from the comparison to the state that the next one begins with."""

    def __init__(self, near: Tree, far: Far, state: SyncState, ignore: Ignore, largest: int, most: int | None) -> None:
        self.near, self.far, self.state, self.ignore = near, far, state, ignore
        self.largest, self.most = largest, most
        self.counts = {"sent_files": 0, "sent_bytes": 0, "received_files": 0, "received_bytes": 0, "deleted": 0}
        self.conflicts: list[SyncConflict] = []
        self.refused: list[LeftOut] = []

    def run(self) -> SyncReport:
        """Do all of it."""
        before = self._remembered()
        self._look()
        plan = self._planned()
        if plan.to_near or plan.to_far or self.conflicts or not self.state.token:
            self._roll_token()
        self._keep_base(plan)
        self._change(plan.to_far, "far")
        self._change(plan.to_near, "near")
        if plan.to_near or plan.to_far or self.conflicts:
            self._roll_token()
        self.state.pending = {}
        self.state.far, self.state.far_left_out = self.far.entries, self.far.left_out
        if before != self._remembered():
            self.state.save()
        self.far.end()
        return self._report()

    def _remembered(self) -> tuple[Any, ...]:
        state = self.state
        return dict(state.base), bool(state.pending), state.far, state.far_left_out, state.rules, state.token

    def _report(self) -> SyncReport:
        sides = (("here", self.near.left_out), (self.far.name, self.far.left_out))
        left_out = [LeftOut(path, where, why) for where, found in sides for path, why in found]
        return SyncReport(
            **self.counts,
            conflicts=tuple(SyncConflict(readable(each.path), readable(each.kept_as)) for each in self.conflicts),
            left_out=tuple(
                LeftOut(readable(each.path), each.where, readable(each.why)) for each in (*left_out, *self.refused)
            ),
        )

    def _look(self) -> None:
        """Learn what both sides have, and whether what is remembered is about them."""
        self.near.scan(self.ignore.rules, self.largest, self.ignore.read)
        _check_size(self.near.entries, self.most)
        rules = hashlib.sha256(json.dumps([self.ignore.by_folder, self.largest]).encode()).hexdigest()
        if rules != self.state.rules:
            self.state.far, self.state.far_left_out, self.state.rules = {}, [], rules
        known = (self.state.far, self.state.far_left_out)
        self.far.scan(self.state.pair, self.ignore.rules, self.ignore.by_folder, self.largest, known)
        if self.state.belongs_to(self.near.inode, self.far.token):
            self.state.settle(self.near.entries, self.far.entries)
        else:
            self.state.forget(self.near.inode)

    def _left_out(self) -> set[str]:
        found = {path for path, _ in (*self.near.left_out, *self.far.left_out)}
        return found | {each.path for each in self.refused}

    def _planned(self) -> SyncPlan:
        """What is to be done, once each side's version of a conflict has a name of its own."""
        while True:
            out = self._left_out()
            sides = (self.state.base, self.near.entries, self.far.entries)
            plan = compare(*(without(entries, out) for entries in sides))
            if not plan.conflicts:
                return plan
            if not self.conflicts:
                self._roll_token()  # the state is not to be used for what the host was before
            for path in plan.conflicts:
                self._set_aside(path)

    def _set_aside(self, path: str) -> None:
        kept_as = self._free_name(path)
        if why := self.far.rename(path, kept_as):
            self.refused.append(LeftOut(path, self.far.name, why))
        else:
            self.conflicts.append(SyncConflict(path, kept_as))

    def _free_name(self, path: str) -> str:
        folder, slash, name = path.rpartition("/")
        stamp = f".conflict-{self.far.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        for ending in ("", *(f"-{number}" for number in range(2, 10_000))):
            while len(os.fsencode(name + stamp + ending)) > MOST_NAME:
                name = name[:-1]
            found = f"{folder}{slash}{name}{stamp}{ending}"
            if found not in self.near.entries and found not in self.far.entries:
                return found
        raise Conflict(f"{path} has thousands of conflicts", "take away those that you do not need")

    def _roll_token(self) -> None:
        """Have the host know by a new token that it is the one that the state is about, from now on."""
        self.state.next_token = secrets.token_hex(16)
        self.state.save()
        self.far.adopt(self.state.pair, self.state.next_token)
        self.state.token = self.state.next_token

    def _keep_base(self, plan: SyncPlan) -> None:
        """What both have, and what both had of all that is to change or is left out."""
        old, out = self.state.base, self._left_out()
        kept = {path: entry for path, entry in old.items() if path in plan.to_near or path in plan.to_far}
        if out:
            kept |= {path: entry for path, entry in old.items() if path in out or not out.isdisjoint(parents(path))}
        self.state.base = {**kept, **plan.agreed}

    # ---- one direction ----

    def _change(self, wanted: dict[str, TreeEntry | None], side: str) -> None:
        target = self.near if side == "near" else self.far
        gone = sorted((path for path, entry in wanted.items() if entry is None), reverse=True)
        # What stands where a file is to be goes first; all else goes last, since it may have only moved.
        solid = {path for path, entry in wanted.items() if entry is not None and entry.kind != "d"}
        early = {path for path in gone if not solid.isdisjoint(parents(path))}
        self._delete([path for path in gone if path in early], target)
        for batch in _batches(sorted((path, entry) for path, entry in wanted.items() if entry is not None)):
            self._carry(batch, side)
        self._delete([path for path in gone if path not in early], target)

    def _delete(self, paths: Sequence[str], target: Tree | Far) -> None:
        for at in range(0, len(paths), BATCH_FILES):
            kinds = {path: target.entries[path].kind for path in paths[at : at + BATCH_FILES]}
            done = self._commit([_step("x", path, TreeEntry(""), target) for path in kinds], target)
            self.counts["deleted"] += sum(kinds[path] != "d" for path in done)
            for path in done:
                self.state.base.pop(path, None)

    def _carry(self, batch: Sequence[tuple[str, TreeEntry]], side: str) -> None:
        """Bring these to one side: what it lacks of their content, then their names."""
        source, target = (self.far, self.near) if side == "near" else (self.near, self.far)
        moving = {path: entry for path, entry in batch if not same(target.entries.get(path), entry)}
        contents = {entry.value: (entry.size, path) for path, entry in moving.items() if entry.kind == "f"}
        sent = self._send(contents, source, target)
        self.state.pending = {side: dict(batch)}
        self.state.save()
        steps = [_step(entry.kind if path in moving else "m", path, entry, target) for path, entry in batch]
        done = self._commit(steps, target)
        self.state.base.update({path: entry for path, entry in batch if path in done})
        word = "received" if side == "near" else "sent"
        self.counts[f"{word}_files"] += sum(
            path in moving and entry.kind == "f" for path, entry in batch if path in done
        )
        self.counts[f"{word}_bytes"] += sent

    def _send(self, contents: dict[str, tuple[int, str]], source: Tree | Far, target: Tree | Far) -> int:
        """Bytes that went over."""
        if not contents:
            return 0
        alike = {entry.value: path for path, entry in target.entries.items() if entry.kind == "f"}
        have = target.held([[digest, size, alike.get(digest)] for digest, (size, _) in contents.items()])
        lacking = [
            [path, digest, at] for (digest, (size, path)), at in zip(contents.items(), have, strict=True) if at < size
        ]
        sent = 0
        if lacking:
            for digest, at, data in source.chunks(lacking):
                target.receive(digest, at, data)
                sent += len(data)
        return sent

    def _commit(self, steps: Sequence[Sequence[Any]], target: Tree | Far) -> set[str]:
        """The paths of what was done."""
        where = "here" if target is self.near else self.far.name
        try:
            refused = target.commit(steps)
        except Full:
            raise Unavailable("no space is left here", "free some space, and sync again") from None
        self.refused += [LeftOut(path, where, why) for path, why in refused]
        return {step[1] for step in steps} - {path for path, _ in refused}


def _check_size(entries: Mapping[str, TreeEntry], most: int | None) -> None:
    """UsageProblem for a folder of which more would go than anybody meant."""
    sizes: dict[str, int] = {}
    for path, entry in entries.items():
        sizes[path.partition("/")[0]] = sizes.get(path.partition("/")[0], 0) + entry.size
    total = sum(sizes.values())
    if most is not None and total > most:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        parts = ", ".join(f"{name} ({show_bytes(sizes[name])})" for name in largest)
        fix = f"name what is not to go in {IGNORED_BY}, e.g. `/{largest[0]}`; or raise `sync_bytes` below `[gpu]`"
        raise UsageProblem(f"the project has {show_bytes(total)} of files, more than {show_bytes(most)}: {parts}", fix)


def _step(what: str, path: str, entry: TreeEntry, target: Tree | Far) -> list[Any]:
    now = target.entries.get(path)
    expected = [now.kind, now.value] if now else ["", ""]
    return [what, path, entry.value, entry.mode, entry.mtime_ns, entry.size, *expected]


def _batches(items: Sequence[tuple[str, TreeEntry]]) -> Iterator[list[tuple[str, TreeEntry]]]:
    batch: list[tuple[str, TreeEntry]] = []
    size = 0
    for item in items:
        batch.append(item)
        size += item[1].size
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
