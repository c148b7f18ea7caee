"""Versions of trained models: what is in them, whether they are good, and which one is the champion."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from .. import train
from ..audit.references import refuse_referenced
from ..errors import Failed, NotFound, UsageProblem
from ..resolve import files_of, resolve
from ..show import Comparison, Listing
from ..store import Event, Record, open_store
from ..uris import Uri, check_name
from ..verbs import FilePath, Live, Name, verb
from . import artifact, checks, record, sync
from .record import LastCheck, ModelVersion
from .results import Model, ModelVerdict, changes, model_of

__all__ = [
    "Comparison", "Model", "ModelVerdict", "add", "check", "diff", "get", "ls", "promote", "rm", "rollback", "show",
]  # fmt: skip


@verb("models")
def add(name: Annotated[Name, Live("models")], *, run: Annotated[Name, Live("train")], note: str = "") -> Model:
    """Add the model that a run saved as a new version. The same run again gives the same version.

    name: what the model is called
    run: the run, e.g. train:delay@3
    note: what the model is meant for; it becomes the card's first line
    """
    name = check_name(str(name))
    source = train.show(run)
    _refuse_unfinished(source)
    # A pipeline that is repeated adds the same again: that is no new version, unless it is meant for something else.
    for known in record.versions(name):
        if (known.body.run, known.body.note) == (source.uri, note):
            return model_of(known, message=f"{source.uri} was added before")
    from . import card

    data = checks.data_behind(source.rows)
    with artifact.built(name, source.path / "model", card.write(name, source, data, note)) as aside:
        version = ModelVersion(
            run=source.uri,
            rows=source.rows,
            rows_digest=source.rows_digest,
            data=tuple(data),
            metrics=source.metrics,
            files=artifact.digests(aside),
            note=note,
            created_at=time.time(),
            size_bytes=artifact.size(aside),
        )
        # The folder takes the number: of two at once, a file system lets one rename succeed.
        made = Record.new(artifact.publish_next(aside, name), version)
    event = Event("models add", made.uri, (source.uri,), (made.uri,), {"files": version.files, "note": note})
    written = open_store().commit([made], event)[0]
    return model_of(written, message=sync.register(written))


@verb("models")
def ls(name: Annotated[Name, Live("models")] | None = None) -> Listing:
    """List versions, newest first.

    name: only versions of this model
    """
    wanted = Uri.parse(name, noun="models").name if name else None
    versions, known = record.versions(wanted, skip_unreadable=True), record.all_aliases(skip_unreadable=True)
    items = tuple(model_of(version, known=known.get(version.base, {})) for version in versions)
    return Listing("models", items, ("uri", "aliases", "checked", "metrics", "run", "created_at"))


@verb("models")
def show(model: Annotated[Name, Live("models")]) -> Model:
    """Show one version in full, with its card.

    model: e.g. delay (the newest), delay@7 or delay@champion
    """
    return model_of(resolve(model, ModelVersion))


@verb("models")
def get(model: Annotated[Name, Live("models")], *, into: FilePath | None = None) -> Model:
    """Get a version's handle, which predicts; or copy its files.

    model: e.g. delay@7 or delay@champion
    into: a new folder for its files
    """
    found = model_of(resolve(model, ModelVersion))
    if into is not None:
        from ..data.files import copy_out

        copy_out(files_of(found.uri, found.path), Path(into))
    return found


@verb("models")
def check(
    model: Annotated[Name, Live("models")], *, require: str = "", margin: float = 0.0, report: bool = False
) -> ModelVerdict:
    """Judge a version: its files, its example, its origin, its numbers, the champion's. Raises when it is not good.

    model: e.g. delay (the newest) or delay@7
    require: bounds on its run's metrics, e.g. 'auc > 0.7 and loss < 0.5'
    margin: by how much it may be worse than the champion
    report: hand the verdict back, whatever it is
    """
    version = resolve(model, ModelVersion)
    rule = checks.required(require)
    findings = tuple(checks.judge(version, rule, margin))
    state, uri = checks.verdict(list(findings)), version.uri
    checked = LastCheck(verdict=state, require=rule, margin=margin, at=time.time())
    # Written whatever it is: promote and endpoints ask how the last check ended.
    detail = {"verdict": state, "require": require, "margin": margin}
    record.change(version.name, Event("models check", uri, (uri,), (), detail), checked=checked)
    if state == "good" or report:
        return ModelVerdict(uri, state, findings)
    off = [item for item in findings if item.state == state]
    reasons = "; ".join(f"{item.what}: {item.detail}" for item in off)
    head = f"{uri} is not good" if state == "bad" else f"cannot tell whether {uri} is good"
    raise Failed(f"{head}: {reasons}", "; ".join(dict.fromkeys(item.fix for item in off)) + "; --report shows all")


@verb("models")
def promote(model: Annotated[Name, Live("models")], *, to: str = "champion") -> Model:
    """Point an alias at a version that was checked. It moves no traffic.

    model: e.g. delay@7
    to: the alias
    """
    version = resolve(model, ModelVersion)
    alias = Uri.parse(f"{version.base}@{to}", noun="models").alias
    if alias is None:
        raise UsageProblem(f"{to!r} is a number, and an alias is a word", "write --to champion")
    if version.body.verdict != "good":
        checked = version.body.verdict
        reason = f"was checked, and the verdict was: {checked}" if checked else "has not been checked"
        # With the same bounds: without them a weaker check would let through what was found bad.
        rule = version.body.checked.require if version.body.checked else None
        bounds = f" --require '{rule}'" if rule else ""
        raise Failed(f"{version.uri} {reason}", f"`%models check {version.name}{bounds}` must find it good first")
    before, after = record.move(version.base, alias, "promote", lambda known: version.version)
    return _moved(version, alias, before, after)


@verb("models")
def rollback(name: Annotated[Name, Live("models")], *, alias: str = "champion") -> Model:
    """Point an alias back at the version that held it before. It moves no traffic; the history is kept.

    name: the model
    alias: the alias
    """
    asked = Uri.parse(name, noun="models")
    if asked.tag:
        raise UsageProblem(
            f"{asked} is a version, and a model is rolled back",
            f"`%models rollback {asked.name}`; or `%models promote {asked.label}`",
        )
    before, after = record.move(asked.name, alias, "rollback", lambda known: record.before(known, alias, asked.name))
    return _moved(resolve(asked.at(after), ModelVersion), alias, before, after)


@verb("models")
def diff(model: Annotated[Name, Live("models")], other: Annotated[Name, Live("models")]) -> Comparison:
    """Compare two versions by meaning: metrics, run, rows, data, columns and files.

    model: e.g. delay@8
    other: what to compare it with, e.g. delay@champion; when there is none yet, it says so
    """
    ours = resolve(model, ModelVersion)
    against = str(Uri.parse(other, noun="models"))
    try:
        theirs = resolve(against, ModelVersion)
    except NotFound as problem:
        # A pipeline compares with the champion each time, also before there is one: that is an answer, no error.
        return Comparison(ours.uri, against, (), note=f"{problem.what}: nothing to compare with")
    return Comparison(ours.uri, theirs.uri, tuple(changes(ours, theirs)))


@verb("models")
def rm(model: Annotated[Name, Live("models")]) -> Model:
    """Remove a version; the record that it was stays.

    model: e.g. delay@7
    """
    version = resolve(model, ModelVersion)
    refuse_referenced(open_store(), version.uri)
    gone = record.change(version.name, Event("models rm", version.uri, (version.uri,)), removed_at=time.time())
    return model_of(gone, message=sync.remove(gone) or "removed; its record stays")


def _refuse_unfinished(run: train.Run) -> None:
    if run.state != "done":
        raise Failed(f"{run.uri} is {run.state}: its model is not finished", "finish it first, e.g. with --resume")
    if not run.model:
        raise Failed(f"{run.uri} saved no model", "end its code with run.save(model), and train again")


def _moved(version: Record[ModelVersion], alias: str, before: int | None, after: int) -> Model:
    moved = f"{alias} was this version before" if before == after else f"{alias} is now this version"
    if before not in (None, after):
        moved += f", and was {version.base}@{before}"
    # An alias is often taken for traffic: each answer names the difference.
    hint = "no traffic moved: endpoints serve what they served; `%deploy promote` moves traffic"
    unsynced = sync.move_alias(version.base, alias, after)
    return model_of(version, message="; ".join(part for part in (moved, hint, unsynced) if part))
