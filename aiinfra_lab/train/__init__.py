"""Tracked, resumable training runs of plain torch code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from ..errors import Conflict, NotFound, UsageProblem
from ..resolve import files_of, refuse_unknown, resolve, resolve_if_set
from ..show import Listing
from ..store import Record, open_store
from ..uris import Uri, check_name
from ..verbs import Code, Destination, Live, Name, Params, Rows, Suggested, verb
from . import checkpoint, parameters, plain, record
from . import code as _code
from .observing import find, observe, request_stop
from .record import TrainingRun
from .results import Run, RunComparison, RunLog, Runs, comparison, log_of, run_of

__all__ = ["Run", "RunComparison", "RunLog", "diff", "get", "log", "ls", "run", "show", "stop"]


_LAST_RUNS = 20  # which are asked for their parameters while somebody types


def _parameters(typed: Mapping[str, str]) -> list[str]:
    """Those of the newest run of the name that had some."""
    name = Uri.parse(typed.get("name", ""), noun="train").name
    runs = open_store().list(TrainingRun, name=name, limit=_LAST_RUNS, skip_unreadable=True)
    params = next((run.body.params for run in runs if run.body.params), {})
    return [f"{key}={value}" for key, value in params.items()]


def _columns(typed: Mapping[str, str]) -> list[str]:
    from ..data import versions

    return versions.columns(typed.get("rows", ""))


ColumnNames = Annotated[Sequence[str], Suggested(_columns)]


@verb("train")
def run(
    name: Annotated[Name, Live("train")],
    *,
    rows: Rows,
    code: Code,
    label: ColumnNames = (),
    columns: ColumnNames = (),
    timestamp: Annotated[str, Suggested(_columns)] = "",
    params: Annotated[Params, Suggested(_parameters)] | None = None,
    on: Annotated[Name, Live("gpu", "live")] | None = None,
    seed: int = 0,
    resume: bool = False,
    from_: Annotated[Name, Live("train")] | None = None,
) -> Run:
    """Train: run plain torch code that has the object `run`, and record what it was given and what came of it.

    The code runs alone, without the notebook's variables. It finds `run.params`, `run.rows`, `run.tensors()` and
    `run.split()`, and gives back through `run.log(loss=…)`, `run.checkpoint(…)` and `run.save(model)`; with `for batch
    in run.steps(batches):` each step is kept once its machine is announced to be taken. The label is a number, or texts
    as classes. Rows need no time and no feature set: `--rows trips.csv --label late` learns from the
    columns as they are, and then nothing proves that they were known at each row's time. The saved model's
    `forward(numbers, codes)` gives one score a row, a tensor of shape (rows,);
    `run.save(model, outputs=…, task=…, labels=…, inputs=…)` takes every other.

    name: what to call the run; every run of it becomes a version
    rows: what to learn from, e.g. features:delay@2 or the handle of `features get`; or data as it is, with --label
    code: the training code
    label: of data, the column to predict; several, a,b, are all numbers or all texts, and `y` has a column for each
    columns: of data, those to learn from; every other one that is numbers, texts or truth values when left out
    timestamp: of data, the time of a row, if it has one: `run.split()` then holds out the latest rows
    params: values for the code, read there as run.params.NAME
    on: where to run, e.g. gpu:trainer; of a pool the next free session; this very kernel when left out
    seed: what Python's, NumPy's and torch's random generators start from
    resume: go on from the last checkpoint of the newest run of that name; if that is of the last epoch, the code has
        nothing left to train, and a run that measures nothing takes over the metrics measured up to the checkpoint
    from_: go on from the last checkpoint of this run

    Example:
        %%train run delay --rows $rows -p epochs=3
        import torch

        class Late(torch.nn.Module):
            def __init__(self, width):
                super().__init__()
                self.line = torch.nn.Linear(width, 1)

            def forward(self, numbers, codes):
                return torch.sigmoid(self.line(torch.cat([numbers, codes.float()], dim=1))).squeeze(1)

        table = run.tensors()
        model = Late(len(run.columns.numbers) + len(run.columns.sizes))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for epoch in range(run.params.epochs):
            loss = torch.nn.functional.binary_cross_entropy(model(table.numbers, table.codes), table.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log(loss=loss)
        run.save(model)
    """
    from . import remote, sync, worker

    # Whatever is wrong with the request is found before the run has a record: bad input leaves none.
    name = check_name(str(name))
    if not 0 <= seed < 2**32:
        raise UsageProblem(f"--seed {seed} is no seed", "give a whole number from 0 to 4294967295")
    values = parameters.read(params or {})
    _code.compiled(code, f"<train:{name}>")
    source = _source(name, str(from_) if from_ else None) if resume or from_ else None
    handle = _open_rows(rows, name)
    table = plain.described(handle, label, columns, timestamp)
    # The tracking server is behind when a run was killed or the server was down: the next run is when that matters.
    sync.catch_up(at_most=sync.BEFORE_A_RUN)
    with remote.session(str(on) if on is not None else None) as session:
        requested = TrainingRun(
            state="starting",
            params=values,
            seed=seed,
            code=code,
            code_digest=_code.digest(code),
            rows=handle.uri,
            rows_digest=handle.digest,
            machine=record.machine(),
            on=session,
            resumed_from=source.uri if source else "",
            table=table,
            is_timeless=Uri.parse(handle.uri).noun == "features" and not handle.timestamp,
        )
        planned = record.plan(name, requested, (handle.uri, *([source.uri] if source else [])))
        if session:
            # The session's process writes the record from here on; this one waits, and may be interrupted.
            planned = remote.execute_on_any(planned, session)
        else:
            worker.execute(planned.uri)
    return run_of(find(planned.uri))


@verb("train")
def ls(name: Annotated[Name, Live("train")] | None = None) -> Listing:
    """List runs, newest first.

    name: only runs of this name

    Example:
        %train ls delay
    """
    home = record.home()
    wanted = Uri.parse(name, noun="train").name if name else None
    runs = observe(record.runs(wanted, skip_unreadable=True))
    if name and not runs:
        refuse_unknown(name, TrainingRun)
    items = tuple(run_of(seen, home=home) for seen in runs)
    header = ("uri", "state", "metrics", "params", "started_at", "duration_s")
    of = f"train:{wanted}" if wanted else ""
    first = "`%%train run NAME --rows $rows` trains one"
    return Runs("train", items, header, title="Training runs", of=of, first=first)


@verb("train")
def show(run: Annotated[Name, Live("train")]) -> Run:
    """Show one run in full, with its curve.

    run: e.g. delay (the newest), delay@3 or delay@champion

    Example:
        %train show delay
    """
    return run_of(find(run))


@verb("train")
def get(run: Annotated[Name, Live("train")], *, into: Destination | None = None) -> Run:
    """Get a run's handle, or copy its files.

    run: e.g. delay@3
    into: a new folder for its code, measurements, checkpoint and model

    Example:
        %train get delay@1 --into run
    """
    found = run_of(find(run))
    if into is not None:
        from ..data.files import copy_out

        copy_out(files_of(found.uri, found.path), Path(into))
    return found


@verb("train")
def stop(run: Annotated[Name, Live("train", "live")]) -> Run:
    """Stop a run at its next step; its last checkpoint is kept. A run that is over stays as it is.

    run: e.g. delay (the newest) or delay@3

    Example:
        %train stop delay
    """
    found = resolve(run, TrainingRun)  # once: a newer run of the name may begin between asking and looking
    request_stop(found)
    return run_of(find(found.uri))


@verb("train")
def log(run: Annotated[Name, Live("train")], *, lines: int = 40) -> RunLog:
    """Show what a run printed and measured, and the error that ended it.

    run: e.g. delay@3
    lines: at most this many of each, the last ones

    Example:
        %train log delay --lines 20
    """
    return log_of(find(run), lines)


@verb("train")
def diff(run: Annotated[Name, Live("train")], other: Annotated[Name, Live("train")]) -> RunComparison:
    """Compare two runs by meaning: parameters, metrics, rows, seed and code; their models on the same held out rows.

    run: e.g. delay@4
    other: what to compare it with, e.g. delay@3 or delay@champion; when there is none yet, it says so

    Example:
        %train diff delay@2 delay@1
    """
    ours = find(run).record
    against = str(Uri.parse(other, noun="train"))
    if (named_run := resolve_if_set(against, TrainingRun)) is None:
        # A pipeline compares with the champion each time, also before there is one: that is an answer, no error.
        return RunComparison(ours.uri, against, (), note=f"nothing to compare with: no version is {against} yet")
    theirs = find(named_run.uri).record
    return comparison(ours, theirs)


def _open_rows(rows: object, name: str) -> Any:
    from .. import features
    from ..features.opening import rows_of

    return features.open_rows(rows, rows_of(name))


def _source(name: str, from_: str | None) -> Record[TrainingRun]:
    """The run to go on from: the newest of the name that kept a checkpoint, or the one that was named."""
    candidates = [resolve(from_, TrainingRun)] if from_ else record.runs(name)
    source = next((found for found in candidates if _has_checkpoint(found)), None)
    if source is None:
        raise NotFound(
            f"there is no checkpoint of {from_ or name} to go on from",
            f"start anew without {'--from' if from_ else '--resume'}; the code keeps one with "
            "run.checkpoint(model, optimizer, epoch=epoch)",
        )
    if observe([source])[0].is_live:
        raise Conflict(f"{source.uri} is still going on", f"stop it first: `%train stop {source.name}`")
    return source


def _has_checkpoint(run: Record[TrainingRun]) -> bool:
    return checkpoint.progress(record.folder(run.name) / checkpoint.FILE) is not None
