"""Two feature sets compared: features, their order and types, views, options, and the cell's text."""

import msgspec
import pytest

from aiinfra_lab import features
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.features.compare import difference
from aiinfra_lab.features.record import FeatureSetVersion, TypedColumn
from aiinfra_lab.resolve import resolve
from aiinfra_lab.store import Record, open_store


def stored(version: int, **changes: object) -> str:
    """A further version of `lateness` that differs in these fields alone."""
    body = msgspec.structs.replace(resolve("lateness@1", FeatureSetVersion).body, version=version, **changes)
    open_store().commit([Record.new(body.record_name, body)])
    return body.record_name


def changed(lateness: features.FeatureSet, **changes: object) -> tuple[tuple[str, str, str], ...]:
    return difference("lateness@1", stored(2, **changes)).changed


@pytest.mark.parametrize("option", ["timestamp", "label", "row_id"])
def test_an_option_is_named_with_before_and_after(lateness, option):
    assert changed(lateness, **{option: "new"}) == ((option, getattr(lateness, option), "new"),)
    assert features.diff("lateness@2", "lateness@1").changed == ((option, "new", getattr(lateness, option)),)


def test_an_option_that_is_gone_is_a_dash(lateness):
    assert changed(lateness, label="") == (("label", "late", "–"),)


def test_a_type_is_named(lateness):
    types = (TypedColumn("line", "integer"), TypedColumn("place", "text"))
    assert changed(lateness, columns=types) == (("line", "text", "integer"),)


def test_the_same_features_in_another_order_are_a_change(lateness):
    columns = resolve("lateness", FeatureSetVersion).body.columns
    before, after = "line, place, temp, delay_6h", "place, line, temp, delay_6h"
    assert changed(lateness, columns=columns[::-1]) == (("order", before, after),)


def test_a_feature_more_is_new_and_no_other_order(lateness):
    columns = resolve("lateness", FeatureSetVersion).body.columns
    found = difference("lateness@1", stored(2, columns=(TypedColumn("hour", "integer"), *columns)))
    assert (found.new, found.gone, found.changed) == (("hour",), (), ())
    assert difference("lateness@2", "lateness@1").gone == ("hour",)


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("ttl_s", None, ("10800.0", "–")),
        ("known_at", "seen", ("–", "seen")),
        ("timestamp", "when", ("observed_at", "when")),
        ("tables", ("weather", "trips"), ("weather", "weather, trips")),
        ("entity", (TypedColumn("place", "text"), TypedColumn("line", "text")), ("place", "place, line")),
    ],
)
def test_what_changed_in_a_view_is_named_with_the_view(lateness, field, value, shown):
    first, *rest = resolve("lateness", FeatureSetVersion).body.views
    views = (msgspec.structs.replace(first, **{field: value}), *rest)
    assert changed(lateness, views=views) == ((f"weather_now: {field}", *shown),)


def test_the_cell_is_compared_line_by_line(lateness):
    found = difference("lateness@1", stored(2, code=lateness.code + "# more\n"))
    assert found.code.splitlines()[:2] == ["--- lateness@1", "+++ lateness@2"]
    assert found.code.splitlines()[-1] == "+# more"


@pytest.mark.parametrize(("name", "other"), [("lateness", "lateness@7"), ("lateness@7", "lateness")])
def test_one_that_does_not_exist_is_all_new_or_all_gone(lateness, name, other):
    found = features.diff(name, other)
    assert (found.gone, found.new) == ((lateness.features, ()) if name == "lateness" else ((), lateness.features))
    assert "lateness@7 does not exist: all features" in found.card().text()


@pytest.mark.parametrize("other", ["new", "lateness"])
def test_a_name_that_never_was_is_an_error(lateness, other):
    with pytest.raises(NotFound) as problem:
        features.diff("latenes", other)
    assert problem.value.fix == "did you mean lateness?"


def test_what_can_be_no_feature_set_is_an_error(lateness):
    with pytest.raises(UsageProblem):
        features.diff("lateness", "data:trips")
