"""`python -m tests.benchmarks.times ROW --began T`: how long a command of the Makefile took, into build/times.json.

The rows loop.3 and loop.6 are read from there, since nobody wants a benchmark to clone and build everything. Under
each row lies the newest time of each mode: `clean` when there was no environment before, `unchanged` when every step
of the recipe was skipped, `warm` otherwise.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

FILE = Path("build/times.json")


def read() -> dict[str, Any]:
    """All times, by row and mode; empty when nothing was timed yet."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def write(row: str, mode: str, entry: dict[str, Any]) -> None:
    """Replace the time of a row's mode."""
    times = read()
    times.setdefault(row, {})[mode] = entry
    FILE.parent.mkdir(exist_ok=True)
    aside = FILE.with_suffix(".part")
    aside.write_text(json.dumps(times, indent=1) + "\n")
    aside.replace(FILE)


def last_run(recipe: str) -> dict[str, Any]:
    """The recipe's newest run: its seconds, and those of each step with how it ended."""
    from aiinfra_lab.recipe import log

    newest = log(recipe).items[0]
    steps = {name: {"state": step["state"], "s": step.get("seconds")} for name, step in newest.steps.items()}
    return {"uri": newest.uri, "recipe_s": newest.duration_s, "steps": steps}


def main() -> None:
    """Write one time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("row")
    parser.add_argument("--began", type=float, required=True)
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("--recipe")
    given = parser.parse_args()
    entry = {"wall_s": round(time.time() - given.began, 2), "at": time.time(), "load": os.getloadavg()[0]}
    mode = "clean" if given.clean else "warm"
    if given.recipe:
        entry |= last_run(given.recipe)
        if not given.clean and all(step["state"] == "skipped" for step in entry["steps"].values()):
            mode = "unchanged"
    write(given.row, mode, entry)


if __name__ == "__main__":
    main()
