"""Two versions compared by meaning."""

import pandas as pd
import pytest

from aiinfra_lab import data
from aiinfra_lab.errors import NotFound
from aiinfra_lab.testing.data import folder

BASE = pd.DataFrame({"id": [1, 2, 3, 4], "x": [1.0, 2.0, 3.0, None], "who": ["a", "a", "b", "c"]})


def changed(frame: pd.DataFrame):
    data.add("t", BASE)
    data.add("t", frame)
    return data.diff("t").tables[0]


def test_rows_that_came_and_went(workspace):
    table = changed(pd.concat([BASE.iloc[1:], BASE.assign(id=9).iloc[:2]]))
    assert (table.rows_before, table.rows_after, table.rows_added, table.rows_removed) == (4, 5, 2, 1)


def test_rows_in_another_order_are_the_same_rows(workspace):
    table = changed(BASE.iloc[::-1])
    assert (table.rows_added, table.rows_removed, table.shifted) == (0, 0, ())


def test_a_row_twice_is_a_row_more(workspace):
    table = changed(pd.concat([BASE, BASE.iloc[:1]]))
    assert (table.rows_added, table.rows_removed) == (1, 0)


def test_columns_that_came_went_and_changed_their_type(workspace):
    table = changed(BASE.drop(columns="who").assign(new=1, id=BASE.id.astype(float)))
    assert (table.columns_added, table.columns_removed) == (("new",), ("who",))
    assert table.retyped == (("id", "int64", "float64"),)


def test_what_shifted_in_a_column(workspace):
    table = changed(BASE.assign(x=[None, 3.0, 4.0, None], who="a"))
    assert table.shifted == (
        ("x: missing", "25 %", "50 %"),
        ("x: mean", "2", "3.5"),
        ("who: distinct", "3", "1"),
    )


def test_files_that_came_went_and_changed(workspace, tmp_path):
    data.add("f", folder(tmp_path / "one", {"same": "s", "gone": "g", "other": "o"}))
    data.add("f", folder(tmp_path / "two", {"same": "s", "new": "n", "other": "!"}))
    files = data.diff("f").files
    assert (files.added, files.removed, files.changed) == (("new",), ("gone",), ("other",))
    assert "file new" in data.diff("f").card().text()


def test_either_may_be_the_older(workspace):
    data.add("t", BASE)
    data.add("t", BASE.iloc[:3])
    assert data.diff("t@1", "t@2").tables[0].rows_added == 1
    assert data.diff("t@2", "t@1").tables[0].rows_removed == 1


def test_two_of_the_same_content_do_not_differ(workspace):
    data.add("t", BASE)
    data.add("u", "data:t@1")
    assert "nothing differs" in data.diff("u", "t").card().text()


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
