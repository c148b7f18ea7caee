"""`python -m tests.benchmarks [--full] [ONLY]`: measure all rows, a group (`loop`) or one row (`loop.1`).

It measures and does not judge: a row that does not hold is printed as such. The exit code is 1 when a row broke down,
or one is missed that must hold on every machine.
"""

import argparse
import importlib
import json
import pkgutil
import string
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from . import __path__
from .rows import Row, registry

FILE = Path("build/bench.json")
MARKS = {True: "holds", False: "MISSED", None: "open"}


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("only", nargs="?", default="")
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args()
    rows = chosen(given.only)
    if not rows:
        print(f"no row or group is called {given.only!r}; there are: {', '.join(sorted(registry))}", file=sys.stderr)
        return 2
    broke = 0
    for item in rows:
        print(f"{item.id} …", file=sys.stderr)
        try:
            entry = item.entry(full=given.full)
        except Exception:  # noqa: BLE001  # one broken row must not cost the figures of the others
            traceback.print_exc()
            broke = 1
        else:
            keep(entry)
            print("\n".join(lines(entry)), flush=True)
            broke |= item.is_required and entry["holds"] is False
    return broke


def chosen(only: str) -> list[Row]:
    """The rows of a group, one row, or all; importing their files registers them."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_") and only.partition(".")[0] in ("", module.name):
            importlib.import_module(f"{__package__}.{module.name}")
    found = [item for id, item in registry.items() if only in ("", id, id.partition(".")[0])]
    return sorted(found, key=lambda item: order(item.id))


def order(id: str) -> tuple[str, int, str]:
    """loop.10 comes after loop.9, and what has no number after all that have one."""
    group, _, rest = id.partition(".")
    number = rest.rstrip(string.ascii_lowercase)
    return group, int(number or sys.maxsize), rest


def keep(entry: dict[str, Any]) -> None:
    """Put the entry into the file, in place of an older one of the same row."""
    kept = json.loads(FILE.read_text()) if FILE.exists() else []
    kept = [item for item in kept if item["id"] != entry["id"]] + [entry]
    FILE.parent.mkdir(exist_ok=True)
    aside = FILE.with_suffix(".part")
    aside.write_text(json.dumps(sorted(kept, key=lambda item: order(item["id"])), indent=1) + "\n")
    aside.replace(FILE)


def lines(entry: dict[str, Any]) -> list[str]:
    """The entry as lines of the table, its parts indented below it."""
    stamp = f"{time.strftime('%H:%M:%S')}, load {entry['load']:g}"
    head = f"{entry['id']:<8} {MARKS[entry['holds']]:<7}{entry['what']}  (reach: {entry['reach']}; {stamp})"
    return [head, *(f"         {MARKS[item['holds']]:<7}{_figure(item)}" for item in entry["parts"] or [entry])]


def _figure(item: dict[str, Any]) -> str:
    text = f"{item['what']}: {_number(item['ours'])} {item['unit']}".rstrip()
    if item["peer"] is not None:
        text += f", {item['peer_name']}: {_number(item['peer'])} (x {item['ratio']:.2f})"
    return f"{text}  [{item['reach']}]" + (f"  {item['note']}" if item["note"] else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
