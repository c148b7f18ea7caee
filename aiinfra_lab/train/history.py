"""What a run measured: one JSON line a point in the run's folder, so that looking at a run needs no tracking server."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Failed, UsageProblem
from ..logs import tail
from ..modes import opener

FILE = "metrics.jsonl"
_NEWEST_BYTES = 4096
Curve = list[tuple[float, float]]


class Point(NamedTuple):
    """One measurement of one metric."""

    at: float
    name: str
    step: int
    value: float


class MetricLog:
    """The points of a run while it goes on. Every point is in the file when `add` returns."""

    def __init__(self, path: Path, steps: Mapping[str, int] | None = None) -> None:
        self.points: list[Point] = []
        self.steps = dict(steps or {})
        self._file = open(path, "a", encoding="utf-8", opener=opener)  # noqa: SIM115  # until the run ends

    def add(self, step: int | None, metrics: Mapping[str, Any]) -> list[Point]:
        """Write one point per metric; without a step, each metric counts its own.

        UsageProblem when a value is no number, Failed when it is NaN or infinite.
        """
        now = time.time()
        new = [Point(now, name, self._step(name, step), _number(name, value)) for name, value in metrics.items()]
        for point in new:
            # Before anything is written: JSON has no NaN, and a curve with one cannot be drawn.
            if not math.isfinite(point.value):
                raise _diverged(point)
        self.take(new)
        return new

    def take(self, points: Sequence[Point]) -> None:
        """Write points as they are, such as those that another run measured."""
        for point in points:
            self.steps[point.name] = point.step + 1
            self._file.write(json.dumps(point._asdict()) + "\n")
        self._file.flush()  # to the kernel, which survives the process: a killed run's points are what is left of it
        self.points += points

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _step(self, name: str, step: int | None) -> int:
        return self.steps.get(name, 0) if step is None else int(step)


def read(path: Path) -> list[Point]:
    """The points in a file, oldest first. Lines that were torn are left out, by a kill, a full disk or a power cut."""
    if not path.exists():
        return []
    # Behind the last line break stands nothing, or a line whose process was killed in the middle of it.
    lines = path.read_bytes().split(b"\n")
    return [point for line in lines[:-1] if (point := _point(line)) is not None]


def newest(path: Path) -> dict[str, tuple[int, float]]:
    """The last step and value of what was measured lately, however long the file is."""
    lines = tail(path, _NEWEST_BYTES).split(b"\n")
    return {point.name: (point.step, point.value) for line in lines[:-1] if (point := _point(line)) is not None}


def _point(line: bytes) -> Point | None:
    try:
        return Point(**json.loads(line))
    except (ValueError, TypeError):  # no JSON, or not a point's fields
        return None


def latest(points: Iterable[Point]) -> dict[str, float]:
    """The last value of every metric."""
    return {point.name: point.value for point in points}


def averaged(line: Sequence[tuple[float, float]], most: int = 120) -> Curve:
    """A line of at most so many points, each the mean of as many."""
    size = max(1, -(-len(line) // most))
    parts = [line[start : start + size] for start in range(0, len(line), size)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def _number(name: str, value: Any) -> float:
    try:
        # Detached, since torch warns of making a float of what a gradient is kept for.
        return float(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a torch tensor of several elements
        raise UsageProblem(
            f"{name} is no number but a {type(value).__name__}", f"log one number: run.log({name}={name}.mean())"
        ) from None


def _diverged(point: Point) -> Failed:
    value = "NaN (not a number)" if math.isnan(point.value) else "infinite"
    return Failed(
        f"{point.name} is {value} at step {point.step}: the training diverged",
        "lower the learning rate, clip the gradients (torch.nn.utils.clip_grad_norm_), or look for NaN in the rows",
    )
