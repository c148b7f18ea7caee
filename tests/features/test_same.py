"""When a cell is the same version as before: its text, its options, and what its views return still fits."""

import msgspec
import polars as pl
import pytest

from aiinfra_lab import features
from aiinfra_lab.errors import Failed
from aiinfra_lab.features import sets
from aiinfra_lab.features.join import Events
from aiinfra_lab.features.record import FeatureSetVersion, Spec, TypedColumn
from aiinfra_lab.features.rows import tables_of
from aiinfra_lab.resolve import resolve

from .conftest import CELL, small_tables


@pytest.fixture
def spec(lateness) -> Spec:
    return resolve(lateness, FeatureSetVersion).body


@pytest.fixture
def events(spec, trips) -> list[Events]:
    return sets.run_views(spec, tables_of(trips))


def test_the_same_is_the_same(spec, events):
    assert sets.same(spec, spec, events)


@pytest.mark.parametrize("field", ["code", "timestamp", "label", "row_id"])
def test_another_text_or_option_is_not(spec, events, field):
    assert not sets.same(spec, msgspec.structs.replace(spec, **{field: "other"}), events)


def test_columns_count_by_name_and_order(spec, events):
    first, second = spec.columns
    assert sets.same(spec, msgspec.structs.replace(spec, columns=(TypedColumn("line", "truth"), second)), events)
    assert not sets.same(spec, msgspec.structs.replace(spec, columns=(second, first)), events)


def retyped(events: list[Events], values: list[object]) -> list[Events]:
    """The same events, with these temperatures."""
    first, *rest = events
    changed = first.frame.head(len(values)).with_columns(pl.Series("temp", values))
    return [Events(**{**vars(first), "frame": changed}), *rest]


@pytest.mark.parametrize(("values", "fits"), [([1, 2], True), ([1.5, None], True), (["warm", "cold"], False)])
def test_what_the_views_return_must_fit_the_types_of_before(spec, events, values, fits):
    assert sets.same(spec, spec, retyped(events, values)) == fits


def test_what_fits_takes_the_types_of_before(spec, events):
    first = sets.conformed(spec, retyped(events, [1, 2]))[0]
    assert first.frame["temp"].to_list() == [1.0, 2.0]


def test_a_view_that_returns_other_features_names_both(spec, events):
    first = Events(**{**vars(events[0]), "features": ("warmth",)})
    with pytest.raises(Failed, match="warmth, and temp") as problem:
        sets.conform(first, spec.views[0])
    assert problem.value.fix == "add the feature set again: it becomes a new version"


def test_a_described_cell_has_no_version_yet_and_the_digest_that_it_will_have(spec, trips):
    rows = small_tables()["trips"]
    found, events = sets.describe("lateness", CELL, "asked_at", ("late",), "trip", rows, tables_of(trips))
    assert (found.version, found.uri) == (0, "features:lateness@0")
    assert (found.fingerprint(), len(events)) == (spec.fingerprint(), 2)


def test_names_complete_with_and_without_the_noun(lateness):
    from aiinfra_lab.completion import complete

    assert complete("features", "show late") == ["lateness", "lateness@1"]
    assert complete("features", "show features:late") == ["features:lateness", "features:lateness@1"]
    features.rm(lateness)
    assert complete("features", "show late") == []
