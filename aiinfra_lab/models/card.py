"""The model card: what a reader must know of a version, generated from its run."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..features.contract import NUMBER, Column
from ..train import Run, environments
from ..train.plain import no_promise
from ..train.saved_model import SavedModel
from ..train.signature import Signature
from ..units import counted
from .record import ModelSource

_MOST_LABELS = 20


def write(name: str, run: Run, data: list[str], note: str) -> str:
    """Markdown: intended use, numbers, what it learned from, what it takes, and how to make it again."""
    # From the run's own files and record only: a card must hold for the version that it lies beside.
    saved = SavedModel(run.path / "model")
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.started_at))
    return _joined(
        name,
        note,
        "## What it was measured at",
        _table(("measure", "value"), [(key, f"{value:.6g}") for key, value in run.metrics.items()]),
        "## What it learned from",
        _table(
            ("what", "which"),
            [("rows", run.rows), ("digest of the rows", run.rows_digest), *(("data", uri) for uri in data)],
        ),
        *filter(None, [no_promise(run.table, run.is_timeless)]),
        *_signature(saved),
        "## How it was made",
        _table(("what", "value"), [("run", run.uri), ("trained", made), *_made(run)]),
    )


def of_source(
    name: str, saved: SavedModel, source: ModelSource, rows: str, note: str, notes: Sequence[str] = ()
) -> str:
    """The same of a model that was trained somewhere else. rows: those of its example. notes: how it was converted."""
    facts: list[tuple[str, ...]] = [("file", source.path), ("format", source.format), ("SHA-256", source.sha256)]
    facts += [("built by", str(source.code))] if source.code else []
    facts += [("rows of the example", rows)] if rows else []
    needs = environments.shown(environments.required(saved.folder))
    facts += [("packages that it runs by", needs)] if needs else []
    return _joined(
        name,
        note,
        "## Where it came from",
        _table(("what", "which"), facts),
        "It was trained somewhere else: what it learned from, and what it was measured at, is not recorded here.",
        *_signature(saved),
        "## How it was made",
        " ".join(["Converted to ONNX; it answers the example as the original does.", *(f"{each}." for each in notes)]),
    )


def _joined(name: str, note: str, *parts: str) -> str:
    use = f"Intended use: {note or 'not stated; `models add --note` states it'}"
    return "\n\n".join([f"# Model card: {name}", use, *parts]) + "\n"


def _signature(saved: SavedModel) -> list[str]:
    return [
        "## What it takes",
        *_taken(saved),
        "## What it answers",
        _task(saved.signature),
        _table(("output", "type"), [(item.name, item.type) for item in saved.signature.outputs]),
    ]


def _made(run: Run) -> list[tuple[str, str]]:
    facts = [("seed", str(run.seed)), ("code (SHA-256)", run.code_digest)]
    facts += [(f"parameter {key}", str(value)) for key, value in run.params.items()]
    facts += [(key, value) for key, value in run.machine.items()]
    return facts


def _taken(saved: SavedModel) -> list[str]:
    if not saved.is_of_table:
        cut = [encoder.input.detail for encoder in saved.encoders]
        return [_table(("input", "type"), [(item.name, item.type) for item in saved.signature.inputs]), *cut]
    columns = saved.columns
    return [
        f"It predicts `{columns.label}` from:" if columns.label else "It predicts from:",
        _table(("column", "kind", "required"), [_column(item) for item in columns]),
    ]


def _task(signature: Signature) -> str:
    task = signature.task
    each = [f"{f' `{output}`' if output else ''} of {_labels(labels)}" for output, labels in task.all_labels.items()]
    return f"Task: {task.name}{';'.join(each)}"


def _labels(labels: Sequence[str]) -> str:
    more = ", …" if len(labels) > _MOST_LABELS else ""
    return f"{counted(len(labels), 'label')}: {', '.join(f'`{label}`' for label in labels[:_MOST_LABELS])}{more}"


def _column(item: Column) -> tuple[str, str, str]:
    kind = item.type if item.type == NUMBER else f"category, {counted(len(item.categories), 'value')}"
    return item.name, kind, "yes" if item.required else "no"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "Nothing was recorded."  # a table without rows would not be rendered as one
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
