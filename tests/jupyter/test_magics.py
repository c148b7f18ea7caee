from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from IPython.core.interactiveshell import InteractiveShell

from aiinfra_lab import data
from aiinfra_lab.errors import LabError
from aiinfra_lab.nouns import TABLE as NOUNS
from tests import records


@pytest.fixture
def shell(workspace) -> Iterator[InteractiveShell]:
    """A shell of its own, with the extension loaded; its namespace and magics are thrown away."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "aiinfra_lab")
    yield shell
    shell.run_line_magic("unload_ext", "aiinfra_lab")
    InteractiveShell.clear_instance()


def run(shell: InteractiveShell, cell: str) -> Any:
    return shell.run_cell(cell, store_history=False)


def complete(shell: InteractiveShell, line: str) -> list[str]:
    from IPython.core.completer import provisionalcompleter

    with provisionalcompleter():
        return [found.text for found in shell.Completer.completions(line, len(line))]


def test_every_noun_is_a_line_and_a_cell_magic(shell):
    for kind in ("line", "cell"):
        assert set(NOUNS) <= set(shell.magics_manager.magics[kind])


def test_unloading_takes_them_away(shell):
    shell.run_line_magic("unload_ext", "aiinfra_lab")
    assert not set(NOUNS) & set(shell.magics_manager.magics["line"])
    assert complete(shell, "%lab st") == []
    shell.run_line_magic("load_ext", "aiinfra_lab")


def test_loading_twice_changes_nothing(shell):
    before = len(shell.Completer.custom_matchers)
    shell.run_line_magic("reload_ext", "aiinfra_lab")
    assert len(shell.Completer.custom_matchers) == before


def test_a_result_can_be_assigned_and_nothing_else_is_written(shell):
    before = set(shell.user_ns)
    run(shell, "made = %lab start")
    assert set(shell.user_ns) - before - {"_"} == {"made"}
    assert str(shell.user_ns["made"]) == "lab:workspace"


def test_a_verb_binds_its_result_with_o(shell):
    run(shell, "%lab start -o made")
    assert str(shell.user_ns["made"]) == "lab:workspace"


def test_a_variable_is_its_uri_in_a_later_line(shell):
    run(shell, "made = %lab start")
    run(shell, "found = %lab log $made")
    assert shell.user_ns["found"].uri == "lab:workspace"


def test_braces_are_left_alone(shell):
    result = run(shell, "%lab log data:{x}")
    assert "data:{x}" in result.error_in_exec.what


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%lab sho", "did you mean show"),
        ("%lab log $mde", "did you mean $made"),
        ("%lab ls --jsn", "has no flag --jsn"),
        ("%%lab ls\nprint(1)", "takes no cell body"),
        ("%lab log made", "if the variable is meant: `$made`"),
        ("x = 1\n%%train run x --rows y\nz = 2", "`%%train run x --rows y`"),
        ("%train run x --rows y", "begins with %%"),
        ("%features add x --data y --timestamp t", "begins with %%"),
    ],
)
def test_mistakes_are_two_lines_with_the_fix(shell, cell, says):
    run(shell, "made = 1")
    problem = run(shell, cell).error_in_exec
    assert isinstance(problem, LabError)
    lines = problem._render_traceback_()
    assert len(lines) == 2
    assert says in " ".join(lines)


def test_help_of_a_noun_and_of_a_verb(shell, capsys):
    assert "Check what works here" in run(shell, "%lab --help").result.content
    assert "--restore" in run(shell, "%lab start --help").result.content
    run(shell, "%lab?")
    assert "Check what works here" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["%deploy run?", "  %deploy run ??", "%%deploy run?"])
def test_a_question_mark_behind_a_verb_is_its_help(shell, line):
    assert "--rate" in run(shell, line).result.content


@pytest.mark.parametrize("line", ["%deploy run? late", "%deploy? run late", "x = %deploy? run"])
def test_a_question_mark_within_a_line_is_help_all_the_same(shell, line):
    assert "--rate" in run(shell, line).result.content


def test_a_question_mark_that_belongs_to_a_known_value_is_no_question(shell, workspace):
    data.add("visits", pl.DataFrame({"smoker?": [True]}))
    line = "%%features add s --data data:visits --label smoker"
    assert "--help" not in shell.transform_cell(f"{line}?\ncolumns = []\n")
    for asks in (f"{line}??", f"{line}s?", f"{line} ?"):
        assert "--help" in shell.transform_cell(f"{asks}\ncolumns = []\n")


def test_other_question_marks_are_left_alone(shell):
    body = '%%train run x --rows y\ntext = """\n%deploy run?\n"""\n'
    assert "--help" not in shell.transform_cell(body)
    assert "--help" not in shell.transform_cell("x = 1\n%deploy log a?b\n")


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("%lab st", {"start"}),
        ("x = %lab st", {"start"}),
        ("for i in y: %lab st", {"start"}),
        ("%%train r", {"run"}),
        ("%lab start --re", {"--restore"}),
        ("%lab start --from ex", {"example:flights"}),
        ("%lab start --from=ex", {"--from=example:flights"}),
        ("%lab log da", {"data:flights", "data:flights@1"}),
        ("%features get x --rows data:", {"data:flights", "data:flights@1"}),
        ("%features get x --rows $fli", {"$flights_now"}),
        ("%features get x --rows tri", {"trips.csv"}),
    ],
)
def test_completion(shell, line, has, workspace):
    records.data("flights@1")
    (workspace / "trips.csv").touch()
    shell.user_ns["flights_now"] = 1
    assert set(complete(shell, line)) == has


@pytest.mark.parametrize("line", ["%lab start --zz", "%lab log zzz:", "%lab zzz xx"])
def test_where_nothing_fits_nothing_else_is_offered(shell, line):
    assert complete(shell, line) == []


@pytest.mark.parametrize(
    ("cell", "offered"),
    [
        ("x = 1\ny = %lab st", ["start"]),
        ("%lab start \\\n  --re", ["--restore"]),
        ("%%train run x --rows y\n%lab st", []),
        ("total = 5\ntotal %lab st", []),
        ("if x: %lab st", ["start"]),
    ],
)
def test_completion_in_a_cell_of_many_lines(shell, cell, offered):
    assert [word for word in complete(shell, cell) if word.startswith(("st", "--"))] == offered


def test_what_ipython_keeps_is_no_variable_of_anybody(shell):
    shell.user_ns["table"] = 1
    assert complete(shell, "%features get x --rows $") == ["$table"]


def test_an_unknown_variable_is_told_apart_from_what_somebody_made(shell, capsys):
    run(shell, "mine = 1")
    run(shell, "%data show $myne")
    said = capsys.readouterr()
    assert "mine" in said.out + said.err
    run(shell, "%data show $zzz")
    said = capsys.readouterr()
    assert "$Out" not in said.out + said.err


def test_other_lines_are_none_of_our_business(shell):
    run(shell, "laboratory = 1")
    assert "laboratory" in complete(shell, "labora")
