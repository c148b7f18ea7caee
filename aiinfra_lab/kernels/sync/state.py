"""What the near side remembers of a folder and its host: what both had when they were last the same."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import files, modes
from ...host.sync.entries import TreeEntry, same

_FILE, _CACHE = "state.json", "cache.json"
_VERSION = 1
# That nothing is remembered is safe: what differs is kept twice then.
_DAMAGED = (OSError, ValueError, TypeError, KeyError, RecursionError)


@dataclass(slots=True)
class SyncState:
    """base: what both sides had. pending: side → what is on its way there, in a sync that may be cut.

    far, far_left_out: all that the host had, so that it need not send what has not changed; rules: a digest of those by
    which that was found. pair: by which the host
    knows this state. token, next_token: what the host must answer, so that a state is never used for another folder, or
    for one that was put back to what it was before. inode: the near folder's.
    """

    folder: Path
    base: dict[str, TreeEntry] = field(default_factory=dict)
    pending: dict[str, dict[str, TreeEntry]] = field(default_factory=dict)
    far: dict[str, TreeEntry] = field(default_factory=dict)
    far_left_out: list[list[str]] = field(default_factory=list)
    pair: str = field(default_factory=lambda: secrets.token_hex(16))
    rules: str = ""
    token: str = ""
    next_token: str = ""
    inode: int = 0

    @classmethod
    def load(cls, folder: Path) -> SyncState:
        """That in a folder, or a new one where there is none that can be read."""
        try:
            found = json.loads((folder / _FILE).read_bytes())
            if found.pop("version") != _VERSION:
                return cls(folder)
            base, far = _entries(found.pop("base")), _entries(found.pop("far"))
            pending = {side: _entries(rows) for side, rows in found.pop("pending").items()}
            return cls(folder, base, pending, far, **found)
        except _DAMAGED:
            return cls(folder)

    def save(self) -> None:
        """Write it, whole or not at all."""
        content = {
            "version": _VERSION,
            "base": _rows(self.base),
            "far": _rows(self.far),
            "pending": {side: _rows(entries) for side, entries in self.pending.items()},
            "far_left_out": self.far_left_out,
            "rules": self.rules,
            "pair": self.pair,
            "token": self.token,
            "next_token": self.next_token,
            "inode": self.inode,
        }
        files.write(self.folder / _FILE, json.dumps(content), mode=modes.OWNER_ONLY)

    def load_cache(self) -> dict[str, list[Any]]:
        """The near side's digests, by what shows that a file has not changed."""
        try:
            return dict(json.loads((self.folder / _CACHE).read_bytes()))
        except _DAMAGED:
            return {}

    def save_cache(self, cache: Mapping[str, list[Any]]) -> None:
        """Keep them for the next sync."""
        files.write(self.folder / _CACHE, json.dumps(cache), mode=modes.OWNER_ONLY, flush=False)

    def belongs_to(self, inode: int, token: str) -> bool:
        """Whether it is about these two folders as they are now."""
        return self.inode == inode and bool(token) and token in (self.token, self.next_token)

    def forget(self, inode: int) -> None:
        """Begin anew: nothing is known of these two folders."""
        self.base, self.pending, self.inode = {}, {}, inode
        self.token = self.next_token = ""

    def settle(self, near: Mapping[str, TreeEntry], far: Mapping[str, TreeEntry]) -> None:
        """What was on its way when the last sync was cut, and arrived, is what both had."""
        for name, side in (("near", near), ("far", far)):
            for path, entry in self.pending.get(name, {}).items():
                if same(side.get(path), entry):
                    self.base[path] = entry
        self.pending = {}


def _rows(entries: Mapping[str, TreeEntry]) -> list[list[Any]]:
    return [[path, *entry] for path, entry in entries.items()]


def _entries(rows: list[list[Any]]) -> dict[str, TreeEntry]:
    return {path: TreeEntry(*entry) for path, *entry in rows}
