"""What the verbs of features hand back, and how it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..show import (
    ADDED,
    CHANGED,
    REMOVED,
    Card,
    Cell,
    Dim,
    Figure,
    Fold,
    Listing,
    Meter,
    Number,
    Quote,
    Result,
    RowHeader,
    Table,
    TableColumn,
    mark_of,
    moment,
    shown,
)
from ..store import LoggedEvent, Record
from ..units import counted, show_share
from ..uris import Uri
from .record import NO_TIME, FeatureSetVersion, JoinedRows, Label, ViewSpec, names_of, path_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_MOST_FEATURES = 40
"""A model's owner looks for each of them."""


@dataclass(frozen=True)
class FeatureSet(Result):
    """A version of a feature set. `features` are in a model's order; `views` are where they come from."""

    kind = "Feature set"

    uri: str
    features: tuple[str, ...]
    types: Mapping[str, str]
    views: tuple[Mapping[str, Any], ...]
    timestamp: str
    label: Label
    row_id: str
    digest: str
    data: str
    online_as_of: str
    created_at: float
    code: str

    def card(self) -> Card:
        # By feature, as a model's owner asks: from which view, and how long it is valid.
        origin = {name: each for each in self.views for name in each["features"]}
        rows = [(name, self.types[name], *_origin(origin.get(name))) for name in self.features]
        label = Uri.parse(self.uri).label
        return Card(
            kind=self.kind,
            uri=self.uri,
            when=f"added {moment(self.created_at)}",
            lead=self._lead(len(origin)),
            facts=[
                ("label", _labels(self.label)),
                ("timestamp", self.timestamp or "–"),
                ("data", self.data),
                ("online", f"as of {_moment(self.online_as_of)}" if self.online_as_of else "–"),
            ],
            parts=[
                Table(("feature", "type", "from", "entity", "valid for"), rows, most=_MOST_FEATURES),
                Fold("the cell", Quote(_cut(self.code))),
            ],
            notes=_promise(self.timestamp),
            next=[f"Next: `%features get {label} --rows {self.data}`", f"`%features check {label}`"],
        )

    def _lead(self, of_views: int) -> str:
        own = len(self.features) - of_views
        sources = [counted(len(self.views), "view")] * bool(self.views) + ["the rows' own columns"] * bool(own)
        return f"**{counted(len(self.features), 'feature')}** from {' and '.join(sources)}{self._aim}."

    @property
    def _aim(self) -> str:
        return f", to predict {_labels(self.label)}" if self.label else ""


@dataclass(frozen=True)
class FeatureRows(Result):
    """Rows with their features, in one parquet file: `row_id`, keys, timestamp, features in order, and the label.

    `coverage`: by view, the share of rows for which something was known. `optional`: the features that come from a
    view, which may know nothing at any time, whatever these rows say.
    """

    kind = "Feature rows"

    uri: str
    rows: int
    columns: tuple[str, ...]
    optional: tuple[str, ...]
    label: Label
    entity: tuple[str, ...]
    timestamp: str
    coverage: Mapping[str, float]
    digest: str
    path: Path
    features_uri: str
    rows_uri: str
    data_uri: str

    def df(self) -> pd.DataFrame:
        """All of it in pandas; columns with gaps are pandas' Int64 and boolean, as the data's own `.df()` has them."""
        from ..data.frames import to_pandas

        frame: pd.DataFrame = to_pandas(self.table())
        return frame

    def table(self) -> pl.DataFrame:
        """All of it in polars."""
        return self.scan().collect()

    def scan(self) -> pl.LazyFrame:
        """All of it in polars, not read yet."""
        import polars as pl

        return pl.scan_parquet(self.path)

    def card(self) -> Card:
        ordered = sorted(self.coverage.items(), key=lambda item: item[1])
        least = [(name, share) for name, share in ordered[:1] if share < 1]
        poor = f" {least[0][0]} knew nothing of {show_share(1 - least[0][1])} of them." if least else ""
        known: list[tuple[Cell, ...]] = [
            (name, (show_share(share), Meter(share, 1, "", is_small=True)), self._unknown(share))
            for name, share in ordered
        ]
        return Card(
            kind=self.kind,
            uri=self.uri,
            lead=f"**{counted(self.rows, 'row')}**, each with {self._what}.{poor}",
            facts=[
                ("of", self.rows_uri),
                *([("at", self.timestamp)] if self.timestamp else []),
                ("data", self.data_uri),
                ("label", _labels(self.label)),
                ("digest", self.digest[:12]),
            ],
            figures=[
                Figure("rows", f"{self.rows:,}"),
                Figure("features", f"{len(self.columns):,}"),
                *([Figure("from views", f"{len(self.optional):,}", "a row may lack them")] if self.optional else []),
            ],
            parts=[Table(("view", Number("rows it knew something of"), "rows it did not"), known)],
            notes=_promise(self.timestamp),
            next=[
                f"Next: `%%train run {Uri.parse(self.uri).name} --rows {self.uri}`",
                f"`%features show {Uri.parse(self.features_uri).label}`",
            ],
        )

    @property
    def _what(self) -> str:
        return "what was known at its own time" if self.timestamp else "what is known of its entity"

    def _unknown(self, share: float) -> Cell:
        without = round((1 - share) * self.rows)
        return f"{without:,} of {self.rows:,}" if without else Dim("none")


