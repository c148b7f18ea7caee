"""What a sync has to do: two sides compared with what both had at the end of the last one. It does nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ...host.sync.entries import TreeEntry, same

Entries = Mapping[str, TreeEntry]


@dataclass(slots=True)
class SyncPlan:
    """to_near, to_far: path → what shall be there, None for nothing; agreed: what is the same on both by now;
    conflicts: what both changed, the topmost of each.
    """

    to_near: dict[str, TreeEntry | None] = field(default_factory=dict)
    to_far: dict[str, TreeEntry | None] = field(default_factory=dict)
    agreed: dict[str, TreeEntry] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)


def compare(base: Entries, near: Entries, far: Entries) -> SyncPlan:
    """What one side changed goes to the other, a change wins over a deletion, and what both changed is a conflict."""
    final: dict[str, TreeEntry | None] = {}
    conflicts: set[str] = set()
    for path in near.keys() | far.keys():
        sides = base.get(path), near.get(path), far.get(path)
        if _is_conflict(*sides):
            conflicts.add(path)
        final[path] = _winner(*sides)
    for path in [path for path, entry in final.items() if entry is not None]:
        for above in parents(path):
            # A folder is there as long as anything in it is.
            if final.get(above) is None:
                final[above] = next(side[above] for side in (near, far) if path in side)
            elif final[above].kind != "d":  # type: ignore[union-attr]
                conflicts.add(above)
    if conflicts:
        return SyncPlan(conflicts=sorted(path for path in conflicts if conflicts.isdisjoint(parents(path))))
    return _plan(final, near, far)


def _is_conflict(before: TreeEntry | None, near: TreeEntry | None, far: TreeEntry | None) -> bool:
    if near is None or far is None:
        return False
    return not (same(near, far) or same(near, before) or same(far, before))


def _winner(before: TreeEntry | None, near: TreeEntry | None, far: TreeEntry | None) -> TreeEntry | None:
    if same(near, far):
        chosen = near
    elif same(near, before):
        chosen = far
    else:
        chosen = near if near is not None or same(far, before) else far
    if chosen is None or before is None or near is None or far is None:
        return chosen
    # Who may execute it is compared by itself: whoever changed that has its way.
    changed = far if near.is_executable == before.is_executable else near
    return chosen.executable(changed.is_executable)


def _plan(final: Entries | Mapping[str, TreeEntry | None], near: Entries, far: Entries) -> SyncPlan:
    plan = SyncPlan()
    for path, entry in final.items():
        is_agreed = entry is not None
        for side, changes in ((near, plan.to_near), (far, plan.to_far)):
            now = side.get(path)
            if not same(now, entry) or (now and entry and now.is_executable != entry.is_executable):
                changes[path] = entry
                is_agreed = False
        if is_agreed and entry is not None:
            plan.agreed[path] = entry
    return plan


def parents(path: str) -> Iterator[str]:
    """The folders above a path, from the top."""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def without(entries: Entries, left_out: Iterable[str]) -> dict[str, TreeEntry]:
    """All but what is left out and what lies below it."""
    out = set(left_out)
    if not out:
        return dict(entries)
    return {path: entry for path, entry in entries.items() if path not in out and out.isdisjoint(parents(path))}
