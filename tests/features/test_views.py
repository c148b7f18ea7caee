"""Views and the cell that holds them: what they may be, and what is said when they are something else."""

import pandas as pd
import polars as pl
import pytest

from aiinfra_lab.errors import Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.features import view
from aiinfra_lab.features.views import View, load

TABLE = pl.DataFrame({"k": ["a"], "t": [1], "x": [2.0]})
HEAD = "import pandas as pd\nimport polars as pl\nfrom aiinfra_lab.features import view\n"


def cell(body: str, decorator: str = 'entity="k", timestamp="t"') -> View:
    """The one view of a cell with this body."""
    return load("test", f"{HEAD}@view({decorator})\ndef seen(table: pl.LazyFrame):\n    {body}\n")[0][0]


def run(item: View) -> pl.DataFrame:
    return item.run({"table": TABLE.lazy()})


def test_what_pandas_makes_an_index_of_is_a_column_of_the_view():
    found = run(cell("return table.collect().to_pandas().groupby(['k', 't']).sum()"))
    assert found.columns[:2] == ["k", "t"]


ODD = {
    "times of a fixed offset": "{'k': ['a'], 't': pd.to_datetime(['2020-01-01 00:00+05:30']), 'x': [1]}",
    "an index and a column of one name": "{'k': ['a'], 't': [1], 'x': [1]}, index=pd.Index([3], name='k')",
    "those with a number for a name": "{0: [2], 'k': ['a'], 't': [1]}, index=pd.Index([3], name=0)",
    "mixed types": "{'k': ['a', 1], 't': [1, 2], 'x': [1, 2]}",
}


@pytest.mark.parametrize("case", ODD)
def test_what_pandas_gives_that_is_no_table_is_refused_and_the_fixes_make_it_one(case):
    lines = [f"df = pd.DataFrame({ODD[case]})"]
    while len(lines) < 5:
        try:
            assert run(cell("\n    ".join([*lines, "return df"]))).height
            break
        except Failed as problem:
            lines.append(problem.fix[problem.fix.index("df") :])
    assert 1 < len(lines) < 5


@pytest.mark.parametrize("body", ["return table", "return table.collect()", "return table.collect().to_pandas()"])
def test_a_view_returns_any_of_three_frames(body):
    assert run(cell(body)).equals(TABLE)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [("pl.LazyFrame", pl.LazyFrame), ("pl.DataFrame", pl.DataFrame), ("pd.DataFrame", pd.DataFrame)],
)
def test_a_parameter_gets_the_frame_it_asks_for(annotation, kind):
    head = f"from __future__ import annotations\n{HEAD}got = []\n@view(entity='k', timestamp='t')\n"
    code = f"{head}def seen(table: {annotation}):\n    got.append(table)\n    return table\n"
    item = load("test", code)[0][0]
    assert run(item).equals(TABLE)
    assert isinstance(item.function.__globals__["got"][0], kind)


def test_a_view_is_still_a_function():
    @view(entity=("a", "b"), timestamp="t", ttl="3h")
    def doubled(x: int) -> int:
        return 2 * x

    assert (doubled(4), doubled.name, doubled.tables, doubled.ttl_s) == (8, "doubled", ("x",), 10800.0)


def test_the_cell_gives_views_and_columns_in_its_order():
    code = (
        HEAD
        + 'columns = ["z", "a"]\n'
        + "".join(f"@view(entity='k', timestamp='t')\ndef {n}(table): ...\n" for n in "ba")
    )
    views, columns = load("test", code)
    assert ([item.name for item in views], columns) == (["b", "a"], ("z", "a"))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return 7", "view seen returns an object of type int"),
        ("return None", "view seen returns an object of type NoneType"),
        ("return table.select('k', 't')", "view seen returns no feature"),
        ("return table.select('nonsense')", "view seen failed: ColumnNotFoundError"),
        ("return 1 / 0", r"view seen failed in line 6 \(return 1 / 0\): ZeroDivisionError"),
    ],
)
def test_a_view_that_goes_wrong_says_which_and_where(body, problem):
    with pytest.raises(Failed, match=problem):
        run(cell(body))


@pytest.mark.parametrize(
    "decorator",
    ['entity="key", timestamp="t"', 'entity="k", timestamp="time"', 'entity="k", timestamp="t", known_at="u"'],
)
def test_a_key_or_time_that_is_not_returned_is_named(decorator):
    with pytest.raises(NotFound, match="view seen returns no column"):
        run(cell("return table", decorator))


def test_a_table_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(NotFound, match="'table'") as problem:
        cell("return table").run({"tables": TABLE.lazy()})
    assert "did you mean tables?" in problem.value.fix


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("x = (", r"the cell failed in line 1 .*: SyntaxError"),
        ("x = 1\nraise KeyError('gone')", "the cell failed in line 2 .*: KeyError"),
        ("x = 1", "neither a view nor `columns`"),
        ("columns = 'carrier'", "no list of names"),
        ("columns = [1]", "no list of names"),
    ],
)
def test_a_cell_that_cannot_be_one_says_why(code, problem):
    with pytest.raises(Failed, match=problem):
        load("test", code)


@pytest.mark.parametrize(
    "options", [{"entity": "", "timestamp": "t"}, {"entity": ["k", ""]}, {"entity": [], "timestamp": "t"}]
)
def test_a_view_without_an_entity_is_refused(options):
    with pytest.raises(UsageProblem, match="needs an entity"):
        view(**options)


def test_a_time_to_live_is_a_duration():
    with pytest.raises(UsageProblem, match="banana"):
        view(entity="k", timestamp="t", ttl="banana")


def test_an_error_of_ours_in_a_cell_stays_what_it_is():
    with pytest.raises(LabError) as problem:
        load("test", "from aiinfra_lab.errors import Denied\nraise Denied('no', 'ask')")
    assert (type(problem.value).__name__, problem.value.what) == ("Denied", "no")


@pytest.mark.parametrize("name", ["../../x", "a/b", "", "x" * 101, "a\\0b"])
def test_a_view_whose_name_is_no_file_name_is_refused(name):
    renamed = (
        f"{HEAD}def seen(table):\n    ...\nseen.__name__ = '{name}'\nmade = view(entity='k', timestamp='t')(seen)\n"
    )
    with pytest.raises(Failed, match="cannot be the name of a view"):
        load("test", renamed)


def test_a_cell_may_do_without_the_import_of_view():
    [item], _ = load("test", "@view(entity='customer')\ndef seen(table):\n    return table\n")
    assert item.name == "seen"
