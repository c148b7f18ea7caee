"""What changed since training, and whether it matters: a verdict with a known share of false alarms."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from ..errors import Failed, NotFound, UsageProblem, did_you_mean
from ..show import Card, Listing, Result, bar_chart, shown
from ..store import Event, Record, add_version, open_store
from ..units import Share, number, show_share
from ..uris import Uri
from ..verbs import Live, Rows, verb
from . import exports, served
from .verdict import LEAST_EFFECT, Shifted, judge, overall

if TYPE_CHECKING:
    import polars as pl

    from ..models import Model

__all__ = ["DriftReport", "Shifted", "check", "get", "log", "ls", "show"]

KIND = "drift"
LEAST_P = 1e-6
"""A smaller p says no more: the tests' own assumptions do not hold to that many digits."""


@dataclass(frozen=True)
class DriftReport(Result):
    """A verdict: `drift`, `no drift` or `cannot tell`, and every column's change, the largest first.

    judged: the rows that were compared with `against`, `deploy:NAME` for the endpoint's own log. since_at: where that
    log was taken from. A verdict from before these were kept has neither.
    """

    uri: str
    state: str
    endpoint: str
    model: str
    against: str
    rows_before: int
    rows_now: int
    alpha: float
    checked_at: float
    columns: tuple[Shifted, ...] = field(repr=False)
    sample: str = field(default="", repr=False, metadata={"json": False})
    judged: str = ""
    since_at: float | None = None
    said: str = field(default="", repr=False, metadata={"json": False})

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns that drifted, the largest change first."""
        return tuple(one.column for one in self.columns if one.drifted)

    def card(self) -> Card:
        header = ("", "column", "effect", "p", "missing", "unseen", "why")
        since = f" since {shown('since_at', self.since_at)}" if self.since_at else ""
        facts = [("judged", f"{self.judged or self.endpoint}, {self.rows_now:,} rows{since}")]
        facts.append(("against", f"{self.against}, {self.rows_before:,} rows"))
        facts += [("endpoint", self.endpoint)] if self.judged not in ("", self.endpoint) else []
        facts.append(("model", self.model))
        bars = [(one.column, one.effect) for one in self.columns[:12]]
        first = ", ".join(self.drifted[:5]) + (", …" if len(self.drifted) > 5 else "")
        said = f"{len(self.drifted)} of {len(self.columns)} columns drifted" + (f": {first}" if first else "")
        picture = bar_chart(bars, mark=self.drifted, limit=LEAST_EFFECT) if self.rows_now else ""
        return Card(
            f"{self.uri}: {said}",
            self.state,
            facts,
            header,
            [_row(one) for one in self.columns],
            self._notes(),
            picture,
            f"how far each column moved; {said}",
        )

    def _notes(self) -> list[str]:
        least = f"{LEAST_EFFECT:g} (the dashed line of the picture)" if self._crossed() else f"{LEAST_EFFECT:g}"
        notes = [
            f"a column drifted when its effect reaches {least} and its p is at most {self.alpha:g}: both",
            f"without a change, a column is called drifted in {show_share(self.alpha)} of such checks at most",
        ]
        return [*notes, self.said] if self.said else notes

    def _crossed(self) -> bool:
        """Whether the picture has the line: it has where a bar is as long."""
        return self.rows_now > 0 and any(one.effect >= LEAST_EFFECT for one in self.columns)


@verb("drift")
def check(
    name: Annotated[str, Live("deploy")],
    *,
    against: Rows,
    rows: Rows | None = None,
    since: str | None = None,
    alpha: Share = 0.05,
    report: bool = False,
) -> DriftReport:
    """Judge whether what an endpoint is asked, and what it answers, is still what its model learned from.

    Numbers, categories, missing and unseen values and the prediction are compared. It raises on drift, and when it
    cannot tell, so that a pipeline stops there.

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
    record = served.endpoint(name)
    model = served.model_of(record)
    reference, reference_uri = served.feature_rows(against, model)
    current, used, since_at = _judged_rows(record, model, rows, since)
    columns = judge(reference, current, level)
    body: dict[str, object] = {
        "state": overall(columns),
        "endpoint": f"deploy:{record.name}",
        "judged": used,
        "since_at": since_at,
        "model": model.uri,
        "against": reference_uri,
        "rows_before": reference.height,
        "rows_now": current.height,
        "alpha": level,
        "checked_at": time.time(),
        "columns": [_plain(one) for one in columns],
        "sample": exports.keep(reference, current),
    }
    found = _report(_record(record.name, body, (used, model.uri, reference_uri)))
    if found.state != "no drift" and not report:
        raise _failed(found)
    return found


