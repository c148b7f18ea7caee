"""What is copied to a bare host: the standard library, pyzmq and each other, in the Python of old machines."""

import ast
import sys
from pathlib import Path

import pytest

from .source import PACKAGE, imports, short

HOST = sorted((PACKAGE / "host").glob("*.py"))
NEWER = {"slots", "kw_only", "strict"}  # arguments of dataclasses and zip


@pytest.mark.parametrize("path", HOST, ids=short)
def test_it_needs_the_standard_library_and_pyzmq_alone(path: Path) -> None:
    foreign = [name for name in imports(path) if name.partition(".")[0] not in sys.stdlib_module_names]
    assert [name for name in foreign if name != "zmq" and not name.startswith("aiinfra_lab.host.")] == []


@pytest.mark.parametrize("path", HOST, ids=short)
def test_it_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    assert [node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg in NEWER] == []
    lazy = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert lazy or path.name in ("__init__.py", "loader.py")
