"""A session as the workspace remembers it, from the intent to the end."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from ..store import Body


class EarlierStart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an earlier start of the same name took, which is not forgotten when the name is started again."""

    started_at: float
    ended_at: float | None
    usd_per_hour: float


class SessionRecord(Body, frozen=True, kw_only=True):
    """One start of a session: what was asked for, which machine it became, where its time ends, and how it ended.

    handle: the provider's name of the machine; None until there is one. until_at, budget_usd: the limits that were
    given; deadline_at, deadline_by: what comes first of them, and which it is.
    """

    kind: ClassVar[str] = "gpu"

    provider: str
    gpu: str
    usd_per_hour: float
    started_at: float
    shown_as: str = ""
    device: str = ""
    spot: bool = False
    handle: str | None = None
    until_at: float | None = None
    budget_usd: float | None = None
    deadline_at: float | None = None
    deadline_by: str = ""
    ended_at: float | None = None
    ended_by: str = ""
    exit_code: int | None = None
    earlier_spans: tuple[EarlierStart, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.ended_at is None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Where a session ends: at what comes first, the time that was given or the money."""

    until_at: float | None = None
    budget_usd: float | None = None
    deadline_at: float | None = None
    deadline_by: str = ""
