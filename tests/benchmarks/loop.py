"""The rows of the whole loop: what loading costs, what the first verb costs, and whether the store keeps its word."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiinfra_lab.store import Event, Record, first_break
from aiinfra_lab.store.sqlite import SqliteStore
from tests.structure.source import HEAVY, loaded_by

from . import _writer, times
from .measure import RUNS, median_ms, statement
from .rows import Cannot, Figure, at_most, below, exactly, ratio_at_most, row

SHELL = "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell()"
LOAD_EXT = 'shell.run_line_magic("load_ext", "aiinfra_lab")'
WRITERS, COMMITS, KILLS = 8, 500, 20


@row("loop.1", "import and %load_ext", "< 50 ms CPU each; no heavy package in memory", ("ipython",))
def loading(full: bool) -> Iterator[Figure]:
    """What everybody pays who uses the package at all."""
    bare = statement("import aiinfra_lab")
    yield Figure("import aiinfra_lab", bare.cpu_s * 1000, "ms CPU", below(50), note=bare.note)
    magics = statement(LOAD_EXT, before=SHELL)
    yield Figure("%load_ext aiinfra_lab", magics.cpu_s * 1000, "ms CPU", below(50), note=magics.note)
    heavy = loaded_by(f"{SHELL}\n{LOAD_EXT}") & set(HEAVY)
    yield Figure("heavy packages loaded", len(heavy), "packages", exactly(0), note=", ".join(sorted(heavy)))


@row("loop.2", "first verb after %load_ext", "< 300 ms CPU", ("ipython",))
def first_answer(full: bool) -> Iterator[Figure]:
    """`%lab show`, with its result formatted as a notebook would, in a workspace that knows 200 things."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"AIINFRA_WORKSPACE": folder}
        store = SqliteStore(Path(folder, ".aiinfra", "store.sqlite"))
        for number in range(200):
            store.commit([Record.new(f"sample-{number}", _writer.Sample(number=number))])
        store.close()
        show = 'shell.display_formatter.format(shell.run_line_magic("lab", "show"))'
        cost = statement(show, before=f"{SHELL}\n{LOAD_EXT}", env=env)
    yield Figure("%lab show", cost.cpu_s * 1000, "ms CPU", below(300), note=cost.note)


@row("loop.3", "from a clean clone to the end of `make run`", "<= 10 min; the recipe <= 4 min; unchanged <= 15 s")
def whole_run(full: bool) -> Iterator[Figure]:
    """Read from what `make run` wrote down."""
    found = times.read().get("loop.3", {})
    if not found:
        raise Cannot("`make run` has not run here")
    clean, unchanged = found.get("clean"), found.get("unchanged")
    worked = max((found[mode] for mode in ("clean", "warm") if mode in found), key=_at, default=None)
    yield _timed("clean clone, make run", clean, "wall_s", 600, "make clean run")
    yield _timed("the recipe itself", worked, "recipe_s", 240, "make clean run")
    yield _timed("make run again, nothing changed", unchanged, "wall_s", 15, "make run, twice")


def _at(entry: dict[str, Any]) -> float:
    return float(entry["at"])


def _timed(what: str, entry: dict[str, Any] | None, key: str, limit_s: float, how: str) -> Figure:
    if entry is None:
        return Figure(what, None, "s", at_most(limit_s), note=f"not timed yet: {how}")
    note = time.strftime("on %Y-%m-%d at %H:%M", time.localtime(entry["at"])) + f", load {entry['load']:.1f}"
    return Figure(what, entry[key], "s", at_most(limit_s), note=note)


