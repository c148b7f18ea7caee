"""What the verbs of features hand back, and how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..show import Card, Result, plain_card, shown
from ..store import LoggedEvent, Record
from ..uris import Uri
from .record import FeatureSetVersion, JoinedRows, ViewSpec, path_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


@dataclass(frozen=True)
class FeatureSet(Result):
    """A version of a feature set. `features` are in a model's order; `views` are where they come from."""

    uri: str
    features: tuple[str, ...]
    types: Mapping[str, str]
    views: tuple[Mapping[str, Any], ...]
    timestamp: str
    label: str
    row_id: str
    digest: str
    data: str
    online_as_of: str
    created_at: float
    code: str

    def card(self) -> Card:
        # By feature, as a model's owner asks: from which view, and how long it is valid.
        origin = {name: each for each in self.views for name in each["features"]}
        rows = [[name, self.types[name], *_origin(origin.get(name))] for name in self.features]
        facts = [("label", self.label or "–"), ("timestamp", self.timestamp), ("data", self.data)]
        facts.append(("online", f"as of {self.online_as_of[:16].replace('T', ' ')} UTC" if self.online_as_of else "–"))
        return plain_card(
            self.uri, facts=facts, header=("feature", "type", "from", "entity", "lives"), rows=rows,
            details=[("the cell", _cut(self.code))],
        )  # fmt: skip


@dataclass(frozen=True)
class FeatureRows(Result):
    """Rows with their features, in one parquet file: `row_id`, keys, timestamp, features in order, and the label.

    `coverage`: by view, the share of rows for which something was known. `optional`: the features that come from a
    view, which may know nothing at any time, whatever these rows say.
    """

    uri: str
    rows: int
    columns: tuple[str, ...]
    optional: tuple[str, ...]
    label: str
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
        facts = [("rows", f"{self.rows:,}"), ("features", str(len(self.columns))), ("label", self.label or "–")]
        facts += [("of", self.rows_uri), ("at", self.timestamp), ("digest", self.digest[:12])]
        known = [[name, f"{share:.1%}"] for name, share in self.coverage.items()]
        return plain_card(self.uri, facts=facts, header=("view", "rows with news"), rows=known)


@dataclass(frozen=True)
class FeatureRemoval(Result):
    """A version, or rows, that were removed; the record stays. newest: what the name means now, of a version."""

    uri: str
    removed: str
    newest: str = ""

    def card(self) -> Card:
        uri = Uri.parse(self.uri)
        left = f"{uri.bare} now means {self.newest}" if self.newest else f"no version of {uri.bare} is left"
        again = "`%features get` of the same rows makes them again"
        return plain_card(self.uri, "removed", [("what", self.removed)], notes=[again if uri.part else left])


@dataclass(frozen=True)
class OnlineRow(Result):
    """One row's features out of the online store. `values` are in the order of `columns`, which is a model's."""

    uri: str
    columns: tuple[str, ...]
    values: tuple[float | int | str | bool | None, ...]
    at: str
    as_of: str
    data_uri: str

    def card(self) -> Card:
        rows = [[name, shown(name, value)] for name, value in zip(self.columns, self.values, strict=True)]
        facts = [("at", f"{self.at[:19]} UTC"), ("store as of", f"{self.as_of[:19]} UTC"), ("data", self.data_uri)]
        return plain_card(f"{self.uri} online", facts=facts, header=("feature", "value"), rows=rows)


@dataclass(frozen=True)
class FeatureCheck(Result):
    """What `check` found. `state` is good, bad or cannot tell: the worst of its verdicts."""

    uri: str
    state: str
    verdicts: tuple[Mapping[str, str], ...]

    def card(self) -> Card:
        rows = [[each["what"], each["verdict"], each["why"]] for each in self.verdicts]
        note = "a row's own columns are taken to be known at its time"
        return plain_card(
            f"check of {self.uri}", self.state, header=("what", "verdict", "why"), rows=rows, notes=[note]
        )


@dataclass(frozen=True)
class FeatureDifference(Result):
    """How two feature sets differ: features that went and came, what changed about the others, and the cells."""

    uri: str
    other: str
    gone: tuple[str, ...]
    new: tuple[str, ...]
    changed: tuple[tuple[str, str, str], ...]
    code: str
    note: str = ""

    def card(self) -> Card:
        rows = [["–", name, "", ""] for name in self.gone] + [["+", name, "", ""] for name in self.new]
        rows += [["~", name, before, after] for name, before, after in self.changed]
        note = self.note or ("" if rows or self.code else "they are the same")
        return plain_card(
            f"{self.uri} → {self.other}", header=("", "what", "before", "after"), rows=rows,
            notes=[note] if note else [], details=[("the cell", _cut(self.code))] if self.code else [],
        )  # fmt: skip


@dataclass(frozen=True)
class FeatureHistory(Result):
    """The events of a feature set, newest first."""

    uri: str
    events: tuple[tuple[float, str, str, str], ...]

    def card(self) -> Card:
        rows = [[shown("_at", at), who, what, things] for at, who, what, things in self.events]
        return plain_card(f"log of {self.uri}", header=("when", "who", "what", "with"), rows=rows)


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


def _cut(code: str, most: int = 1500) -> str:
    """A card is small; `.code` has all of it."""
    return code if len(code) <= most else code[:most].rpartition("\n")[0] + "\n…"


def _origin(each: Mapping[str, Any] | None) -> list[str]:
    if each is None:
        return ["the row itself", "", ""]
    ttl = shown("ttl_s", each["ttl_s"]) if each["ttl_s"] is not None else "for ever"
    return [each["name"], ", ".join(each["entity"]), ttl]


def event_line(logged: LoggedEvent) -> tuple[float, str, str, str]:
    """An event as `FeatureHistory` shows it."""
    event = logged.event
    things = " → ".join(part for part in (", ".join(event.inputs), ", ".join(event.outputs)) if part)
    return logged.at, logged.actor, event.verb, things
