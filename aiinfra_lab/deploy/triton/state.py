"""What a target and the process of its endpoint tell each other, by two files in the folder of the job."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

import msgspec

from ... import files
from ...modes import OWNER_ONLY
from ..record import DesiredState, RuleCounts, VersionCounts


class AppliedVersion(msgspec.Struct, frozen=True):
    """A version's folder, and the digest of each of its files as it was registered."""

    folder: str
    files: dict[str, str]


class Applied(msgspec.Struct, frozen=True):
    """What the endpoint is to serve, and where the files of its versions are, so that it needs no store."""

    desired: DesiredState
    versions: dict[str, AppliedVersion]


class Observed(msgspec.Struct, frozen=True):
    """What the endpoint wrote last: where it answers and where its Triton does, and what it has counted.

    judged: how its canary is judged so far. convicted_generation: the one whose canary has lost its traffic.
    champions: each that has served under this claim, alone, the last one last; one of them serves again when what came
    after cannot.
    """

    url: str = ""
    triton_url: str = ""
    problem: str = ""
    problem_generation: int = 0
    versions: dict[str, VersionCounts] = {}
    judged: RuleCounts | None = None
    convicted_generation: int = 0
    champions: tuple[Applied, ...] = ()


_log = logging.getLogger(__name__)

T = TypeVar("T", Applied, Observed)
_NAMES = {Applied: "desired.json", Observed: "observed.json"}


def read(kind: type[T], folder: Path) -> T | None:
    """What was written last; None when nothing was, or when a power cut has left nothing that can be read."""
    path = folder / _NAMES[kind]
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        _log.warning("%s is passed over: %s", path, problem)
        return None


def write(value: Applied | Observed, folder: Path) -> None:
    """Replace what was written before."""
    files.write(folder / _NAMES[type(value)], msgspec.json.encode(value), mode=OWNER_ONLY, flush=False)