@dataclass(frozen=True)
class FeatureRemoval(Result):
    """A version, or rows, that were removed; the record stays. newest: what the name means now, of a version."""

    kind = "Feature set"

    uri: str
    removed: str
    newest: str = ""

    def card(self) -> Card:
        uri = Uri.parse(self.uri)
        left = f"{uri.bare} now means {self.newest}" if self.newest else f"no version of {uri.bare} is left"
        again = "`%features get` of the same rows makes them again"
        what = f"**{self.removed[:1].upper()}{self.removed[1:]} removed**"
        lead = f"{what}; the record stays, and {again if uri.part else left}."
        next_ = [f"Next: `%features log {uri.label}`"]
        return Card(kind=self.kind, uri=self.uri, state=mark_of("removed"), lead=lead, next=next_)


@dataclass(frozen=True)
class OnlineRow(Result):
    """One row's features out of the online store. `values` are in the order of `columns`, which is a model's."""

    kind = "Online features"

    uri: str
    columns: tuple[str, ...]
    values: tuple[float | int | str | bool | None, ...]
    at: str
    as_of: str
    data_uri: str

    def card(self) -> Card:
        rows: list[tuple[Cell, ...]] = [
            (name, Dim("–") if value is None else shown(name, value), Dim("not known") if value is None else "known")
            for name, value in zip(self.columns, self.values, strict=True)
        ]
        return Card(
            kind=self.kind,
            uri=self.uri,
            when=f"at {_moment(self.at)}",
            lead=self._lead(),
            facts=[("store as of", _moment(self.as_of)), ("data", self.data_uri)],
            parts=[Table(("feature", Number("value"), "then"), rows, most=_MOST_FEATURES)],
            next=[f"Next: `%features show {Uri.parse(self.uri).label}`"],
        )

    def _lead(self) -> str:
        unknown = [name for name, value in zip(self.columns, self.values, strict=True) if value is None]
        if not unknown:
            return f"**All {counted(len(self.columns), 'feature')} are known**, in the order of a model."
        names = ", ".join(unknown[:5]) + ", …" * (len(unknown) > 5)
        few = f"{len(unknown)} of {counted(len(self.columns), 'feature')} {'is' if len(unknown) == 1 else 'are'}"
        return f"**{few} not known** at that moment: {names}."


@dataclass(frozen=True)
class FeatureCheck(Result):
    """What `check` found. `state` is good, bad or cannot tell: the worst of its verdicts. views: how many there are.

    timestamp: of the set; without one no row's future is looked for.
    """

    kind = "Feature check"

    uri: str
    state: str
    verdicts: tuple[Mapping[str, str], ...]
    views: int
    timestamp: str

    def card(self) -> Card:
        ordered = sorted(self.verdicts, key=lambda each: ("bad", "cannot tell", "good").index(each["verdict"]))
        rows: list[tuple[Cell, ...]] = [(each["what"], mark_of(each["verdict"]), each["why"]) for each in ordered]
        odd = [each for each in ordered if each["verdict"] == self.state != "good"]
        fixes = "; ".join(dict.fromkeys(each["fix"] for each in odd))
        return Card(
            kind=self.kind,
            uri=self.uri,
            state=self.mark,
            lead=self._lead(odd),
            advice=fixes and f"{fixes}.",
            parts=[Table((RowHeader("proof"), "verdict", "why"), rows)],
            notes=_promise(self.timestamp) or ["A row's own columns are taken to be known at its time."],
            next=[f"Next: `%features show {Uri.parse(self.uri).label}`"],
        )

    def _lead(self, odd: Sequence[Mapping[str, str]]) -> str:
        if not odd and not self.views:
            return "**The rows have its columns.** It has no views, so nothing else was there to check."
        if not odd and not self.timestamp:
            return "**Each entity has one row, and the online store says what the history says.**"
        if not odd:
            return "**No row sees its future, and the online store says what the history says.**"
        verb = "failed" if self.state == "bad" else "could not be made"
        counts = f"{len(odd)} of {counted(len(self.verdicts), 'proof')}"
        return f"**{counts} {verb}.** {odd[0]['what']}: {odd[0]['why']}."


