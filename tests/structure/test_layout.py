"""Sizes, names and shapes that keep the project readable."""

import ast
from pathlib import Path

import pytest

from aiinfra_lab.nouns import TABLE as NOUNS

from .source import PACKAGE, ROOT, modules, short, tracked, tree

MOST_LINES = 600
EMPTY_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "interfaces", "misc"}
MOST_METHODS = 6
# What stands at the top of the checkout, and nothing else.
TOP = {
    *("pyproject.toml", "aiinfra_lab", "notebooks", "widgets", "recipes", "infra", "tests", "README.md", "Makefile"),
    *("constraints.txt", "constraints", "CHANGELOG.md", "LICENSE", ".gitignore", ".ci", "docs"),
    *("CONTRIBUTING.md", "SECURITY.md", ".pre-commit-config.yaml", ".github"),
}
NOUN_FOLDERS = [PACKAGE / noun / "__init__.py" for noun in NOUNS]


def code() -> list[Path]:
    return [path for path in tracked() if path.suffix in (".py", ".ts", ".js", ".css", ".sh")]


@pytest.mark.parametrize("path", code(), ids=short)
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_names_say_what_is_held() -> None:
    parts = {part for path in code() for part in (*path.relative_to(ROOT).parent.parts, path.stem)}
    assert parts & EMPTY_NAMES == set()


def test_the_top_level_is_what_it_should_be() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= TOP


@pytest.mark.parametrize("path", NOUN_FOLDERS, ids=short)
def test_a_nouns_face_defines_its_verbs_and_nothing_else_that_is_public(path: Path) -> None:
    functions = [node for node in tree(path).body if isinstance(node, ast.FunctionDef)]
    public = [item for item in functions if not item.name.startswith("_")]
    assert [item.name for item in public if not any(map(_is_verb, item.decorator_list))] == []


def _is_verb(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "verb"


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*/base.py")), ids=short)
def test_a_providers_contract_is_small_and_says_what_it_means(path: Path) -> None:
    for item in tree(path).body:
        if isinstance(item, ast.ClassDef) and any(getattr(base, "id", "") == "Protocol" for base in item.bases):
            methods = [node for node in item.body if isinstance(node, ast.FunctionDef)]
            assert len(methods) <= MOST_METHODS, item.name
            assert [method.name for method in methods if not ast.get_docstring(method)] == []


@pytest.mark.parametrize("path", modules(), ids=short)
def test_no_method_is_left_unimplemented(path: Path) -> None:
    raised = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Raise)]
    assert not any("NotImplementedError" in ast.dump(node) for node in raised)


@pytest.mark.parametrize("path", [path for path in modules() if path.stat().st_size], ids=short)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree(path))


# Variables of a cell that runs in a session of the user's own; only where the caller allows it.
UNPICKLING = {PACKAGE / "kernels" / "values" / "unpacking.py", PACKAGE / "kernels" / "values" / "packing.py"}


@pytest.mark.parametrize("path", [path for path in modules() if path not in UNPICKLING], ids=short)
def test_nothing_loads_a_pickle(path: Path) -> None:
    text = path.read_text()
    loading = ("pickle.load", "joblib.load", "weights_only=False", "import pickle", "from pickle", "Unpickler")
    assert not any(word in text for word in loading)
