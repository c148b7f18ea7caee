"""Versions of trained models: what is in them, whether they are good, and which one is the champion."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

from .. import train
from ..audit.references import refuse_referenced
from ..errors import Conflict, Failed, UsageProblem, did_you_mean
from ..resolve import files_of, refuse_unknown, resolve, resolve_if_set
from ..show import Comparison, Listing
from ..store import Event, Record, open_store
from ..units import Difference, number, show_bytes
from ..uris import Uri, check_name
from ..verbs import Choices, FilePath, Live, Name, verb
from . import artifact, checks, record, sync
from .record import CHAMPION, LastCheck, ModelVersion
from .results import Model, ModelVerdict, changes, model_of

__all__ = [
    "Comparison", "Model", "ModelVerdict", "add", "check", "diff", "get", "ls", "promote", "rm", "rollback", "show",
]  # fmt: skip

Alias = Annotated[str, Choices(record.alias_names, is_open=True)]


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
    if name and not versions:
        refuse_unknown(name, ModelVersion)
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
    model: Annotated[Name, Live("models")],
    *,
    require: str | None = None,
    margin: Difference = 0.0,
    report: bool = False,
) -> ModelVerdict:
    """Judge a version: its files, its example, its origin, its numbers, the champion's. Raises when it is not good.

    Its verdict is that of its last check. One that asks for less than the check before says so.

    model: e.g. delay (the newest) or delay@7
    require: bounds on its run's metrics, e.g. 'auc > 0.7 and loss < 0.5'
    margin: by how much of a measure it may be worse than the champion, e.g. 0.02 or 2%
    report: hand the verdict back, whatever it is
    """
    version = resolve(model, ModelVersion)
    rule = checks.required(require)
    allowed = number(margin)
    findings = tuple(checks.judge(version, rule, allowed))
    state, uri = checks.verdict(list(findings)), version.uri
    checked = LastCheck(verdict=state, require=rule, margin=allowed, at=time.time())
    # Written whatever it is: promote and endpoints ask how the last check ended.
    detail = {"verdict": state, "require": str(rule or ""), "margin": allowed}
    record.change(version.name, Event("models check", uri, (uri,), (), detail), checked=checked)
    if state == "good" or report:
        return ModelVerdict(uri, state, findings, _weaker(version, checked))
    off = [item for item in findings if item.state == state]
    reasons = "; ".join(f"{item.what}: {item.detail}" for item in off)
    head = f"{uri} is not good" if state == "bad" else f"cannot tell whether {uri} is good"
    raise Failed(f"{head}: {reasons}", "; ".join(dict.fromkeys(item.fix for item in off)) + "; --report shows all")


@verb("models")
def promote(model: Annotated[Name, Live("models")], *, to: Alias = CHAMPION) -> Model:
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
        command = checks.again(version.name, version.body.checked or LastCheck(verdict="cannot tell"))
        raise Failed(f"{version.uri} {reason}", f"{command} must find it good first")
    before, after = record.move(version.base, alias, "promote", lambda known: version.version)
    return _moved(version, alias, before, after)


@verb("models")
def rollback(name: Annotated[Name, Live("models")], *, to: Alias = CHAMPION) -> Model:
    """Point an alias back at the version that held it before. It moves no traffic; the history is kept.

    An alias that was taken away means its last version again.

    name: the model
    to: the alias, as `promote` calls it
    """
    asked = Uri.parse(name, noun="models")
    if asked.tag:
        raise UsageProblem(
            f"{asked} is a version, and a model is rolled back",
            f"`%models rollback {asked.name}`; or `%models promote {asked.label}`",
        )
    before, after = record.move(asked.name, to, "rollback", lambda known: record.before(known, to, asked.name))
    return _moved(resolve(asked.at(after), ModelVersion), to, before, after)


@verb("models")
def diff(model: Annotated[Name, Live("models")], other: Annotated[Name, Live("models")]) -> Comparison:
    """Compare two versions by meaning: metrics, run, rows, data, columns and files.

    model: e.g. delay@8
    other: what to compare it with, e.g. delay@champion; when there is none yet, it says so
    """
    ours = resolve(model, ModelVersion)
    against = str(Uri.parse(other, noun="models"))
    theirs = resolve_if_set(against, ModelVersion)
    if theirs is None:
        # A pipeline compares with the champion each time, also before there is one: that is an answer, no error.
        return Comparison(ours.uri, against, (), note=f"nothing to compare with: no version is {against} yet")
    return Comparison(ours.uri, theirs.uri, tuple(changes(ours, theirs)))


@verb("models")
def rm(model: Annotated[Name, Live("models")]) -> Model:
    """Remove a version and its files; the record that it was stays. Or take an alias away from its version.

    model: e.g. delay@7 (without @7 the only one); an alias like delay@challenger goes alone, its version stays
    """
    uri = Uri.parse(model, noun="models")
    if uri.alias is not None:
        return _unalias(resolve(uri, ModelVersion), uri.alias)
    if uri.version is None and len(record.versions(uri.name)) > 1:
        raise Conflict(f"{uri} has several versions", f"say which: `%models rm {resolve(uri, ModelVersion).name}`")
    version = resolve(uri, ModelVersion, removed=True)
    files = record.folder(version.name)
    # A removal that a crash cut short goes on; of one that was completed nothing is left to do.
    if version.body.is_removed and not files.exists():
        resolve(uri, ModelVersion)
    if not version.body.is_removed:
        refuse_referenced(open_store(), version.uri)
        event = Event("models rm", version.uri, (version.uri,))
        version = record.change(version.name, event, removed_at=time.time())
    # Copies of its own, which no other version or run shares.
    freed = artifact.size(files)
    if files.exists():
        shutil.rmtree(files)
    return model_of(version, message=sync.remove(version) or f"removed: {show_bytes(freed)} freed; its record stays")


def _refuse_unfinished(run: train.Run) -> None:
    if run.state != "done":
        done = next((other.uri for other in train.ls(Uri.parse(run.uri).name) if other.state == "done"), "")
        other = f"; or take one that is done: --run {done}" if done else ""
        again = "run its cell again, with --resume where it kept a checkpoint"
        raise Failed(f"{run.uri} is {run.state}: its model is not finished", again + other)
    if not run.model:
        raise Failed(f"{run.uri} saved no model", "end its code with run.save(model), and train again")


def _weaker(version: Record[ModelVersion], now: LastCheck) -> str:
    """A note when the check before asked for more; else nothing."""
    before = version.body.checked
    if before is None or not (missing := checks.dropped(before, now)):
        return ""
    ended = f"the check before, which was {before.verdict}, also had {' and '.join(missing)}"
    return f"{ended}: {checks.again(version.name, before)} asks for that again"


def _unalias(version: Record[ModelVersion], alias: str) -> Model:
    record.drop(version.base, alias)
    unsynced = sync.move_alias(version.base, alias, None)
    back = f"{alias} means no version now; `%models rollback {version.base} --to {alias}` brings it back"
    return model_of(version, message="; ".join(filter(None, (back, unsynced))))


def _new_alias(version: Record[ModelVersion], alias: str) -> str:
    """A note on an alias that nothing had before; one like another was perhaps meant to be that."""
    if alias == CHAMPION:
        return ""
    meant = did_you_mean(alias, {CHAMPION, *record.aliases(version.base)} - {alias})
    hint = f", {meant}" if meant.startswith("did you mean") else ":"
    return f"that is a new alias{hint} `%models rm {version.base}@{alias}` takes it away again"


def _moved(version: Record[ModelVersion], alias: str, before: int | None, after: int) -> Model:
    moved = f"{alias} was this version before" if before == after else f"{alias} is now this version"
    if before not in (None, after):
        moved += f", and was {version.base}@{before}"
    new = _new_alias(version, alias) if before is None else ""
    # An alias is often taken for traffic: each answer names the difference.
    hint = "no traffic moved: endpoints serve what they served; `%deploy promote` moves traffic"
    unsynced = sync.move_alias(version.base, alias, after)
    return model_of(version, message="; ".join(part for part in (moved, new, hint, unsynced) if part))
