"""Deciding what runs: a step whose notebook, parameters, inputs and toolkit did not change is not run again."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import __version__, jobs
from ..errors import Failed
from ..store import Loose, Record, Store, canonical
from ..uris import Uri
from .base import Step, Value
from .declaration import cells

KIND = "recipe"
NOT_RUN = "not run"


def step_key(step: Step, values: Mapping[str, Value], made_by: Mapping[str, str]) -> str:
    """The digest of everything that decides what a step makes.

    made_by: the key of the step that made each input. An input such as an endpoint has no version of its own, so the
    key of its maker stands for its state.
    """
    code = ["".join(cell["source"]).strip() for cell in cells(step.notebook)]
    parts = {
        "code": code,
        "values": dict(values),
        "inputs": {name: made_by[source.partition(".")[0]] for name, source in step.inputs.items()},
        "after": {name: made_by[name] for name in step.after},
        "outputs": dict(step.outputs),
        "toolkit": __version__,
        "python": platform.python_version(),
    }
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def runs(store: Store, name: str) -> list[Record]:
    """The runs of a recipe, newest first."""
    found = [record for record in store.list(KIND) if record.name.partition("@")[0] == name]
    return sorted(found, key=lambda record: int(record.name.partition("@")[2]), reverse=True)


def state(record: Record | None) -> str:
    """What a recipe's run really does: one whose process vanished is lost, whatever was written last."""
    if record is None:
        return "never ran"
    written: str = record.body["state"]
    if written != "running":
        return written
    job = jobs.find(f"{KIND}:{record.name}")
    if job is None or not job.live:
        return "lost"
    return "stopping" if job.stop_requested_at else written


def observed(record: Record) -> Loose:
    """A run's body as it is: in one whose process vanished no step runs or waits."""
    now, steps = state(record), record.body["steps"]
    if now == "lost":
        ends = {"running": "lost", "waiting": NOT_RUN}
        steps = {name: {**step, "state": ends.get(step["state"], step["state"])} for name, step in steps.items()}
    return {**record.body, "state": now, "steps": steps}


def in_order(body: Loose) -> dict[str, dict[str, Any]]:
    """A run's steps, and what each made, in the order of the recipe: the store sorts the keys of whatever it keeps."""
    steps = body["steps"]
    order = body.get("order") or [[name, list(step["outputs"])] for name, step in steps.items()]
    return {name: {**steps[name], "outputs": _picked(steps[name]["outputs"], outputs)} for name, outputs in order}


def _picked(table: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: table[name] for name in names if name in table}


def earlier(store: Store, name: str, step: str, key: str, *, alive: bool) -> dict[str, Any] | None:
    """The outcome of the step's newest attempt with that very key when it succeeded and its outputs still stand.

    None otherwise: an attempt that failed, was stopped or whose process vanished may have left its work half done, so
    nothing older stands in for it. Nor does anything for what lives (an endpoint) once the step was given something
    else: every attempt changes the one thing of that name.

    alive: whether an output that lives must be living to count.
    """
    overtaken = False
    for record in runs(store, name):
        found: dict[str, Any] = record.body["steps"].get(step, {})
        if found.get("key") == key:
            good = found["state"] in ("done", "skipped") and not (overtaken and _lives(found["outputs"]))
            return found if good and stand(store, found["outputs"], alive=alive) else None
        overtaken = overtaken or "key" in found  # one that never began has none
    return None


def made(store: Store, step: Step) -> dict[str, str]:
    """The step's outputs with the version that is newest now. Failed when one of them does not exist."""
    return {name: _made_by(store, step, Uri.parse(uri)) for name, uri in step.outputs.items()}


def notebook_digest(notebook: Path) -> str:
    """The SHA-256 of the file as it is."""
    return hashlib.sha256(notebook.read_bytes()).hexdigest()


def stand(store: Store, outputs: Mapping[str, str], *, alive: bool) -> bool:
    """Whether everything that a step made is still there; what lives must be living if `alive`."""
    return all(_stands(store, uri, alive=alive) for uri in outputs.values())


def newest(store: Store, uri: Uri) -> str | None:
    """The thing itself when the URI names a version, else its newest version, or what lives under that name.

    None when there is none.
    """
    if uri.version is not None:
        return str(uri) if _there(_record(store, uri)) else None
    if uri.alias is not None:
        record = store.get(f"{uri.noun}.aliases", uri.name)
        version = record.body.get("aliases", {}).get(uri.alias) if record else None
        return str(uri.at(version)) if version else None
    versions = [
        int(tag)
        for record in store.list(uri.noun)
        for name, _, tag in [record.name.partition("@")]
        if name == uri.name and tag.isdigit() and _there(record)
    ]
    if versions:
        return str(uri.at(max(versions)))
    return str(uri) if _stands(store, str(uri), alive=True) else None


def _lives(outputs: Mapping[str, str]) -> bool:
    """Whether there is something without versions among them."""
    return any(Uri.parse(uri).version is None for uri in outputs.values())


def _record(store: Store, uri: Uri) -> Record | None:
    return store.get(f"{uri.noun}.rows" if uri.part else uri.noun, uri.label)


def _there(record: Record | None) -> bool:
    return record is not None and not record.body.get("removed_at")


def _made_by(store: Store, step: Step, uri: Uri) -> str:
    if (found := newest(store, uri)) is None:
        raise Failed(f"{step.name} ran, but made no {uri}", f"mend {step.notebook.name}, or `out` of the step")
    return found


def _stands(store: Store, text: str, *, alive: bool) -> bool:
    uri = Uri.parse(text)
    if not _there(_record(store, uri)):
        return False
    if uri.version is None and alive:
        job = jobs.find(text)
        return job is not None and job.live
    return True
