"""LAB100 to LAB106 and LAB109: whether a notebook runs at all. HOME and the like stand for folders of one machine."""

import json

import pytest

from aiinfra_lab.recipe.lint import fix_notebook, lint_notebook
from aiinfra_lab.recipe.notebook import read_notebook

from .conftest import code_cell, write_notebook


def of_this_machine(cell: str) -> str:
    """The cell with real folders; no file of ours may name one."""
    for name, folder in {"HOME": ("home", "ann"), "USERS": ("Users", "ann"), "ROOT": ("root",)}.items():
        cell = cell.replace(name, "/" + "/".join(folder))
    return cell


def parameters(source: str) -> dict[str, object]:
    return code_cell(source, tags=("parameters",))


@pytest.mark.parametrize(
    ("cells", "where"),
    [
        (["x = 1", "y = (1,\nz = 2"], (2, 1)),
        (["\n\nfor x in y\n    pass"], (1, 3)),
        (["%%time\nx ="], (1, 2)),
        (["%%train run delay --rows a\nx = 1\n%pip list"], (1, 3)),
        (["%%features add delay --data a\n!ls"], (1, 2)),
        (["x = 1\nreturn x"], (1, 2)),
        (["if x:\n    break"], (1, 2)),
        (["%%time\ndef f(a, a): pass"], (1, 2)),
        (["x = 1\ndef f():\n    nonlocal x"], (1, 3)),
        (["!ls\nyield 1"], (1, 2)),
        (["%%train run delay --rows a\nawait f()"], (1, 2)),
    ],
)
def test_what_is_no_python_is_found(places, cells, where):
    assert places("LAB100", *cells) == [where]


@pytest.mark.parametrize(
    "cell",
    [
        *("await f()", "x = !ls\n%time y", "?len", "len?", "cd data", "ls -la", "f??", "/f 1", ",f a b", "%%html\n<b>"),
        *("", "# nothing", "%time \\\n f()", "if x:\n    %time y", "x = %sql select \\\n  1", "%%bash\nif [ x ]; then"),
        *(
            "async with a as b: pass",
            "[x async for x in y]",
            "%%timeit\nreturn",
            "1 is 1",
            "%%capture\nawait f()",
        ),
    ],
)
def test_what_ipython_understands_is_not(found, cell):
    assert found("LAB100", cell) == []


def test_a_cell_that_is_to_fail_may_be_no_python(found):
    assert found("LAB100", code_cell("x =", tags=("raises-exception",))) == []


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((1, 2, 3), []),
        ((None, None), []),
        ((4, None, 9), []),
        ((1, 3, 2), [(3, 1)]),
        ((2, 2), [(2, 1)]),
        ((3, 2, 1), [(2, 1)]),
    ],
)
def test_stored_counts_grow_from_top_to_bottom(places, counts, expected):
    assert places("LAB102", *(code_cell("1", count=count) for count in counts)) == expected


def test_a_derived_parameter_is_found(places):
    assert places("LAB103", parameters("a: int = 1\nb: int = a * 2\nc = f'{a}'")) == [(1, 2), (1, 3)]


@pytest.mark.parametrize(
    "cells",
    [
        [parameters("a: int = 1\nb: float = -0.5\nc = [1, 2]")],
        [parameters("from datetime import date\nday: date = date(2026, 1, 1)")],
        ["a = 1\nb = a"],
        [parameters("a = 1"), "b = a * 2"],
    ],
)
def test_a_plain_parameter_is_none(found, cells):
    assert found("LAB103", *cells) == []


def test_a_second_parameters_cell_is_found(places):
    assert places("LAB113", "1", parameters("a: int = 1"), "2", parameters("a: int = 2"), parameters("b = 3")) == [
        (4, 1),
        (5, 1),
    ]


def test_one_parameters_cell_is_no_second_one(found):
    assert found("LAB113", "1", parameters("a: int = 1"), "a") == []


