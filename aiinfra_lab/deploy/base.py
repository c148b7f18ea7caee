"""Where an endpoint runs: the contract of whatever brings an endpoint up, serves its models, and ends it.

The endpoint answers `POST URL/predict` with a body `{"rows": [{column: value}, …], "key": …}` (the key may be left out)
by `{"request_id": …, "model": URI, "predictions": [{"row_id": …, OUTPUT: value, …}, …]}`, with each output of the
model's signature as `Signature.answers` gives it; all of them are null, with `error`, in a row that got none. A request
that it refuses gets a status from 400 on with `{"error": {"what": …}}`. The files of a model version are in the folder
`artifact(uri)`.

The key decides who answers: all requests with one key get the same version until something else is to be served. A
request without a key may get either.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, Protocol, TypedDict, runtime_checkable

from ..providers import Paced
from ..store import Record
from .record import DesiredState, MeasuredLatency, Role, Verdict, VersionCounts
from .versions import artifact

__all__ = [
    "LIVE", "Claim", "Exporter", "MeasuredLatency", "Paced", "PredictedRow", "PredictionLog", "Report", "Reporting",
    "Role", "Serving", "ServingOthers", "State", "Target", "Word", "artifact",
]  # fmt: skip

Word = Literal["starting", "running", "stopping", "stopped", "failed", "lost"]
LIVE: tuple[Word, ...] = ("starting", "running", "stopping")


@dataclass(frozen=True)
class Claim:
    """One start of one endpoint, as its target calls it; the endpoint's record keeps `id`.

    records: what must be committed together with the endpoint's record. port: where it will listen, 0 when that is not
    known yet. log_dir: the folder on this machine where it will log its predictions, if it does.
    """

    id: str
    records: Sequence[Record[Any]] = ()
    port: int = 0
    log_dir: str = ""


@dataclass(frozen=True)
class State:
    """How what was claimed is at this moment; `running` although it may not serve yet.

    restarts: how often it came back after it had died. detail: more about it, briefly. ended_at: epoch seconds of
    its last sign of life, when it has ended and that is known. job: the id of the job that runs it, where that is
    one of this workspace; a target that is `Reporting` is asked for its reports all the same. restarted_at: when it
    came back last, where that is known.
    """

    word: Word
    restarts: int = 0
    detail: str = ""
    ended_at: float | None = None
    job: str = ""
    restarted_at: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether it serves, or will, or still does."""
        return self.word in LIVE


@dataclass(frozen=True)
class Serving:
    """What an endpoint serves. url: empty while it is not known. generation: 0 while it serves nothing.

    problem: why the generation `problem_generation` cannot be served, with the fix in a second line as a LabError has
    it; what was served before is served on.
    """

    url: str = ""
    generation: int = 0
    problem: str = ""
    problem_generation: int = 0


class Target(Protocol):
    """Something that endpoints run on.

    One that takes longer than a minute to serve, or 20 s to end, says so: see `Paced`.
    """

    def claim(self, name: str, port: int | None) -> Claim:
        """A new claim for the endpoint of that name, which is not live. Starts nothing, commits nothing.

        port: where it has to listen; None for any. Conflict when that is taken, UsageProblem when it cannot be chosen.
        """

    def apply(self, claim: str, desired: DesiredState) -> None:
        """See to it that the claim's endpoint comes up and serves this. Returns at once; `serving` says when it does.

        Called after every change, and again with the same when somebody may have died in between: then it changes
        nothing. UsageProblem for what it can never serve, Unavailable when it cannot now; it serves on as before.
        """

    def observe(self, claims: Sequence[str]) -> Mapping[str, State]:
        """How these are, in as few questions as possible; within 10 s. A claim that nothing is known of is lost.

        Unavailable when the target cannot be asked.
        """

    def serving(self, claim: str) -> Serving:
        """What it serves, asked of the endpoint itself; within 2 s. Nothing is served by what is not live."""

    def stop(self, claim: str, timeout_s: float) -> None:
        """End it, giving it time to answer what it has taken, and forget a claim that was never applied.

        Returns when it is gone, at once when it is gone already; with 0 as soon as its end is under way. Unavailable
        when it still lives after timeout_s.
        """

    def output(self, claim: str, lines: int) -> str:
        """The end of what it printed; empty when nothing is known of it."""


@runtime_checkable
class ServingOthers(Protocol):
    """What a target may be able to do besides: serve candidates, or a shadow, beside champion and canary.

    Every request with one key gets the same candidate while its share stays the same; a shadow is asked after the
    request was answered, never answers, and makes nobody wait.
    """

    def other_roles(self) -> Collection[Role]:
        """Which of them: `candidate`, `shadow`."""


@dataclass(frozen=True)
class Report:
    """What a live endpoint counted since it was started, by version, and how its rule is judged.

    versions: with latencies either in buckets, or as the percentiles that the target knows and who measured them.

    generation: the one of the desired state that the verdict, its counts and canary_share belong to, be it served any
    more or not. Counts that come late keep the generation that they were taken of: a verdict on an earlier canary must
    not carry the generation of the next. Only a verdict of the record's own generation is acted on.

    requests: those that the rule has judged by; of several bounds, the one counts that has seen the fewest. A latency
    is judged by the requests that got a score. unanswered: the canary's requests that got none.
    """

    versions: Mapping[str, VersionCounts]
    canary_share: float
    generation: int
    verdict: Verdict | None = None
    requests: int = 0
    unanswered: int = 0
    log_lost_rows: int = 0


@runtime_checkable
class Reporting(Protocol):
    """What a target may be able to do besides: count by version, and so carry out a rollback rule.

    When the canary breaks the `rollback_if` of the desired state, and there is a champion, the target by itself sends
    all traffic to the champion.
    """

    def report(self, claim: str) -> Report | None:
        """What was counted until a moment ago, within 2 s; None when the endpoint does not answer, or has ended."""


class PredictedRow(TypedDict):
    """A row that was predicted.

    at: epoch seconds of the answer. model: the URI of the version that answered. arm: its role then. inputs: column →
    value as it was sent. outputs: name → value as it was answered; None when the version gave none, and then error says
    why.
    """

    at: float
    request_id: str
    row_id: str
    model: str
    arm: Role
    latency_ms: float
    inputs: dict[str, Any]
    outputs: dict[str, Any] | None
    error: NotRequired[str]


@runtime_checkable
class PredictionLog(Protocol):
    """What a target may be able to do besides: log every predicted row."""

    def predictions(self, claim: str, log_dir: str, rows: int) -> Sequence[PredictedRow]:
        """At most so many rows, the last ones, the newest first, up to what was answered before this call.

        With 0 rows it brings up to date what others read, the log and the counts, and answers none.
        Also when the endpoint has ended. Of what was never claimed there are none.
        """


class Exporter(Protocol):
    """What `deploy export` can write: a project of its own that serves a version, and needs nothing of ours."""

    def write(self, name: str, uri: str, folder: Path, into: Path) -> None:
        """Write the project of the version `uri`, whose files are in `folder`, for the endpoint of that name, whole or
        not at all. into: a new folder, or an empty one; Conflict, and nothing is touched, when something is there.

        It answers the example in the version's files as it was answered when the version was saved.
        """
