"""Versions and aliases as the workspace remembers them.

A version is the record `delay@7`; the model's own record `delay` says which version holds which alias, and since when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..config import settings
from ..errors import Conflict, NotFound, did_you_mean
from ..store import Event, Record, open_store
from ..uris import Uri

KIND = "models"
ALIASES = "models.aliases"


def folder(label: str) -> Path:
    """Where a version's files are: `delay@7` → its folder in the workspace."""
    return settings().home / "models" / label


def records(name: str | None = None, *, removed: bool = False) -> list[Record]:
    """Versions, newest first: all, or those of one name; removed ones only when asked for."""
    found = [record for record in open_store().list(KIND) if name in (None, record.name.partition("@")[0])]
    kept = [record for record in found if removed or not record.body.get("removed_at")]
    return sorted(kept, key=lambda record: (record.body["created_at"], number(record)), reverse=True)


def number(record: Record) -> int:
    """The version's number."""
    return int(record.name.rpartition("@")[2])


def find(words: object) -> Record:
    """The version that a URI means: `@7`, the holder of `@champion`, or the newest. NotFound says what there is."""
    uri = Uri.parse(words, noun=KIND)
    if uri.alias is not None:
        holder = aliases(uri.name).get(uri.alias)
        if holder is None:
            raise NotFound(f"there is no {uri.alias} of models:{uri.name} yet", _known(uri))
        uri = uri.at(holder)
    if uri.version is None:
        found = next(iter(records(uri.name)), None)
    else:
        found = open_store().get(KIND, uri.label)
    if found is None:
        raise NotFound(f"there is no model {uri}", _known(uri))
    if found.body.get("removed_at"):
        when = time.strftime("%Y-%m-%d", time.localtime(found.body["removed_at"]))
        raise NotFound(f"{uri} was removed on {when}", _known(uri))
    return found


def aliases(name: str) -> dict[str, int]:
    """Alias → version of a model."""
    record = open_store().get(ALIASES, name)
    return dict(record.body["aliases"]) if record else {}


def held(record: Record) -> tuple[str, ...]:
    """The aliases that point at a version."""
    return tuple(
        sorted(alias for alias, version in aliases(record.name.partition("@")[0]).items() if version == number(record))
    )


def change(label: str, event: Event | None = None, **changes: Any) -> Record:
    """Write something about a version, with at most one event."""
    return _again(label, lambda record: ([record.with_(**changes)], event))[0]


def move(
    name: str, alias: str, by: str, choose: Callable[[Mapping[str, Any]], int], inputs: Iterable[str] = ()
) -> tuple[int | None, int]:
    """Point an alias at the version that `choose` picks from the model's record; returns (before, after).

    Nothing is written when it points there already.
    """
    moved: list[tuple[int | None, int]] = []

    def step(record: Record) -> tuple[list[Record], Event | None]:
        before, after = record.body["aliases"].get(alias), choose(record.body)
        moved[:] = [(before, after)]
        if before == after:
            return [], None
        entry = {"alias": alias, "version": after, "before": before, "by": by, "at": time.time()}
        new = record.with_(aliases={**record.body["aliases"], alias: after}, history=[*record.body["history"], entry])
        uri = f"models:{name}@{after}"
        event = Event(
            f"models {by}",
            f"models:{name}",
            (uri, *inputs),
            (f"models:{name}@{alias}",),
            {"before": before, "after": after},
        )
        return [new], event

    _again(name, step)
    return moved[0]


def before(body: Mapping[str, Any], alias: str, name: str) -> int:
    """The version that held the alias before its holder, by the history; removed ones are passed over."""
    stack: list[int] = []
    for entry in body["history"]:
        if entry["alias"] == alias and entry["by"] == "rollback":
            while stack and stack[-1] != entry["version"]:
                stack.pop()
        elif entry["alias"] == alias:
            stack.append(entry["version"])
    there = {number(record) for record in records(name)}
    for version in reversed(stack[:-1]):
        if version in there:
            return version
    raise NotFound(
        f"no version held {alias} of models:{name} before", f"choose one: `%models promote {name}@N --to {alias}`"
    )


def _again(label: str, step: Callable[[Record], tuple[list[Record], Event | None]]) -> list[Record]:
    """Read, decide and commit, and again when somebody else was faster. A model's own record is made on first use."""
    store = open_store()
    for _ in range(50):
        kind = KIND if "@" in label else ALIASES
        record = store.get(kind, label) or Record.new(kind, label, {"aliases": {}, "history": []})
        changed, event = step(record)
        if not changed:
            return [record]
        try:
            return list(store.commit(changed, event))
        except Conflict:
            continue
    raise Conflict(f"models:{label} changes too fast to be updated", "repeat in a moment")


def _known(uri: Uri) -> str:
    versions = [record.name for record in records(uri.name)]
    if versions:
        return "its versions: " + ", ".join(versions[:8])
    names = {record.name.partition("@")[0] for record in records()}
    return did_you_mean(uri.name, names, f"`%models add {uri.name} --run train:NAME`")
