"""The rows of what holds: that nothing is altered without being found."""

import contextlib
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aiinfra_lab import audit
from aiinfra_lab.errors import LabError
from aiinfra_lab.store import Event, Record, update
from aiinfra_lab.store.sqlite import SqliteStore
from aiinfra_lab.testing.store import Note

from . import _tampering as tampering
from .rows import Figure, exactly, row


@row("true.1", "edits, deletions, swaps and cuts of events and records", "every one is found")
def tampered(full: bool) -> Iterator[Figure]:
    """Random changes, from a single cell to events that are chained anew with a head that fits."""
    rng, missed, many = random.Random(1), list[str](), 1000 if full else 200
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder, "whole"))
        done = 0
        while done < many:
            change, effort = rng.choice(tampering.CHANGES), rng.randrange(4)
            with _copy(Path(folder)) as store:
                if not tampering.tamper(store, change, rng, effort):
                    continue
                done += 1
                if _is_sound(store):
                    missed.append(f"{change.__name__} with effort {effort}")
    note = f"{done} changes; {'; '.join(sorted(set(missed)))}"
    yield Figure("changes that were not found", len(missed), "changes", exactly(0), note=note)


def _fill(home: Path) -> None:
    """A store with records that events name, some written again since, and some that no event names."""
    store = SqliteStore(home / "store.sqlite", heads=home.parent / "heads")
    for number in range(60):
        name = f"a@{number}"
        store.commit([Record.new(name, Note(n=number))], Event("data add", f"data:{name}", outputs=(f"data:{name}",)))
        if number % 3 == 0:
            update(store, Note, name, lambda body: Note(n=body.n + 100))
            store.commit([Record.new(f"b@{number}", Note(n=number, text="no event"))])
    store.close()


@contextlib.contextmanager
def _copy(folder: Path) -> Iterator[SqliteStore]:
    """The store as it was filled, at the place at which it was; closed and gone afterwards."""
    home, heads = folder / "whole", folder / "heads"
    shutil.copytree(home, folder / "kept")
    shutil.copytree(heads, folder / "kept-heads")
    store = SqliteStore(home / "store.sqlite", heads=heads)
    try:
        yield store
    finally:
        store.close()
        for place, kept in ((home, folder / "kept"), (heads, folder / "kept-heads")):
            shutil.rmtree(place)
            kept.rename(place)


def _is_sound(store: SqliteStore) -> bool:
    try:
        return audit.prove(store).sound
    except LabError:
        return False