@dataclass(frozen=True)
class FeatureDifference(Result):
    """How two feature sets differ: features that went and came, what changed about the others, and the cells."""

    kind = "Feature comparison"

    uri: str
    other: str
    gone: tuple[str, ...]
    new: tuple[str, ...]
    changed: tuple[tuple[str, str, str], ...]
    code: str
    note: str = ""

    def card(self) -> Card:
        rows: list[tuple[Cell, ...]] = [(name, REMOVED, "a feature", Dim("–")) for name in self.gone]
        rows += [(_setting(name), CHANGED, _value(name, before), _value(name, after))
                 for name, before, after in self.changed]  # fmt: skip
        rows += [(name, ADDED, Dim("–"), "a feature") for name in self.new]
        one, two = Uri.parse(self.uri), Uri.parse(self.other)
        is_one = one.name == two.name and two.version
        return Card(
            kind=self.kind,
            uri=f"{self.uri} → {f'@{two.version}' if is_one else self.other}",
            state=None if self.note else mark_of("changed" if rows or self.code else "same"),
            lead=self._lead(),
            parts=[
                Table((RowHeader("what"), "change", self.uri, self.other), rows, most=_MOST_FEATURES),
                *([Fold("what differs in the cell", Quote(_cut(self.code)))] if self.code else []),
            ],
        )

    def _lead(self) -> str:
        if self.note:
            return f"**{self.note}**: all features of the other one are listed."
        counts = ((len(self.gone), "removed"), (len(self.new), "added"))
        said = [f"{counted(count, 'feature')} {what}" for count, what in counts if count]
        said += [f"{counted(len(self.changed), 'setting')} changed"] * bool(self.changed)
        only = "**The same features; only the text of the cell differs.**" if self.code else "**Nothing differs.**"
        return f"**{', '.join(said)}.**" if said else only


@dataclass(frozen=True)
class FeatureHistory(Result):
    """The events of a feature set, newest first."""

    kind = "Feature history"

    uri: str
    events: tuple[tuple[float, str, str, str], ...]

    def card(self) -> Card:
        rows = [(moment(at), what, things, who) for at, who, what, things in self.events]
        count = counted(len(rows), "event")
        return Card(
            kind=self.kind, uri=self.uri, when=count, parts=[Table(("when", RowHeader("what"), "with", "by"), rows)]
        )


def feature_set(record: Record[FeatureSetVersion]) -> FeatureSet:
    """A version as its record keeps it."""
    body = record.body
    return FeatureSet(
        uri=record.uri,
        features=body.features,
        types=body.types,
        views=tuple(_view(each) for each in body.views),
        timestamp=body.timestamp,
        label=body.label,
        row_id=body.row_id,
        digest=body.digest,
        data=body.newest_data,
        online_as_of=body.online.as_of if body.online else "",
        created_at=body.created_at,
        code=body.code,
    )


def feature_rows(record: Record[JoinedRows]) -> FeatureRows:
    """Joined rows as their record keeps them."""
    body = record.body
    return FeatureRows(
        uri=record.uri,
        rows=body.rows,
        columns=body.columns,
        optional=body.optional,
        label=body.label,
        entity=body.entity,
        timestamp=body.timestamp,
        coverage=body.coverage,
        digest=body.digest,
        path=path_of(record.name),
        features_uri=body.features_uri,
        rows_uri=body.rows_uri,
        data_uri=body.data_uri,
    )


def _view(view: ViewSpec) -> Mapping[str, Any]:
    """A view's fields, with its columns as name → type."""
    return {**msgspec.structs.asdict(view), "entity": dict(view.entity), "features": dict(view.features)}


def _labels(label: Label) -> str:
    return ", ".join(names_of(label)) or "–"


def _promise(timestamp: str) -> list[str]:
    return [] if timestamp else [NO_TIME]


def _cut(code: str, most: int = 1500) -> str:
    """A card is small; `.code` has all of it."""
    return code if len(code) <= most else code[:most].rpartition("\n")[0] + "\n…"


def _origin(each: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    if each is None:
        return "the row itself", Dim("–"), Dim("–")
    ttl = shown("ttl_s", each["ttl_s"]) if each["ttl_s"] is not None else "ever"
    return each["name"], ", ".join(each["entity"]), ttl


_TTL = "ttl_s"


def _setting(name: str) -> str:
    return f"{name.removesuffix(_TTL)}valid for" if name.endswith(_TTL) else name


def _value(name: str, value: str) -> Cell:
    if name.endswith(_TTL):
        return "ever" if value == "–" else shown(_TTL, float(value))
    return Dim(value) if value == "–" else value


@dataclass(frozen=True, repr=False)
class FeatureSets(Listing):
    """Feature sets, the newest first."""

    def columns(self, name: str) -> Sequence[TableColumn]:
        if name != "online_as_of":
            return super().columns(name)
        cells = [_moment(item.online_as_of) if item.online_as_of else "–" for item in self.items]
        return [TableColumn("online as of", cells)]


def _moment(iso: str) -> str:
    return f"{iso[:16].replace('T', ' ')} UTC"


def event_line(logged: LoggedEvent) -> tuple[float, str, str, str]:
    """An event as `FeatureHistory` shows it."""
    event = logged.event
    things = " → ".join(part for part in (", ".join(event.inputs), ", ".join(event.outputs)) if part)
    return logged.at, logged.actor, event.verb, things
