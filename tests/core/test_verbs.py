"""The language, on a verb of its own that is registered for these tests only."""

import json
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from aiinfra_lab import verbs
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.show import Result
from aiinfra_lab.units import Duration, Share
from aiinfra_lab.verbs import Code, Live, Params, Rows, verb
from aiinfra_lab.words import Given, forgotten_dollar, split, understand


@dataclass(frozen=True)
class Thing(Result):
    uri: str
    given: dict


@pytest.fixture(autouse=True)
def run(monkeypatch):
    monkeypatch.setitem(verbs._registry, "train", {})
    monkeypatch.setattr(verbs.importlib, "import_module", lambda name: verbs)

    @verb("train")
    def run(
        name: Annotated[str, Live("train")],
        rows: Rows = None,
        *,
        for_: Duration | None = None,
        canary: Share = 0.05,
        epochs: int = 3,
        retries: int = 0,
        wait: bool = True,
        dry: bool = False,
        mode: Literal["fast", "slow"] = "fast",
        columns: tuple[str, ...] = (),
        param: Params = {},  # noqa: B006
        code: Code = "",
    ) -> Thing:
        """Do a thing.

        Longer words about it.

        name: what to call it
        for: how long,
          at most
        """
        return Thing(f"train:{name}", {k: v for k, v in locals().items() if k != "name"})

    return run


def words(line, names=None, body=None):
    return understand("train", split(line, names or {}), body).run().given


def test_words_become_values_by_the_annotations():
    given = words(
        "run x data:r --for 1h --canary 5% --epochs 4 --no-wait --dry --mode slow --columns a,b -p lr=1 -p b=c=d"
    )
    assert given == {
        "rows": "data:r", "for_": 3600.0, "canary": 0.05, "epochs": 4, "retries": 0, "wait": False, "dry": True,
        "mode": "slow", "columns": ("a", "b"), "param": {"lr": "1", "b": "c=d"}, "code": "",
    }  # fmt: skip


def test_the_python_call_reads_the_same_words(run):
    assert run("x", for_="2h", canary="10%").given["for_"] == 7200.0


def test_a_result_passes_as_its_uri(run):
    assert run(Thing("models:a@1", {})).uri == "train:models:a@1"


def test_a_variable_is_the_object_where_rows_are_wanted():
    frame = object()
    assert words("run x $frame", {"frame": frame})["rows"] is frame


def test_a_variable_inside_a_word_is_its_text_and_two_dollars_are_one():
    assert split("a$n $$n '$n b'", {"n": 7}) == ["a7", "$n", "7 b"]


def test_a_whole_word_variable_is_given():
    assert split("$n", {"n": 7}) == [Given(7)]


def test_a_comment_ends_the_line_even_with_an_apostrophe():
    assert split("run x  # it's that", {}) == ["run", "x"]
    assert split("get features:a@1#9f", {}) == ["get", "features:a@1#9f"]
    assert split("run '#1f77b4' x #c", {}) == ["run", "#1f77b4", "x"]


def test_a_cell_is_the_code():
    assert words("run x", body="print(1)")["code"] == "print(1)"


def test_code_comes_from_a_file_on_the_command_line(tmp_path):
    (tmp_path / "c.py").write_text("y = 2")
    assert words(f"run x --code {tmp_path / 'c.py'}")["code"] == "y = 2"


def test_the_bind_name_is_no_value():
    call = understand("train", split("run x -o result", {}))
    assert (call.bind, call.values) == ("result", {"name": "x"})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("rum x", "did you mean run"),
        ("promote x", "train has: run"),
        ("run", "needs NAME"),
        ("run x y z", "one word too many"),
        ("run x --fro 2h", "did you mean --for"),
        ("run x --for", "--for needs a value"),
        ("run x --for --dry", "--for needs a value"),
        ("run x --for banana", "write 30s"),
        ("run x --canary 1.5", "between 0 and 1"),
        ("run x --epochs 2.5", "whole number"),
        ("run x --mode sloow", "did you mean slow"),
        ("run x -p lr", "write -p lr=1"),
        ("run x -o 1a", "cannot be a variable"),
        ("run x 'a", "a quote is not closed"),
        ("run x --dry=maybe", "yes or no"),
        ("run x --dry-run", "did you mean --dry"),
        ("run --epochs some", "whole number"),
    ],
)
def test_wrong_words_are_refused_with_the_fix(line, says):
    with pytest.raises(UsageProblem, match=says):
        words(line)


def test_an_unknown_variable_suggests_the_nearest():
    with pytest.raises(NotFound, match=r"did you mean \$frame"):
        words("run x $frme", {"frame": 1})


def test_none_is_as_good_as_left_out(run):
    assert run("x", epochs=None, canary=None).given["epochs"] == 3
    assert words("run x --canary $n", {"n": None})["canary"] == 0.05
    with pytest.raises(UsageProblem, match="needs NAME"):
        run(None)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("trips --rows timed", "`--rows $timed`"),
        ("trips --rows=timed", "`--rows=$timed`"),
        ("timed", "`$timed`"),
        ("trips --rows timer", ""),
        ("json", ""),
    ],
)
def test_a_word_that_is_a_variable_s_name_is_suggested_with_its_dollar(line, hint):
    found = forgotten_dollar(split(line), {"timed": 1, "json": json, "_": 2}, "there is no file /x/timed or json")
    assert hint in found
    assert bool(found) == bool(hint)


@pytest.mark.parametrize(("kwargs", "says"), [({"epoch": 1}, "did you mean epochs"), ({"epochs": "x"}, "whole number")])
def test_the_python_call_refuses_as_the_words_do(run, kwargs, says):
    with pytest.raises(UsageProblem, match=says):
        run("x", **kwargs)


def test_a_verb_outside_the_list_is_a_programming_error():
    with pytest.raises(TypeError, match="not in the language"):
        verb("train")(lambda: None)


def test_help_holds_every_parameter_and_the_prose():
    text = verbs.help_of("train", "run").content
    assert "%%train run NAME [ROWS] [--for DURATION]" in text
    assert "how long, at most" in text
    assert "Longer words about it." in text
    assert "(default 0.05)" in text
    assert "(default 0)" in next(line for line in text.splitlines() if line.strip().startswith("--retries"))


def test_help_says_what_can_be_switched_off_and_where_the_code_comes_from():
    text = verbs.help_of("train", "run").content
    assert "[--code FILE]" in text.partition("\n\n")[0]
    assert "--[no-]wait" in text
    assert "In a notebook the cell below the line is the code" in text


def test_help_is_no_wider_than_a_terminal(run):
    run.__wrapped__.__doc__ = "Do it.\n\nname: " + "many words " * 40
    wrapped = [
        line for line in verbs.Verb("train", "run", run.__wrapped__).help().text().splitlines() if "many" in line
    ]
    assert len(wrapped) > 3
    assert max(map(len, wrapped)) <= 100


def test_an_object_before_a_second_command_is_named_by_its_variable():
    with pytest.raises(UsageProblem) as raised:
        understand("data", split("add k9 $df; %data show k9", {"df": object()}))
    assert raised.value.fix == "write one command a line: `%data add k9 $df`, then `%data show k9`"
