"""LAB101: a name is missing where the notebook would stop, and nowhere else."""

import pytest

from .conftest import code_cell

LOAD = "%load_ext aiinfra_lab"


@pytest.mark.parametrize(
    ("cells", "where"),
    [
        (["print(x)"], (1, 1)),
        (["x = 1", "\nprint(x)\nprint(y)"], (2, 3)),
        (["print(x)", "x = 1"], (1, 1)),
        (["x = x + 1"], (1, 1)),
        (["x += 1"], (1, 1)),
        (["x: int", "print(x)"], (2, 1)),
        (["x: Missing = 1"], (1, 1)),
        (["def f(a=missing): ..."], (1, 1)),
        (["def f(a: Missing): ..."], (1, 1)),
        (["@missing\ndef f(): ..."], (1, 1)),
        (["class A(Missing): ..."], (1, 1)),
        (["class A:\n    x = 1\n    y = [x for _ in range(missing)]"], (1, 3)),
        (["class A:\n    x = 1\n    def f(self):\n        return x"], (1, 4)),
        (["def f():\n    return never"], (1, 2)),
        (["f = lambda a: a + never"], (1, 1)),
        (["[i for i in range(3)]\nprint(i)"], (1, 2)),
        (["x = 1\ndel x\nprint(x)"], (1, 3)),
        (["import numpy as np", "numpy.zeros(3)"], (2, 1)),
        (["from os import path", "os.getcwd()"], (2, 1)),
        (["try:\n    x\nexcept ValueError:\n    x = 1"], (1, 2)),
        (["f'{missing}'"], (1, 1)),
        (["if (n := 3) > m: ..."], (1, 1)),
        (["match 1:\n    case n if n > m: ..."], (1, 2)),
        (["%time y = f(3)"], (1, 1)),
        (["%%time\n\nprint(x)"], (1, 3)),
        (["%%timeit\nq = 1", "print(q)"], (2, 1)),
        (["%%timeit q = 1\nq + r"], (1, 2)),
        (["%%timeit -n 5 missing()\n1"], (1, 1)),
        (["def f(): return q", "%%timeit\nq = 1"], (1, 1)),
        (["%%capture out\nprint(1)", "print(out, err)"], (2, 1)),
        (["await later()"], (1, 1)),
        ([LOAD, "%data check $rows"], (2, 1)),
        ([LOAD, "%data get flights -o rows\nprint(row)"], (2, 2)),
        ([LOAD, "x = 1", "%%train run delay --rows a.csv\nrun.log(loss=x)"], (3, 2)),
        ([LOAD, "%%train run delay --rows $rows\npass"], (2, 1)),
        ([LOAD, "%%features add delay --data a\nview(entity=key)"], (2, 2)),
        ([LOAD, "x = 1\n%gpu start a", "%%gpu run a\nprint(x)"], (3, 2)),
        ([LOAD, "%gpu start a", "%%gpu run a -i x\nprint(x)"], (3, 1)),
    ],
)
def test_a_missing_name_is_found_where_it_is_used(places, cells, where):
    assert places("LAB101", *cells) == [where]


