"""Importing the package and loading its magics costs nothing that the user has not asked for."""

from pathlib import Path

import pytest

from .source import HEAVY, loaded_by

AFTER_IMPORT = "import aiinfra_lab"
AFTER_LOAD_EXT = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell()
shell.run_line_magic("load_ext", "aiinfra_lab")
assert "gpu" in shell.magics_manager.magics["line"]
"""
AFTER_EVERY_NOUN = """
import importlib
from aiinfra_lab.nouns import TABLE as NOUNS
for noun in NOUNS:
    importlib.import_module(f"aiinfra_lab.{noun}")
"""


@pytest.mark.parametrize("code", [AFTER_IMPORT, AFTER_LOAD_EXT, AFTER_EVERY_NOUN], ids=["import", "load_ext", "nouns"])
def test_no_heavy_package_is_loaded(code: str) -> None:
    assert loaded_by(code) & set(HEAVY) == set()


def test_the_probe_sees_what_is_loaded() -> None:
    assert "numpy" in loaded_by("import numpy")


def test_loading_writes_no_file_and_sets_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    check = "import os; before = dict(os.environ)\n" + AFTER_LOAD_EXT + "\nassert dict(os.environ) == before"
    loaded_by(check)
    assert [path.name for path in tmp_path.iterdir() if path.name != "ipython"] == []
