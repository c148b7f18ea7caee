"""Versions of trained models: what is in them, whether they are good, and which one is the champion."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from .. import files, train
from ..audit.references import refuse_referenced
from ..completion import live_names
from ..errors import Conflict, Failed, Inconclusive, NotFound, UsageProblem, did_you_mean
from ..resolve import files_of, refuse_unknown, resolve, resolve_if_set
from ..show import Listing, working
from ..store import Event, Record, log_same, open_store
from ..train.record import TrainingRun
from ..units import Difference, number, show_bytes
from ..uris import Uri, check_alias, check_name
from ..verbs import Choices, Destination, FilePath, Live, Name, Rows, Suggested, verb
from . import artifact, batch, checks, judging, policies, promotion, record, sync
from .batch import BatchPrediction
from .comparison import ModelComparison, compare
from .findings import joined
from .record import CHAMPION, ModelVersion
from .results import Model, ModelPolicy, ModelVerdict, model_of, policy_of

__all__ = [
    "BatchPrediction", "Model", "ModelComparison", "ModelPolicy", "ModelVerdict", "add", "check", "diff", "get", "ls",
    "policy", "promote", "rm", "rollback", "run", "show",
]  # fmt: skip


def _aliases(typed: Mapping[str, str]) -> list[str]:
    """Those that the model has, the usual one, and what the last models call theirs."""
    name = Uri.parse(typed.get("model", typed.get("name", "")), noun="models").name
    return sorted({CHAMPION, *record.aliases(name), *record.last_aliases()})


def _bounds(typed: Mapping[str, str]) -> list[str]:
    """One on each metric of the model's newest version, which that version satisfies: to two digits."""
    name = Uri.parse(typed.get("model", typed.get("name", "")), noun="models").name
    return checks.satisfied(resolve(name, ModelVersion).body.metrics)


def _tasks() -> Sequence[str]:
    from ..train.signature import TASKS

    return TASKS


Alias = Annotated[str, Suggested(_aliases)]
Bounds = Annotated[str, Suggested(_bounds)]


# Of a network's weights, for which its code is needed; and of whole models.
_WEIGHTS = {".pt", ".pth", ".safetensors", ".ckpt", ".bin", ".h5", ".keras"}
_MODEL_SUFFIXES = {*_WEIGHTS, ".onnx", ".pkl", ".joblib", ".ubj", ".cbm", ".skops", ".pt2"}


@verb("models")
def add(
    name: Annotated[Name, Live("models")],
    *,
    run: Annotated[Name, Live("train")] | None = None,
    from_: FilePath | None = None,
    code: str = "",
    example: Rows = None,
    rows: Rows = None,
    task: Annotated[str, Choices(_tasks)] | None = None,
    labels: Sequence[str] = (),
    note: str = "",
    environment: FilePath | None = None,
) -> Model:
    """Add the model that a run saved as a new version, or one that was trained elsewhere. The same again adds none.

    A model that was trained elsewhere is converted to ONNX, and added when that answers as the original does, to the
    rows of `example` or `rows`: a file of ONNX, XGBoost (.ubj, .json), LightGBM (.txt), CatBoost (.cbm), scikit-learn
    (.skops) or torch.export (.pt2), a folder or URI of MLflow, a Hugging Face folder, or safetensors with your own code
    that builds their network; and what an installed package reads. Nothing that could run code is read.

    name: what the model is called
    run: the run, e.g. train:delay@3
    from_: the file, folder or MLflow URI of a model that was trained elsewhere, e.g. digits.onnx
    code: your own function that builds the network of weights alone, e.g. package.module:build
    example: a few rows for a model of arrays: an .npz file with one for each input, or in Python a dict of arrays; for
        a model of texts a file with one on each line, or a list of them
    rows: a few rows for a model of a table's columns, e.g. data:customers@3
    task: what the model's answers mean, where it does not say so itself
    labels: the names of the classes in their order, where the model has none; 0..9 means 0,1,…,9
    note: what the model is meant for; it becomes the card's first line
    environment: a requirements file with the packages that it has to run by, each pinned, where those that are
        installed here do not do: another onnxruntime, or onnxruntime-extensions. An environment is built of them

    Example:
        %models add delay --run train:delay@2
    """
    name = check_name(str(name))
    if from_ is not None:
        packages = Path(environment) if environment is not None else None
        return _imported(name, run, Path(from_), example, rows, task, labels, note, code, packages)
    if run is None:
        newest = next((found.uri for found in train.ls() if found.state == "done" and found.model), "train:NAME")
        fix = f"`%models add {name} --run {newest}`, or --from FILE for one that was trained elsewhere"
        raise UsageProblem("nothing says which model to add", fix)
    flags = {"code": code or None, "example": example, "rows": rows, "task": task, "labels": labels or None}
    flags["environment"] = environment
    if given := next((flag for flag, value in flags.items() if value is not None), ""):
        raise UsageProblem(f"--{given} is for models that were trained elsewhere", "leave it out: the run knows it")
    source = _run_of(name, run)
    _refuse_unfinished(source)
    # A pipeline that is repeated adds the same again: that is no new version, unless it is meant for something else.
    for known in record.versions(name):
        if (known.body.run, known.body.note) == (source.uri, note) and not _was_altered(known, source):
            log_same("models add", known.uri)
            return model_of(known, message=f"{source.uri} was added before")
    from . import card

    data = checks.data_behind(source.rows)
    kept = resolve(source.uri, TrainingRun).body.files
    with artifact.built(name, source.path / "model", card.write(name, source, data, note), kept) as aside:
        version = ModelVersion(
            run=source.uri,
            rows=source.rows,
            rows_digest=source.rows_digest,
            data=tuple(data),
            metrics=source.metrics,
            files=files.digests(aside),
            note=note,
            created_at=time.time(),
            size_bytes=artifact.size(aside),
        )
        detail = {"files": version.files, "note": note}
        written = artifact.commit_next(
            aside, name, version, lambda uri: Event("models add", uri, (source.uri,), (uri,), detail)
        )
    return model_of(written, message=sync.register(written))


