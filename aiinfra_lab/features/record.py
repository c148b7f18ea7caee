"""Feature sets, and rows made with them, as the workspace remembers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec

from ..config import settings
from ..store import Body, canonical_digest
from ..uris import Uri, split_label


class TypedColumn(NamedTuple):
    """A column and what it holds: number, integer, text or truth. In JSON a pair, since the order of columns counts."""

    name: str
    type: str


TypedColumns = tuple[TypedColumn, ...]
NO_TIME = (
    "Point-in-time correctness is not promised: the rows have no time, and nothing proves that each value was known "
    "when its row was asked about."
)
"""What is said of a set without a timestamp, of its rows, and of what learns from them."""
Label = str | tuple[str, ...]
"""One column, none, or several: one stays a text, as in records and digests from before there could be several."""


def names_of(label: Label) -> tuple[str, ...]:
    """The label's columns."""
    return tuple(filter(None, (label,) if isinstance(label, str) else label))


def as_label(names: Sequence[str]) -> Label:
    """These columns as a label."""
    return tuple(names) if len(names) > 1 else "".join(names)


class ViewSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A view as it is registered. `entity` and `features` are columns of what it returns; `tables` are what it reads.

    timestamp: empty where it returns one row for each entity, without a time. known_at: the column that says when a row
    became known, where that is not `timestamp`. ttl_s: how old a value may grow before it counts as missing, in
    seconds; None for ever.
    """

    name: str
    entity: TypedColumns
    timestamp: str
    known_at: str | None
    ttl_s: float | None
    features: TypedColumns
    tables: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the columns that identify the entity of a row."""
        return tuple(column.name for column in self.entity)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.features)


class Spec(Body, frozen=True, kw_only=True):
    """What a version of a feature set is: the cell, its options, and what its views were found to return.

    version: 0 before it has one. timestamp: empty where rows have no time, and views none either. columns: those of the
    rows themselves that are features. row_id: the column that names a row, or empty.
    """

    name: str
    version: int
    code: str
    timestamp: str
    label: Label
    row_id: str
    columns: TypedColumns
    views: tuple[ViewSpec, ...]

    @property
    def uri(self) -> str:
        return str(self._uri)

    @property
    def record_name(self) -> str:
        """How the record of the version is called: NAME@N."""
        return self._uri.label

    @property
    def types(self) -> dict[str, str]:
        """Feature → type, in the order in which a model gets them: the row's own columns, then view by view."""
        return dict([*self.columns, *(column for view in self.views for column in view.features)])

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(self.types)

    @property
    def entity(self) -> dict[str, str]:
        """Key → type, of all views."""
        return dict(column for view in self.views for column in view.entity)

    @property
    def folder(self) -> Path:
        """Where what the views returned is kept, for stores that read it from files."""
        return features_home() / "views" / self.record_name

    @property
    def _uri(self) -> Uri:
        return Uri(FeatureSetVersion.kind, self.name, self.version)

    def fingerprint(self) -> str:
        """SHA-256 of the cell, its options and what its views return; the same in every version that has the same."""
        # Only the fields of this class, by the JSON that they have in a record: digests are part of the keys under
        # which rows were stored, and a workspace of before must find them again.
        content = {name: getattr(self, name) for name in Spec.__struct_fields__ if name not in ("name", "version")}
        return canonical_digest(msgspec.to_builtins(content))


class OnlineState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the online store holds of a version: the data version that was loaded, and up to when (ISO 8601, UTC)."""

    uri: str
    digest: str
    as_of: str


class FeatureSetVersion(Spec, frozen=True, kw_only=True):
    """A version of a feature set with where it came from. `online` is None while the online store holds nothing."""

    kind: ClassVar[str] = "features"

    digest: str
    data_uri: str
    created_at: float
    online: OnlineState | None = None
    removed_at: float | None = None

    @property
    def removed_on(self) -> float | None:
        return self.removed_at

    @property
    def newest_data(self) -> str:
        """The data version that the online store holds, or that the set was added with."""
        return self.online.uri if self.online else self.data_uri


class JoinedRows(Body, frozen=True, kw_only=True):
    """Rows with their features, in one parquet file whose SHA-256 is `digest`; `rows` is how many.

    columns: the features, in order. optional: those that come from a view. coverage: by view, the share of rows for
    which something was known. The three URIs name what they were made of. is_aside: whether a verb made them for its
    own use, and nobody asked for them: the feature set's name does not stand for such rows.
    """

    kind: ClassVar[str] = "features.rows"
    has_event: ClassVar[bool] = True

    rows: int
    columns: tuple[str, ...]
    optional: tuple[str, ...]
    label: Label
    entity: tuple[str, ...]
    timestamp: str
    # By name, not in the views' order: JSON objects in a record are sorted.
    coverage: Mapping[str, float]
    digest: str
    features_uri: str
    rows_uri: str
    data_uri: str
    started_at: float
    ended_at: float
    removed_at: float | None = None
    is_aside: bool = False

    @property
    def about(self) -> str:
        return self.features_uri

    @property
    def removed_on(self) -> float | None:
        return self.removed_at


def features_home() -> Path:
    """The workspace's folder for feature sets."""
    return settings().home / FeatureSetVersion.kind


def path_of(name: str) -> Path:
    """Where the rows of the record `NAME@N#PART` are."""
    base, version, part = split_label(name)
    return features_home() / "rows" / f"{base}@{version}-{part}.parquet"
