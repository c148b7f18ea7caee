"""An endpoint as the workspace remembers it: what it is to serve, where it runs, and what it did since its start."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Literal

import msgspec

from ..rules import Rule
from ..stats.bounds import JudgedBound, JudgedMeasure
from ..store import Body

MOST_DAYS = 60

OURS = "local"
"""The target that is our own server on this machine."""

BY_ENDPOINT = "the endpoint"
"""What took the traffic from a version that could not be served."""

Outcome = Literal["", "stopped", "failed", "lost"]
Role = Literal["champion", "canary", "candidate", "shadow"]
VerdictState = Literal["breach", "ok", "undecided"]


class MeasuredLatency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Percentiles that a target knows by itself, in milliseconds. measured_by: who has measured what, as people read
    it: `the load balancer, over the last hour`."""

    measured_by: str
    p50_ms: float | None = None
    p95_ms: float | None = None

    def of(self, share: float) -> float | None:
        """The latency that this share of the requests stayed within; None where nobody has said."""
        return {0.5: self.p50_ms, 0.95: self.p95_ms}.get(share)


class VersionCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one version did since the endpoint was started, see `server.counts`.

    shadowed: what it did besides as a shadow, whose answers nobody got.
    buckets: requests by the place of their bucket's upper edge in `server.counts.EDGES_MS`, as text; empty ones left
    out. latency: stated in their place by a target that counts no such buckets.
    """

    requests: int = 0
    rows: int = 0
    errors: int = 0
    refused: int = 0
    busy_ms: float = 0.0
    buckets: dict[str, int] = msgspec.field(default_factory=dict)
    latency: MeasuredLatency | None = None
    shadowed: VersionCounts | None = None


class RuleCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was counted of one canary, to go on after a restart. of: what it belongs to, see `DesiredState.judged`.

    unanswered: those of its requests that got no score, and so have no latency. trials: how often it began anew, each
    time with another share, salt, rule or champion. evidence: see `server.judge`.
    """

    of: tuple[str, ...]
    requests: int = 0
    unanswered: int = 0
    trials: int = 1
    evidence: dict[str, Any] = msgspec.field(default_factory=dict)


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the canary was judged last, with a sentence for each thing that was compared, or for each bound.

    measures: how it compares with its champion. bounds: the endpoint as a whole against what the rule allows; they
    decide only where no champion runs. Neither is there of a target that judges by itself. false_per_hour: how often
    at most a healthy canary loses its traffic in an hour, beside false_at_start once.
    """

    state: VerdictState
    reasons: tuple[str, ...] = ()
    bounds: tuple[JudgedBound, ...] = ()
    measures: tuple[JudgedMeasure, ...] = ()
    false_per_hour: float = 0.0
    false_at_start: float = 0.0

    @property
    def alarms(self) -> tuple[JudgedBound, ...]:
        """The bounds that the endpoint as a whole exceeds."""
        return tuple(bound for bound in self.bounds if bound.verdict == "breach")


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version that lost its traffic: why, when, and by what: `rule`, the verb `rollback`, or BY_ENDPOINT."""

    model: str
    reason: str
    at: float = 0.0
    by: str = ""

    def __str__(self) -> str:
        return f"{self.model} was rolled back by {self.by}: {self.reason}"


class ReportProblem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why nothing newer is known of what a target counts: what is wrong with its reports, and since when."""

    why: str
    fix: str
    since: float


class EndpointSpan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An earlier start of the same endpoint. ended_at: None when nobody wrote it down. count: rows predicted."""

    started_at: float = 0.0
    ended_at: float | None = None
    job: str = ""
    count: int = 0
    busy_ms: float = 0.0


class DayCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an endpoint did on one day, as dates are written, in the time zone of the machine that counted it."""

    day: str
    rows: int = 0
    busy_ms: float = 0.0


class Arm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of an endpoint, and what it is there for.

    champion: answers what no other arm gets. canary: is on its way to be the champion, and loses its traffic when it
    is worse. candidate: gets its share for as long as somebody wishes, to be compared (A/B). shadow: is asked what
    others have answered, and answers nobody. share: of the request keys; of a shadow, of the requests.
    """

    model: str
    role: Role
    share: float


class DesiredState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an endpoint is to serve. `generation` grows by one with every change.

    The canary gets `share` of the request keys, all of them while there is no champion. salt: fixed for as long as
    the canary is; it decides which keys those are. rollback_if: what takes the canary's traffic away. steps: the
    shares that follow, each once the one before has lasted bake_s, and the canary was shown to be not worse; the last
    may be all. step_at: when the canary got its share. others: candidates and a shadow, beside a champion.
    """

    champion: str | None = None
    canary: str | None = None
    share: float = 0.0
    salt: str = ""
    rollback_if: Rule | None = None
    generation: int = 0
    steps: tuple[float, ...] = ()
    bake_s: float = 0.0
    step_at: float = 0.0
    others: tuple[Arm, ...] = ()

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All versions with what they really get, the champion first."""
        champion = (Arm(self.champion, "champion", self.champion_share),) if self.champion else ()
        canary = (Arm(self.canary, "canary", self.canary_share),) if self.canary else ()
        return (*champion, *canary, *self.others)

    @property
    def models(self) -> tuple[str, ...]:
        """The versions of all arms."""
        return tuple(arm.model for arm in self.arms)

    @property
    def canary_share(self) -> float:
        """The share that the canary really gets."""
        if self.canary is None:
            return 0.0
        return self.share if self.champion else 1.0

    @property
    def champion_share(self) -> float:
        """The share that is left for the champion."""
        return 1 - self.canary_share - sum(arm.share for arm in self.others if arm.role == "candidate")

    @property
    def compared_share(self) -> float:
        """Of the keys that champion and canary get together, the canary's share."""
        both = self.canary_share + self.champion_share
        return self.canary_share / both if self.champion else self.canary_share

    @property
    def judged(self) -> tuple[str, ...] | None:
        """What evidence belongs to: this canary with this share beside this champion, since it began, under this rule.

        None where there is nothing to judge by: no rule, and nobody to compare the canary with.
        """
        if self.canary is None or (self.rollback_if is None and self.champion is None):
            return None
        return self.canary, self.salt, str(self.rollback_if or ""), self.champion or "", f"{self.compared_share:g}"


