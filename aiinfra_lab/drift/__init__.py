"""What changed since training, and whether it matters: a verdict with a known share of false alarms."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ..errors import Failed, UsageProblem, did_you_mean
from ..resolve import resolve
from ..show import Listing, shown
from ..store import Event, Record, add_version, open_store
from ..units import Share, number
from ..uris import Uri
from ..verbs import Choices, FilePath, Live, Name, Rows, verb
from . import exports, served
from .record import ColumnChange, DriftRecord
from .results import DriftReport
from .verdict import judge, overall

if TYPE_CHECKING:
    import polars as pl

    from ..models import Model
    from .served import ServedEndpoint

__all__ = ["ColumnChange", "DriftReport", "check", "get", "log", "ls", "show"]

EndpointName = Annotated[Name, Live("deploy")]
VerdictName = Annotated[Name, Live("drift")]


@verb("drift")
def check(
    name: EndpointName,
    *,
    against: Rows,
    rows: Rows | None = None,
    since: str | None = None,
    alpha: Share = 0.05,
    report: bool = False,
) -> DriftReport:
    """Judge whether what an endpoint is asked, and what it answers, is still what its model learned from.

    The current sample, the endpoint's log, is compared with a reference: numbers, categories, missing and unseen values
    and the prediction. It raises on drift, and when it cannot tell, so that a pipeline stops there.

    name: the endpoint
    against: the reference, taken through the model's features first, e.g. data:flights@1
    rows: judge these rows instead of the endpoint's log
    since: only the log since then: 15m for the last 15 minutes, or an epoch time; by default since the endpoint was
        last started, and 365d takes what earlier starts logged too
    alpha: the share of checks that may call a column drifted although nothing changed
    report: hand the verdict back instead of raising
    """
    level = number(alpha)
    if not 0 < level < 1:
        raise UsageProblem(f"--alpha {alpha} leaves nothing to judge by", "write 5%")
    endpoint = served.endpoint(name)
    model = served.model_of(endpoint)
    reference, against_uri = served.feature_rows(against, model)
    current, judged_uri, since_at, logged = _current(endpoint, model, rows, since)
    if judged_uri == against_uri:  # they never differ from themselves, and that would be a verdict
        raise UsageProblem(f"{judged_uri} is on both sides", "judge other rows with --rows, or the log without it")
    columns = judge(reference, current, level)
    verdict = DriftRecord(
        state=overall(columns),
        endpoint=endpoint.uri,
        judged=judged_uri,
        since_at=since_at,
        model=model.uri,
        against=against_uri,
        rows_before=reference.height,
        rows_now=current.height,
        alpha=level,
        checked_at=time.time(),
        columns=tuple(columns),
        sample=exports.keep(reference, current),  # before the record: a verdict never lacks its samples
    )
    # Recorded whatever it is: a pipeline that stops here leaves a verdict to look at.
    found = replace(DriftReport.of(_add(endpoint.name, verdict)), note=_unjudged(current.height, logged))
    if found.state != "no drift" and not report:
        raise _failed(found)
    return found


@verb("drift")
def ls(name: EndpointName | None = None) -> Listing:
    """List the verdicts, newest first.

    name: only those on this endpoint
    """
    wanted = Uri.parse(name, "deploy").name if name else None
    found = open_store().list(DriftRecord, name=wanted, skip_unreadable=True)
    items = tuple(map(DriftReport.of, _newest_first(found)))
    if name and not items:
        served.endpoint(name)  # an endpoint without a verdict is one thing, a name that nothing has another
    header = ("uri", "state", "drifted", "rows_now", "against", "checked_at")
    return Listing("drift:verdicts", items, header, "`%drift check NAME --against data:NAME@N` makes one")


@verb("drift")
def show(name: VerdictName) -> DriftReport:
    """Show a verdict in full.

    name: an endpoint's newest verdict, or one of them: delay@3
    """
    return DriftReport.of(resolve(name, DriftRecord))


@verb("drift")
def get(
    name: VerdictName, *, as_: Annotated[str, Choices(exports.forms)] = "json", into: FilePath | None = None
) -> DriftReport:
    """Get a verdict's handle, or write it to a file: as JSON, or as somebody else's report on the same two samples.

    Such a report judges by its own rules, which are not ours: Evidently's defaults know no false-alarm rate.

    name: an endpoint's newest verdict, or one of them
    as_: json, or a report: evidently, or what another package brings
    into: the file to write
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
    """
    # A verdict never changes: how they changed is the list of them.
    return ls(name)


def _current(
    endpoint: ServedEndpoint, model: Model, rows: object, since: str | None
) -> tuple[pl.DataFrame, str, float | None, int]:
    """The current sample, what it is, since when it was logged, and how many rows the log has since then."""
    if rows is not None:
        found, uri = served.feature_rows(rows, model)
        return found, uri, None, 0
    since_at = served.moment(since, endpoint)
    found, logged = served.log_rows(endpoint, model, since_at)
    return found, endpoint.uri, since_at, logged


def _unjudged(judged: int, logged: int) -> str:
    """Why fewer rows were judged than were served; nothing when all were."""
    if judged >= logged:
        return ""
    return (
        f"{logged:,} rows are in the log, {logged - judged:,} of which count for nothing here: asked before with the "
        "same values, without a score, or answered by another version"
    )


def _failed(found: DriftReport) -> Failed:
    if found.state == "cannot tell":
        return _inconclusive(found)
    names = ", ".join(found.drifted[:5])
    return Failed(
        f"{found.judged} drifted from {found.against}: {names}",
        f"look at `%drift show {Uri.parse(found.uri).label}`; train on newer data, or go on with --report",
    )


def _inconclusive(found: DriftReport) -> Failed:
    why = next((change.why for change in found.columns if change.p is None), "there is nothing to compare")
    name = Uri.parse(found.endpoint).name
    more = f"send it rows (`%deploy run {name} --rows …`), take older ones (--since 365d), or judge others (--rows)"
    fix = more if found.judged == found.endpoint else "judge other rows with --rows"
    since = f"; judged since {shown('since_at', found.since_at)}" if found.since_at else ""
    return Failed(
        f"cannot tell whether {found.judged} drifted: {why}{since}", f"{fix}; --report hands the verdict over"
    )


def _add(name: str, verdict: DriftRecord) -> Record[DriftRecord]:
    # What was judged is often the endpoint's own log, and so named twice.
    used = tuple(dict.fromkeys((verdict.judged, verdict.model, verdict.against)))
    detail = {"state": verdict.state}
    return add_version(open_store(), name, verdict, lambda uri: Event("drift check", uri, used, (uri,), detail))


def _newest_first(records: Sequence[Record[DriftRecord]]) -> list[Record[DriftRecord]]:
    # By the check, not by the number: versions of different endpoints are listed together.
    return sorted(records, key=lambda record: (record.body.checked_at, record.rev), reverse=True)
