"""The closed language: every verb is documented, and each of its faces knows it."""

import ast
import inspect
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import aiinfra_lab
from aiinfra_lab import cli
from aiinfra_lab.errors import LabError
from aiinfra_lab.nouns import TABLE as NOUNS
from aiinfra_lab.verbs import VERBS, Verb, help_of, verbs_of

from .source import PACKAGE, ROOT, modules, short, tree


def every_verb() -> list[Verb]:
    """Of the nouns that can be imported; that each of them can is a test of its own."""
    found = []
    for noun in NOUNS:
        if (PACKAGE / noun / "__init__.py").is_file():
            found += verbs_of(noun).values()
    return found


VERB_IDS = [f"{item.noun}-{item.name}" for item in every_verb()]


def test_the_readme_counts_the_nouns_and_the_verbs_that_a_noun_has() -> None:
    counted = re.search(r"language of (\w+) nouns and (\w+) verbs", (ROOT / "README.md").read_text())
    words = {10: "ten", 11: "eleven", 12: "twelve", 13: "thirteen", 14: "fourteen", 15: "fifteen"}
    assert counted is not None
    assert counted.groups() == (words[len(NOUNS)], words[len({verb.name for verb in every_verb()})])


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_has_a_face_with_verbs(noun: str) -> None:
    assert set(verbs_of(noun)) & {"ls", "show"}, "a bare noun looks, so it needs a verb that does"
    assert verbs_of(noun).keys() <= VERBS.keys()


@pytest.mark.parametrize("verb", every_verb(), ids=VERB_IDS)
def test_a_verb_says_what_it_does_and_what_each_parameter_means(verb: Verb) -> None:
    assert verb.summary.endswith((".", ";")) or len(verb.summary) > 20
    assert [item.name for item in verb.parameters if not item.doc] == []
    assert "return" in inspect.get_annotations(verb.function)


@pytest.mark.parametrize("verb", every_verb(), ids=VERB_IDS)
def test_a_verbs_docstring_describes_no_parameter_that_it_lacks(verb: Verb) -> None:
    from aiinfra_lab.verbs import parameter_docs

    known = {item.name for item in verb.parameters} | {item.name.rstrip("_") for item in verb.parameters}
    assert parameter_docs(verb.function.__doc__ or "").keys() <= known


@pytest.mark.parametrize("verb", every_verb(), ids=VERB_IDS)
def test_the_command_line_helps_with_every_flag(verb: Verb) -> None:
    text = run("--help", verb.noun, verb.name)
    flags = [item for item in verb.parameters if not item.positional]
    assert text.startswith(f"aiinfra {verb.noun} {verb.name}")
    assert [item.switch for item in flags if f"{item.switch} " not in text + " "] == []


@pytest.mark.parametrize("noun", NOUNS)
def test_a_nouns_help_lists_its_verbs(noun: str) -> None:
    listed = {line.split()[0] for line in help_of(noun).content.splitlines() if re.match(r"  \S", line)}
    assert listed == set(verbs_of(noun))


def test_the_commands_own_help_lists_the_nouns() -> None:
    assert set(NOUNS) <= set(run("--help").split())


def test_the_package_exports_the_nouns() -> None:
    assert aiinfra_lab.__all__ == sorted(NOUNS)
    assert set(aiinfra_lab.__all__) <= set(dir(aiinfra_lab))


def test_the_readme_names_every_noun_and_every_target_exists() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    assert [noun for noun in NOUNS if f"`{noun}`" not in readme] == []
    targets = re.findall(r"\bmake ([a-z-]+)", "\n".join(re.findall(r"`[^`]+`|```.*?```", readme, re.DOTALL)))
    assert targets
    assert [name for name in targets if f"\n{name}:" not in makefile] == []


@pytest.mark.parametrize("path", modules(), ids=short)
def test_every_error_comes_with_a_fix(path: Path) -> None:
    errors = {item.__name__ for item in all_errors(LabError)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = getattr(node.exc.func, "id", "")
            arguments = len(node.exc.args) + len(node.exc.keywords)
            starred = any(isinstance(item, ast.Starred) for item in node.exc.args)
            assert name not in errors or arguments >= 2 or starred, f"{short(path)}:{node.lineno}"
            assert name != "UsageError"


def all_errors(kind: type[LabError]) -> list[type[LabError]]:
    return [kind, *(error for child in kind.__subclasses__() for error in all_errors(child))]


def run(flag: str, *words: str) -> str:
    output = io.StringIO()
    with redirect_stdout(output):
        assert cli.main([*words, flag]) == 0
    return output.getvalue()
