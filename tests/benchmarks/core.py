"""The rows of the joints: what listing costs in a workspace that has lived long, and what one noun touches."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.core.test_version_before import RECORDED, VERSION
from tests.fixtures import answers
from tests.structure import callers, test_uris
from tests.structure.source import PACKAGE, ROOT, short

from . import times
from .rows import Cannot, Figure, at_least, at_most, exactly, row

RUNS, RECORDS = 1_600, 10_000


@row("core.1", "lists in a long-lived workspace", "<= 0.3 s CPU each; 10 times the records <= 12 times the CPU")
def long_lived(full: bool) -> Iterator[Figure]:
    """`ls` of every noun and the panel's items: 1,600 runs, half of them killed, among 10,000 records."""
    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        tenth = _listings(Path(small), RUNS // 10, RECORDS // 10)
        whole = _listings(Path(large), RUNS, RECORDS)
    for what, cpu_s in whole.items():
        yield Figure(what, cpu_s, "s CPU", at_most(0.3), note=f"a tenth of it: {tenth[what]:.3f} s")
    worst = max(whole[what] / max(tenth[what], 0.005) for what in whole)
    yield Figure("CPU at 10 times the records", worst, "times", at_most(12), note="the worst of these lists")


def _listings(folder: Path, runs: int, records: int) -> dict[str, float]:
    """CPU seconds of each list in a process that has loaded what it needs; the first finds half of the runs killed."""
    command = [sys.executable, "-m", "tests.benchmarks._listings", str(runs), str(records)]
    (folder / "aiinfra.toml").touch()
    env = {**os.environ, "AIINFRA_WORKSPACE": str(folder)}
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, env=env)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@row("core.2", "a workspace of the version before", "100 % of its ls, show and log equal")
def version_before(full: bool) -> Iterator[Figure]:
    """The stored workspace, asked everything that it was asked when it was stored."""
    with answers.restored(VERSION) as place, answers.inside(place):
        now = answers.ask_all(RECORDED, place, VERSION)
    same = [command for command, old in RECORDED.items() if _same(old, now[command])]
    share = 100 * len(same) / len(RECORDED)
    yield Figure("answers that hold what they held", share, "%", at_least(100), note=f"{len(RECORDED)} commands")


def _same(old: Any, new: Any) -> bool:
    return old.get("error") == new.get("error") and not answers.differences(old.get("json"), new.get("json"))


@row("core.3", "what one joint knows", "0 places outside uris.py take a URI apart; a new noun touches 1 list")
def joints(full: bool) -> Iterator[Figure]:
    """By the structure tests' own probes."""
    apart = test_uris.taking_apart()
    yield Figure("places that take a URI apart", len(apart), "places", exactly(0), note="; ".join(apart)[:200])
    lists = [short(path) for path in PACKAGE.rglob("*.py") if _lists_nouns(path.read_text())]
    yield Figure("lists of nouns", len(lists), "lists", exactly(1), note=", ".join(lists))


def _lists_nouns(text: str) -> bool:
    """Whether a file writes three nouns in a row; the package's face does so for type checkers, and a test holds it."""
    return '"gpu": "aiinfra_lab.gpu"' in text or '"gpu", "data", "features"' in text


@row("core.4", "documented calls under mypy --strict", "0 errors", ("mypy",))
def calls(full: bool) -> Iterator[Figure]:
    """Every call of README, docs and notebooks, as Python."""
    found, count = callers.check(Path(tempfile.mkdtemp()))
    note = f"{count} calls; {' '.join(found)[:200]}"
    yield Figure("errors", len(found), "errors", exactly(0), note=note)


@row("core.5", "the tests", "make test <= 12 min from a clean clone; tests : source >= 0.9, of the spine >= 0.7")
def tests(full: bool) -> Iterator[Figure]:
    """The time as `make test` wrote it down, and the lines."""
    found = times.read().get("loop.6", {})
    if not found:
        raise Cannot("`make test` has not passed here")
    mode = "clean" if "clean" in found else "warm"
    took_min, note = found[mode]["wall_s"] / 60, f"load {found[mode]['load']:.1f}"
    yield Figure(f"make test, {mode}", took_min, "min", at_most(12), note=note)
    yield Figure("lines of tests to lines of source", _ratio(whole=True), "", at_least(0.9))
    yield Figure("the same of the spine", _ratio(whole=False), "", at_least(0.7))


# What every noun stands on.
SPINE = {
    *("cli", "completion", "config", "errors", "files", "jobs", "kernels", "logs", "nouns", "providers", "resolve"),
    *("rules", "setting_keys", "show", "stats", "store", "units", "uris", "verbs", "words"),
}


def _ratio(*, whole: bool) -> float:
    """Lines of tests (the shipped suites among them) to lines of source."""
    source = suites = 0
    for path in PACKAGE.rglob("*.py"):
        first, lines = path.relative_to(PACKAGE).parts[0].removesuffix(".py"), len(path.read_text().splitlines())
        if first == "testing":
            suites += lines if whole or path.stem == "store" else 0
        elif first != "labextension" and (whole or first in SPINE):
            source += lines
    folders = [ROOT / "tests"] if whole else [ROOT / "tests" / name for name in ("core", "kernels", "stats")]
    tests_ = [path for folder in folders for path in folder.rglob("*.py") if "benchmarks" not in path.parts]
    return (suites + sum(len(path.read_text().splitlines()) for path in tests_)) / source
