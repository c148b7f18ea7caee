"""The files of the project that code imports, found without importing anything."""

import sys
from pathlib import Path

import pytest

from aiinfra_lab.recipe.cache_key.code import cell_code
from aiinfra_lab.recipe.cache_key.modules import is_of_project, project_modules

FILES = {
    "helper.py": "import second",
    "second.py": "import helper",
    "unused.py": "",
    "package/__init__.py": "from . import inner",
    "package/inner.py": "",
    "package/deep/__init__.py": "",
    "package/deep/leaf.py": "from .. import other",
    "package/other.py": "",
    "bare/module.py": "",
}


@pytest.fixture
def folder(workspace: Path) -> Path:
    """The folder of a project's notebooks, with modules in it."""
    folder = workspace / "notebooks"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("x = 1", []),
        ("import helper", ["helper.py", "second.py"]),
        ("def f():\n    from second import x", ["helper.py", "second.py"]),
        ("import package", ["package/__init__.py", "package/inner.py"]),
        ("from package import other", ["package/__init__.py", "package/inner.py", "package/other.py"]),
        (
            "import package.deep.leaf",
            [
                "package/__init__.py",
                "package/deep/__init__.py",
                "package/deep/leaf.py",
                "package/inner.py",
                "package/other.py",
            ],
        ),
        ("import bare.module", ["bare/module.py"]),
        ("import os, numpy, aiinfra_lab.store", []),
        ("import missing, helper.missing", ["helper.py", "second.py"]),
        ("from . import helper", []),
    ],
)
def test_what_code_imports_is_found_with_all_that_that_imports(folder, code, found):
    modules = project_modules(cell_code(code), folder)
    assert list(modules) == [f"notebooks/{name}" for name in found]


def test_a_package_of_the_project_that_is_installed_to_be_edited_is_found(folder, workspace, monkeypatch):
    (workspace / "src").mkdir()
    (workspace / "src" / "mine.py").touch()
    monkeypatch.syspath_prepend(workspace / "src")
    assert list(project_modules(cell_code("import mine"), folder)) == ["src/mine.py"]


def test_what_is_installed_inside_the_project_is_not_of_it(folder, workspace, monkeypatch):
    installed = workspace / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "theirs.py").touch()
    monkeypatch.syspath_prepend(installed)
    assert project_modules(cell_code("import theirs"), folder) == {}
    assert str(installed) in sys.path


def test_only_what_a_module_means_changes_its_digest(folder):
    code = cell_code("import second")
    before = project_modules(code, folder)
    (folder / "helper.py").write_text("import second  # a comment\n")
    assert project_modules(code, folder) == before
    (folder / "helper.py").write_text("import second; X = 1")
    after = project_modules(code, folder)
    assert [name for name in after if after[name] != before[name]] == ["notebooks/helper.py"]


def test_a_module_that_leads_out_of_the_project_is_left_out(folder, tmp_path):
    (tmp_path / "outside.py").touch()
    (folder / "linked.py").symlink_to(tmp_path / "outside.py")
    assert project_modules(cell_code("import linked"), folder) == {}


def test_a_module_of_the_project_is_known_by_its_first_name(workspace):
    (workspace / "notebooks" / "package").mkdir(parents=True)
    (workspace / "notebooks" / "helper.py").touch()
    names = ("helper", "package.part", "json", "nothing")
    assert [is_of_project(name, workspace / "notebooks") for name in names] == [True, True, False, False]
