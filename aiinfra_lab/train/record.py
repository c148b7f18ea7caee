"""A run as the workspace remembers it: its record, its folder, and the state that can really be observed."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import jobs
from ..config import settings
from ..errors import NotFound, did_you_mean
from ..jobs import process
from ..store import Event, Record, add_version, open_store, update
from ..uris import Uri
from . import history

KIND = "train"
LIVE = ("starting", "running", "stopping")


def folder(label: str) -> Path:
    """Where a run's files are: `delay@3` → its folder in the workspace."""
    return settings().home / "train" / label


def records(name: str | None = None) -> list[Record]:
    """Runs, newest first: all by when they began, or those of one name by number, since one may begin late."""
    found = [record for record in open_store().list(KIND) if name in (None, record.name.partition("@")[0])]
    if name is None:
        return sorted(found, key=lambda record: record.body["started_at"], reverse=True)
    return sorted(found, key=lambda record: int(record.name.rpartition("@")[2]), reverse=True)


def find(words: object) -> Record:
    """The run that a URI means; without a version the newest, `@champion` the run behind the models alias.

    NotFound says what there is.
    """
    uri = Uri.parse(words, noun=KIND)
    if uri.alias is not None:
        uri = Uri.parse(_behind(uri), noun=KIND)
    if uri.version is None:
        found = next(iter(records(uri.name)), None)
    else:
        found = open_store().get(KIND, uri.label)
    if found is None:
        raise NotFound(f"there is no run {uri}", _known(uri))
    return found


def commit(name: str, body: Mapping[str, Any], inputs: tuple[str, ...]) -> Record:
    """Write down what is about to be run, before any of it runs; the next free version is its own."""
    full = {**body, "planned_by": [os.getpid(), process.birth(os.getpid())], "started_at": time.time()}
    detail = {key: body[key] for key in ("params", "seed", "code_digest", "rows_digest", "on")}
    return add_version(open_store(), KIND, name, full, lambda uri: Event("train run", uri, inputs, (uri,), detail))


def change(label: str, **changes: Any) -> Record:
    """Write what became of a run."""
    return update(open_store(), KIND, label, lambda body: {**body, **changes})


def state(record: Record) -> str:
    """What a run really does: a run whose process is gone was killed, whatever was written last."""
    written: str = record.body["state"]
    if written not in LIVE:
        return written
    job = jobs.find(f"train:{record.name}")
    if job is None:
        return "starting" if process.alive(*record.body["planned_by"]) else "killed"
    if not job.live:
        return "killed"
    return "stopping" if job.stop_requested_at else "running"


def end_of(record: Record) -> dict[str, Any]:
    """What the files of a run say about its end, for one that could not write it down itself."""
    points = history.read(folder(record.name) / history.FILE)
    ended_at = points[-1].at if points else record.body["started_at"]
    return {"ended_at": ended_at, "metrics": history.latest(points)}


def machine() -> dict[str, str]:
    """The versions that a run's numbers depend on."""
    return {"python": platform.python_version(), "torch": version("torch"), "platform": platform.platform(terse=True)}


def _behind(uri: Uri) -> str:
    """The run behind a models alias; later nouns are heard of only through their records."""
    record = open_store().get("models.aliases", uri.name)
    holder = record.body.get("aliases", {}).get(uri.alias) if record else None
    behind = open_store().get("models", f"{uri.name}@{holder}") if holder else None
    if behind is None:
        raise NotFound(f"there is no {uri.alias} of {uri.name} yet", f"`%models promote {uri.name}@N` makes one")
    return str(behind.body["run"])


def _known(uri: Uri) -> str:
    versions = [record.name for record in records(uri.name)]
    if versions:
        return "its runs: " + ", ".join(versions[:8])
    names = {record.name.partition("@")[0] for record in records()}
    return did_you_mean(uri.name, names, f"`%%train run {uri.name} --rows ROWS` trains one")