@verb("models")
def ls(name: Annotated[Name, Live("models")] | None = None) -> Listing:
    """List versions, newest first.

    name: only versions of this model

    Example:
        %models ls delay
    """
    wanted = Uri.parse(name, noun="models").name if name else None
    versions, known = record.versions(wanted, skip_unreadable=True), record.all_models(skip_unreadable=True)
    if name and not versions:
        refuse_unknown(name, ModelVersion)
    models = {name: known.get(name, record.ModelAliases()) for name in {version.base for version in versions}}
    now = {name: promotion.Standard.of(name, model) for name, model in models.items()}
    items = tuple(
        model_of(each, known=models[each.base].aliases, outdated=promotion.outdated(each, now[each.base]))
        for each in versions
    )
    header = ("uri", "aliases", "checked", "metrics", "run", "created_at")
    of = f"models:{wanted}" if wanted else ""
    first = "`%models add NAME --run train:NAME` makes one"
    return Listing("models", items, header, title="Model versions", of=of, first=first)


@verb("models")
def show(model: Annotated[Name, Live("models")]) -> Model:
    """Show one version in full, with what its last check found, and its card.

    model: e.g. delay (the newest), delay@7 or delay@champion

    Example:
        %models show delay@champion
    """
    version = resolve(model, ModelVersion)
    outdated = _outdated(version)
    is_here = record.folder(version.name).is_dir()  # the files may be in another folder that shares the store
    if not outdated and version.body.verdict == "good" and is_here and (off := promotion.altered(version)):
        outdated = f"its files changed since: {off}"
    return model_of(version, outdated=outdated)


@verb("models")
def get(model: Annotated[Name, Live("models")], *, into: Destination | None = None) -> Model:
    """Get a version's handle, which predicts; or copy its files.

    model: e.g. delay@7 or delay@champion
    into: a new folder for its files

    Example:
        %models get delay@champion --into model
    """
    version = resolve(model, ModelVersion)
    found = model_of(version, outdated=_outdated(version))
    if into is not None:
        from ..data.files import copy_out

        copy_out(files_of(found.uri, found.path), Path(into))
    return found


@verb("models")
def run(model: Annotated[Name, Live("models")], *, rows: Rows, into: Destination | None = None) -> BatchPrediction:
    """Answer all rows of a table with a version, here: batch prediction, without an endpoint.

    Rows that have the model's columns are taken as they are; others go through its features first. The answers come in
    the rows' order, with their `row_id` where they have one.

    model: e.g. delay@7 or delay@champion
    rows: what to answer, e.g. data:new@1
    into: a new .parquet or .csv file for the answers

    Example:
        %models run delay@champion --rows data:flights@1
    """
    version = resolve(model, ModelVersion)
    with working(BatchPrediction.kind, version.uri, "reads the rows") as step:
        found = batch.predict(version.uri, artifact.verified(version), rows, step)
    if into is not None:
        found = replace(found, into=batch.written(found, Path(into)))
    detail = {"rows": found.count, "into": found.into}
    open_store().commit([], Event("models run", version.uri, (version.uri, found.rows), (), detail))
    return found


