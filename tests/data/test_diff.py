"""Two versions compared by meaning."""

import re

import pandas as pd
import polars as pl
import pytest

from aiinfra_lab import data
from aiinfra_lab.errors import NotFound
from aiinfra_lab.testing.data import folder

BASE = pd.DataFrame({"id": [1, 2, 3, 4], "x": [1.0, 2.0, 3.0, None], "who": ["a", "a", "b", "c"]})


def changed(frame: pd.DataFrame | pl.DataFrame, before: pd.DataFrame | pl.DataFrame = BASE):
    data.add("t", before)
    data.add("t", frame)
    return data.diff("t").tables[0]


def test_rows_that_came_and_went(workspace):
    table = changed(pd.concat([BASE.iloc[1:], BASE.assign(id=9).iloc[:2]], ignore_index=True))
    assert (table.rows_before, table.rows_after, table.rows_added, table.rows_removed) == (4, 5, 2, 1)


def test_a_value_that_is_no_number_is_missing_as_in_a_check(workspace):
    frame = pl.DataFrame({"x": [1.0, None, float("nan"), 2.0]})
    table = changed(frame, frame.with_columns(pl.lit(1.0).alias("x")))
    assert ("missing", "0 %", "50 %") in table.shifted[0].measures
    assert "x in 50 %" in data.check("t", max_missing="60%").card().text()


def test_rows_in_another_order_are_the_same_rows(workspace):
    table = changed(BASE.iloc[::-1].reset_index(drop=True))
    assert (table.rows_added, table.rows_removed, table.shifted) == (0, 0, ())


DIFFERENT_BYTES = {
    "order of rows": (BASE.iloc[::-1].reset_index(drop=True), "the same rows in another order"),
    "order of columns": (BASE[["x", "who", "id"]], "the same columns in another order"),
    "both": (BASE[["x", "who", "id"]].iloc[::-1].reset_index(drop=True), "the same rows in another order"),
    "sign of a zero": (BASE.assign(x=[1.0, 2.0, -0.0, None]), "equal values, other bytes: t.parquet"),
}


@pytest.mark.parametrize("case", DIFFERENT_BYTES)
def test_what_differs_though_the_rows_are_the_same_is_said(workspace, case):
    after, told = DIFFERENT_BYTES[case]
    changed(after, BASE.assign(x=[1.0, 2.0, 0.0, None]) if case == "sign of a zero" else BASE)
    text = data.diff("t").card().text()
    assert told in text
    assert ("columns in another order" in text) is (case in ("order of columns", "both"))


@pytest.mark.parametrize(
    "after", [BASE.iloc[1:].iloc[::-1].reset_index(drop=True), BASE.assign(who=["b", "a", "a", "c"])]
)
def test_rows_that_differ_are_not_called_another_order(workspace, after):
    assert changed(after).alike == ()


def test_a_text_file_that_is_written_otherwise_has_equal_values(workspace, tmp_path):
    for text in ("x,y\n1,a\n", 'x,y\n1,"a"\n'):
        data.add("t", folder(tmp_path / str(len(text)), {"t.csv": text}) / "t.csv")
    assert "equal values, other bytes: t.csv" in data.diff("t").card().text()


def test_a_row_twice_is_a_row_more(workspace):
    table = changed(pd.concat([BASE, BASE.iloc[:1]], ignore_index=True))
    assert (table.rows_added, table.rows_removed) == (1, 0)


def test_columns_that_came_went_and_changed_their_type(workspace):
    table = changed(BASE.drop(columns="who").assign(new=1, id=BASE.id.astype(float)))
    assert (table.columns_added, table.columns_removed) == (("new",), ("who",))
    assert table.retyped == (("id", "int64", "float64"),)


def cities(values: list[str], categories: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"city": pl.Series(values, dtype=pl.Enum(categories))})


@pytest.mark.parametrize(
    ("after", "rows"),
    [
        (cities(["bern", "kiew"], ["bern", "kiew"]), (2, 2)),
        (cities(["oslo", "rome"], ["rome", "oslo"]), (0, 0)),
        (cities(["oslo", "rome"], ["oslo", "rome", "kiew"]), (0, 0)),
    ],
)
def test_fixed_categories_are_compared_by_their_values_and_named_when_they_change(workspace, after, rows):
    table = changed(after, cities(["oslo", "rome"], ["oslo", "rome"]))
    assert (table.rows_added, table.rows_removed) == rows
    categories = ", ".join(after.schema["city"].categories)
    assert table.retyped == (("city", "category[oslo, rome]", f"category[{categories}]"),)


def test_many_categories_that_change_by_one_are_told_apart(workspace):
    many = [f"city{number}" for number in range(100)]
    table = changed(cities(["city1"], [*many, "new"]), cities(["city1"], many))
    ((_, old, new),) = table.retyped
    assert (old[:20], new[:20]) == ("category[100 values ", "category[101 values ")


def test_a_comma_in_a_category_makes_it_no_two(workspace):
    ((_, old, new),) = changed(cities(["a"], ["b, c", "a"]), cities(["a"], ["b", "c", "a"])).retyped
    assert old != new


def test_what_shifted_in_a_column(workspace):
    table = changed(BASE.assign(x=[None, 3.0, 4.0, None], who="a"))
    assert [(change.column, change.measures) for change in table.shifted] == [
        ("x", (("missing", "25 %", "50 %"), ("mean", "2", "3.5"))),
        ("who", (("distinct", "3", "1"),)),
    ]


