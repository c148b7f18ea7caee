"""The normal form of code: what differs in comments and layout is the same, and everything else is not."""

import ast

import pytest

from aiinfra_lab.recipe.cache_key.code import (
    MAGIC,
    Import,
    cell_code,
    cell_tree,
    module_code,
    module_digest,
    notebook_code,
)
from aiinfra_lab.recipe.notebook import CodeCell, Notebook


def text(source: str) -> str:
    return cell_code(source).text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x  =  1   # why"),
        ("x = 1", "\n\nx = (1)\n"),
        ("f(a,\n  b)", "f(a, b)"),
        ("'a'", '"a"'),
        ("x = 1\r\ny = 2", "x = 1\ny = 2"),
        ("# nothing", ""),
        ("x = 1", "x = 1;"),
        ("x; y", "x ; y"),
        ("f(1);", "f(1) ;  # why"),
        ("%load_ext aiinfra_lab\nx = 1", "%load_ext aiinfra_lab   \nx   = 1 # a comment"),
        ("rows = %data get flights\nprint(rows)", "rows = %data get flights\nprint( rows )"),
        ("if True:\n    !ls\n    x = 1", "if True:\n    !ls\n    x=1"),
        ("%%time\nx = 1", "%%time\nx=1 # slow"),
        ("%%train run delay\nrun.log(loss=1)", "%%train run delay\nrun.log( loss = 1 )"),
    ],
)
def test_comments_and_layout_do_not_count(one, other):
    assert text(one) == text(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a  b'", "x = 'a b'"),
        ("x", "x;"),
        ("(x)", "(x) ; # quiet"),
        ("'ä', x", "'ä', x;"),
        ("%%time\nx", "%%time\nx;"),
        ("%load_ext a\nx", "%load_ext a\nx;"),
        ("x = 'a # b'", "x = 'a'"),
        ("%data get flights", "%data get flights@2"),
        ("x = %data get a", "y = %data get a"),
        ("x = %data get a", "%data get a"),
        ("!echo 1", "!echo 2"),
        ("!echo 'a  b'", "!echo 'a b'"),
        ("%%bash\necho 'a  b'", "%%bash\necho 'a b'"),
        ("%%writefile x.py\nx = 1", "%%writefile x.py\nx = 1  # a comment is a part of a file"),
        ("%%train run delay\nx = 1", "%%train run other\nx = 1"),
        ("%%time\nx = 1", "x = 1"),
        ("x = '''\n%a\n'''\n%time x", "x = '''\n%b\n'''\n%time x"),
        ("y = (1\n  % 2)\n%time y", "y = (1\n  % 3)\n%time y"),
        ("this is no Python", "this is  no Python"),
        ("%time \\\n  f(1)", "%time \\\n  f(2)"),
        ("x?", "y?"),
    ],
)
def test_whatever_else_differs_does(one, other):
    assert text(one) != text(other)


def test_a_magic_does_not_hide_the_code_beside_it():
    assert text("%load_ext a\nx = 1") != text("%load_ext a\nx = 2")
    assert cell_code("%load_ext a\nimport helper").imports == (Import("helper"),)
    assert cell_code("%%time\nimport helper").imports == (Import("helper"),)


def test_code_that_is_nested_too_deeply_for_the_parser_counts_as_it_is_written():
    assert text("(" * 5000 + ")" * 5000) == "(" * 5000 + ")" * 5000


def of(*cells: CodeCell) -> str:
    return notebook_code(Notebook(None, cells)).text


def test_defaults_of_parameters_are_no_code_and_what_else_stands_beside_them_is():
    first = frozenset({"parameters"})
    assert of(CodeCell("n: int = 1", first)) == of(CodeCell("n: int = 2", first)) == ""
    assert (
        of(CodeCell("import os\nn = 1", first)) == of(CodeCell("import os\nn = 2", first)) == of(CodeCell("import os"))
    )
    assert of(CodeCell("n = 1", first), CodeCell("m = 1", first)) == of(CodeCell("m = 1"))


def test_a_tag_counts_that_changes_how_a_cell_is_executed():
    assert of(CodeCell("1 / 0", frozenset({"raises-exception"}))) != of(CodeCell("1 / 0"))
    assert of(CodeCell("1 / 0", frozenset({"hide-input"}))) == of(CodeCell("1 / 0"))


def test_the_order_of_cells_counts_and_empty_ones_do_not():
    a, b = CodeCell("a = 1"), CodeCell("b = 1")
    assert of(a, b) != of(b, a)
    assert of(a, CodeCell("  # only a comment"), b) == of(a, b)


def test_every_import_of_a_module_is_found(tmp_path):
    path = tmp_path / "m.py"
    path.write_text("import a.b, c\ndef f():\n    from .d import e as g\n    from .. import h\n")
    assert module_code(path).imports == (Import("a.b"), Import("c"), Import("d", 1, ("e",)), Import("", 2, ("h",)))


@pytest.mark.parametrize("content", [b"x = (", b"\xff\xfe", b"x = 1\0"])
def test_a_module_that_is_no_python_counts_by_its_bytes(tmp_path, content):
    path = tmp_path / "m.py"
    path.write_bytes(content)
    before = module_digest(path)
    path.write_bytes(content + b" ")
    assert module_digest(path) != before


def calls(source: str) -> list[tuple[int, str]]:
    """(line, text) of what stands in a cell's tree for its magics."""
    tree = cell_tree(source).tree
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.func.id == MAGIC] if tree else []
    return [(node.lineno, node.args[0].value) for node in found]


@pytest.mark.parametrize(
    ("source", "magics", "found"),
    [
        ("x = 1\n%cd a\n", (), [(2, "%cd a")]),
        ("\n\n%%time\n\nx = !ls", ((3, "%%time"),), [(5, "!ls")]),
        ("%%capture out\n%%time\n%cd a", ((1, "%%capture out"), (2, "%%time")), [(3, "%cd a")]),
        ("%time \\\n  f(\\\n 1)\n%cd a", (), [(1, "%time    f(  1)"), (4, "%cd a")]),
        ("%%bash\n%cd a", ((1, "%%bash"),), []),
        ("%%!\nls", ((1, "%%!"),), []),
        ("this is no Python", (), []),
    ],
)
def test_a_tree_has_the_cells_own_lines(source, magics, found):
    assert (cell_tree(source).magics, calls(source)) == (magics, found)


def test_other_languages_are_no_python():
    assert [cell_tree(source).is_python for source in ("%%bash\nls", "%%time\nx", "x =")] == [False, True, True]