@verb("models")
def check(
    model: Annotated[Name, Live("models")],
    *,
    require: Bounds | None = None,
    margin: Difference | None = None,
    report: bool = False,
) -> ModelVerdict:
    """Judge a version: its files, its example, its origin, its numbers, the champion's. Raises when it is not good.

    It is judged by the model's policy and by what is asked here. What is asked beyond the policy belongs to it from
    then on; a check that asks for less is judged by the policy all the same. `models policy` alone loosens it. It is
    held against the champion on the same held out rows, where that can be: worse than the margin allows is bad beyond
    chance, and else nobody can tell.

    model: e.g. delay (the newest) or delay@7
    require: bounds on its run's metrics, e.g. 'auc > 0.7 and loss < 0.5'
    margin: by how much of a measure it may be worse than the champion, e.g. 0.02 or 2%
    report: hand the verdict back, whatever it is

    Example:
        %models check delay@1 --require 'auc > 0.6'
    """
    asked = policies.stated(policies.required(require), number(margin))
    with working("Model check", str(Uri.parse(model, noun="models")), "judges its files, its answers and its numbers"):
        found = judging.judge(model, asked)
    if found.state == "good" or report:
        return found
    off = [item for item in found.findings if item.state == found.state]
    reasons = "; ".join([*(f"{item.what}: {item.detail}" for item in off), *filter(None, [found.note])])
    fix = "; ".join([*joined(item.fix for item in off), f"`%models show {found.label}` shows all of it"])
    if found.state == "bad":
        raise Failed(f"{found.uri} is not good: {reasons}", fix)
    raise Inconclusive(f"cannot tell whether {found.uri} is good: {reasons}", fix)


@verb("models")
def policy(
    name: Annotated[Name, Live("models", "names")],
    *,
    require: Bounds | None = None,
    margin: Difference | None = None,
) -> ModelPolicy:
    """Show what every version of a model must satisfy; with flags, replace that, also by less.

    It changes no verdict: a version that was found good by another policy is checked again before it is promoted.

    name: the model
    require: bounds in place of those so far, e.g. 'auc > 0.65'; none for no bounds
    margin: the margin in place of the one so far, e.g. 0.02 or 2%

    Example:
        %models policy delay
    """
    asked = Uri.parse(name, noun="models")
    if asked.tag:
        raise UsageProblem(f"{asked} is a version, and a policy is the model's", f"`%models policy {asked.name}`")
    refuse_unknown(asked, ModelVersion)
    if require is None and margin is None:
        return policy_of(asked.name, record.of_model(asked.name).body.policy)
    is_none = require is not None and require.strip().lower() == policies.NOTHING
    rule = policies.required(None if is_none else require)
    stated = policies.stated(rule, number(margin), "models policy")
    return judging.replace_policy(asked.name, stated, keep_bounds=require is None, keep_margin=margin is None)


@verb("models")
def promote(model: Annotated[Name, Live("models")], *, to: Alias = CHAMPION) -> Model:
    """Point an alias at a version that a check of the model's policy found good. It moves no traffic.

    model: e.g. delay@7
    to: the alias

    Example:
        %models promote delay@1
    """
    version = resolve(model, ModelVersion)
    alias = check_alias(to)
    before, after = record.move(version.base, alias, "promote", lambda known: version.version, promotion.admit)
    return _moved(version, alias, before, after)


@verb("models")
def rollback(name: Annotated[Name, Live("models", "names")], *, to: Alias = CHAMPION) -> Model:
    """Point an alias back at the version that held it before. It moves no traffic; the history is kept.

    An alias that was taken away means its last version again.

    name: the model
    to: the alias, as `promote` calls it

    Example:
        %models rollback delay
    """
    asked = Uri.parse(name, noun="models")
    if asked.tag:
        raise UsageProblem(
            f"{asked} is a version, and a model is rolled back",
            f"`%models rollback {asked.name}`; or `%models promote {asked.label}`",
        )
    alias = check_alias(to)
    before, after = record.move(asked.name, alias, "rollback", lambda known: record.before(known, alias, asked.name))
    version = resolve(asked.at(after), ModelVersion)
    # It goes back all the same: what was there before is what is wanted now, and quickly.
    problem = promotion.objection(version)
    return _moved(version, alias, before, after, problem.what if problem else "")


@verb("models")
def diff(
    model: Annotated[Name, Live("models")], other: Annotated[Name, Live("models")], *, rows: Rows | None = None
) -> ModelComparison:
    """Compare two versions by meaning: metrics, run, rows, data, columns and files.

    Of a classification or regression both predict the newer one's held out rows, and each metric's difference has its
    interval.

    model: e.g. delay@8
    other: what to compare it with, e.g. delay@champion; when there is none yet, it says so
    rows: predict these in place of held out ones, e.g. data:new@1; what one of the two learned from is left out

    Example:
        %models diff delay@2 delay@champion
    """
    ours = resolve(model, ModelVersion)
    against = str(Uri.parse(other, noun="models"))
    theirs = resolve_if_set(against, ModelVersion)
    if theirs is None:
        # A pipeline compares with the champion each time, also before there is one: that is an answer, no error.
        return ModelComparison(ours.uri, against, (), note=f"nothing to compare with: no version is {against} yet")
    return compare(ours, theirs, rows)


