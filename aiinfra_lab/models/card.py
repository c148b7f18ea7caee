"""The model card: what a reader must know of a version, generated from its run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from ..train import Run
from ..units import counted


def write(name: str, run: Run, data: list[str], note: str) -> str:
    """Markdown: intended use, numbers, what it learned from, what it takes, and how to make it again."""
    # From the run's own files and record only: a card must hold for the version that it lies beside.
    columns = json.loads((run.path / "model" / "columns.json").read_text("utf-8"))
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.started_at))
    parts = [
        f"# Model card: {name}",
        f"Intended use: {note or 'not stated; `models add --note` states it'}",
        "## What it was measured at",
        _table(("measure", "value"), [(key, f"{value:.6g}") for key, value in run.metrics.items()]),
        "## What it learned from",
        _table(
            ("what", "which"),
            [("rows", run.rows), ("digest of the rows", run.rows_digest), *(("data", uri) for uri in data)],
        ),
        "## What it takes",
        f"It predicts `{columns['label']}` from:",
        _table(("column", "kind", "required"), [_column(item) for item in columns["columns"]]),
        "## How it was made",
        _table(("what", "value"), [("run", run.uri), ("trained", made), *_made(run)]),
    ]
    return "\n\n".join(parts) + "\n"


def _made(run: Run) -> list[tuple[str, str]]:
    facts = [("seed", str(run.seed)), ("code (SHA-256)", run.code_digest)]
    facts += [(f"parameter {key}", str(value)) for key, value in run.params.items()]
    facts += [(key, value) for key, value in run.machine.items()]
    return facts


def _column(item: Mapping[str, Any]) -> tuple[str, str, str]:
    kind = item["type"] if item["type"] == "number" else f"category, {counted(len(item['categories']), 'value')}"
    return item["name"], kind, "yes" if item["required"] else "no"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "Nothing was recorded."  # a table without rows would not be rendered as one
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
