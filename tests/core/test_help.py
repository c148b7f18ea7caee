"""The help of every verb, in every position of a `?`; its example runs in a prepared project."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from aiinfra_lab.nouns import TABLE
from aiinfra_lab.show import Code, Quote, Table
from aiinfra_lab.verbs import Verb, find_verb, help_of, verbs_of
from tests import prepared
from tests.train.conftest import empty_mlflow

__all__ = ["empty_mlflow"]

# What has to be there before, by other verbs.
BEFORE = {
    "gpu run": ["import pandas as pd", "trips = pd.DataFrame({'distance': [1.0, 2, 30, 40], 'late': [0, 0, 1, 1]})"],
    "models rollback": ["%models check delay@2 --margin 100% --report", "%models policy delay --margin 100%",
                        "%models check delay@2", "%models promote delay@2"],
    "recipe diff": ["%recipe run flight-delays --force"],
    "deploy promote": ["%deploy start late --model delay@2 --canary 50%", "%deploy promote late --force"],
}  # fmt: skip
# A story from data to drift: what one makes the next ones look at, and what is stopped or removed is so at the end.
NOUNS = ("lab", "gpu", "data", "features", "train", "models", "deploy", "drift", "cost", "recipe")
LAST = ("models rm", "features rm", "deploy stop")


def in_order() -> list[Verb]:
    """Every verb, each noun's as its file has them: in the order of a life."""
    found = [verb for noun in NOUNS for verb in verbs_of(noun).values()]
    return sorted(found, key=lambda verb: LAST.index(key(verb)) + 1 if key(verb) in LAST else 0)


def key(verb: Verb) -> str:
    return f"{verb.noun} {verb.name}"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Iterator[InteractiveShell]:
    """A notebook in a prepared project, for all examples: each goes on from those before it."""
    with prepared.project(tmp_path_factory.mktemp("prepared"), empty_mlflow), prepared.notebook() as shell:
        yield shell


def run(shell: InteractiveShell, cell: str) -> object:
    done = shell.run_cell(cell, store_history=False)
    problem = done.error_in_exec or done.error_before_exec
    assert problem is None, f"{cell}\n{problem}"
    return done.result


def test_the_examples_cover_every_noun() -> None:
    assert set(NOUNS) == set(TABLE)


@pytest.mark.parametrize("verb", in_order(), ids=key)
def test_an_example_runs(shell: InteractiveShell, verb: Verb) -> None:
    for cell in BEFORE.get(key(verb), ()):
        run(shell, cell)
    assert verb.example.startswith(("%", "%%")[verb.code is not None] + key(verb))
    run(shell, verb.example)


@pytest.mark.parametrize("verb", in_order(), ids=key)
def test_a_help_has_a_usage_one_line_every_parameter_and_the_example(verb: Verb) -> None:
    text = verb.help().text()
    words = " ".join(text.split())
    assert words.startswith(f"{verb.usage()} {verb.summary}")
    assert [item.doc for item in verb.parameters if item.doc[:30] not in words] == []
    assert "\n  -o " in text
    assert text.splitlines()[-1].strip() == verb.example.splitlines()[-1].strip()


@pytest.mark.parametrize("verb", in_order(), ids=key)
def test_a_help_fits_a_terminal_of_100_columns_but_for_its_example(verb: Verb) -> None:
    explained = verb.help().text().partition("\nExample:\n")[0]
    assert [line for line in explained.splitlines() if len(line) > 100] == []


def test_a_helps_card_is_a_table_of_what_can_be_given_and_the_example() -> None:
    card = help_of("gpu", "start").card()
    usage, _, table, example = card.parts
    assert (card.kind, card.uri) == ("Help", "%gpu start")
    assert card.lead.startswith("Start a session")
    assert isinstance(usage, Quote)
    assert usage.text.startswith("%gpu start NAME [--gpu")
    assert isinstance(table, Table)
    assert list(table.titles) == ["argument", "what it means"]
    assert [row[0] for row in table.rows][:2] == [Code("NAME"), Code("--gpu")]
    assert example == Quote(find_verb("gpu", "start").example, "Example")


def test_a_helps_card_says_what_holds_where_an_argument_is_left_out() -> None:
    (table,) = [part for part in help_of("train", "run").card().parts if isinstance(part, Table)]
    assert {row[0]: row[2] for row in table.rows}[Code("--seed")] == Code("0")


def test_help_shows_the_keys_of_a_recipes_file_and_the_arguments_of_a_view() -> None:
    for verb in ("run", "check", "ls"):
        assert "[steps.NAME] notebook" in help_of("recipe", verb).content
    assert "known_at" in help_of("features", "add").content


ASKED = [
    "%gpu start?", "%gpu start??", "  %gpu start ?", "%gpu start trainer?", "?%gpu start", "?? %gpu start trainer",
    "x = %gpu start?", "x = %gpu start --help", "x = %gpu start t -h", "%gpu start --help", "%gpu start t -h",
    "%gpu -h start", "%%gpu start?", "%%gpu start --help\nprint(1)", "%%gpu start?\nprint(1)", "y = 1\n%gpu start?",
]  # fmt: skip


@pytest.mark.parametrize("cell", ASKED)
def test_a_verbs_help_is_asked_for_in_every_position(shell: InteractiveShell, cell: str) -> None:
    shown = run(shell, cell)
    assert getattr(shown, "content", "").startswith("%gpu start NAME")
    assert shell.user_ns.get("x") is None


@pytest.mark.parametrize("cell", ["%gpu?", "?%gpu", "%%gpu?", "x = %gpu?", "%gpu -h", "%gpu ??"])
def test_a_nouns_help_too(shell: InteractiveShell, cell: str) -> None:
    assert getattr(run(shell, cell), "content", "").startswith("%gpu: ")


@pytest.mark.parametrize(
    "cell",
    [
        '%%train run x --rows y\ntext = """\n%deploy run?\n"""\n',
        'text = """\n%gpu start?\n"""\n',
        "x = 1\n%deploy log a?b\n",
    ],
)
def test_a_question_mark_elsewhere_is_left_alone(shell: InteractiveShell, cell: str) -> None:
    assert "--help" not in shell.transform_cell(cell)
