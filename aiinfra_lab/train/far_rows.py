"""What goes to a kernel that trains for us, as one file; and what such a run leaves, on its way into the workspace."""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from .. import files
from ..errors import Denied
from ..features.results import FeatureRows
from ..store import Record, patiently
from . import checkpoint, record
from .far_messages import SentRun
from .history import FILE
from .record import TrainingRun

_HOLDOUT = re.compile(r"holdouts/([0-9a-f]{64})\.parquet")


def pack(run: Record[TrainingRun], source: Path | None, target: Path) -> None:
    """Write the run, its rows and what it goes on from as a file. source: the folder of the run that has that."""
    from .. import features

    opened: Any = patiently(lambda: features.open_rows(run.body.rows))
    is_features = isinstance(opened, FeatureRows)
    handle = {each.name: getattr(opened, each.name) for each in fields(opened) if each.name != "path"}
    sent = SentRun(
        label=run.name,
        run=run.body,
        features=handle if is_features else None,
        data=None if is_features else handle,
        file=opened.path.name if opened.path.is_file() else "",
    )
    aside = target.with_name("run.json")
    aside.write_bytes(msgspec.json.encode(sent))
    with zipfile.ZipFile(target, "w") as packed:
        packed.write(aside, "run.json")
        if is_features or sent.file:
            packed.write(opened.path, "rows.parquet" if is_features else f"data/{sent.file}")
        else:
            for path in sorted(opened.path.rglob("*")):
                packed.write(path, f"data/{path.relative_to(opened.path).as_posix()}")
        for path in (source / checkpoint.FILE, source / FILE) if source else ():
            if path.exists():
                packed.write(path, path.name)


def unpack(archive: Path, label: str) -> None:
    """Put what a run has left where a run here leaves it. Denied for what no run of ours leaves: nothing is kept."""
    home = record.home()
    aside = home / f".{label}.arriving"
    shutil.rmtree(aside, ignore_errors=True)
    files.make_folder(aside)
    try:
        with zipfile.ZipFile(archive) as packed:  # it makes no links, and nothing outside of the folder
            packed.extractall(aside)
        found = {path.relative_to(aside).as_posix(): path for path in sorted(aside.rglob("*")) if not path.is_dir()}
        for name, path in found.items():
            _refuse_foreign(name, path, label)
        for name, path in found.items():
            with files.writing(home / name) as target:
                shutil.copyfile(path, target)
    except (zipfile.BadZipFile, OSError) as problem:
        raise Denied(f"what train:{label} has left cannot be taken: {problem}", "run its cell again") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _refuse_foreign(name: str, path: Path, label: str) -> None:
    held = _HOLDOUT.fullmatch(name)
    is_ours = name.startswith(f"{label}/") and path.name != "far.json"
    if held is not None:
        is_ours = hashlib.sha256(path.read_bytes()).hexdigest() == held[1]
    if not is_ours:
        raise Denied(f"the machine that did train:{label} sends {name}, which no run leaves", "end that session")
