"""The notebooks with which nbclient and papermill test themselves: as steps of a recipe, and by nbclient alone.

papermill brings its own with the wheel; those of nbclient are in its source distribution, which pip fetches.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

TIMEOUT_S = 30
PIP = ("pip", "download", "--quiet", "--no-deps", "--no-binary", "nbclient")
# The kernel that a notebook names, as Jupyter finds it; each in a process of its own, for some end it. `sys.exit(0)` is
# a good end, as it is to papermill, whose notebooks test that.
ALONE = f"""
import sys, nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
notebook = nbformat.read(sys.argv[1], as_version=4)
try:
    NotebookClient(notebook, timeout={TIMEOUT_S}, resources={{"metadata": {{"path": sys.argv[2]}}}}).execute()
except CellExecutionError as problem:
    if problem.ename != "SystemExit" or problem.evalue not in ("", "0"):
        raise
"""


def collect(folder: Path) -> str:
    """Copy them into that folder, each by a name that a step may have. What could not be had, and why."""
    found = find_spec("papermill")
    if found is None or found.origin is None:
        return "papermill is not installed"
    own = Path(found.origin).parent / "tests" / "notebooks"
    for path in sorted(own.rglob("*.ipynb")):
        shutil.copy(path, folder / _name("papermill", path))
    aside = folder / "nbclient"
    aside.mkdir()
    argv = [sys.executable, "-m", *PIP, "--dest", str(aside), f"nbclient=={version('nbclient')}"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        return f"those of nbclient could not be had: {done.stderr.strip().splitlines()[-1]}"
    with tarfile.open(next(aside.glob("nbclient-*.tar.gz"))) as archive:
        archive.extractall(aside, filter="data")
    for path in sorted(aside.glob("nbclient-*/tests/files/*.ipynb")):
        shutil.copy(path, folder / _name("nbclient", path))
    shutil.rmtree(aside)
    return ""


def _name(package: str, path: Path) -> str:
    return f"{package}-{re.sub(r'[^a-z0-9]+', '-', path.stem.lower())}.ipynb"


def passes_alone(path: Path) -> bool:
    """Whether nbclient executes it, beside its file."""
    return _succeeds([sys.executable, "-c", ALONE, str(path), str(path.parent)], path.parent, None)


def passes_as_step(path: Path, argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a recipe of it alone succeeds, by a command of that verb that ends with the recipe's name."""
    folder = path.parents[1] / "recipes"
    folder.mkdir(exist_ok=True)
    text = f'[steps.s]\nnotebook = "{path.name}"\ntimeout = "{TIMEOUT_S}s"\n'
    (folder / f"{path.stem}.toml").write_text(text)
    return _succeeds([*argv, path.stem], folder.parent, env)


def _succeeds(argv: Sequence[str], folder: Path, env: Mapping[str, str] | None) -> bool:
    try:
        subprocess.run(argv, check=True, cwd=folder, env=env, capture_output=True, timeout=4 * TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return True
