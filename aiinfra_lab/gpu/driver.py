"""What NVIDIA's driver says of a machine's accelerators, and the names by which people ask for them."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from typing import NamedTuple

from .base import AcceleratorUse

QUERY = ("nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits")
USE = ("nvidia-smi", "--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")
# What the driver puts before a name and nobody asks for.
_BRANDS = {"nvidia", "tesla", "geforce", "quadro"}


class ListedAccelerator(NamedTuple):
    """One that the driver lists. memory_gib: None where it cannot tell."""

    uuid: str
    name: str
    memory_gib: float | None


def accelerators(listed: str) -> Iterator[ListedAccelerator]:
    """What the driver's program has printed for `QUERY`."""
    for row in csv.reader(listed.splitlines(), skipinitialspace=True):
        if len(row) == 3:
            yield ListedAccelerator(row[0], short_name(row[1]), _gib(row[2]))


def use(listed: str) -> AcceleratorUse | None:
    """What the driver's program has printed for `USE` of one accelerator."""
    row = next(csv.reader(listed.splitlines(), skipinitialspace=True), [])
    if len(row) != 3:
        return None
    busy = int(row[0]) / 100 if row[0].isdigit() else None  # of one that is cut into slices it says nothing
    return AcceleratorUse(busy, _gib(row[1]), _gib(row[2]))


def _gib(mib: str) -> float | None:
    """None where the driver cannot tell: an accelerator that shares the processor's memory shows `[N/A]`."""
    with contextlib.suppress(ValueError):
        return round(float(mib) / 1024, 1)
    return None


def short_name(name: str) -> str:
    return "-".join(part for part in name.replace("-", " ").split() if part.lower() not in _BRANDS)
