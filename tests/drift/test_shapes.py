"""What a column's values look like in both samples."""

import polars as pl
import pytest

from aiinfra_lab.drift import exports
from aiinfra_lab.drift.shapes import shapes
from tests.drift.test_record import COLUMN


def drawn(before: list, now: list, kind: str = "number"):
    """The shape of one column."""
    import msgspec

    sample = exports.keep(pl.DataFrame({"x": before}), pl.DataFrame({"x": now}))
    return shapes(sample, [msgspec.structs.replace(COLUMN, column="x", kind=kind)])["x"]


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], "median 2 → 3"),
        ([1, 2, 3], [1.0, 2.0, None], "median 2 → 1.5"),
        ([1.0, float("nan")], [1.0, 1.0], "median 1 → 1"),
        ([1.0, 2.0], [None, None], "no values"),
    ],
)
def test_numbers_say_how_their_median_moved(workspace, before, now, change):
    shape = drawn(before, now)
    assert (shape.change, shape.picture.alt) == (change, change)
    assert shape.picture.svg.startswith("<svg")


def test_categories_say_what_moved_most_and_what_was_never_seen(workspace):
    shape = drawn(["UA"] * 8 + ["B6"] * 2, ["UA"] * 5 + ["9K"] * 3 + ["B6"] * 2, "category")
    assert shape.change in ("UA 80 → 50 %; never seen: 9K", "9K 0 → 30 %; never seen: 9K")
    assert shape.picture.svg.count("<rect") == 6


def test_an_outlier_does_not_flatten_the_rest(workspace):
    shape = drawn([*map(float, range(1000)), 1e9], [*map(float, range(1000))])
    assert len(shape.picture.svg) < 1_500
    assert shape.picture.svg.count("V") > 30


def test_of_samples_that_are_gone_nothing_is_drawn(workspace):
    assert shapes("gone", [COLUMN]) == shapes("", [COLUMN]) == {}
