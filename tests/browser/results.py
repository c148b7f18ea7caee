"""One of every kind of result, in the order in which they come to be, as cells of a notebook in a real workspace.

The workspace is one in which the running example was run: `prepare` makes it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.browser.lab import notebook

BROKEN_RUN = """for epoch in range(run.params.epochs):
    run.log(loss=1 / (2 + epoch))
raise KeyError("late_minutes")"""
SLOW_RUN = """import math, time
for epoch in range(run.params.epochs):
    time.sleep(1)
    run.log(loss=0.4 + math.exp(-epoch / 3) / 2, auc=0.75 - math.exp(-epoch / 3) / 5)"""
SOUND, SLOW, BROKEN = "1", "import time\ntime.sleep(20)", 'rows = {"late": 1}\nrows["late_minutes"]'
NOTEBOOKS = {"sound": SOUND, "slow": SLOW, "late-column": BROKEN}
RECIPE = """title = "A recipe to be looked at"

[steps.data]
notebook = "sound.ipynb"

[steps.features]
notebook = "sound.ipynb"
after = ["data"]

[steps.train]
notebook = "{middle}.ipynb"
after = ["features"]

[steps.deploy]
notebook = "sound.ipynb"
after = ["train"]
"""
COMMANDS = (
    "lab start . --from example:flights",
    "recipe run flight-delays",
    "models add late --run train:delay@1",
    "deploy start pending --model models:delay@1",
    "deploy start pending --model models:late@1 --canary 20% --rollback-if errors>1%",
    "deploy run pending --rows data:flights --rate 20 --for 2s",
)
CELLS = {
    "01-endpoint": "%deploy show delay",
    "01-endpoint-undecided": "%deploy show pending",
    "01-load-test": "%deploy run delay --rows data:flights --rate 100 --for 2s",
    "01-log": "%deploy log delay --rows 5",
    "02-drift": "%drift show delay",
    "03-train-of-a-cell": "{train}",
    "03-train": "%train show delay@1",
    "03-train-failed": f"%%train run broken --rows features:delay -p epochs=3\n{BROKEN_RUN}",
    "03-train-failed-shown": "%train show broken",
    "04-compare": "%train diff delay@2 delay@1",
    "05-session": "%gpu start trainer --for 2h",
    "05-session-ended": "%gpu stop trainer",
    "06-recipe": "%recipe show flight-delays",
    "06-recipe-failed": "%recipe run late-column",
    "06-recipe-failed-shown": "%recipe show late-column",
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
"""The name of a result → the cell that shows it; only `11-error` and what has failed may raise."""
LIVE = {
    "03-train-live": f"%%train run slow --rows features:delay -p epochs=12\n{SLOW_RUN}",
    "06-recipe-live": "%recipe run slow --force",
}
"""Of what is looked at while it runs: the same."""


def prepare(root: Path) -> None:
    """Make a workspace of the example in that folder, run its recipe once, and start an endpoint with a canary."""
    environment = {**os.environ, "AIINFRA_WORKSPACE": str(root)}
    for line in COMMANDS:
        command = [sys.executable, "-m", "aiinfra_lab.cli", *line.split()]
        subprocess.run(command, cwd=root, env=environment, check=True)
    for name, code in NOTEBOOKS.items():
        notebook(root / f"notebooks/{name}.ipynb", code)
    for name in ("slow", "late-column"):
        (root / f"recipes/{name}.toml").write_text(RECIPE.format(middle=name), "utf-8")


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
