"""The injected cell: Python that gives the values back, whatever the notebook has imported, and under which names."""

import datetime as dt
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab.errors import LabError, UsageProblem
from aiinfra_lab.recipe import Secret
from aiinfra_lab.recipe.engine.injected import inject
from aiinfra_lab.recipe.parameters import LiteralWriter, read_schema

MEANT = {"datetime": "datetime.datetime", "date": "datetime.date", "Path": "pathlib.Path", "Decimal": "decimal.Decimal"}
NOON = dt.datetime.fromisoformat("2013-07-01T12:00")


def executed(*cells: str) -> dict[str, object]:
    names: dict[str, object] = {}
    for cell in cells:
        exec(cell, names)  # code of this test
    return names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (dt.date(2026, 1, 1), "date(2026, 1, 1)"),
        (NOON, "datetime(2013, 7, 1, 12, 0)"),
        (NOON.replace(second=5, microsecond=7), "datetime(2013, 7, 1, 12, 0, 5, 7)"),
        (NOON.replace(tzinfo=dt.UTC), 'datetime.fromisoformat("2013-07-01T12:00:00+00:00")'),
        (Path("a/b"), 'Path("a/b")'),
        (Path('a"\\\n'), "Path('a\"\\\\\\n')"),
        (Decimal("1.10"), 'Decimal("1.10")'),
        ([dt.date(2026, 1, 1), None], "[date(2026, 1, 1), None]"),
        ((1,), "(1,)"),
        ((1, Path("a")), '(1, Path("a"))'),
        ({2, 1}, "{1, 2}"),
        (set(), "set()"),
        (frozenset([1]), "frozenset({1})"),
        (frozenset(), "frozenset()"),
        ({1: {"a": Decimal(2)}}, "{1: {'a': Decimal(\"2\")}}"),
        (float("inf"), 'float("inf")'),
        ('it\'s "é" \\ \n', "'it\\'s \"é\" \\\\ \\n'"),
    ],
)
def test_a_value_is_written_as_people_would(value, text):
    assert LiteralWriter(MEANT).literal(value) == text
    imports = "from datetime import date, datetime; from pathlib import Path; from decimal import Decimal"
    bare = LiteralWriter().literal(value)
    for written, before in ((text, imports), (bare, "")):
        assert executed(before, f"x = {written}")["x"] == value


# What stands above or in the cell of parameters, and how the date is written behind it.
PLACES = [
    ("from datetime import date", "date"),
    ("from datetime import date as Day", "Day"),
    ("import datetime", "datetime.date"),
    ("import datetime as dt", "dt.date"),
    ("", '__import__("datetime").date'),
    ("from datetime import date\ndate = 3", '__import__("datetime").date'),
    ("from datetime import date\nfor date in (): pass", '__import__("datetime").date'),
    ("from datetime import date\ndel date", '__import__("datetime").date'),
    ("try:\n    from datetime import date\nexcept ImportError:\n    date = None", '__import__("datetime").date'),
    ("from datetime import date\nfrom os import *", '__import__("datetime").date'),
    ("def date(): pass\nfrom datetime import date", "date"),
    ("from datetime import date\ndef date(): pass", '__import__("datetime").date'),
]


@pytest.mark.parametrize(("before", "written"), PLACES)
@pytest.mark.parametrize("is_apart", [True, False])
def test_a_type_has_the_name_that_it_has_there_for_sure(before, written, is_apart):
    line = "x: 'date' = None"
    cells = [before, line] if is_apart else [f"{before}\n{line}"]
    schema = read_schema(Path("n.ipynb"), cells)
    # `x: "date"` means the type where nothing says otherwise.
    source = schema.source({"x": "2013-07-01"})
    assert source == f"x = {written}(2013, 7, 1)"
    assert executed(*cells, source)["x"] == dt.date(2013, 7, 1)


def test_a_magic_between_may_have_changed_every_name():
    cells = ["from datetime import date", "%run other.ipynb", "x: date = None"]
    assert read_schema(Path("n.ipynb"), cells).source({"x": "2013-07-01"}).startswith('x = __import__("datetime")')


def test_a_parameter_may_have_its_types_name():
    cell = "from datetime import date\ndate: date = date(2026, 1, 1)\nother: list[date] = []"
    source = read_schema(Path("n.ipynb"), [cell]).source({"date": "2013-07-01", "other": "2013-07-02"})
    found = executed(cell, source)
    assert (found["date"], found["other"]) == (dt.date(2013, 7, 1), [dt.date(2013, 7, 2)])


@pytest.mark.parametrize(
    ("before", "written"),
    [
        ("from aiinfra_lab.recipe import Secret", "Secret"),
        ("from aiinfra_lab import recipe", "recipe.Secret"),
        ("import aiinfra_lab.recipe", "aiinfra_lab.recipe.Secret"),
        ("import aiinfra_lab.recipe as r", "r.Secret"),
        ("", '__import__("aiinfra_lab.recipe", fromlist=["Secret"]).Secret'),
    ],
)
def test_a_secret_is_written_by_its_name(before, written, monkeypatch):
    monkeypatch.setenv("OTHER_TOKEN", "the value")
    cell = f"{before}\nx: {written if before else 'Secret'} = None"
    source = read_schema(Path("n.ipynb"), [cell]).source({"x": "OTHER_TOKEN"})
    assert source == f'x = {written}("OTHER_TOKEN")'
    found = executed(f"{before}\nx = None", source)["x"]
    assert (found, found.value, repr(found), str(found)) == (
        Secret("OTHER_TOKEN"),
        "the value",
        'Secret("OTHER_TOKEN")',
        'Secret("OTHER_TOKEN")',
    )


def test_a_secret_that_is_not_there_is_missing_when_it_is_asked_for(monkeypatch):
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    with pytest.raises(LabError) as problem:
        _ = Secret("NO_SUCH_TOKEN").value
    assert "NO_SUCH_TOKEN" in str(problem.value)


NAMES = ["x = 1; import os; y", "a b", "class", "1a", "", "x\n", "x=1#", "a.b", "__import__('os')", "True", "ａ b"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", ["python", "R", "julia"])
@pytest.mark.parametrize("tags", [["parameters"], []])
def test_no_name_is_code(name, language, tags):
    if language != "python" and name in ("class", "True", "a.b"):
        pytest.skip("a name there")
    spec = {"name": language, "display_name": language, "language": language}
    cell = new_code_cell("x = 1", metadata={"tags": tags})
    notebook = new_notebook(cells=[cell], metadata={"kernelspec": spec})
    with pytest.raises(UsageProblem, match="cannot be the name of a parameter"):
        inject(notebook, {name: 2})
    assert notebook.cells == [cell]


def test_a_notebook_gets_it_from_a_kernel_of_its_own():
    """In another process, as a kernel runs it."""
    imports = "import datetime as clock\nfrom pathlib import Path as P"
    cell = f"{imports}\nday: clock.date = None\npath: P = None\nxs: set[int] = {{1}}"
    source = read_schema(Path("n.ipynb"), [cell]).source({"day": "2013-07-01", "path": "a/b", "xs": [3, 2]})
    code = f"{cell}\n{source}\nimport json; print(json.dumps([repr(day), str(path), sorted(xs)]))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ})
    assert json.loads(done.stdout) == ["datetime.date(2013, 7, 1)", "a/b", [2, 3]]