@verb("drift")
def ls(name: Annotated[str, Live("deploy")] | None = None) -> Listing:
    """List the verdicts, newest first.

    name: only those on this endpoint
    """
    wanted = Uri.parse(name, "deploy").name if name else None
    items = tuple(_report(record) for record in _records(wanted))
    if wanted and not items:
        served.endpoint(wanted)  # an endpoint without a verdict is one thing, a name that nothing has another
    header = ("uri", "state", "drifted", "rows_now", "against", "checked_at")
    return Listing("drift:verdicts", items, header, "`%drift check NAME --against data:NAME@N` makes one")


@verb("drift")
def show(name: Annotated[str, Live(KIND)]) -> DriftReport:
    """Show a verdict in full.

    name: an endpoint's newest verdict, or one of them: delay@3
    """
    return _report(_find(name))


@verb("drift")
def get(
    name: Annotated[str, Live(KIND)], *, as_: Literal["json", "evidently"] = "json", into: Path | None = None
) -> DriftReport:
    """Get a verdict's handle, or write it to a file: as JSON, or as Evidently's own report on the same two samples.

    Evidently judges by its own rules, which are not ours: where the two differ, its defaults know no false-alarm rate.

    name: an endpoint's newest verdict, or one of them
    as_: json, or evidently for an HTML page
    into: the file to write
    """
    found = _report(_find(name))
    if into is None:
        if as_ == "evidently":
            raise UsageProblem("Evidently's report is a page of several MB", "say where: --into report.html")
        return found
    exports.write(found.as_json(), found.sample, as_, into)
    return replace(found, said=f"written to {into.absolute()}")


@verb("drift")
def log(name: Annotated[str, Live("deploy")]) -> Listing:
    """List how an endpoint's verdicts changed, newest first.

    name: the endpoint
    """
    return ls(name)


def _judged_rows(
    record: Record, model: Model, rows: object, since: str | None
) -> tuple[pl.DataFrame, str, float | None]:
    """The rows to judge, what they are, and since when they were logged."""
    if rows is not None:
        return *served.feature_rows(rows, model), None
    since_at = served.moment(since, record)
    return served.log_rows(record, model, since_at), f"deploy:{record.name}", since_at


def _row(one: Shifted) -> tuple[str, ...]:
    missing = show_share(one.missing_now)
    if one.missing_before != one.missing_now:
        missing = f"{show_share(one.missing_before)} → {missing}"
    p = "–" if one.p is None else "< 1e-6" if one.p < LEAST_P else f"{one.p:.2g}"
    mark = "drift" if one.drifted else "?" if one.p is None else ""
    effect = "–" if one.p is None else f"{one.effect:.3f}"
    return (mark, one.column, effect, p, missing, show_share(one.unseen), one.why if mark else "")


def _failed(found: DriftReport) -> Failed:
    if found.state == "cannot tell":
        why = next((one.why for one in found.columns if one.p is None), "there is nothing to compare")
        name = found.endpoint.partition(":")[2]
        more = f"send it rows (`%deploy run {name} --rows …`), take older ones (--since 365d), or judge others (--rows)"
        fix = more if found.judged == found.endpoint else "judge other rows with --rows"
        since = f"; judged since {shown('since_at', found.since_at)}" if found.since_at else ""
        return Failed(
            f"cannot tell whether {found.judged} drifted: {why}{since}", f"{fix}; --report hands the verdict over"
        )
    names = ", ".join(found.drifted[:5])
    return Failed(
        f"{found.judged} drifted from {found.against}: {names}",
        f"look at `%drift show {found.uri.partition(':')[2]}`; train on newer data, or go on with --report",
    )


def _record(name: str, body: dict[str, object], used: tuple[str, ...]) -> Record:
    told, once = {"state": body["state"]}, tuple(dict.fromkeys(used))
    return add_version(open_store(), KIND, name, body, lambda uri: Event("drift check", uri, once, (uri,), told))


def _records(name: str | None) -> list[Record]:
    found = [record for record in open_store().list(KIND) if name in (None, record.name.partition("@")[0])]
    return sorted(found, key=lambda record: (record.body["checked_at"], record.rev), reverse=True)


def _find(name: str) -> Record:
    uri = Uri.parse(name, KIND)
    records = _records(uri.name)
    wanted = next((record for record in records if not uri.tag or record.name == uri.label), None)
    if wanted is None:
        known = [record.name for record in _records(None)]
        fix = f"`%drift check {uri.name} --against data:NAME@N` makes one"
        raise NotFound(f"there is no {uri}", f"{fix}; {did_you_mean(uri.label, known)}" if known else fix)
    return wanted


def _report(record: Record) -> DriftReport:
    body = {**record.body, "columns": tuple(Shifted(**one) for one in record.body["columns"])}
    return DriftReport(f"{KIND}:{record.name}", **body)


def _plain(one: Shifted) -> dict[str, object]:
    return {name: getattr(one, name) for name in Shifted.__slots__}