@verb("models")
def rm(model: Annotated[Name, Live("models")]) -> Model:
    """Remove a version and its files; the record that it was stays. Or take an alias away from its version.

    model: e.g. delay@7 (without @7 the only one); an alias like delay@challenger goes alone, its version stays

    Example:
        %models rm delay@2
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


def _outdated(version: Record[ModelVersion]) -> str:
    return promotion.outdated(version, promotion.Standard.of(version.base, record.of_model(version.base).body))


def _imported(name: str, run: object, path: Path, *given: Any) -> Model:
    """A model that was trained elsewhere, as a version."""
    from . import importing

    if run is not None:
        raise UsageProblem("both --run and --from were given", "give one of them")
    made, notes, is_new = importing.add(name, path, *given)
    return model_of(made, message="; ".join(filter(None, (notes, sync.register(made) if is_new else ""))))


def _run_of(name: str, run: Name) -> train.Run:
    """The run of that name; what is no run but a file of a model is refused with how to bring it."""
    try:
        return train.show(run)
    except (NotFound, UsageProblem):
        path = Path(str(run))
        if path.suffix not in _MODEL_SUFFIXES and not path.is_file():
            raise
    if path.suffix not in _WEIGHTS:
        fix = f"`%models add {name} --from {path}`, with the example that its help names"
        raise UsageProblem(f"{path} is a file, and --run takes a training run", fix)
    if path.suffix == ".safetensors":
        brings = f"`%models add {name} --from {path} --code package.module:build --example example.npz`"
        raise UsageProblem(f"{path} is a file, and --run takes a training run", f"{brings}, with your own code")
    rows = next(iter(live_names("features", "features:", 1)), "features:NAME")
    brings = f"build the network in a cell `%%train run {name} --rows {rows}`, give it torch.load('{path.absolute()}')"
    fix = f"{brings} and end with run.save(model); then `%models add {name} --run train:{name}`"
    raise UsageProblem(f"{path} is a file, and --run takes a training run", fix)


def _refuse_unfinished(run: train.Run) -> None:
    if run.state != "done":
        done = next((other.uri for other in train.ls(Uri.parse(run.uri).name) if other.state == "done"), "")
        other = f"; or take one that is done: --run {done}" if done else ""
        again = "run its cell again, with --resume where it kept a checkpoint"
        raise Failed(f"{run.uri} is {run.state}: its model is not finished", again + other)
    if not run.model:
        raise Failed(f"{run.uri} saved no model", "end its code with run.save(model), and train again")


def _was_altered(version: Record[ModelVersion], run: train.Run) -> bool:
    """Whether its files are not what they were, and its run's are here to make it anew."""
    is_whole = not artifact.differences(record.folder(version.name), version.body.files)
    return not is_whole and (run.path / "model").is_dir()


def _unalias(version: Record[ModelVersion], alias: str) -> Model:
    record.drop(version.base, alias)
    unsynced = sync.move_alias(version.base, alias, None)
    back = f"{alias} means no version now; `%models rollback {version.base} --to {alias}` brings it back"
    still = "others are compared with it all the same" if alias == CHAMPION else ""
    return model_of(version, message="; ".join(filter(None, (back, still, unsynced))))


def _new_alias(version: Record[ModelVersion], alias: str) -> str:
    """A note on an alias that nothing had before; one like another was perhaps meant to be that."""
    if alias == CHAMPION:
        return ""
    meant = did_you_mean(alias, {CHAMPION, *record.aliases(version.base)} - {alias})
    hint = f", {meant}" if meant.startswith("did you mean") else ":"
    return f"that is a new alias{hint} `%models rm {version.base}@{alias}` takes it away again"


def _moved(version: Record[ModelVersion], alias: str, before: int | None, after: int, note: str = "") -> Model:
    moved = f"{alias} was this version before" if before == after else f"{alias} is now this version"
    if before not in (None, after):
        moved += f", and was {version.base}@{before}"
    new = _new_alias(version, alias) if before is None else ""
    # An alias is often taken for traffic: each answer names the difference.
    hint = "no traffic moved: endpoints serve what they served; `%deploy promote` moves traffic"
    unsynced = sync.move_alias(version.base, alias, after)
    return model_of(version, message="; ".join(part for part in (moved, new, note, hint, unsynced) if part))
