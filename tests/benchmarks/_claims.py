"""Rounds of three `recipe run` of one recipe at once, in a workspace of their own."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from tests import postgres

COMMAND = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "one", "--force"]
# The one that runs is over when the others have been told, so that all three are there at once.
HELD = "import time; from pathlib import Path\nwhile not Path('go').exists(): time.sleep(0.05)"
PATIENCE_S = 60.0


@contextlib.contextmanager
def workspace(settings: str) -> Iterator[Path]:
    """A workspace with these settings and a recipe of one step, which ends when it is let go of."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "aiinfra.toml").write_text(settings)
        (home / "notebooks").mkdir()
        (home / "recipes").mkdir()
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(new_notebook(cells=[new_code_cell(HELD)], metadata=kernel), home / "notebooks" / "a.ipynb")
        (home / "recipes" / "one.toml").write_text('[steps.a]\nnotebook = "a.ipynb"\n')
        yield home


@contextlib.contextmanager
def database() -> Iterator[str]:
    """The URL of a PostgreSQL of our own."""
    home = Path(tempfile.mkdtemp())
    home.chmod(0o755)
    server = postgres.Server(home, postgres.free_port())
    server.make()
    server.start()
    try:
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(home)


def why_no_database() -> str:
    """Why none can be started here; empty when one can."""
    return "" if postgres.BIN and os.geteuid() == 0 else "there is no PostgreSQL here, or nobody who may start it"


def round_of_three(home: Path) -> str:
    """Start three together; what was wrong, empty when one ran and the others were told so."""
    go = home / "notebooks" / "go"
    go.unlink(missing_ok=True)
    going = [subprocess.Popen(COMMAND, cwd=home, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in range(3)]
    until_at = time.monotonic() + PATIENCE_S
    while sum(each.poll() is not None for each in going) < 2 and time.monotonic() < until_at:
        time.sleep(0.05)
    go.touch()
    answers = [(each.communicate()[1].decode(), each.returncode) for each in going]
    ran = sum(code == 0 for _, code in answers)
    told = sum(code == 1 and "is running" in said and "recipe stop one@" in said for said, code in answers)
    return "" if (ran, told) == (1, 2) else f"{ran} ran, {told} told"
