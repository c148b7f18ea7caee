"""The handle: which table is meant, and what its card shows."""

from dataclasses import replace
from pathlib import Path

import pytest

from aiinfra_lab.data.compare import FileChanges, TableChange, ValueChange
from aiinfra_lab.data.glance import MOST_COLUMNS
from aiinfra_lab.data.handle import Dataset, main_table
from aiinfra_lab.data.judge import DataFinding, worst
from aiinfra_lab.data.results import DataCheck, DataComparison, DataDescription, DataRemoval
from aiinfra_lab.data.tables import DataTable
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.show import Fold

COLUMNS = (("id", "int64"), ("name", "text"))


def dataset(*tables: str, name: str = "zoo", **fields: object) -> Dataset:
    described = tuple(DataTable(table, f"{table}.csv", 3, COLUMNS, ",") for table in tables)
    given = {"digest": "0123456789abcdef", "rows": 3, "files": len(tables), "size_bytes": 2048, "source": "file:/x"}
    place = Path("/v") / f"{name}@1"
    return Dataset(
        f"data:{name}@1", tables=tables, added_at=0.0, path=place, **{**given, "described": described, **fields}
    )


@pytest.mark.parametrize(
    ("name", "tables", "main"),
    [
        ("flights", ("flights", "weather"), "flights"),
        ("flights-july", ("flights", "weather"), "flights"),
        ("flights-july-late", ("flights", "flights-july"), "flights-july"),
        ("flightsjuly", ("flights", "weather"), None),
        ("zoo", ("cats",), "cats"),
        ("zoo", ("cats", "dogs"), None),
        ("zoo", (), None),
    ],
)
def test_the_table_that_is_meant(name, tables, main):
    assert main_table(name, tables) == main


def test_a_table_is_described_by_its_name_or_as_the_main_one():
    zoo = dataset("cats", "dogs", name="cats")
    assert (zoo.describe().name, zoo.describe("dogs").schema) == ("cats", dict(COLUMNS))
    assert zoo.main() == "cats"


def test_an_unknown_table_suggests_the_nearest():
    with pytest.raises(NotFound) as caught:
        dataset("cats", "dogs").describe("cast")
    assert caught.value.fix == "did you mean cats?"


@pytest.mark.parametrize("count", [2, 12, 13])
def test_many_tables_are_listed_up_to_a_dozen(count):
    with pytest.raises(UsageProblem) as caught:
        dataset(*(f"t{number:02}" for number in range(count))).main()
    assert (f"t{min(count, 12) - 1:02}" in caught.value.what, ", …" in caught.value.what) == (True, count > 12)


def test_a_card_tells_files_size_digest_and_source():
    text = dataset("cats").card().text()
    assert "files    1\n  size     2.0 KiB" in text
    assert "source   file:/x" in text
    assert "0123456789ab" in text
    assert "0123456789abc" not in text
    assert "files   2\n" in dataset("cats", "dogs").card().text()


def test_the_columns_are_folded_away_and_cut():
    wide = DataTable("w", "w.csv", 1, tuple((f"c{number}", "text") for number in range(100)), ",")
    (fold,) = [part for part in dataset("w", described=(wide,)).card().parts if isinstance(part, Fold)]
    assert (fold.summary, fold.content.items[-1]) == (
        f"{100 - MOST_COLUMNS} more columns",
        f"… and {60 - MOST_COLUMNS} more",
    )


def test_the_tables_of_a_version_are_in_its_result_but_not_in_its_json():
    assert "described" not in dataset("cats").as_json()
    assert dataset("cats").as_json()["tables"] == ["cats"]


@pytest.mark.parametrize(
    ("newest", "note"), [("data:zoo@2", "data:zoo now means data:zoo@2"), ("", "no version of data:zoo is left")]
)
def test_a_removal_says_what_the_name_means_now(newest, note):
    assert note in DataRemoval("data:zoo@3", 10, newest).card().text()


def test_a_description_lists_tables_and_their_columns():
    zoo = dataset("cats")
    shown = DataDescription(zoo.uri, "removed", 3, 1, 2048, "file:/x", 0.0, "d", "k", zoo.described)
    text = shown.card().text()
    assert text.startswith("Data version data:zoo@1  ▲ removed")
    assert "id      int64\n  name    text" in text
    assert "`%data log zoo@1`" in text


