"""What an endpoint's agent and its further fronts send to each other, as MessagePack over a `Channel`."""

from __future__ import annotations

from typing import Any

import msgspec

from ..record import Role
from .front import ServingLimits
from .messages import CannotServe


class BeginFront(msgspec.Struct, tag=True):
    """To a new one, first of all: which of how many it is, and where each version that was counted is counted.

    started_at: when the endpoint was.
    """

    name: str
    claim: str
    log_dir: str
    limits: ServingLimits
    front: int
    fronts: int
    places: dict[str, int]
    started_at: float


class CountVersion(msgspec.Struct, tag=True):
    """A version is counted at that place of the memory from now on."""

    uri: str
    place: int


class LoadVersion(msgspec.Struct, tag=True):
    """Load it, and answer with `VersionLoaded`. digests: see `VersionFiles`."""

    uri: str
    folder: str
    digests: dict[str, str]


class ServeRoutes(msgspec.Struct, tag=True):
    """Serve this as soon as all of it is loaded, retire what is gone, and answer with `RoutesServed`.

    trial: of the canary, whose requests are sent back as `JudgedBatch`; 0 where nothing judges. verdict: what is shown.
    """

    arms: list[tuple[str, Role, float]]
    salt: str
    generation: int
    trial: int
    verdict: dict[str, Any]
    gone: list[str]


class RetireVersions(msgspec.Struct, tag=True):
    """Versions that were loaded and are not to serve."""

    uris: list[str]


class ShowVerdict(msgspec.Struct, tag=True):
    """The verdict of the last look."""

    verdict: dict[str, Any]


class FlushLog(msgspec.Struct, tag=True):
    """Write the log, and answer with `LogFlushed` of the same number."""

    number: int


class AllFlushed(msgspec.Struct, tag=True):
    """The answer to `FlushAll`."""

    number: int


class Drain(msgspec.Struct, tag=True):
    """Answer what was taken, write the log and end."""


class VersionLoaded(msgspec.Struct, tag=True):
    """It can answer by that version, or why it cannot."""

    uri: str
    problem: CannotServe | None = None


class RoutesServed(msgspec.Struct, tag=True):
    """It serves them; of a new front: and it takes connections."""

    generation: int


class JudgedBatch(msgspec.Struct, tag=True):
    """Requests of a trial that are over: see `JudgedRequests.take`."""

    trial: int
    requests: list[tuple[int, float | None, bool, bool]]


class FlushAll(msgspec.Struct, tag=True):
    """A client wants every front's log on the disk and the counts in the record."""

    number: int


class LogFlushed(msgspec.Struct, tag=True):
    """The answer to `FlushLog`."""

    number: int


ToFront = (
    BeginFront | CountVersion | LoadVersion | ServeRoutes | RetireVersions | ShowVerdict | FlushLog | AllFlushed | Drain
)
FromFront = VersionLoaded | RoutesServed | JudgedBatch | FlushAll | LogFlushed
