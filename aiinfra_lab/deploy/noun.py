"""What the noun tells of endpoints: each lives on its target, serves versions that must stay, and takes time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from msgspec.structs import replace

from .. import jobs, nouns
from ..errors import LabError, NotFound, did_you_mean
from ..jobs.record import JobRecord, folder_of
from ..nouns import (
    LOG_LINES,
    STATE_DETAILS,
    Details,
    Keeping,
    Notice,
    Noun,
    Observation,
    Reference,
    Span,
    Throughput,
    is_overdue,
)
from ..providers import Patience
from ..resolve import resolve
from ..show import log_time
from ..store import Record, open_store, update
from ..uris import Uri
from . import admission, details, lifecycle, throughput
from .asking import side_by_side
from .base import State
from .desired_state import WITHOUT_IT
from .record import BY_ENDPOINT, EndpointRecord, EndpointSpan
from .retention import LOG_GIB, LOG_SETTING, log_files
from .versions import ALIAS, found_bad

# A server beats every second or so: an end that was written so long after its last beat is when somebody noticed it.
SILENT_S = 120.0


class DeployNoun(Noun[EndpointRecord]):
    """See `Noun`."""

    name = "deploy"
    settings: ClassVar = {
        "freeze": "when no version gets more traffic, e.g. fri 16:00 - mon 08:00; 2026-12-20 - 2027-01-03",
        "fronts": "how many processes take an endpoint's requests, 1 if not set; more need a machine of 4 cores",
        "load_s": "how long a version may take to be loaded and warmed up, in seconds",
        "body_mib": "how long a request's body may be, in MiB",
        "log_days": "for how many days the logs of predictions are kept",
        "log_gib": "how much those logs may take together, in GiB",
        "look_s": "how often a canary is judged, in seconds",
        "memory_gib": "how much memory a process of a model may take beyond what it takes when it is loaded, in GiB",
        "triton_env": "the folder of the environment that has Triton, `.venvs/triton` in the project if not set",
    }
    kind = EndpointRecord
    plural = "endpoints"
    stop_consequence = details.CONSEQUENCE

    def first(self, name: str) -> str:
        models = nouns.find("models")
        newest = next((label for label in models.names() if not Uri.is_bare(label)), "")
        if not newest:
            return models.first(name)
        return f"`%deploy start {name} --model models:{newest}` starts it"

    def observe(self, records: Sequence[Record[EndpointRecord]]) -> Sequence[Observation]:
        return [_observation(record, state) for record, state in lifecycle.observe_all(records)]

    def watched(self, ended: int = 20) -> Sequence[Observation]:
        store = open_store()
        living = self.observe(store.list(EndpointRecord, is_open=True, skip_unreadable=True))
        last = store.list(EndpointRecord, is_open=False, limit=ended, order="written", skip_unreadable=True)
        over = self.observe(last)
        # One that was found to have ended just now is in both.
        return list({item.uri: item for item in (*over, *living)}.values())

    def details(self, uri: str) -> Details:
        record = open_store().get(EndpointRecord, Uri.parse(uri).label)
        if record is None:
            return super().details(uri)
        record, state = lifecycle.observe(record)
        return details.details(record, state, lifecycle.target_of(record).output(record.body.job, LOG_LINES))

    def stop(self, uri: str) -> Sequence[str]:
        record, state = lifecycle.observe(resolve(uri, EndpointRecord))
        if not state.is_live:
            live = [item.name for item in open_store().list(EndpointRecord, is_open=True)]
            raise NotFound(f"nothing called {record.uri} lives", did_you_mean(record.name, live))
        record = lifecycle.request_stop(record)
        lifecycle.target_of(record).stop(record.body.job, 0)
        return [state.job] if state.job else []

    def spans(self, *, with_steps: bool = False) -> Sequence[Span]:
        records = open_store().list(EndpointRecord, skip_unreadable=True)
        return [span for record, state in lifecycle.observe_all(records) for span in _spans(record, state)]

    def throughputs(self) -> Sequence[Throughput]:
        return throughput.all_of(open_store().list(EndpointRecord, skip_unreadable=True))

    def keepings(self) -> Sequence[Keeping]:
        return [Keeping(LOG_SETTING, LOG_GIB, tuple(log_files()))]

    def before_freeing(self, paths: Collection[Path]) -> None:
        """The folder of a job has its last heartbeat, which may be all that tells when the endpoint ended."""
        freed = {path.name for path in paths}
        for record, _ in lifecycle.observe_all(open_store().list(EndpointRecord, skip_unreadable=True)):
            if freed & {record.body.job, *(span.job for span in record.body.earlier_spans)}:
                update(open_store(), EndpointRecord, record.name, lambda body: _with_ends(body, freed))

    def notices(self) -> Sequence[Notice]:
        """What does not serve though it should, and what serves another version than the champion."""
        seen = lifecycle.observe_all(open_store().list(EndpointRecord, skip_unreadable=True))
        answers = side_by_side("answering", dict(_to_be_asked(seen)))
        found = [
            (_unwell(record, state, answers.get(record.name)), _unknown(record, state), *_serving(record, state))
            for record, state in seen
        ]
        return [notice for each in found for notice in each if notice]

    def references(self) -> Sequence[Reference]:
        return [reference for record in open_store().list(EndpointRecord) for reference in _references(record)]


def _observation(record: Record[EndpointRecord], state: State | LabError) -> Observation:
    body = record.body
    if isinstance(state, LabError):  # its target cannot be asked now: it is not known to have ended
        return Observation(
            record.uri,
            "cannot tell",
            body.is_open,
            body.started_at,
            body.ended_at,
            job=_job(body),
            context=body.context,
            on_machine=_is_on_machine(body),
        )
    return Observation(
        uri=record.uri,
        state=state.word,
        is_live=state.is_live,
        started_at=body.started_at,
        ended_at=None if state.is_live else body.ended_at or state.ended_at,
        detail=_detail(body, state),
        can_stop=state.word in ("starting", "running") or (state.is_live and is_overdue(body.stop_requested_at)),
        job=_job(body),
        context=body.context,
        figure=details.figure(body) if state.is_live else "",
        facts=details.facts(body) if state.is_live else (),
        on_machine=_is_on_machine(body),
        actions=details.actions(record) if state.word in ("starting", "running") else (),
    )


def _job(body: EndpointRecord) -> str:
    """Its job on this machine, if it has one: another target's claims are no jobs."""
    return body.job if body.job and folder_of(body.job).is_dir() else ""


