"""What row true.2 measures: how often a drift check errs on rows that depend on each other, and what it finds."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.random import Generator

from . import _dependent as data
from .rows import Figure, Reach, at_least, at_most

Pair = tuple[pl.DataFrame, pl.DataFrame]


def without_a_change(replicates: int) -> Iterator[Figure]:
    for rows in (500, 2_000, 10_000):
        yield _flagged(f"independent, {rows:,} rows", _twice(data.frame, rows), replicates, at_most(7))
    for what, one in _DEPENDENT.items():
        yield _flagged(f"{what}, 2,000 rows", _twice(one, 2_000), replicates, at_most(9))
    days = lambda rng: data.random_days(rng, 20_000)  # noqa: E731
    yield _flagged("random halves of days, by day, 20,000 flights", days, replicates, at_most(7), data.by_day)
    weeks = lambda rng: data.random_weeks(rng, 20_000)  # noqa: E731
    yield _flagged("random halves of weeks, by day all the same", weeks, replicates, at_most(9), data.by_day)
    yield _flagged("random halves of days, nothing declared", days, max(1, replicates // 5), at_most(9))


_DEPENDENT: dict[str, Callable[[Generator, int], pl.DataFrame]] = {
    "AR(0.9)": lambda rng, rows: data.frame(rng, rows, data.autoregressive(0.9)),
    "AR(0.99)": lambda rng, rows: data.frame(rng, rows, data.autoregressive(0.99)),
    "each row ten times in a row": data.repeated,
    "each row ten times, shuffled": data.repeated_shuffled,
    "entities ten times, shuffled": data.entities,
}


def _twice(one: Callable[[Generator, int], pl.DataFrame], rows: int) -> Callable[[Generator], Pair]:
    return lambda rng: (one(rng, rows), one(rng, rows))


def _undeclared(reference: pl.DataFrame, current: pl.DataFrame) -> data.Units:
    return None


def _flagged(
    what: str,
    pair: Callable[[Generator], Pair],
    replicates: int,
    reach: Reach,
    units: data.Declared = _undeclared,
) -> Figure:
    """The share of checks with a flag, and in how many columns they could conclude nothing."""
    flags = inconclusive = 0
    for seed in range(replicates):
        reference, current = pair(np.random.default_rng(seed))
        changes = data.judged(reference, current, units(reference, current))
        flags += bool(data.flagged(changes))
        inconclusive += sum(change.p is None for change in changes)
    note = f"{replicates} checks, {inconclusive / replicates:.1f} of 15 columns inconclusive"
    return Figure(f"flagged: {what}", 100 * flags / replicates, "%", reach, note=note)


def _missing(values: Any, rng: Generator) -> Any:
    return np.where(rng.random(len(values)) < 0.02, np.nan, values)


def _outliers(values: Any, rng: Generator) -> Any:
    return np.where(rng.random(len(values)) < 0.01, 8 * np.sign(values), values)


def with_a_change(replicates: int) -> Iterator[Figure]:
    """Of one column among 15, on independent rows."""
    yield _found("2 % missing, 10,000 rows", _missing, 10_000, replicates, at_least(95))
    yield _found("1 % outliers, 10,000 rows", _outliers, 10_000, replicates, at_least(95))
    yield _found("+0.2 sd, 2,000 rows", lambda values, rng: values + 0.2, 2_000, replicates, at_least(95))
    yield _found("variance x1.2, 2,000 rows", lambda values, rng: values * 1.2**0.5, 2_000, replicates, at_least(65))


def _found(
    what: str,
    change: Callable[[Any, Generator], Any],
    rows: int,
    replicates: int,
    reach: Reach,
) -> Figure:
    column, found = "number 0", 0
    for seed in range(replicates):
        rng = np.random.default_rng(seed)
        reference, current = data.frame(rng, rows), data.frame(rng, rows)
        changed = current.with_columns(pl.Series(column, change(current[column].to_numpy(), rng)))
        found += column in data.flagged(data.judged(reference, changed))
    return Figure(f"found: {what}", 100 * found / replicates, "%", reach, note=f"{replicates} checks")


def july(draws: int) -> Figure:
    """Flights of July against January to March."""
    by_day, unknown = (
        sum(len(_flags(data.july(np.random.default_rng(seed), 2_000), units)) for seed in range(draws)) / draws
        for units in (data.by_day, _undeclared)
    )
    note = f"{draws} draws of 2,000 rows; nothing declared: {unknown:.1f}"
    return Figure("July against January to March, by day", by_day, "columns of 15", at_least(7), note=note)


def _flags(pair: Pair, units: data.Declared) -> set[str]:
    return data.flagged(data.judged(*pair, units(*pair)))


def cpu() -> Figure:
    """12 numbers and 8 categories of 100,000 rows; the least of five, since this machine is shared.

    BLAS on one thread: its others wait by spinning, and on a machine with other work that is most of the time.
    """
    command = [sys.executable, "-c", "from tests.benchmarks import _drift; print(_drift.cpu_s())"]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, env=env)
    return Figure("100,000 x 20", float(done.stdout), "s CPU", at_most(0.3))


def cpu_s() -> float:
    """The CPU seconds of one check, in this process."""
    rng, rows = np.random.default_rng(0), 100_000
    pair = [_wide(rng, rows) for _ in range(2)]
    data.judged(*pair)
    took = []
    for _ in range(5):
        began_s = time.process_time()
        data.judged(*pair)
        took.append(time.process_time() - began_s)
    return min(took)


def _wide(rng: Generator, rows: int) -> pl.DataFrame:
    found: dict[str, Any] = {f"number {n}": rng.normal(size=rows) for n in range(12)}
    for classes in (2, 5, 10, 20, 50, 100, 200, 500):
        found[f"{classes} classes"] = data.classed(rng.random(rows), data.zipf(classes))
    return pl.DataFrame(found)
