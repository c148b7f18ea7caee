"""One of every kind of result, in the order in which they come to be, as cells of a notebook in a real workspace.

The workspace is one in which the running example was run: `prepare` makes it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.browser.lab import notebook

CELLS = {
    "01-endpoint": "%deploy show delay",
    "01-load-test": "%deploy run delay --rows data:flights --rate 100 --for 2s",
    "01-log": "%deploy log delay --rows 5",
    "02-drift": "%drift show delay",
    "03-train-of-a-cell": "{train}",
    "03-train": "%train show delay@1",
    "04-compare": "%train diff delay@2 delay@1",
    "05-session": "%gpu start trainer --for 2h",
    "05-session-ended": "%gpu stop trainer",
    "06-recipe": "%recipe show flight-delays",
    "06-recipe-listed": "%recipe ls",
    "07-data": "%data show flights",
    "07-data-diff": "%data diff flights flights-later",
    "07-data-check": "%data check flights --report",
    "07-features": "%features show delay",
    "08-models": "%models show delay",
    "08-models-check": "%models check delay --report",
    "08-models-policy": "%models policy delay",
    "09-cost": "%cost show deploy:delay",
    "09-cost-all": "%cost show",
    "09-prices": "%cost ls --gpu A10G",
    "10-lineage": "%lab log deploy:delay",
    "11-error": "%deploy start delay --model models:dealy@1",
    "13-workspace": "%lab show",
    "13-check": "%lab check --report",
    "14-train-listed": "%train ls",
    "14-models-listed": "%models ls",
    "14-deploy-listed": "%deploy ls",
    "14-drift-listed": "%drift ls",
    "14-data-listed": "%data ls",
    "15-help": "%gpu start --help",
    "15-help-of-a-noun": "%gpu --help",
}
"""The name of a result → the cell that shows it; `11-error` is the only one that may raise."""


def prepare(root: Path) -> None:
    """Make a workspace of the example in that folder, and run its recipe once."""
    environment = {**os.environ, "AIINFRA_WORKSPACE": str(root)}
    for command in (("lab", "start", ".", "--from", "example:flights"), ("recipe", "run", "flight-delays")):
        subprocess.run([sys.executable, "-m", "aiinfra_lab.cli", *command], cwd=root, env=environment, check=True)


def cells(root: Path) -> dict[str, str]:
    """The cells for a workspace that `prepare` made."""
    code = (root / ".aiinfra/train/delay@1/code.py").read_text("utf-8")
    train = f"%%train run delay --rows features:delay -p epochs=3 -p lr=0.004\n{code}"
    return {name: cell.replace("{train}", train) for name, cell in CELLS.items()}


def write(path: Path, cells: dict[str, str]) -> None:
    """The notebook of these; a cell that raises does not keep those after it from being run."""
    book = json.loads(notebook(path, "%load_ext aiinfra_lab", *cells.values()).read_text("utf-8"))
    for cell in book["cells"]:
        cell["metadata"]["tags"] = ["raises-exception"]
    path.write_text(json.dumps(book), "utf-8")
