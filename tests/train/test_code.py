import traceback

import pytest

from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.train import code
from aiinfra_lab.train.code import CodeFailed

SOURCE = "<train:delay@1>"


def failure(text: str, params=None) -> CodeFailed:
    try:
        code.run(code.compiled(text, SOURCE), {})
    except (Exception, SystemExit) as problem:  # noqa: BLE001  # whatever the code of a test raises
        return code.explain(problem, "train:delay@1", SOURCE, params or {})
    raise AssertionError("it did not fail")


def test_the_error_shows_the_cells_own_lines():
    problem = failure("def step():\n    return 1 / 0\n\nstep()\n")
    assert problem.what == "train:delay@1 failed in line 2, `return 1 / 0`: ZeroDivisionError: division by zero"
    shown = "\n".join(problem._render_traceback_())
    assert '"<train:delay@1>", line 4' in shown
    assert "exec(" not in shown
    assert shown.endswith("fix: correct the code and run the cell again")


def test_annotations_are_what_they_are_in_a_notebook():
    problem = failure("def f(x: int): ...\nraise KeyError(f.__annotations__['x'])")
    assert problem.what.endswith("KeyError: <class 'int'>")


def test_a_variable_of_the_notebook_is_explained():
    assert "pass it with -p batch=…, or define it in the cell" in failure("print(batch)").fix


def test_a_text_where_a_number_is_wanted_names_the_parameter():
    problem = failure("range('many')", {"epochs": "many", "lr": 0.1})
    assert problem.fix.startswith("-p epochs=many is a text")


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("import no_such_thing.inner", "pip install no_such_thing"),
        ("exit(3)", "let the code run to its end"),
        ("raise RuntimeError('CUDA out of memory')", "batch or the network smaller"),
    ],
)
def test_common_errors_say_how_to_mend_them(text, fix):
    assert fix in failure(text).fix


def test_our_own_errors_keep_their_fix():
    problem = code.explain(NotFound("no such thing", "look there"), "train:delay@1", SOURCE, {})
    assert (problem.what, problem.fix) == ("train:delay@1 failed: no such thing", "look there")


def test_the_cause_of_an_error_is_shown_too():
    problem = failure("try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('b') from e")
    shown = "\n".join(problem._render_traceback_())
    assert "KeyError: 'a'" in shown
    assert shown.count("ValueError: b") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ValueError('one\\ntwo')", "one\ntwo"),
        ("import json\njson.loads('{')", "JSONDecodeError: Expecting"),
        ("from aiinfra_lab.errors import Failed\nraise Failed('it is full', 'empty it')", "it is full\n"),
    ],
)
def test_the_words_of_an_error_are_said_once(text, said):
    assert "\n".join(failure(text)._render_traceback_()).count(said) == 1


def test_what_only_the_traceback_says_is_kept():
    assert "x = (" in failure("compile('x = (', 'inner', 'exec')").trace
    assert "try it again" in failure("e = ValueError('b')\ne.add_note('try it again')\nraise e").trace


@pytest.mark.parametrize(
    ("text", "what"), [("", "no training code"), ("x = (", "line 1"), ("\n%pip install x", "line 2")]
)
def test_what_is_no_python_is_refused_before_anything_runs(text, what):
    with pytest.raises(UsageProblem, match=what):
        code.compiled(text, SOURCE)


def test_each_code_has_a_namespace_of_its_own(capsys):
    code.run(code.compiled("x = 1", SOURCE), {})
    with pytest.raises(NameError):
        code.run(code.compiled("x", SOURCE), {})
    code.run(code.compiled("if __name__ == '__main__':\n    print(run)", SOURCE), {"run": 7})
    assert capsys.readouterr().out == "7\n"


def test_stopping_is_not_swallowed_by_a_broad_except():
    text = "try:\n    stop()\nexcept Exception:\n    pass"

    def stop():
        raise code.Stopped

    with pytest.raises(code.Stopped) as caught:
        code.run(code.compiled(text, SOURCE), {"stop": stop})
    assert traceback.extract_tb(caught.tb)[-2].line == "stop()"
