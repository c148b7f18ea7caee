"""What is remembered of a session: one start of it, what its earlier starts cost, and its machines."""

from __future__ import annotations

import time
from typing import ClassVar, Literal

import msgspec

from ..cost.billing import PER_SECOND, PriceChange, SpendingMeter
from ..errors import UsageProblem
from ..store import Body
from ..units import show_usd


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Where a session ends: `deadline_at`, which is the time that was given or, when that is earlier, its budget; and
    `idle_s` after its last use, when that was given."""

    until_at: float | None = None
    budget_usd: float | None = None
    deadline_at: float | None = None
    deadline_by: Literal["", "deadline", "budget"] = ""
    idle_s: float | None = None

    @classmethod
    def of(
        cls,
        usd_per_hour: float,
        started_at: float,
        until_at: float | None,
        budget_usd: float | None,
        idle_s: float | None = None,
    ) -> Limits:
        """The limits at that price. UsageProblem when the budget is spent already."""
        spent_at = (
            started_at + budget_usd / usd_per_hour * 3600 if budget_usd is not None and usd_per_hour > 0 else None
        )
        if spent_at is not None and spent_at <= time.time():
            raise UsageProblem(
                f"a budget of {show_usd(budget_usd or 0)} is spent already, at {show_usd(usd_per_hour)} an hour",
                f"give it more than {show_usd((time.time() - started_at) / 3600 * usd_per_hour)}",
            )
        limits = cls(until_at=until_at, budget_usd=budget_usd, idle_s=idle_s)
        if spent_at is not None and (until_at is None or spent_at < until_at):
            return msgspec.structs.replace(limits, deadline_at=spent_at, deadline_by="budget")
        if until_at is not None:
            return msgspec.structs.replace(limits, deadline_at=until_at, deadline_by="deadline")
        return limits


class EarlierStart(msgspec.Struct, frozen=True, kw_only=True):
    """What an earlier start of the same name cost. provider: as of a session; an earlier version wrote none."""

    started_at: float
    ended_at: float | None
    usd_per_hour: float
    provider: str | None = None


class SessionRecord(Body, frozen=True, kw_only=True):
    """One start of a session.

    provider: who has its machine. handle: how the provider calls the machine; None while there is only the intent.
    device: the provider's name of the accelerator. count, type, where: as it was offered; an earlier version wrote no
    count. shown_as: what people read in JupyterLab's launcher. context: what started it, as `config.context` says.
    is_rented: whether it is paid by its machines, see `MachineRecord`, and not from its start on. stop_requested_at:
    when somebody asked for its end, before its machine was. ended_by: why it ended, in a few words. sync, environment:
    whether its host has the project's files and packages. The fields of `Limits` say when it ends by itself.
    """

    kind: ClassVar[str] = "gpu"
    # Version 1 lacked `context` and `stop_requested_at`, version 2 `idle_s`, version 3 `is_rented`, version 4 `count`,
    # `type` and `where`, version 5 `sync` and `environment`, version 6 the `provider` of earlier starts.
    schema_version: ClassVar[int] = 7

    provider: str
    gpu: str
    started_at: float
    usd_per_hour: float
    device: str = ""
    count: float | None = None
    type: str = ""
    where: str = ""
    spot: bool = False
    shown_as: str = ""
    context: str = ""
    is_rented: bool = False
    sync: bool = False
    environment: bool = False
    handle: str | None = None
    stop_requested_at: float | None = None
    ended_at: float | None = None
    ended_by: str = ""
    exit_code: int | None = None
    until_at: float | None = None
    budget_usd: float | None = None
    deadline_at: float | None = None
    deadline_by: Literal["", "deadline", "budget"] = ""
    idle_s: float | None = None
    earlier_spans: tuple[EarlierStart, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    @property
    def is_on_this_machine(self) -> bool:
        """Whether its machine is the one that the workspace is on; then its handle is the id of a job."""
        return self.was_on_this_machine(self)

    def was_on_this_machine(self, start: EarlierStart | SessionRecord) -> bool:
        """The same of an earlier start."""
        return (self.provider if start.provider is None else start.provider) == "local"

    @property
    def limits(self) -> Limits:
        """When it ends by itself."""
        return Limits(
            until_at=self.until_at,
            budget_usd=self.budget_usd,
            deadline_at=self.deadline_at,
            deadline_by=self.deadline_by,
            idle_s=self.idle_s,
        )

    def spent_usd(self, ended_at: float | None) -> float:
        """The money of this start, until then or, given None, until now."""
        duration_s = max(0.0, (ended_at or time.time()) - self.started_at)
        return duration_s / 3600 * self.usd_per_hour

    def starts(self) -> tuple[EarlierStart, ...]:
        """The earlier starts, to be kept by the next one: this one is the last of them, unless its machines tell."""
        if self.is_rented:
            return self.earlier_spans
        span = EarlierStart(
            started_at=self.started_at,
            ended_at=self.ended_at,
            usd_per_hour=self.usd_per_hour,
            provider=self.provider,
        )
        return (*self.earlier_spans, span)


class MachineRecord(Body, frozen=True, kw_only=True):
    """One attempt to get a machine that costs money, named by its token; written before it is asked for.

    session, job: whose it is, and the job of its keeper. provider, gpu, device, count, type, where, spot,
    worst_usd_per_hour: as it was offered; an earlier version wrote no count. So is usd_per_hour, until its provider
    says what it costs. prices: where that changes while it runs, as far as is known. requested_at: when it was asked
    for first, and asked_at last, where the outcome was not known. deadline_at: when it ends by itself, as its provider
    was told. instance: what its provider calls it; empty until that is known. began_at: from when on it is paid, where
    its provider says so. ended_at, ended_by: when and why it was gone, or that there never was one.
    """

    kind: ClassVar[str] = "gpu.machine"
    # Version 1 lacked `count`, `type` and `where`, version 2 `prices`.
    schema_version: ClassVar[int] = 3

    session: str
    job: str
    provider: str
    gpu: str
    usd_per_hour: float
    requested_at: float
    device: str = ""
    count: float | None = None
    type: str = ""
    where: str = ""
    spot: bool = False
    worst_usd_per_hour: float | None = None
    asked_at: float = 0.0
    deadline_at: float | None = None
    instance: str = ""
    began_at: float | None = None
    ended_at: float | None = None
    ended_by: str = ""
    prices: tuple[PriceChange, ...] = ()

    @property
    def about(self) -> str:
        return f"gpu:{self.session}"

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    @property
    def paid_from(self) -> float:
        """From when on it is paid, as far as that is known."""
        return self.began_at or self.requested_at

    def paid_s(self, at: float) -> float:
        """The seconds that are billed until then; none where there never was a machine."""
        if not self.instance and not self.is_open:
            return 0.0
        return PER_SECOND.billed_s((self.ended_at or at) - self.paid_from)

    def spent_usd(self, at: float) -> float:
        """The money until then, each second at the price that held."""
        return self._meter().spent_usd(self.ended_at or at) if self.paid_s(at) else 0.0

    def mean_usd_per_hour(self, at: float) -> float:
        """What an hour of it has cost on average until then."""
        paid_s = self.paid_s(at)
        return self.spent_usd(at) * 3600 / paid_s if paid_s and self.prices else self.usd_per_hour

    def _meter(self) -> SpendingMeter:
        found = SpendingMeter(self.paid_from, self.usd_per_hour)
        for change in self.prices:
            found.price(change.at, change.usd_per_hour)
        return found