def _is_on_machine(body: EndpointRecord) -> bool:
    """Whether it takes this machine's time: what runs as a job does, whatever its target."""
    return body.is_ours or (bool(body.job) and open_store().get(JobRecord, body.job) is not None)


def _detail(body: EndpointRecord, state: State) -> str:
    lost = body.rolled_back
    rolled_back = f"{lost.model} was rolled back: {lost.reason}" if lost else ""
    unable = str(body.problem).partition("\n")[0] if body.is_unable and state.is_live else ""
    return "; ".join(filter(None, (rolled_back, unable, state.detail or _meaning(body, state))))


def _meaning(body: EndpointRecord, state: State) -> str:
    """What its state means; elsewhere there need be no process."""
    if body.is_ours or state.word not in ("lost", "starting"):
        return STATE_DETAILS.get(state.word, "")
    return f"{body.on} knows nothing of it any more" if state.word == "lost" else f"waiting for {body.on}"


def _references(record: Record[EndpointRecord]) -> Iterator[Reference]:
    if not record.body.stopped_at:  # also of one that died: it may be brought back
        for model in record.body.desired.models:
            yield Reference(model, f"{record.uri} serves", f"stop it first: `%deploy stop {record.name}`")


def _unwell(
    record: Record[EndpointRecord], state: State | LabError, is_answering: bool | LabError | None
) -> Notice | None:
    if isinstance(state, LabError):
        return Notice(record.uri, state.what, state.fix, "cannot tell")
    if isinstance(is_answering, LabError):
        return Notice(record.uri, is_answering.what, is_answering.fix, "cannot tell")
    body, stop = record.body, f"`%deploy stop {record.name}`"
    served = body.champion or body.canary
    again = f"`{details.start_again(record.name, body.on, served)}`"
    if not state.is_live and (state.word == "failed" or not body.stopped_at):
        # A version that was found bad is refused to whoever starts it again.
        is_bad = bool(served and found_bad(served))
        fix = admission.replacement(record) if is_bad else f"{again} starts it again, {stop} leaves it ended"
        return Notice(record.uri, _detail(body, state), fix)
    if body.is_unable and state.is_live:
        what, _, fix = str(body.problem).partition("\n  fix: ")
        return Notice(record.uri, what, fix)
    if is_answering is False:
        return Notice(record.uri, "it does not answer", f"{stop}, then {again}; `%deploy log {record.name}` says more")
    return None


def _unknown(record: Record[EndpointRecord], state: State | LabError) -> Notice | None:
    """That nobody knows what it counts now, which its rule and its costs are told by."""
    problem = record.body.report_problem
    if problem is None or isinstance(state, LabError) or not state.is_live:
        return None
    at = record.body.reported_at
    figures = f"its figures are from {log_time(at)}" if at else "there are no figures of it yet"
    return Notice(record.uri, f"{problem.why}; {figures}", problem.fix)


