"""Tracked, resumable training runs of plain torch code."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from .. import jobs
from ..errors import Conflict, NotFound, UsageProblem
from ..show import Card, Comparison, Listing, Result, shown
from ..store import Record
from ..uris import Uri, check_name
from ..verbs import Code, Live, Params, Rows, verb
from . import checkpoint, history, looks, parameters, record
from . import code as _code

__all__ = ["Comparison", "Run", "RunLog", "diff", "get", "log", "ls", "run", "show", "stop"]


_FOLDED = ("code digest", "rows digest", "tracked as", "machine", "path", "metrics from")


@dataclass(frozen=True)
class Run(Result):
    """A training run. `state` is starting, running, stopping, done, failed, stopped, or killed (its process vanished).

    metrics: the last value of each. metrics_from: the run that measured them, when this one had no epoch left to train.
    checkpoint: the epoch of the last checkpoint. model: whether it saved one.
    """

    uri: str
    state: str
    metrics: dict[str, float]
    params: dict[str, Any]
    rows: str
    seed: int
    started_at: float
    duration_s: float
    code_digest: str
    checkpoint: int | None
    model: bool
    rows_digest: str = ""
    on: str = ""
    resumed_from: str = ""
    metrics_from: str = ""
    problem: str = ""
    tracked_as: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    path: Path = field(default=Path(), repr=False)
    drawn: bool = field(default=False, repr=False, metadata={"json": False})

    def points(self) -> list[history.Point]:
        """Every measurement, oldest first."""
        return history.read(self.path / history.FILE)

    def df(self) -> Any:
        """Every measurement as a pandas data frame: at, name, step, value."""
        import pandas as pd

        return pd.DataFrame(self.points(), columns=list(history.Point._fields))

    def rows_df(self) -> Any:
        """The rows that it learned from, as a pandas data frame."""
        return _open_rows(self.rows).df()

    def card(self) -> Card:
        """The facts, how to go on, and the curve unless the cell has drawn it already."""
        plain = super().card()
        facts = [item for item in plain.facts if item[0] not in _FOLDED]
        facts.append(("code", self.code_digest[:12]))
        picture, words = ("", "") if self.drawn else looks.curve(self.points())
        notes = [note for note in (looks.about_metrics(self.metrics_from), self._way_on()) if note]
        return Card(self.uri, state=self.state, facts=facts, notes=notes, picture=picture, picture_alt=words)

    def _way_on(self) -> str:
        """How to go on with a run that did not come to its end, from the checkpoint that it kept."""
        if self.checkpoint is None or self.state not in ("killed", "stopped", "failed"):
            return ""
        label = self.uri.removeprefix("train:")
        name = label.partition("@")[0]
        flag = "--resume" if record.records(name)[0].name == label else f"--from {label}"
        return f"its checkpoint of epoch {self.checkpoint} is kept: go on with `%%train run {name} {flag} …`"


@dataclass(frozen=True)
class RunLog(Result):
    """What a run printed and measured, and how it went wrong."""

    uri: str
    state: str
    lines: tuple[str, ...]
    measured: tuple[str, ...]

    def card(self) -> Card:
        texts = [("printed", "\n".join(self.lines)), ("measured", "\n".join(self.measured))]
        return Card(self.uri, state=self.state, details=[text for text in texts if text[1]])


@verb("train")
def run(
    name: Annotated[str, Live("train")],
    *,
    rows: Rows,
    code: Code,
    params: Params | None = None,
    on: Annotated[str, Live("gpu")] | None = None,
    seed: int = 0,
    resume: bool = False,
    from_: Annotated[str, Live("train")] | None = None,
) -> Run:
    """Train: run plain torch code that has the object `run`, and record what it was given and what came of it.

    The code runs alone, without the notebook's variables. It finds `run.params`, `run.rows`, `run.tensors()` and
    `run.split()`, and gives back through `run.log(loss=…)`, `run.checkpoint(…)` and `run.save(model)`.

    name: what to call the run; every run of it becomes a version
    rows: what to learn from, e.g. features:delay@2 or the handle of `features get`
    code: the training code
    params: values for the code, read there as run.params.NAME
    on: where to run, e.g. gpu:trainer; this very kernel when left out
    seed: what Python's, NumPy's and torch's random generators start from
    resume: go on from the last checkpoint of the newest run of that name; if that is of the last epoch, the code has
        nothing left to train, and a run that measures nothing takes over the metrics measured up to the checkpoint
    from_: go on from the last checkpoint of this run
    """
    from . import elsewhere, mirror, worker

    check_name(name)
    if not 0 <= seed < 2**32:
        raise UsageProblem(f"--seed {seed} is no seed", "give a whole number from 0 to 4294967295")
    values = parameters.read(params or {})
    _code.compiled(code, f"<train:{name}>")
    session = elsewhere.session(on)
    source = _source(name, from_) if resume or from_ else None
    handle = _open_rows(rows)
    mirror.settle()
    body = {
        "state": "starting",
        "params": values,
        "seed": seed,
        "code": code,
        "code_digest": _code.digest(code),
        "rows": handle.uri,
        "rows_digest": handle.digest,
        "machine": record.machine(),
        "on": session,
        "resumed_from": f"train:{source.name}" if source else "",
        "tracked": False,
    }
    inputs = (handle.uri, *([f"train:{source.name}"] if source else []))
    planned = record.commit(name, body, inputs)
    if session:
        elsewhere.execute(planned, session)
    else:
        worker.execute(f"train:{planned.name}")
    return _run(record.find(f"train:{planned.name}"), drawn=True)


@verb("train")
def ls(name: Annotated[str, Live("train")] | None = None) -> Listing:
    """List runs, newest first.

    name: only runs of this name
    """
    runs = tuple(_run(found) for found in record.records(name and Uri.parse(name, noun="train").name))
    return Listing("train", runs, ("uri", "state", "metrics", "params", "started_at", "duration_s"))


@verb("train")
def show(run: Annotated[str, Live("train")]) -> Run:
    """Show one run in full, with its curve.

    run: e.g. delay (the newest), delay@3 or delay@champion
    """
    return _run(record.find(run))


@verb("train")
def get(run: Annotated[str, Live("train")], *, into: Path | None = None) -> Run:
    """Get a run's handle, or copy its files.

    run: e.g. delay@3
    into: a new folder for its code, measurements, checkpoint and model
    """
    found = _run(record.find(run))
    if into is not None:
        from ..data.files import copy_out

        copy_out(found.path, into)
    return found


@verb("train")
def stop(run: Annotated[str, Live("train")]) -> Run:
    """Stop a run at its next step; its last checkpoint is kept. A run that is over stays as it is.

    run: e.g. delay (the newest) or delay@3
    """
    found = record.find(run)
    if jobs.find(f"train:{found.name}") is None and record.state(found) in record.LIVE:
        found = record.change(found.name, stop_requested_at=time.time())  # it has not begun: it reads this when it does
    job = jobs.find(f"train:{found.name}")
    if job is not None and job.live:
        jobs.cancel(job.id)
    return _run(found)


@verb("train")
def log(run: Annotated[str, Live("train")], *, lines: int = 40) -> RunLog:
    """Show what a run printed and measured, and the error that ended it.

    run: e.g. delay@3
    lines: at most this many of each, the last ones
    """
    found = record.find(run)
    place = record.folder(found.name)
    printed = (
        (place / "output.txt").read_text("utf-8", "replace").splitlines() if (place / "output.txt").exists() else []
    )
    printed += [*found.body.get("trace", "").splitlines(), *found.body.get("problem", {}).get("what", "").splitlines()]
    points = history.read(place / history.FILE)
    measured = [f"{shown('_at', point.at)}  {point.name}[{point.step}] = {point.value:.6g}" for point in points]
    return RunLog(f"train:{found.name}", record.state(found), tuple(printed[-lines:]), tuple(measured[-lines:]))


@verb("train")
def diff(run: Annotated[str, Live("train")], other: Annotated[str, Live("train")]) -> Comparison:
    """Compare two runs by meaning: parameters, metrics, rows, seed and code.

    run: e.g. delay@4
    other: what to compare it with, e.g. delay@3 or delay@champion; when there is none yet, it says so
    """
    ours = record.find(run)
    against = str(Uri.parse(other, noun="train"))
    try:
        theirs = record.find(against)
    except NotFound as problem:
        return Comparison(f"train:{ours.name}", against, (), note=f"{problem.what}: nothing to compare with")
    changes = tuple(_changes(ours, theirs))
    code = looks.code_diff(theirs.body["code"], ours.body["code"], (f"train:{theirs.name}", f"train:{ours.name}"))
    return Comparison(f"train:{ours.name}", f"train:{theirs.name}", changes, code=code)


def _changes(ours: Record, theirs: Record) -> list[tuple[str, str, str]]:
    """(what, theirs, ours) of all that differs."""
    found = []
    for kind in ("params", "metrics"):
        old, new = theirs.body.get(kind, {}), ours.body.get(kind, {})
        found += [
            (f"{kind[:-1].replace('param', 'parameter')} {key}", old.get(key), new.get(key)) for key in {**old, **new}
        ]
    found += [(key, theirs.body[key], ours.body[key]) for key in ("rows", "rows_digest", "seed", "on")]
    found += [("code", theirs.body["code_digest"][:12], ours.body["code_digest"][:12])]
    found += [(key, theirs.body["machine"].get(key), value) for key, value in ours.body["machine"].items()]
    return [(what.replace("_", " "), shown(what, old), shown(what, new)) for what, old, new in found if old != new]


def _run(found: Record, *, drawn: bool = False) -> Run:
    place, state = record.folder(found.name), record.state(found)
    body = found.body if "metrics" in found.body else {**record.end_of(found), **found.body}
    ended_at = time.time() if state in record.LIVE else body["ended_at"]
    return Run(
        uri=f"train:{found.name}",
        state=state,
        metrics=body["metrics"],
        params=body["params"],
        rows=body["rows"],
        seed=body["seed"],
        started_at=body["started_at"],
        duration_s=ended_at - body["started_at"],
        code_digest=body["code_digest"],
        checkpoint=checkpoint.epoch(place / checkpoint.FILE),
        model=(place / "model" / "model.onnx").exists(),
        rows_digest=body["rows_digest"],
        on=body["on"],
        resumed_from=body["resumed_from"],
        metrics_from=body.get("metrics_from", ""),
        problem=body.get("problem", {}).get("what", ""),
        tracked_as=body.get("tracked_as", ""),
        machine=body["machine"],
        path=place,
        drawn=drawn,
    )


def _open_rows(rows: object) -> Any:
    from .. import features

    return features.open_rows(rows)


def _source(name: str, from_: str | None) -> Record:
    """The run to go on from, with its checkpoint."""
    if from_:
        found = record.find(from_)
        kept = [found] if checkpoint.epoch(record.folder(found.name) / checkpoint.FILE) is not None else []
    else:
        kept = [
            r for r in record.records(name) if checkpoint.epoch(record.folder(r.name) / checkpoint.FILE) is not None
        ]
    if not kept:
        raise NotFound(
            f"there is no checkpoint of {from_ or name} to go on from",
            "start anew without --resume; the code keeps one with run.checkpoint(model, optimizer, epoch=epoch)",
        )
    if record.state(kept[0]) in record.LIVE:
        raise Conflict(f"train:{kept[0].name} is still going on", f"stop it first: `%train stop {kept[0].name}`")
    return kept[0]
