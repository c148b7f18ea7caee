"""`deploy run`: rows of a data version or of features become requests, and what came back becomes a result."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from ..errors import Failed, LabError, NotFound, Unavailable, UsageProblem, did_you_mean
from ..features.contract import ROW_ID
from ..show import LiveFrame, working
from ..store import Event, Record, open_store
from ..train.saved_model import SavedModel
from ..units import show_duration, show_share
from . import cards, lifecycle, load_generator
from .base import Reporting
from .load_generator import LoadCounts
from .record import EndpointRecord, Verdict
from .reports import verdict_on
from .results import Load
from .versions import artifact

MOST_BODIES = 20_000
MOST_S = 24 * 3600.0
MOST_RATE = 20_000.0
MOST_BATCH = 4096
_LOOK_S = 1.0


def run(
    record: Record[EndpointRecord],
    rows: object,
    rate: float,
    for_s: float,
    batch: int,
    *,
    until_decided: bool = False,
) -> Load:
    """Send the rows, commit the event that says so, and return what came back. Failed when no row got a score."""
    from .. import features
    from ..features.opening import rows_of

    if not record.body.url:
        raise Unavailable(f"{record.name} cannot be asked from here", "run it from the folder where it was started")
    _within("--rate", rate, 1e-3, MOST_RATE, "requests a second")
    _within("--batch", batch, 1, MOST_BATCH, "rows a request")
    if for_s > MOST_S:
        raise UsageProblem(f"--for {show_duration(for_s)} is too long", "give at most --for 24h")
    uri = record.uri
    with working(cards.LOAD_KIND, uri, "makes the requests from the rows"):
        saved = SavedModel(artifact(record.body.desired.models[0]))
        called = rows_of(record.name)
        source = (
            features.rows_for(rows, saved.columns, called) if saved.is_of_table else features.open_rows(rows, called)
        )
        names = saved.rows.names
        absent = [name for name in names if name not in _columns(source)]
        optional = {item.name for item in saved.columns if not item.required} if saved.is_of_table else set()
        # All are made before the first is sent: making them must not count as latency.
        bodies = list(_bodies(source, names, optional, batch, load_generator.requests_in(rate, for_s)))
    trial = _Trial(record) if until_decided else None
    counts = _send(record, bodies, rate, for_s, trial.is_decided if trial else lambda: False)
    # So that whoever reads next, be it the log or what it cost, finds all of it.
    lifecycle.written(record)
    notes = *_notes(record, absent), *(trial.notes(counts.took_s) if trial else ()), *_limit_notes(record.name, counts)
    found = _result(uri, str(source.uri), counts, notes)
    detail = {name: value for name, value in dataclasses.asdict(found).items() if name not in ("uri", "rows", "notes")}
    detail["batch"] = batch
    # Before the errors below: the traffic was sent, whatever came of it.
    open_store().commit([], Event("deploy run", uri, (str(source.uri),), (uri,), detail))
    if counts.interrupted:
        raise Failed(
            f"you stopped the traffic after {show_duration(found.for_s)}: {found.sent:,} sent, {found.ok:,} ok, "
            f"{found.refused:,} refused, {found.errors:,} errors",
            f"`%deploy show {record.name}` counts all of it; run it again for the rest",
        )
    if not found.ok:
        fix = "correct the rows" if found.refused else f"look with `%deploy log {record.name}`"
        raise Failed(f"of {found.sent} requests none was answered with a prediction: {found.first_problem}", fix)
    return found


class _Trial:
    """What is known of an endpoint's canary while it gets the traffic."""

    def __init__(self, record: Record[EndpointRecord]) -> None:
        self._record = record
        self._state: str | None = None
        self._look_at = time.monotonic() + _LOOK_S

    def is_decided(self) -> bool:
        """Whether it was shown to be good enough, or not to be. Never where there is no canary."""
        if self._state is None and self._record.body.canary and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_S
            now = open_store().get(EndpointRecord, self._record.name)
            if now is None or now.body.canary != self._record.body.canary:
                self._state = "over"  # rolled back, or changed by somebody; another note says which
            else:
                verdict = _verdict(now)
                self._state = verdict.state if verdict and verdict.state != "undecided" else None
        return self._state is not None

    def notes(self, took_s: float) -> Iterator[str]:
        """How the trial stands now."""
        canary, lasted = self._record.body.canary, show_duration(took_s)
        if canary is None:
            yield "no version is on trial, so there is nothing to decide"
        elif self._state is None:
            yield f"the verdict on {canary} is not known after {lasted}; `%deploy show {self._record.name}` says why"
        elif self._state != "over":
            yield f"the verdict on {canary} is known after {lasted}: {self._state}"