def test_its_fix_moves_the_line_right_below(workspace):
    path = write_notebook(
        workspace / "n.ipynb",
        parameters("a: int = 1  # one\nb: int = a * 2  # twice\nc: str = 'x'\nd = b + 1"),
        "print(b)",
    )
    found = lint_notebook(path)
    assert fix_notebook(path, found) == 2
    first, second, third = read_notebook(path).cells
    assert first.source == "a: int = 1  # one\nc: str = 'x'"
    assert second.source == "b: int = a * 2  # twice\nd = b + 1"
    assert (third.source, second.tags) == ("print(b)", frozenset())
    assert [*read_notebook(path).schema()] == ["a", "c"]
    assert lint_notebook(path) == []


@pytest.mark.parametrize("source", ["a = 1; b = a", "a = 1\nb = a\nprint(b)", "a = 1\nb = a\na = 2"])
def test_what_cannot_be_moved_safely_stays(found, source):
    assert [each.edits for each in found("LAB103", parameters(source))] == [()]


@pytest.mark.parametrize(
    ("cells", "where"),
    [
        (["name = input('who? ')"], (1, 1)),
        (["import getpass", "\ngetpass.getpass()"], (2, 2)),
        (["from getpass import getpass as ask\nask()"], (1, 2)),
        (["breakpoint()"], (1, 1)),
        (["import pdb; pdb.set_trace()"], (1, 1)),
        (["import matplotlib.pyplot as plt\nplt.ginput(2)"], (1, 2)),
        (["import sys\nsys.stdin.readline()"], (1, 2)),
        (["%debug"], (1, 1)),
    ],
)
def test_what_waits_for_people_is_found(places, cells, where):
    assert places("LAB104", *cells) == [where]


@pytest.mark.parametrize(
    "cell",
    [
        "input = 3\nprint(input)",
        "def input(): ...\ninput()",
        "form.input('x')",
        "getpass = f",
        "import getpass\ngetpass.getuser()",
    ],
)
def test_what_only_sounds_like_it_does_not(found, cell):
    assert found("LAB104", cell) == []


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("\nopen('HOME/flights.csv')", 2),
        ("p = f'USERS/{name}.csv'", 1),
        (r"p = 'C:\\Users\\ann\\x.csv'", 1),
        ("x = ['ROOT/x', 1]", 1),
        ("import os\nos.makedirs('/tmp')", 2),
        ("df.to_csv('/var/tmp/x.csv')", 1),
        ("!cp /tmp/a.csv .", 1),
        ("%load_ext aiinfra_lab\n%data add x HOME/x.csv", 2),
        ("%%bash\nls\ncat HOME/x", 3),
        ("%%writefile /tmp/x.py\npass", 1),
    ],
)
def test_a_path_of_a_home_is_found(places, cell, line):
    assert places("LAB105", of_this_machine(cell)) == [(1, line)]


@pytest.mark.parametrize(
    "cell",
    [
        "open('data/home/x.csv')",
        "open('~/x.csv')",
        "'''HOME/x is where it was'''",
        "x = 'see HOME/x.csv'",
        "requests.get('https://hostHOME')",
        "f'{root}/tmp/x'",
        "open('/data/x.csv')",
        "p = '/homes/x'",
        "p = '/tmpfs'",
        "!echo $PWD",
        "%%gpu run a --on x\nopen('/tmp/x', 'w')",
    ],
)
def test_another_path_is_none(found, cell):
    assert found("LAB105", of_this_machine(cell)) == []


@pytest.mark.parametrize(
    "cell", ["import os\nos.chdir('..')", "from os import chdir\nchdir('x')", "x = 1\n%cd data", "x = 1\n%pushd a"]
)
def test_a_change_of_folder_is_found(places, cell):
    assert places("LAB106", cell) == [(1, 2)]


@pytest.mark.parametrize(
    "cell", ["import os\nos.getcwd()", "!cd x && ls", "import contextlib\nwith contextlib.chdir('x'): ..."]
)
def test_what_changes_no_folder_is_none(found, cell):
    assert found("LAB106", cell) == []


def test_a_change_of_folder_without_a_percent_sign_is_found(places):
    assert places("LAB106", "cd data") == [(1, 1)]


def test_the_file_is_not_touched_by_reading_it(workspace):
    path = write_notebook(workspace / "n.ipynb", "print(x)")
    before = path.read_text()
    lint_notebook(path)
    assert path.read_text() == before == json.dumps(json.loads(before), indent=1) + "\n"