class EndpointRecord(Body, frozen=True, kw_only=True):
    """An endpoint: the desired state in its first ten fields, then its target, and what was observed.

    earlier: the champions before this one, the oldest first. on: the target. job: the target's claim, which on this
    machine is a job's id. context: what started it, as `config.context` says. url, port: where it answers. grpc_url,
    grpc_port: where it speaks gRPC besides, while it does; the port stays, None where nobody asked for that, 0 for any.
    problem: why `problem_generation` cannot be served. served_generation: what our own server serves, for those who
    share its store and cannot ask it. stop_requested_at: when somebody asked for its end, before its target was.
    stopped_at: when it ended because it was asked to. outcome, detail, restarts: how it ended, once somebody has
    observed that. count: rows predicted. log_dir: where its predictions are logged, empty when its target keeps no log.
    reported_at: when another target reported the counts that are written here; report_problem: why it reports none any
    more. days: what it did on each of the last days, in all its starts, the oldest first.
    """

    kind: ClassVar[str] = "deploy"
    schema_version: ClassVar[int] = 9

    champion: str | None = None
    canary: str | None = None
    share: float = 0.0
    salt: str = ""
    rollback_if: Rule | None = None
    generation: int = 0
    steps: tuple[float, ...] = ()
    bake_s: float = 0.0
    step_at: float = 0.0
    others: tuple[Arm, ...] = ()
    earlier: tuple[str, ...] = ()
    on: str = OURS
    job: str = ""
    context: str = ""
    url: str = ""
    port: int = 0
    grpc_url: str = ""
    grpc_port: int | None = None
    started_at: float = 0.0
    ended_at: float | None = None
    stop_requested_at: float | None = None
    stopped_at: float | None = None
    outcome: Outcome = ""
    detail: str = ""
    restarts: int = 0
    problem: str | None = None
    problem_generation: int | None = None
    served_generation: int = 0
    rolled_back: Rollback | None = None
    judged: RuleCounts | None = None
    verdict: Verdict | None = None
    versions: dict[str, VersionCounts] = msgspec.field(default_factory=dict)
    count: int = 0
    log_dir: str = ""
    log_lost_rows: int = 0
    reported_at: float = 0.0
    report_problem: ReportProblem | None = None
    earlier_spans: tuple[EndpointSpan, ...] = ()
    days: tuple[DayCounts, ...] = ()

    @classmethod
    def upgrade(cls, fields: dict[str, Any], version: int) -> dict[str, Any]:
        """Version 1 kept the rule as it was written, and how an endpoint ended in its job alone.

        Version 2 lacked `context` and `stop_requested_at`, version 3 `served_generation`, version 4 what its
        target's reports are worth. Version 5 counted what the canary did against its bounds, by which nobody can tell
        whether it is worse than the champion. Version 6 knew no arms beside these two, version 7 no
        gRPC, and version 8 no days.
        """
        if version < 6:
            fields = {**fields, "judged": None}
        if version > 1:
            return fields
        from ..stats.bounds import parse_bounds

        text = fields.get("rollback_if")
        rule = parse_bounds(text) if text else None
        # Of one that was not stopped its job still says how it ended; that is written when somebody observes it.
        outcome = "stopped" if fields.get("stopped_at") else ""
        return {
            **fields,
            "rollback_if": msgspec.to_builtins(rule) if rule else None,
            "outcome": outcome,
        }

    @property
    def is_open(self) -> bool:
        return not self.outcome

    @property
    def is_unable(self) -> bool:
        """Whether what it serves answers nothing any more, and nothing could take its place: `problem` says why."""
        return self.problem is not None and self.problem_generation == self.generation == self.served_generation

    @property
    def is_ours(self) -> bool:
        """Whether our own server serves it, which writes what it counts, judges and rolls back in here by itself."""
        return self.on == OURS

    @property
    def desired(self) -> DesiredState:
        """What it is to serve."""
        names = DesiredState.__struct_fields__
        return DesiredState(**{name: getattr(self, name) for name in names})

    def with_counts(self, versions: dict[str, VersionCounts]) -> EndpointRecord:
        """The same with what was counted until now, and what of it is new on this day."""
        rows = sum(counts.rows for counts in versions.values())
        busy_ms = sum(counts.busy_ms for counts in versions.values())
        today = time.strftime("%Y-%m-%d")
        last = self.days[-1] if self.days and self.days[-1].day == today else DayCounts(today)
        # Nothing counts backwards, not even where a process began anew and had lost what it had counted.
        more = DayCounts(today, last.rows + max(0, rows - self.count), last.busy_ms + max(0.0, busy_ms - self.busy_ms))
        days = (*(day for day in self.days if day.day != today), more)[-MOST_DAYS:] if more.rows else self.days
        return msgspec.structs.replace(self, versions=versions, count=rows, days=days)

    @property
    def busy_ms(self) -> float:
        """Milliseconds spent on answering since the start, of all versions together."""
        return sum(counts.busy_ms for counts in self.versions.values())
