"""What lies in the workspace and no record names: a restored store has forgotten it, or a crash left it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .. import nouns
from ..jobs import JobRecord
from ..store import Store
from ..uris import leading_label


def orphans(home: Path, store: Store) -> list[Path]:
    """Files and folders of versions, and folders of jobs, that no record is of, also none of what was removed."""
    # The disk first: what is made meanwhile then has its record when the store is asked.
    lying = list(_lying(home))
    known = {(key.kind, key.name) for key in store.changed()}
    return [path for path, kinds, name in lying if not any((kind, name) in known for kind in kinds)]


def _lying(home: Path) -> Iterator[tuple[Path, tuple[str, ...], str]]:
    """What belongs to a record by its name: where it is, the kinds that the record may have, and its name."""
    for folder in (home / "jobs").glob("[!.]*/"):
        yield folder, (JobRecord.kind,), folder.name
    for noun in nouns.every():
        if noun.kind is None or not noun.has_versions:
            continue
        kinds = tuple(kind.kind for kind in (noun.kind, noun.part_kind) if kind)
        for path in _versions(home / noun.kind.kind):
            yield path, kinds, leading_label(path.name)


def _versions(folder: Path) -> Iterator[Path]:
    """In the kind's folder, or one below, as `next_version` looks for numbers."""
    for place in (folder, *(one for one in folder.glob("[!.]*/") if not leading_label(one.name))):
        yield from (path for path in place.glob("[!.]*") if leading_label(path.name))