def _verdict(record: Record[EndpointRecord]) -> Verdict | None:
    """What its target judges at this moment; None where it does not, not yet of what serves now, or does not answer."""
    target = lifecycle.target_of(record)
    with contextlib.suppress(LabError):  # the traffic goes on, and says what became of it
        if isinstance(target, Reporting) and (report := target.report(record.body.job)):
            return verdict_on(record.body, report)
    return None


def _send(
    record: Record[EndpointRecord],
    bodies: Sequence[bytes],
    rate: float,
    for_s: float,
    is_enough: Callable[[], bool],
) -> LoadCounts:
    """Send them with a frame that counts; it goes in any case, since the result or the error says the rest."""
    began = time.monotonic()
    frame = LiveFrame(cards.load_frame(record.uri, LoadCounts(), 0.0, for_s))

    def draw(now: LoadCounts) -> None:
        frame.update(cards.load_frame(record.uri, now, time.monotonic() - began, for_s))

    try:
        return load_generator.send(record.body.url, bodies, rate, for_s, draw, is_enough=is_enough)
    finally:
        frame.clear()


def _within(flag: str, value: float, least: float, most: float, unit: str) -> None:
    if not least <= value <= most:
        raise UsageProblem(f"{flag} {value:g} is out of reach", f"give {flag} {least:g} to {most:g} {unit}")


def _notes(before: Record[EndpointRecord], absent: Sequence[str]) -> tuple[str, ...]:
    """What the counts do not say: columns that were not there, and a canary that lost its traffic meanwhile."""
    notes = [f"the rows have no {', '.join(absent)}: sent as missing"] if absent else []
    now = open_store().get(EndpointRecord, before.name)
    lost = now.body.rolled_back if now else None
    if lost and lost != before.body.rolled_back:
        notes.append(f"meanwhile {lost}")
    return tuple(notes)


def _limit_notes(name: str, counts: LoadCounts) -> Iterator[str]:
    if counts.is_own_limit:
        late_ms = counts.lag.quantile_ms(0.95) or 0.0
        yield (
            f"the client, not the endpoint, was the limit: it sent {counts.sent / counts.sending_s:,.0f} of "
            f"{counts.rate:,.0f} a second, was busy for {show_share(counts.busy_share)} of the time and {late_ms:,.1f} "
            f"ms late (p95); with a core of its own it can send about {counts.ceiling_per_s:,.0f} such requests a "
            "second. The latencies are its own wait as well: give a lower --rate; "
            f"`%deploy show {name}` has those of the endpoint"
        )


def _columns(source: Any) -> list[str]:
    names: list[str] = source.scan().collect_schema().names()
    return names


def _bodies(source: Any, asked: Sequence[str], optional: Collection[str], batch: int, most: int) -> Iterator[bytes]:
    """At most that many requests with what the model asks for only; the entity of a request's first row is its key.

    The rows are drawn at random, always the same, so that a short test is a fair sample of them all.
    """
    import orjson

    df = source.df()
    df = df.sample(min(len(df), min(most, MOST_BODIES) * batch), random_state=0)
    if absent := [name for name in asked if name not in optional and name not in df.columns]:
        raise NotFound(
            f"the rows have no column {absent[0]!r}, which the model needs",
            did_you_mean(absent[0], map(str, df.columns)),
        )
    if df.empty:
        raise Failed("there are no rows to send", "give --rows something with rows in it")
    names = [name for name in (*asked, ROW_ID) if name in df.columns]
    keys = [name for name in getattr(source, "entity", ()) if name in df.columns]
    listed = [dict(zip(names, values, strict=True)) for values in _values(df, names)]
    entities = ["|".join(map(str, values)) for values in _values(df, keys)] if keys else []
    for at in range(0, len(listed), batch):
        body = {"rows": listed[at : at + batch]} | ({"key": entities[at]} if entities else {})
        yield orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY, default=_as_list)


def _as_list(value: Any) -> Any:
    """An array of arrays, as data frames hold what has more than one dimension."""
    return value.tolist()


def _values(df: Any, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    # As objects: in a column of numbers pandas would turn None back into NaN, which is no JSON.
    columns = [df[name].astype(object).where(df[name].notna(), None) for name in names]
    return zip(*columns, strict=True)


def _result(uri: str, rows: str, counts: LoadCounts, notes: tuple[str, ...]) -> Load:
    answered = counts.ok + counts.refused + counts.errors
    return Load(
        uri=uri,
        rows=rows,
        sent=counts.sent,
        ok=counts.ok,
        refused=counts.refused,
        errors=counts.errors,
        for_s=counts.took_s,
        per_s=answered / counts.took_s if counts.took_s else 0.0,
        p50_ms=counts.quantile_ms(0.50),
        p95_ms=counts.quantile_ms(0.95),
        p99_ms=counts.quantile_ms(0.99),
        versions=dict(counts.versions),
        first_problem=counts.first_problem,
        notes=notes,
    )
