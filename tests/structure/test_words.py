"""One word, one meaning: the closed part of docs/glossary.md."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from .source import PACKAGE, ROOT, modules, short, tree

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
# Fields of what verbs return and flags of the language stay, whatever the code calls things.
PUBLIC = {"thousand", "said"}


@cache
def unused() -> set[str]:
    """The words that the glossary's last list rules out."""
    lines = GLOSSARY.partition("## Words that the code does not use")[2].splitlines()
    return {word for line in lines if line.startswith("- ") for word in re.findall(r"`(\w+)`", line)}


def names(path: Path) -> Iterator[str]:
    """Every name that a module gives: to itself, classes, functions, parameters, variables and fields."""
    yield path.stem
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def parts(name: str) -> set[str]:
    """`NotYetTold` and `not_yet_told` have the same three words."""
    return set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_"))


@pytest.mark.parametrize("path", modules(), ids=short)
def test_a_module_uses_no_word_that_the_glossary_rules_out(path: Path) -> None:
    assert {name for name in names(path) if name not in PUBLIC and parts(name) & unused()} == set()


def test_the_probe_finds_a_word_in_any_spelling() -> None:
    assert len(unused()) > 10
    assert parts("NotYetTold") == parts("not_yet_told") == {"not", "yet", "told"}


def test_every_term_stands_in_the_table_once() -> None:
    rows = [
        line.split("|")[1] for line in GLOSSARY.splitlines() if line.startswith("| ") and "meaning here" not in line
    ]
    terms = [term.strip() for row in rows for term in row.split(",")]
    assert sorted(terms) == sorted(set(terms))


def test_class_names_are_unique_in_the_package() -> None:
    found: dict[str, list[str]] = {}
    for path in modules():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(path.relative_to(PACKAGE).as_posix())
    assert {name: files for name, files in found.items() if len(files) > 1} == {}