@pytest.mark.parametrize(
    "cells",
    [
        ["x = 1", "print(x, len([1]), __name__, _, __, _1, _i2, In, Out, get_ipython, display, exit)"],
        ["def f():\n    return later", "later = 1", "f()"],
        ["def f(n):\n    return n and f(n - 1)"],
        ["f = lambda a, *b, c=1, **d: (a, b, c, d)"],
        ["if True:\n    x = 1\nelse:\n    y = 2", "print(x, y)"],
        ["try:\n    import a\nexcept ImportError:\n    a = None", "print(a)"],
        ["try:\n    a = 1\nexcept* ValueError as group:\n    print(group)"],
        ["try:\n    x\nexcept NameError:\n    x = 1", "print(x)"],
        ["try:\n    a = 1\nexcept ValueError as problem:\n    print(problem)"],
        ["for i, (j, k) in []: ...\nelse:\n    print(i, j, k)"],
        ["with open('a') as f, open('b') as (g, h):\n    print(f, g, h)"],
        ["print([a + b for a in range(3) for b in range(a) if a > b])"],
        ["print({c: d for c, d in {}.items()}, {*(e for e in '')})"],
        ["[y := 1, y ** 2]", "print(y)"],
        ["[last := i for i in range(3)]", "print(last)"],
        ["class A:\n    n = 3\n    m = [n for n in range(n)]\n    def f(self):\n        return __class__, A"],
        ["class A:\n    def f(self) -> 'A':\n        return self"],
        ["from __future__ import annotations", "def f(a: Later) -> Later: ...\nx: Later = 1", "class Later: ..."],
        ["def f():\n    x: Missing = 1\n    return x"],
        ["def f():\n    global g\n    g = 1", "f()", "print(g)"],
        ["def f():\n    a = 1\n    def g():\n        nonlocal a\n        a = b\n    b = 2\n    return g"],
        ["from numpy import *", "zeros(3)"],
        ["exec('x = 1')", "print(x)"],
        ["globals()['x'] = 1", "print(x)"],
        ["if 'x' not in globals():\n    x = 1", "print(x)"],
        ["def put():\n    globals()['x'] = 1", "put()", "print(x)"],
        ["get_ipython().user_ns['x'] = 1", "print(x)"],
        ["import os.path, numpy.random as r", "os.path.join(r)"],
        ["match {'a': 1}:\n    case {'a': n, **rest}: print(n, rest)\n    case [first, *others]: print(first, others)"],
        ["async def f():\n    async for a in b():\n        print(a)\nasync def b():\n    yield 1", "await f()"],
        ["x = !ls", "print(x)"],
        ["a, b = %time 1, 2", "print(a, b)"],
        ["%time x = sum([1])", "print(x)"],
        ["%%time\nx = 1", "print(x)"],
        ["y = 2", "%%timeit -n5 -r 3 x = 1\nz = x + y\n[z for _ in range(3) if z]"],
        ["q = 1", "%%timeit\nq = 2", "print(q)"],
        ["%%timeit\ndef f(): return g()\ndef g(): return 1\nf()"],
        ["%%capture out --no-stderr\ny = 1", "out.show(), y"],
        ["%%bash --out text\nls", "print(text)"],
        ["%run helpers.py", "helper()"],
        ["%store -r x", "print(x)"],
        ["%pylab inline", "plot(x)"],
        ["%load_ext sql", "%%sql result <<\nselect 1", "print(result)"],
        ["%%cython\ndef f(): ...", "f()"],
        ["ls -la"],
        ["pwd"],
        ["cd data"],
        ["x?"],
        ["?len"],
        ["time = 1", "print(time)"],
        ["this is no Python", "print(x)"],
        [LOAD, "rows = %data get flights", "%data check $rows  # $nothing"],
        [LOAD, "%models add delay --run train:delay -o m", "print(m)", "%models check $m --require $$"],
        [LOAD, "%%train run delay --rows a.csv -o made\nx = run.params", "print(made)"],
        [LOAD, "%%features add delay --data a\n@view(entity='x')\ndef f(a): ..."],
        [LOAD, "%%gpu run other\nprint(from_before)"],
        [LOAD, "x = 1", "%gpu start a", "%%gpu run a -i x -o y\ny = x\nz = 1", "print(y)", "%%gpu run a\nprint(z)"],
        [code_cell("print(x)", tags=("raises-exception",))],
        [code_cell("print(x)", tags=("skip-execution",))],
        ["# lab: ignore[LAB101]\nprint(x)"],
        ["print(x)  # lab: ignore[LAB101]"],
        ["x = 1\nif x:\n    del x"],
        ["def f(x):\n    del x", "x = 1"],
        ["print(__file__)"],
    ],
)
def test_no_name_is_missing(found, cells):
    assert found("LAB101", *cells) == []


def test_each_name_is_missed_once(places):
    assert places("LAB101", "print(x)\nprint(x)", "print(x, y)") == [(1, 1), (2, 1)]


@pytest.mark.parametrize(
    ("cells", "what", "fix"),
    [
        (["print(x)", "x = 1"], "x is used here and defined in cell 2", "move cell 2 above this one"),
        (["weather = 1", "print(weathr)"], "nothing above defines weathr", "did you mean weather?"),
        (["print(zzz)"], "nothing above defines zzz", "assign or import zzz in a cell above"),
        (
            [LOAD, "x = 1", "%%train run delay --rows a.csv\nprint(x)"],
            "this cell's code runs alone, without the notebook's x",
            "make x in this cell too, or give a value with -p and read it from run.params",
        ),
        (
            [LOAD, "x = 1", "%gpu start a\n", "%%gpu run a\nprint(x)"],
            "x is a name of the notebook, and not of the session",
            "take it along: -i x",
        ),
    ],
)
def test_the_fix_follows_from_where_the_name_is(found, cells, what, fix):
    (only,) = found("LAB101", *cells)
    assert (only.what, only.fix) == (what, fix)


def test_a_function_is_reported_in_its_own_cell(places):
    assert places("LAB101", "def f():\n    return never", "x = 1", "f()") == [(1, 2)]


def test_another_language_is_not_read(found):
    assert found("LAB101", "x <- y", language="R") == []
