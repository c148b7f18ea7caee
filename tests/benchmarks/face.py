"""The rows of what people see and type: mistakes that are told with a fix, and what Tab offers."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import postgres, prepared
from tests.mistakes import MISTAKES, follow

from . import _claims as claims
from . import _first_output as first_output
from .rows import Figure, at_least, at_most, exactly, row

THINGS, PROCESSES = 10_000, 5


@row("face.5", "mistakes that people make", "40 or more of them; every fix works", ("ipython",))
def mistakes(full: bool) -> Iterator[Figure]:
    """Each is made in a notebook, a shell or the settings, and then what its error says is done to the letter."""
    failed = []
    with tempfile.TemporaryDirectory() as folder, prepared.project(Path(folder)), prepared.notebook() as shell:
        shell.user_ns["rows"] = "data:flights@1"
        for mistake in MISTAKES:
            try:
                problem, right, after = follow(shell, mistake)
            except AssertionError as why:
                failed.append(f"{mistake.text}: {why}")
                continue
            if after is not None or type(problem) is not mistake.kind:
                failed.append(f"{mistake.text}: {right}: {after}")
    yield Figure("mistakes", len(MISTAKES), "mistakes", at_least(40))
    yield Figure("fixes that do not work", len(failed), "fixes", exactly(0), note="; ".join(failed)[:300])


@row("face.6", "completion among 10,000 things", "<= 20 ms; 0 phantoms in 200 contexts", ("ipython",))
def completion(full: bool) -> Iterator[Figure]:
    """Tab at the end of each line, in the second line of a cell, in a kernel that has opened the store before."""
    yield from _typed("SQLite", "")
    if postgres.BIN is not None and os.geteuid() == 0:
        with claims.database() as url:
            yield from _typed("PostgreSQL", f'[store]\nurl = "{url}"\n')


def _typed(store: str, settings: str) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "aiinfra.toml").write_text(settings)
        _in(folder, "fill", str(THINGS))
        # In processes of their own: what the first call of a line takes is seen once in each.
        asked = [json.loads(_in(folder, "ask").splitlines()[-1]) for _ in range(PROCESSES)]
    for which in ("first", "later"):
        # The least of them: whatever else the machine does makes them longer.
        worst = {line: min(one[which][line] for one in asked) for line in asked[0][which]}
        line, took_ms = max(worst.items(), key=lambda item: item[1])
        load, usual = os.getloadavg()[0], statistics.median(worst.values())
        note = f"of {len(worst)} lines, at {line!r}; by the median {usual:.1f} ms; load {load:.1f}"
        if which == "first":
            once_ms = min(one["loaded"] for one in asked)
            note += f"; what was loaded before, as by the first call of a noun, took {once_ms:.0f} ms"
        yield Figure(f"the slowest {which} call, {store}", took_ms, "ms", at_most(20), note=note)
    phantoms = asked[0]["phantoms"]
    yield Figure(f"contexts, {store}", len(asked[0]["first"]), "lines", at_least(200))
    note = f"of {asked[0]['offered']:,} words that are offered; {'; '.join(phantoms)[:300]}"
    yield Figure(f"phantoms, {store}", len(phantoms), "words", exactly(0), note=note)


def _in(folder: str, *words: str) -> str:
    command: list[Any] = [sys.executable, "-m", "tests.benchmarks._typing", *words]
    env = {**os.environ, "AIINFRA_WORKSPACE": folder, "PYTHONPATH": str(Path.cwd())}
    with contextlib.chdir(folder):
        return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, env=env).stdout


@row(
    "face.1",
    "every result through JupyterLab's sanitizer",
    "unchanged; <= 5 KB without pictures, <= 60 KB with",
    ("jupyterlab",),
)
def sanitized(full: bool) -> Iterator[Figure]:
    """The results of every verb in a workspace in which the running example was run."""
    from . import _results

    seen = _results.look()
    yield Figure("results that it changes", len(seen.changed), "results", exactly(0), note=", ".join(seen.changed))
    for what, sizes, most in (("without", seen.bare_bytes, 5), ("with", seen.whole_bytes, 60)):
        name, size = max(sizes.items(), key=lambda item: item[1])
        note = f"of {len(sizes)}: {name}"
        yield Figure(f"the largest {what} pictures", round(size / 1000, 1), "KB", at_most(most), note=note)


@row("face.2", "axe over every result", "0 faults: light, dark, high contrast, more contrast", ("jupyterlab",))
def accessible(full: bool) -> Iterator[Figure]:
    """In JupyterLab, over its own style sheets; the panel's states are in tests/browser."""
    from . import _results

    seen = _results.look()
    yield Figure("faults", len(seen.faults), "faults", exactly(0), note="; ".join(seen.faults)[:300])


@row(
    "face.3",
    "1,000 double clicks and keys in a list that moves",
    "0 hit another thing; 0 endpoints stopped unasked",
    ("jupyterlab",),
)
def pressed(full: bool) -> Iterator[Figure]:
    """At random, in the side panel of a JupyterLab whose things come, go and change all the time."""
    from . import _panel

    seen = _panel.presses(1000 if full else 200)
    note = f"of {seen.done}; {seen.asked} stops were asked about and confirmed"
    yield Figure("presses that hit another thing", seen.another, "presses", exactly(0), note=note)
    yield Figure("endpoints stopped unasked", seen.unasked, "stops", exactly(0))


@row("face.4", "the first that is seen of a verb", "<= 1 s after the cell's start", ("ipykernel",))
def first_seen(full: bool) -> Iterator[Figure]:
    """Every cell of the tour that takes longer than a second, in a kernel that has done nothing before."""
    with first_output.workspace() as root:
        slow = [cell for cell in first_output.watch(first_output.tour(), root) if cell.took_s > 1]
    late = {cell.line: cell.took_s if cell.first_s is None else cell.first_s for cell in slow}
    line, worst_s = max(late.items(), key=lambda item: item[1])
    note = f"of {len(slow)} cells that took longer than 1 s: {line[:60]}"
    yield Figure("the latest", round(worst_s, 2), "s", at_most(1), note=note)


@row(
    "face.7",
    "the panel with 500 things",
    "first paint <= 300 ms, tasks <= 50 ms of CPU, bundle <= 60 KB",
    ("jupyterlab",),
)
def crowded(full: bool) -> Iterator[Figure]:
    """In a real browser, from the answer of the server on."""
    from . import _panel

    seen = _panel.five_hundred()
    yield Figure("first paint after the data", seen.first_paint_ms, "ms", at_most(300), note=f"{seen.rows} rows in all")
    yield Figure("the longest task of a script", seen.longest_ms, "ms of CPU", at_most(50))
    yield Figure("things that travel when one changed", seen.sent, "things", exactly(1))
    yield Figure("the front end", seen.bundle_kb, "KB", at_most(60))