def change(**fields: object) -> TableChange:
    given = {"rows_before": 1, "rows_after": 2, "rows_added": 1, "rows_removed": 0, "compared": 2}
    empty = dict.fromkeys(("columns_added", "columns_removed", "retyped", "shifted"), ())
    return TableChange(name="cats", **{**given, **empty, **fields})


def test_a_comparison_names_each_change_with_before_and_after():
    tables = (change(columns_added=("age",), columns_removed=("old",), retyped=(("id", "int64", "text"),)),)
    card = DataComparison("data:zoo@2", "data:zoo@1", FileChanges((), (), ("cats.csv",)), tables).card()
    (columns,) = (part.rows for part in card.parts)
    assert [(row[0], str(row[1])) for row in columns] == [("old", "− removed"), ("id", "~ type"), ("age", "+ added")]
    assert list(columns[1][2:]) == ["int64", "text"]
    assert (card.uri, str(card.state)) == ("data:zoo@1 → @2", "▲ schema changed")


def test_a_comparison_shows_first_the_column_that_changed_most():
    means, gaps = ("mean", "3", "4"), ("missing", "0 %", "40 %")
    shifted = (ValueChange("x", 0.1, (means,)), ValueChange("y", 0.4, (gaps, means)))
    card = DataComparison("data:zoo@2", "data:zoo@1", FileChanges((), (), ()), (change(shifted=shifted),)).card()
    assert [row[0] for row in card.parts[0].rows] == ["y", "x"]
    assert card.parts[0].rows[0][2:] == ("40 %", "0 % missing, mean 3", "40 % missing, mean 4")
    assert "1 added, 0 removed" in card.lead


def test_a_changed_file_that_is_no_compared_table_is_named():
    files = FileChanges(("new",), ("gone",), ("picture.png",))
    card = DataComparison("data:zoo@2", "data:zoo@1", files, ()).card()
    assert [(row[0], row[1].word) for row in card.parts[-1].rows] == [
        ("gone", "removed"), ("new", "added"), ("picture.png", "changed")
    ]  # fmt: skip


def finding(state: str, what: str = "rows", fix: str = "") -> DataFinding:
    return DataFinding("cats", what, state, "seen", fix)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ((), "cannot tell"),
        (("good",), "good"),
        (("good", "cannot tell"), "cannot tell"),
        (("cannot tell", "bad"), "bad"),
    ],
)
def test_the_worst_finding_decides(states, state):
    assert worst([finding(each) for each in states]) == state


def test_a_check_shows_what_is_bad_first_and_how_to_correct_it():
    found = (finding("good", "types"), finding("bad", "missing", "fill them"), finding("cannot tell", "rows"))
    card = DataCheck("data:zoo@1", "bad", found, "a note").card()
    odd, good = card.parts
    assert [(row[0], str(row[1])) for row in odd.rows] == [("missing", "✕ not passed"), ("rows", "? cannot tell")]
    assert [row[0] for row in good.content.rows] == ["types"]
    assert (card.advice, card.notes) == ("cats, missing: fill them.", ["A note."])
    assert "1 of 3 things that were judged did not pass" in card.lead


def test_of_several_tables_the_one_that_the_data_is_called_after_is_shown_with_its_columns():
    tables, columns, others = dataset("cats", "dogs", name="cats").card().parts
    assert [row[:3] for row in tables.rows] == [("cats", "3", "2"), ("dogs", "3", "2")]
    assert (columns.label, columns.rows) == ("columns of cats", [("id", "int64"), ("name", "text")])
    assert (others.summary, others.content.items) == ("columns of dogs", ["id int64", "name text"])


def test_a_version_says_what_is_new_against_the_one_before():
    def version(number: int, *columns: tuple[str, str], rows: int) -> DataDescription:
        tables = (DataTable("zoo", "zoo.csv", rows, columns),)
        return DataDescription(f"data:zoo@{number}", "", rows, 1, 9, "file:/x", 0.0, "d", "k", tables)

    old = version(1, ("id", "int64"), ("age", "int64"), rows=3)
    new = replace(version(2, ("id", "text"), ("name", "text"), rows=5), former=old)
    told = "**2 rows more**, 1 column new (name), 1 column gone (age), 1 column of another type (id)."
    assert new.card().lead == f"Against data:zoo@1: {told}"
    assert new.card().next == ["Next: `%data diff zoo@2 zoo@1`", "`%data get zoo@2`"]
