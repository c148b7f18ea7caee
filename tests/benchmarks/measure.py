"""How figures are taken: each run in a process of its own, CPU seconds beside wall time, the median of several."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUNS = 5


@dataclass(frozen=True)
class Cost:
    """What a command took, by the median over its runs."""

    cpu_s: float
    wall_s: float

    @property
    def note(self) -> str:
        """The wall time, which a loaded machine makes longer, with the load."""
        return f"wall {self.wall_s * 1000:.0f} ms at load {os.getloadavg()[0]:.1f}"


def command(
    argv: Sequence[str], *, runs: int = RUNS, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Cost:
    """CPU seconds (user and system, its children's too) and wall time of a command."""
    return _median([_once(argv, cwd, env) for _ in range(runs)])


def by_turns(
    *commands: Sequence[str], runs: int = RUNS, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> list[Cost]:
    """The same of several, one after the other and again: a machine that gets slower meanwhile does so for all."""
    costs = [[_once(argv, cwd, env) for argv in commands] for _ in range(runs)]
    return [_median(of_one) for of_one in zip(*costs, strict=True)]


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(statistics.median(item.cpu_s for item in costs), statistics.median(item.wall_s for item in costs))


def _once(argv: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None) -> Cost:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(argv, check=True, cwd=cwd, env=env, stdout=subprocess.DEVNULL)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall_s)


def statement(code: str, *, before: str = "", runs: int = RUNS, env: Mapping[str, str] | None = None) -> Cost:
    """CPU seconds and wall time of a statement, each run in a new interpreter where `before` was done already."""
    return _median([Cost(**answer(_TIMED.format(before=before, code=code), env=env)) for _ in range(runs)])


_TIMED = """
import json, resource, time
def cpu():
    return sum(getattr(resource.getrusage(who), field) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
               for field in ("ru_utime", "ru_stime"))
{before}
_began = cpu(), time.perf_counter()
{code}
print()
print(json.dumps({{"cpu_s": cpu() - _began[0], "wall_s": time.perf_counter() - _began[1]}}))
"""


def answer(code: str, env: Mapping[str, str] | None = None) -> Any:
    """The JSON that a piece of Python prints as its last line, in an interpreter of its own."""
    # With bytecode, as an installed package has it: the median leaves the run that writes it out.
    whole = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(env or {})}
    done = subprocess.run([sys.executable, "-c", code], check=True, text=True, stdout=subprocess.PIPE, env=whole)
    return json.loads(done.stdout.splitlines()[-1])


def median_ms(work: Callable[[int], object], times: int) -> float:
    """Milliseconds of wall time of `work(0)`, `work(1)`, …, by the median."""
    taken = []
    for turn in range(times):
        began = time.perf_counter()
        work(turn)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000
