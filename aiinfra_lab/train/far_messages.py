"""What goes between a run in a far kernel and whoever follows it here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import msgspec

from .. import files
from .history import Point
from .record import TrainingRun
from .worker import TrainingEnd

COMM = "aiinfra-train"
STOP = "stop"
"""The part whose coming asks the run to end at its next step."""


class SentRun(msgspec.Struct, frozen=True, kw_only=True):
    """What goes there, beside the rows and the checkpoint. features, data: the handle of its rows, one of them. file:
    the name of data that is a single file."""

    label: str
    run: TrainingRun
    features: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    file: str = ""


class RunReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of the run: that it has begun, `at` that time on that machine; points, the first of which is its
    `first`-th; a checkpoint, with how far it is; or its end. part, size: the file that belongs to it there."""

    machine: dict[str, str] = {}
    at: float = 0.0
    points: list[Point] = []
    first: int = 0
    kept: tuple[int, int] | None = None
    ended: TrainingEnd | None = None
    part: str = ""
    size: int = 0


def part_of(name: str, part: str) -> str:
    """What a part of the exchange of that name is called."""
    return f"{name}_{part}"


class FarRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that another machine does, as far as who follows it has come; it lies in the run's folder.

    exchange: the name of the one by which its files go. request: the id of the message that began it there, for the
    kernel of that incarnation on that machine. next: the run that goes on in its place.
    """

    exchange: str
    request: str = ""
    incarnation: int = 0
    machine: str = ""
    next: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """None where nobody follows the run of that folder yet."""
        try:
            return msgspec.json.decode((folder / "far.json").read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def write(self, folder: Path) -> None:
        files.write(folder / "far.json", msgspec.json.encode(self))