def test_what_shifted_most_stands_first_and_whatever_is_cut_is_counted(workspace):
    names = [f"gap{number:02}" for number in range(20)]
    before = pl.DataFrame({**{name: [1.0] * 100 for name in names}, "moved": [float(row) for row in range(100)]})
    gaps = [
        pl.when(pl.int_range(100) < number + 1).then(None).otherwise(pl.col(name)).alias(name)
        for number, name in enumerate(names)
    ]
    table = changed(before.with_columns(*gaps, pl.col("moved") + 50), before)
    assert [(change.column, round(change.distance, 3)) for change in table.shifted[:3]] == [
        ("moved", 0.5), ("gap19", 0.2), ("gap18", 0.19)
    ]  # fmt: skip
    text = data.diff("t").card().text()
    assert "16 more columns whose values differ" in text
    assert "… and 9 more" in text


@pytest.mark.parametrize(
    ("before", "after", "distance"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, float("nan")], 0.25),
        (["a", "a", "b", "b"], ["a", "c", "d", None], 0.75),
        ([[1], [2], [3], [4]], [[1], None, None, None], 0.75),
        (pl.Series(["a", "b"] * 2, dtype=pl.Enum(["a", "b"])), pl.Series(["a"] * 4, dtype=pl.Enum(["b", "a"])), 0.5),
        (pl.Series([1, 2, 3, 4]).cast(pl.Date), pl.Series([11, 12, 13, 14]).cast(pl.Date), 1.0),
    ],
)
def test_columns_of_all_types_have_comparable_distances(workspace, before, after, distance):
    (change,) = changed(pl.DataFrame({"x": after}), pl.DataFrame({"x": before})).shifted
    assert change.distance == pytest.approx(distance)


def test_means_are_shown_as_other_numbers(workspace):
    table = changed(pl.DataFrame({"x": [12345.6]}), pl.DataFrame({"x": [23456.7]}))
    assert table.shifted[0].measures == (("mean", "23,457", "12,346"),)


def test_rows_are_compared_by_the_columns_that_kept_their_type_and_that_is_said(workspace):
    changed(BASE.assign(id=BASE.id.astype(str)))
    assert "Rows: 0 added, 0 removed, by the columns that are of one type in both." in data.diff("t").card().lead


def test_rows_without_a_column_in_common_are_not_counted_as_added(workspace):
    changed(BASE[["id"]].astype(str), BASE[["id"]])
    text = data.diff("t").card().text()
    assert "Rows cannot be compared" in text
    assert "rows added" not in text


def test_files_that_came_went_and_changed(workspace, tmp_path):
    data.add("f", folder(tmp_path / "one", {"same": "s", "gone": "g", "other": "o"}))
    data.add("f", folder(tmp_path / "two", {"same": "s", "new": "n", "other": "!"}))
    files = data.diff("f").files
    assert (files.added, files.removed, files.changed) == (("new",), ("gone",), ("other",))
    text = data.diff("f").card().text()
    assert "Files: 1 added, 1 removed, 1 changed." in text
    assert re.search(r"new +\+ added", text)
    assert re.search(r"gone +− removed", text)


def test_either_may_be_the_older(workspace):
    data.add("t", BASE)
    data.add("t", BASE.iloc[:3])
    assert data.diff("t@1", "t@2").tables[0].rows_added == 1
    assert data.diff("t@2", "t@1").tables[0].rows_removed == 1


def test_two_of_the_same_content_do_not_differ(workspace):
    data.add("t", BASE)
    data.add("u", "data:t@1")
    assert "✓ same\n  Nothing differs." in data.diff("u", "t").card().text()


@pytest.mark.parametrize(("other", "fix"), [("t@7", "there are: t@1"), ("u", "known: t, t@1")])
def test_against_what_does_not_exist(workspace, other, fix):
    data.add("t", BASE)
    with pytest.raises(NotFound, match=fix):
        data.diff("t", other)


def test_the_first_version_has_nothing_before_it(workspace):
    data.add("t", BASE)
    assert "no earlier version" in data.diff("t").card().text()


def test_what_is_looked_at_must_exist(workspace):
    with pytest.raises(NotFound):
        data.diff("nothing", "nothing@1")


def test_two_versions_of_one_table_each_are_compared_whatever_their_files_are_called(workspace, tmp_path):
    data.add("t", BASE)
    data.add("t-copy", BASE.assign(x=[1.0, 2.0, 3.0, 4.0]))
    found = data.diff("t-copy", "t")
    (table,) = found.tables
    assert (table.name, table.rows_added, table.rows_removed) == ("t-copy", 1, 1)
    assert (found.files.added, found.files.removed) == ((), ())
    assert "is new" not in found.card().text()


def test_one_table_under_two_names_differs_in_nothing(workspace):
    data.add("t", BASE)
    data.add("t-copy", BASE)
    assert "Nothing differs." in data.diff("t-copy", "t").card().text()


@pytest.mark.parametrize(
    ("last", "shown"),
    [("2026-02-03 10:00", ("last 2026-01-02", "last 2026-02-03")), ("2026-01-02 11:30", ("09:00", "11:30"))],
)
def test_moments_are_shown_by_day_unless_their_times_alone_differ(workspace, last, shown):
    for moment in ("2026-01-02 09:00", last):
        data.add("t", pd.DataFrame({"at": pd.to_datetime(["2026-01-01 00:30", moment])}))
    row = next(row for part in data.diff("t").card().parts for row in part.rows if row[0] == "at")
    assert (shown[0] in row[3], shown[1] in row[4]) == (True, True)
    assert ("09:00" in row[3]) is (shown[0] == "09:00")
