"""The project's own source as the structure tests read it: files, and who imports what."""

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aiinfra_lab"
# Triton runs it, in an environment of its own.
ELSEWHERE = (PACKAGE / "deploy" / "triton" / "python_model.py",)
ITS_NAME = PACKAGE.name
# What must not be in memory until a verb needs it.
HEAVY = (
    *("torch", "mlflow", "feast", "evidently", "dvc", "pandas", "polars", "numpy", "ipywidgets", "anywidget", "boto3"),
    *("jupyter_server", "jupyter_client", "papermill", "onnx", "onnxruntime", "pyarrow", "scipy", "sqlalchemy"),
    *("tokenizers", "transformers"),
)


def modules() -> list[Path]:
    """Every Python file of the package."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "labextension" not in path.parts)


def short(path: Path) -> str:
    """The file as one names it, relative to the checkout."""
    return path.relative_to(ROOT).as_posix()


def folder_of(path: Path) -> str:
    """The folder of the package, or the module without one, that a file belongs to; "" is the package's face."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


# Not of all files: what they are together takes as much memory as everything else of these tests.
@lru_cache(maxsize=2)
def tree(path: Path) -> ast.Module:
    """What a file of Python parses to; for reading only. conftest.py runs the tests of one file one after the other."""
    return ast.parse(path.read_bytes())


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Dotted names of all that a file imports, at whatever place in it; relative ones written out."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    here = ["aiinfra_lab", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{whole}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> set[str]:
    """The package's own folders and modules that a file imports, by the names of `folder_of`."""
    return {name.split(".")[1] for name in imports(path) if name.startswith(f"{ITS_NAME}.")}


def foreign_imports(path: Path) -> set[str]:
    """Top-level names of other people's packages that a file imports; none of one that is run by another's Python."""
    if path in ELSEWHERE:
        return set()
    names = {name.partition(".")[0] for name in imports(path)}
    return names - set(sys.stdlib_module_names) - {ITS_NAME}


def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked() -> list[Path]:
    """Every file that is in version control or would be; none outside a checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def loaded_by(code: str) -> set[str]:
    """Top-level packages in memory after that code ran in an interpreter of its own."""
    return {name.partition(".")[0] for name in modules_loaded_by(code)}


def modules_loaded_by(code: str) -> set[str]:
    """All modules in memory after that code ran in an interpreter of its own."""
    tail = "\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))