def _to_be_asked(
    seen: Iterable[tuple[Record[EndpointRecord], State | LabError]],
) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Those that should serve, with the question whether they do."""
    for record, state in seen:
        if isinstance(state, State) and state.word in ("starting", "running"):
            yield record.name, partial(_is_answering, record)


def _is_answering(record: Record[EndpointRecord]) -> bool:
    """Whether it serves anything, or may still be coming up."""
    target = lifecycle.target_of(record)
    is_new = time.time() - record.body.started_at < Patience.of(target, "ready", lifecycle.READY_S).within_s
    return is_new or target.serving(record.body.job).generation > 0


def _serving(record: Record[EndpointRecord], state: State | LabError) -> Iterator[Notice | None]:
    """What may surprise somebody of what an endpoint serves, or would if it had not vanished."""
    body = record.body
    if body.stopped_at:
        return
    is_live = isinstance(state, LabError) or state.is_live
    serves = "serves" if is_live else "was to serve"
    yield _other_champion(record, serves)
    for model in body.desired.models:
        if found_bad(model):
            away = admission.without(record) if is_live else admission.replacement(record)
            fix = f"{away}; `%models show {Uri.parse(model).label}` says why"
            yield Notice(record.uri, f"{serves} {model}, which was checked and found bad", fix)
    for bound in body.verdict.alarms if body.verdict and body.canary and is_live else ():
        yield Notice(record.uri, f"as a whole it breaks its bound: {bound}", f"look: `%deploy show {record.name}`")
    lost = body.rolled_back
    if lost and lost.by == "rule" and not body.canary:
        why = f"{lost.model} was rolled back by its rule: {lost.reason}"
        yield Notice(record.uri, why, f"`%deploy log {record.name}` says more")
    if is_live and WITHOUT_IT in (body.problem or ""):
        what, _, fix = str(body.problem).partition("\n  fix: ")
        again = "start it again as what it was, or leave it: the others lack nothing"
        yield Notice(record.uri, what, f"{fix}; then {again}")
    elif lost and lost.by == BY_ENDPOINT and is_live:
        why = f"{lost.model} cannot be served, and {body.champion} serves in its place: {lost.reason}"
        again = details.start_again(record.name, body.on, lost.model)
        yield Notice(record.uri, why, f"once its files are whole again: `{again}`; or keep {body.champion}")


def _other_champion(record: Record[EndpointRecord], serves: str) -> Notice | None:
    """An endpoint serves versions, an alias names one: when they differ, somebody may be surprised."""
    served = record.body.champion
    if not served:
        return None
    champion = nouns.find("models").aliased(Uri.parse(served).name, ALIAS)
    if champion is None or str(champion) == served:
        return None
    detail = f"{serves} {served}, while the champion is {champion}"
    return Notice(record.uri, detail, f"`{details.start_again(record.name, record.body.on, str(champion))}`")


# ---- time ----


def _spans(record: Record[EndpointRecord], state: State | LabError) -> Iterator[Span]:
    """This start and the earlier ones."""
    body = record.body
    this = EndpointSpan(body.started_at, body.ended_at, body.job, body.count, body.busy_ms)
    # What cannot be asked counts as if it went on: it may cost money.
    is_live = (state.is_live if isinstance(state, State) else body.is_open) and not body.ended_at
    span = _span(record, this, time.time() if is_live else _ended_at(this), is_live=is_live)
    yield dataclasses.replace(span, days=tuple((each.day, each.rows) for each in body.days))
    for earlier in body.earlier_spans:
        yield _span(record, earlier, _ended_at(earlier), is_live=False)


def _span(record: Record[EndpointRecord], span: EndpointSpan, ended_at: float, *, is_live: bool) -> Span:
    # Without a price: this machine's counts, and a target elsewhere states none.
    return Span(
        uri=record.uri,
        started_at=span.started_at,
        ended_at=ended_at,
        is_live=is_live,
        on_machine=_is_on_machine(record.body),
        rows=span.count,
        busy_s=span.busy_ms / 1000,
        counted_at=record.updated_at if is_live else None,
    )


def _ended_at(span: EndpointSpan) -> float:
    """When it ended. Of a process that vanished its last heartbeat counts, not when somebody noticed it."""
    beat_at = _last_beat_at(span.job)
    if span.ended_at and not (beat_at and span.ended_at - beat_at > SILENT_S):
        return span.ended_at
    return max(span.started_at, beat_at or span.ended_at or _job_ended_at(span.job) or span.started_at)


def _with_ends(body: EndpointRecord, jobs_freed: Collection[str]) -> EndpointRecord | None:
    this = EndpointSpan(body.started_at, body.ended_at, body.job)
    earlier = tuple(
        replace(span, ended_at=_ended_at(span)) if span.job in jobs_freed else span for span in body.earlier_spans
    )
    ended_at = _ended_at(this) if body.job in jobs_freed and not body.is_open else body.ended_at
    ended = replace(body, ended_at=ended_at, earlier_spans=earlier)
    return None if ended == body else ended


def _last_beat_at(job: str) -> float | None:
    try:
        return (folder_of(job) / "heartbeat").stat().st_mtime if job else None
    except OSError:
        return None


def _job_ended_at(job: str) -> float | None:
    try:
        return jobs.poll(job).ended_at if job else None
    except NotFound:
        return None


NOUN = DeployNoun()
