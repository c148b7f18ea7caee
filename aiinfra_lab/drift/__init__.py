"""What changed since training, and whether it matters: a verdict with a known share of false alarms."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from ..errors import Failed, Inconclusive, UsageProblem, did_you_mean
from ..resolve import resolve
from ..show import Listing, shown, working
from ..stats import blocks
from ..store import Event, Record, add_version, open_store
from ..units import Share, number
from ..uris import Uri
from ..verbs import Choices, Destination, Live, Name, Rows, Suggested, verb
from . import advice, exports, served, values
from .alerting import report_verdict
from .record import ColumnChange, DriftRecord, reasons
from .results import DriftReport
from .served import Sample
from .verdict import found_units, judge, overall

__all__ = ["ColumnChange", "DriftReport", "check", "get", "log", "ls", "show"]

_LAST_SETS = 20  # which are asked for their columns while somebody types

EndpointName = Annotated[Name, Live("deploy")]
VerdictName = Annotated[Name, Live("drift")]


def _columns(typed: Mapping[str, str]) -> list[str]:
    """Those of the reference; as long as none is typed, those that the last feature sets know."""
    from ..data import versions
    from ..features.record import FeatureSetVersion

    if found := versions.columns(typed.get("against", "")):
        return found
    last = open_store().list(FeatureSetVersion, limit=_LAST_SETS, skip_unreadable=True)
    return sorted({name for one in last for name in (one.body.timestamp, *one.body.features, one.body.row_id)} - {""})


@verb("drift")
def check(
    name: EndpointName,
    *,
    against: Rows,
    rows: Rows | None = None,
    since: str | None = None,
    by: Annotated[str | None, Suggested(_columns)] = None,
    data: Rows | None = None,
    alpha: Share = 0.05,
    report: bool = False,
) -> DriftReport:
    """Judge whether what an endpoint is asked, and what it answers, is still what its model learned from.

    The current sample, the endpoint's log, is compared with a reference: numbers, categories, missing and unseen
    values and the prediction. A free text is judged by numbers: its characters, its words, and the share of its
    words that no other text of the reference has, but for those that count as one with it. Rows that depend on each
    other, such as those of one day, count as one: by the column that --by declares, else as far as it can be found,
    as rows that repeat, as entities that return, or as stretches of rows in their order. It raises on drift, and
    when it cannot tell, so that a pipeline stops there.

    name: the endpoint
    against: the reference, taken through the model's features first, e.g. data:flights@1
    rows: judge these rows instead of the endpoint's log
    since: only the log since then: 15m for the last 15 minutes, or an epoch time; by default since the endpoint was
        last started, and 365d takes what earlier starts logged too
    by: a column of the rows, whether the model reads it or not, e.g. their day: rows with one value of it may depend on
        each other, and those with different ones do not. That is believed, but neighbouring values that resemble each
        other are taken together, as far as there are enough to tell; days as texts have the year first. A column with
        another value in each row, such as a moment, is the order of the rows
    data: the version whose tables the views read, when the rows are not from it
    alpha: the share of checks that may call a column drifted although nothing changed, which holds as far as what
        counts as one does not depend on the rest
    report: hand the verdict back instead of raising

    Example:
        %drift check late --against data:flights@1 --report
    """
    level = number(alpha)
    if not 0 < level < 1:
        raise UsageProblem(f"--alpha {alpha} leaves nothing to judge by", "write --alpha 5%")
    endpoint, declared = served.endpoint(name), by or ""
    with working(DriftReport.kind, str(Uri("drift", Uri.parse(endpoint.uri).name)), "reads both samples") as step:
        model = served.model_of(endpoint)
        reference = served.feature_rows(against, model, declared, data)
        since_at = served.moment(since, endpoint) if rows is None else None
        if rows is None:
            current = served.log_rows(endpoint, model, since_at or 0.0, declared)
        else:
            current = served.feature_rows(rows, model, declared, data)
        # A table's columns are what somebody sent: only what a network reads or answers as it is has digits to spare.
        computed = reference.outputs if model.has_columns else reference.rows.columns
        rows_of_both = values.rounded(reference.rows, current.rows, computed)
        # They never differ from themselves, and that would be a verdict.
        if current.uri == reference.uri or rows_of_both[0].equals(rows_of_both[1]):
            fix = "give other rows to one of them, or judge the log: leave out --rows"
            twice = current.uri if current.uri == reference.uri else f"{current.uri}, the rows of {reference.uri},"
            raise UsageProblem(f"{twice} is on both sides", fix)
        step(f"compares {current.rows.height:,} rows with {reference.rows.height:,}")
        units = _units(reference, current, declared)
        both = values.projected(*rows_of_both, units)
        if units is None:
            units = found_units(*both, reference.outputs)
            both = values.projected(*rows_of_both, units)
        columns = judge(*both, level, units, reference.outputs)
        verdict = DriftRecord(
            state=overall(columns),
            endpoint=endpoint.uri,
            judged=current.uri,
            since_at=since_at,
            by=declared,
            model=model.uri,
            against=reference.uri,
            rows_before=reference.rows.height,
            rows_now=current.rows.height,
            alpha=level,
            checked_at=time.time(),
            columns=tuple(columns),
            outputs=reference.outputs,
            projected=values.vectors(reference.rows, current.rows),
            sample=exports.keep(*both),  # before the record: a verdict never lacks its samples
        )
    # Recorded whatever it is: a pipeline that stops here leaves a verdict to look at.
    added = _add(endpoint.name, verdict)
    report_verdict(added)
    found = replace(DriftReport.of(added), note=_unjudged(current.rows.height, current.logged))
    if found.state != "no drift" and not report:
        raise _failed(found)
    return found


@verb("drift")
def ls(name: EndpointName | None = None) -> Listing:
    """List the verdicts, newest first.

    name: only those on this endpoint

    Example:
        %drift ls
    """
    wanted = Uri.parse(name, "deploy").name if name else None
    found = open_store().list(DriftRecord, name=wanted, skip_unreadable=True)
    items = tuple(map(DriftReport.of, _newest_first(found)))
    if name and not items:
        served.endpoint(name)  # an endpoint without a verdict is one thing, a name that nothing has another
    header = ("uri", "state", "drifted", "rows_now", "against", "checked_at")
    empty = "`%drift check NAME --against data:NAME@N` makes one"
    return Listing(
        "drift:verdicts", items, header, empty, title="Drift verdicts", of=f"deploy:{wanted}" if wanted else ""
    )


@verb("drift")
def show(name: VerdictName) -> DriftReport:
    """Show a verdict in full.

    name: an endpoint's newest verdict, or one of them: delay@3

    Example:
        %drift show late
    """
    return DriftReport.of(resolve(name, DriftRecord))


@verb("drift")
def get(
    name: VerdictName, *, as_: Annotated[str, Choices(exports.forms)] = "json", into: Destination | None = None
) -> DriftReport:
    """Get a verdict's handle, or write it to a file: as JSON, or as somebody else's report on the same two samples.

    Such a report judges by its own rules, which are not ours: Evidently's defaults know no false-alarm rate.

    name: an endpoint's newest verdict, or one of them
    as_: json, or a report: evidently, or what another package brings
    into: the file to write

    Example:
        %drift get late --into drift.json
    """
    found = show(name)
    if as_ not in exports.forms():
        raise UsageProblem(f"--as {as_!r} is not one of its values", did_you_mean(as_, exports.forms()))
    if into is None:
        if as_ != exports.JSON:
            raise UsageProblem(f"the report of {as_} is a file", "say where: --into report.html")
        return found
    path = Path(into)
    exports.write(found.as_json(), found.sample, as_, path)
    return replace(found, note=f"written to {path.absolute()}")


@verb("drift")
def log(name: EndpointName) -> Listing:
    """List how an endpoint's verdicts changed, newest first.

    name: the endpoint

    Example:
        %drift log late
    """
    # A verdict never changes: how they changed is the list of them.
    return ls(name)


def _unjudged(judged: int, logged: int) -> str:
    """Why fewer rows were judged than were served; nothing when all were."""
    if judged >= logged:
        return ""
    return (
        f"{logged:,} rows are in the log, {logged - judged:,} of which count for nothing here: asked before with the "
        "same values, without an answer, or answered by another version"
    )


def _units(reference: Sample, current: Sample, by: str) -> blocks.Blocks | blocks.Ordered | None:
    """Which rows count as one, where that is declared."""
    if reference.by is None or current.by is None:
        return None
    return blocks.by_column(reference.by, current.by, by)


def _failed(found: DriftReport) -> Failed:
    if found.state == "cannot tell":
        return _inconclusive(found)
    names = ", ".join(found.drifted[:5])
    return Failed(
        f"{found.judged} drifted from {found.against}: {names}",
        f"look at `%drift show {Uri.parse(found.uri).label}`; train on newer data, or go on with --report",
    )


def _inconclusive(found: DriftReport) -> Inconclusive:
    why = reasons(found.columns) or "there is nothing to compare"
    since = f"; judged since {shown('since_at', found.since_at)}" if found.since_at else ""
    return Inconclusive(
        f"cannot tell whether {found.judged} drifted: {why}{since}",
        f"look at `%drift show {Uri.parse(found.uri).label}`; {advice.more(found)}, or go on with --report",
    )


def _add(name: str, verdict: DriftRecord) -> Record[DriftRecord]:
    # What was judged is often the endpoint's own log, and so named twice.
    used = tuple(dict.fromkeys((verdict.judged, verdict.model, verdict.against)))
    detail = {"state": verdict.state}
    return add_version(open_store(), name, verdict, lambda uri: Event("drift check", uri, used, (uri,), detail))


def _newest_first(records: Sequence[Record[DriftRecord]]) -> list[Record[DriftRecord]]:
    # By the check, not by the number: versions of different endpoints are listed together.
    return sorted(records, key=lambda record: (record.body.checked_at, record.rev), reverse=True)
