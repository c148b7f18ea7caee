"""Indexing what the first schema of the store wrote: its records had a kind, a name and a body, and nothing else.

What is written here is about the past and never changes again.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from ..errors import Damaged
from .base import event_of
from .sql import checked

if TYPE_CHECKING:
    from .sql import SqlStore

_READ = "SELECT kind, name, body, rev, updated_at FROM records"
_FILL = """UPDATE records SET kind = ?, base = ?, number = ?, about = ?, is_open = ?, made_rev = ?
    WHERE kind = ? AND name = ?"""
_NAME = "INSERT INTO event_uris (uri, seq) VALUES (?, ?)"
_LIVE = ("starting", "running", "stopping")
# When a record was made, by the field in which its kind said so.
_MADE_AT = ("started_at", "added_at", "created_at", "checked_at", "made_at")


def fill_index(store: SqlStore, db: Any) -> None:
    """Fill the columns and the table that the second schema added."""
    found = checked(store.run(db, _READ).fetchall(), list[tuple[str, str, Any, int, float]])
    rows = [(kind, name, _fields(body), rev, at) for kind, name, body, rev, at in found]
    rows.sort(key=lambda row: (_made_at(row[2], row[4]), row[3]))
    newest = max((row[3] for row in rows), default=0)
    for place, (kind, name, body, _, _) in enumerate(rows, 1):
        made_rev = place - len(rows) + newest  # below every revision to come, in the order in which they were made
        about, is_open = str(body.get("subject", "")), int(_is_open(kind, body))
        store.run(db, _FILL, _kind(kind, name), *store.index_of(name), about, is_open, made_rev, kind, name)
    for seq, body in store.run(db, "SELECT seq, body FROM events").fetchall():
        with contextlib.suppress(Damaged):  # the proof of the log names it
            for uri in event_of(body).uris:
                store.run(db, _NAME, uri, seq)


def _fields(body: str) -> dict[str, Any]:
    """What a body holds; nothing when it cannot be read, which whoever asks for that record is told."""
    try:
        fields = json.loads(body)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _made_at(body: dict[str, Any], updated_at: float) -> float:
    written = (body.get(name) for name in _MADE_AT)
    return next((float(at) for at in written if at and isinstance(at, int | float)), updated_at)


def _kind(kind: str, name: str) -> str:
    """Two kinds held two things each: a model's versions and its aliases, a feature set and rows of it."""
    if kind == "models" and "@" not in name:
        return "models.aliases"
    return "features.rows" if kind == "features" and "#" in name else kind


def _is_open(kind: str, body: dict[str, Any]) -> bool:
    if kind in ("job", "train", "recipe"):
        # A run stays open until the tracking server knows how it ended.
        return body.get("state") in _LIVE or (kind == "train" and not body.get("tracked"))
    ends = {"gpu": "ended_at", "deploy": "stopped_at"}
    return kind in ends and not body.get(ends[kind])
