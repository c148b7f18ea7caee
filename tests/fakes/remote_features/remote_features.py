"""Another package's online store: a cache of keys and values that copies what it is given.

Unlike Feast it has no repository and no registry, and never looks at a file again. It lives as long as the process.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from aiinfra_lab.config import Settings
from aiinfra_lab.errors import NotFound
from aiinfra_lab.features.base import Known, Value
from aiinfra_lab.features.record import Spec, ViewSpec

Entries = dict[tuple[Any, ...], tuple[datetime, dict[str, Value]]]
CACHES: dict[str, dict[str, dict[str, Entries]]] = {}


class Cache:
    """Version → view → key → what is known."""

    def __init__(self, where: Settings) -> None:
        self.versions = CACHES.setdefault(str(where.home), {})

    def load(self, spec: Spec, sources: Mapping[str, Path], until: datetime) -> None:
        self.versions[spec.uri] = {view.name: _newest(view, sources[view.name], until) for view in spec.views}

    def read(self, spec: Spec, keys: Mapping[str, Sequence[Value]]) -> dict[str, list[Known]]:
        if spec.uri not in self.versions:
            raise NotFound(f"{spec.uri} is not in the cache", f"`%features get {spec.name} --online …`")
        found = self.versions[spec.uri]
        asked = {view.name: zip(*(keys[key] for key in view.keys), strict=True) for view in spec.views}
        return {name: [found[name].get(key) for key in rows] for name, rows in asked.items()}

    def forget(self, spec: Spec) -> None:
        self.versions.pop(spec.uri, None)


def _newest(view: ViewSpec, source: Path, until: datetime) -> Entries:
    """The last event of each entity, by its time, by when it became known, and then by its values."""
    at = view.timestamp or f"{view.name}__at"
    found: dict[tuple[Any, ...], tuple[Any, dict[str, Any]]] = {}
    for row in pl.read_parquet(source).iter_rows(named=True):
        key, times = tuple(row[name] for name in view.keys), (row[at], row[view.known_at or at])
        if None in (*key, *times) or max(times) > until:
            continue
        values = [(row[name] is not None, row[name] or 0) for name in view.feature_names]
        if key not in found or (times, values) > found[key][0]:
            found[key] = ((times, values), row)
    return {key: (row[at], {name: row[name] for name in view.feature_names}) for key, (_, row) in found.items()}