@row("loop.4", "online features of one entity", "equal to the offline join, every time", ("feast", "polars"))
def online(full: bool) -> Iterator[Figure]:
    """Of the example's own feature set, over two versions of the data."""
    with tempfile.TemporaryDirectory() as folder:
        asked = 1000 if full else 200
        command = [sys.executable, "-m", "tests.benchmarks._online", str(asked // 2)]
        Path(folder, "aiinfra.toml").touch()
        env = {**os.environ, "AIINFRA_WORKSPACE": folder}
        done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, env=env)
    found = json.loads(done.stdout.splitlines()[-1])
    note = f"{found['asked']} asked, {found['p50_ms']:.1f} ms each (p50)"
    yield Figure("answers that differ from the offline join", found["different"], "answers", exactly(0), note=note)


@row(
    "loop.5",
    "store: 8 processes x 500 commits, 20 kill -9",
    "0 lost, 0 torn, chain intact; <= 3x bare SQLite",
)
def store(full: bool) -> Iterator[Figure]:
    """Writers that are killed at any moment, then one that is left in peace."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        began = time.perf_counter()
        killed = _siege(home)
        note = f"{killed} killed, {time.perf_counter() - began:.0f} s in all"
        after = _Aftermath(home)
        yield Figure("commits acknowledged and lost", after.lost, "commits", exactly(0), note=note)
        yield Figure("commits of which a part is missing", after.torn, "commits", exactly(0), note=after.note)
        yield Figure("breaks in the audit chain", after.breaks, "breaks", exactly(0), note=f"{after.events} events")
        yield Figure("kill -9", killed, "kills", exactly(KILLS))
    with tempfile.TemporaryDirectory() as folder:
        yield _alone(Path(folder))


@row("loop.6", "make test", "<= 20 min from a clean clone")
def whole_test(full: bool) -> Iterator[Figure]:
    """Read from what `make test` wrote down."""
    found = times.read().get("loop.6", {})
    if not found:
        raise Cannot("`make test` has not passed here")
    mode = "clean" if "clean" in found else "warm"
    yield _timed(f"make test, {mode}", found[mode], "wall_s", 1200, "make clean test")


def _siege(home: Path) -> int:
    """Let the writers write and kill them; returns how many were killed in the middle of their work.

    Each kill is due at a share of all commits, so that a fast machine sees as many as a slow one.
    """
    SqliteStore(home / "store.sqlite").changed()  # the schema is there before the first writer is
    dice, killed = random.Random(7), 0
    due = sorted(dice.uniform(0.02, 0.8) * WRITERS * COMMITS for _ in range(KILLS))
    writers = {name: _start(home, name) for name in map(str, range(WRITERS))}
    while any(process.poll() is None for process in writers.values()):
        time.sleep(0.01)
        done = {name: len(_acknowledged(home, name)) for name in writers}
        busy = [name for name, process in writers.items() if process.poll() is None and done[name]]
        if busy and killed < KILLS and sum(done.values()) >= due[killed]:
            name = dice.choice(busy)
            writers[name].send_signal(signal.SIGKILL)
            killed += writers[name].wait() == -signal.SIGKILL
            writers[name] = _start(home, name)
    bad = {name: process.returncode for name, process in writers.items() if process.returncode}
    if bad:
        raise RuntimeError(f"writers ended with an error of their own: {bad}")
    return killed


def _start(home: Path, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.benchmarks._writer", str(home), name, str(COMMITS)])


def _acknowledged(home: Path, name: str) -> list[int]:
    path = home / f"acknowledged-{name}"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


class _Aftermath:
    """What the store holds after the siege, set against what it had acknowledged."""

    def __init__(self, home: Path) -> None:
        found = SqliteStore(home / "store.sqlite")
        records = {record.name for record in found.list(_writer.Sample)}
        events = list(found.events())
        told = Counter(logged.event.subject for logged in events)
        self.events, self.lost, self.torn = len(events), 0, 0
        for writer in map(str, range(WRITERS)):
            promised = set(_acknowledged(home, writer))
            for number in range(COMMITS):
                there = [name in records for name in _writer.names(writer, number)]
                there.append(told[_writer.subject(writer, number)] == 1)
                self.lost += number in promised and not all(there)
                self.torn += any(there) and not all(there)
        self.breaks = int(first_break(events) is not None) + int(found.head()[0] > self.events)
        self.note = f"{len(records)} records; SQLite's own check says {found.integrity()}"
        found.close()


def _alone(home: Path) -> Figure:
    """One writer beside the floor, SQLite's own commit of the same bytes; in turns, since disks have moods."""
    quiet = SqliteStore(home / "store.sqlite")
    quiet.changed()
    with contextlib.closing(sqlite3.connect(home / "bare.sqlite", isolation_level=None)) as bare:
        for statement_ in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE rows (body TEXT)"):
            bare.execute(statement_)
        rounds = [(_commits(quiet, turn), _bare_commits(bare)) for turn in range(RUNS)]
    quiet.close()
    ours, floor = (statistics.median(figures) for figures in zip(*rounds, strict=True))
    name, what = "bare SQLite commit of the same bytes", "commit by one writer, p50"
    return Figure(what, ours, "ms", ratio_at_most(3), peer=floor, peer_name=name, note=_disk(home))


def _commits(quiet: SqliteStore, turn: int) -> float:
    def commit(number: int) -> None:
        names = _writer.names(f"alone{turn}", number)
        pair = [Record.new(name, _writer.Sample(number=number)) for name in names]
        quiet.commit(pair, Event("bench", _writer.subject(f"alone{turn}", number)))

    return median_ms(commit, 200)


def _bare_commits(bare: sqlite3.Connection) -> float:
    """Two records and an event, as long as ours are, in one transaction."""
    bodies = ['{"number":100}'] * 2 + [
        '{"detail":{},"inputs":[],"outputs":[],"subject":"bench:alone0-100","verb":"bench"}'
    ]

    def commit(number: int) -> None:
        bare.execute("BEGIN IMMEDIATE")
        for body in bodies:
            bare.execute("INSERT INTO rows VALUES (?)", (body,))
        bare.execute("COMMIT")

    return median_ms(commit, 200)


def _disk(home: Path) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [(len(point), kind) for point, kind in mounts if str(home).startswith(point)]
    return f"on {max(inside)[1]}, PRAGMA synchronous=FULL"
