"""Versions of trained models: what is in them, whether they are good, and which one is the champion."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from .. import train
from ..audit.references import refuse_referenced
from ..errors import Failed, NotFound, UsageProblem
from ..show import Card, Comparison, Listing, Result, shown
from ..store import Event, Record, open_store
from ..uris import Uri, check_name
from ..verbs import Live, verb
from . import artifact, checks, mirror, record

if TYPE_CHECKING:
    from ..features.contract import Columns

__all__ = [
    "Comparison", "Model", "Verdict", "add", "check", "diff", "disagreements", "get", "ls", "mend", "promote", "rm",
    "rollback", "show",
]  # fmt: skip

disagreements, mend = mirror.disagreements, mirror.mend


@dataclass(frozen=True)
class Model(Result):
    """A version of a model. `path` is its folder: model.onnx, columns.json, signature.json, example.json, card.md, …

    checked: how the last check ended: good, bad, cannot tell, or nothing when there was none.
    """

    uri: str
    aliases: tuple[str, ...]
    checked: str
    metrics: dict[str, float]
    run: str
    rows: str
    created_at: float
    size_bytes: int
    digest: str
    note: str = ""
    said: str = ""
    path: Path = field(default=Path(), repr=False)

    @property
    def columns(self) -> Columns:
        """The columns contract: which columns a row needs, and how they are encoded."""
        from ..features.contract import Columns

        return Columns.from_json((self.path / "columns.json").read_text("utf-8"))

    @property
    def signature(self) -> dict[str, Any]:
        """The tensors that the ONNX file takes and gives."""
        found: dict[str, Any] = json.loads((self.path / "signature.json").read_text("utf-8"))
        return found

    @property
    def model_card(self) -> str:
        """The model card, in Markdown."""
        return (self.path / "card.md").read_text("utf-8")

    def predict(self, rows: Any) -> Any:
        """The scores of rows, as a NumPy vector. `rows` are dicts, or a data frame with the contract's columns."""
        from ..train.export import scores

        return scores(self.path / "model.onnx", *self.columns.encode(rows))

    def card(self) -> Card:
        plain = super().card()
        facts = [(name, value) for name, value in plain.facts if name not in ("path", "digest", "said", "checked")]
        notes = [self.said] if self.said else []
        # What a verb changed is said in a line; the model card is for whoever looks.
        details = [("model card", self.model_card)] if not self.said and (self.path / "card.md").exists() else []
        return Card(self.uri, state=self.checked or "not checked", facts=facts, notes=notes, details=details)


@dataclass(frozen=True)
class Verdict(Result):
    """What a check found. `state` is good, bad or cannot tell."""

    uri: str
    state: str
    findings: tuple[checks.Finding, ...]

    def card(self) -> Card:
        rows = [(item.what, item.state, item.detail) for item in self.findings]
        notes = [f"{item.what}: {item.fix}" for item in self.findings if item.fix]
        return Card(self.uri, state=self.state, header=["check", "", "what was found"], rows=rows, notes=notes)


@verb("models")
def add(name: Annotated[str, Live("models")], *, run: Annotated[str, Live("train")], note: str = "") -> Model:
    """Add the model that a run saved as a new version. The same run again gives the same version.

    name: what the model is called
    run: the run, e.g. train:delay@3
    note: what the model is meant for; it becomes the card's first line
    """
    check_name(name)
    source = train.show(run)
    _refuse_unfinished(source)
    for known in record.records(name):
        if known.body["run"] == source.uri and known.body["note"] == note:
            return _model(known, said=f"{source.uri} was added before")
    from . import card

    data = checks.data_behind(source.rows)
    with artifact.built(name, source.path / "model", card.write(name, source, data, note)) as aside:
        files = artifact.digests(aside)
        label = artifact.place(aside, name)
    body = {
        "run": source.uri,
        "rows": source.rows,
        "rows_digest": source.rows_digest,
        "data": data,
        "metrics": source.metrics,
        "files": files,
        "note": note,
        "created_at": time.time(),
    }
    event = Event("models add", f"models:{label}", (source.uri,), (f"models:{label}",), {"files": files, "note": note})
    made = open_store().commit([Record.new(record.KIND, label, body)], event)[0]
    return _model(made, said=mirror.tell(made))


@verb("models")
def ls(name: Annotated[str, Live("models")] | None = None) -> Listing:
    """List versions, newest first.

    name: only versions of this model
    """
    found = tuple(_model(item) for item in record.records(name and Uri.parse(name, noun="models").name))
    return Listing("models", found, ("uri", "aliases", "checked", "metrics", "run", "created_at"))


@verb("models")
def show(model: Annotated[str, Live("models")]) -> Model:
    """Show one version in full, with its card.

    model: e.g. delay (the newest), delay@7 or delay@champion
    """
    return _model(record.find(model))


@verb("models")
def get(model: Annotated[str, Live("models")], *, into: Path | None = None) -> Model:
    """Get a version's handle, which predicts; or copy its files.

    model: e.g. delay@7 or delay@champion
    into: a new folder for its files
    """
    found = _model(record.find(model))
    if into is not None:
        from ..data.files import copy_out

        copy_out(found.path, into)
    return found


@verb("models")
def check(
    model: Annotated[str, Live("models")], *, require: str = "", margin: float = 0.0, report: bool = False
) -> Verdict:
    """Judge a version: its files, its example, its origin, its numbers, the champion's. Raises when it is not good.

    model: e.g. delay (the newest) or delay@7
    require: bounds on its run's metrics, e.g. 'auc > 0.7 and loss < 0.5'
    margin: by how much it may be worse than the champion
    report: hand the verdict back, whatever it is
    """
    version = record.find(model)
    required = checks.bounds(require)
    findings = tuple(checks.judge(version, required, margin))
    state = checks.verdict(list(findings))
    uri = f"models:{version.name}"
    detail = {"verdict": state, "require": require, "margin": margin}
    record.change(version.name, Event("models check", uri, (uri,), (), detail), checked={**detail, "at": time.time()})
    if state == "good" or report:
        return Verdict(uri, state, findings)
    off = [item for item in findings if item.state == state]
    said = "; ".join(f"{item.what}: {item.detail}" for item in off)
    head = f"{uri} is not good" if state == "bad" else f"cannot tell whether {uri} is good"
    raise Failed(f"{head}: {said}", "; ".join(dict.fromkeys(item.fix for item in off)) + "; --report shows all")


@verb("models")
def promote(model: Annotated[str, Live("models")], *, to: str = "champion") -> Model:
    """Point an alias at a version that was checked. It moves no traffic.

    model: e.g. delay@7
    to: the alias
    """
    version = record.find(model)
    uri = Uri.parse(f"models:{version.name}")
    alias = Uri.parse(f"models:{uri.name}@{to}").alias
    if alias is None:
        raise UsageProblem(f"{to!r} is a number, and an alias is a word", "write --to champion")
    checked = version.body.get("checked", {}).get("verdict")
    if checked != "good":
        why = "has not been checked" if checked is None else f"was checked, and the verdict was: {checked}"
        raise Failed(f"{uri} {why}", f"`%models check {version.name}` must find it good first")
    before, after = record.move(uri.name, alias, "promote", lambda body: record.number(version))
    return _moved(version, alias, before, after)


@verb("models")
def rollback(name: Annotated[str, Live("models")], *, alias: str = "champion") -> Model:
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
    model = asked.name
    before, after = record.move(model, alias, "rollback", lambda body: record.before(body, alias, model))
    return _moved(record.find(f"models:{model}@{after}"), alias, before, after)


@verb("models")
def diff(model: Annotated[str, Live("models")], other: Annotated[str, Live("models")]) -> Comparison:
    """Compare two versions by meaning: metrics, run, rows, data, columns and files.

    model: e.g. delay@8
    other: what to compare it with, e.g. delay@champion; when there is none yet, it says so
    """
    ours = record.find(model)
    against = str(Uri.parse(other, noun="models"))
    try:
        theirs = record.find(against)
    except NotFound as problem:
        return Comparison(f"models:{ours.name}", against, (), note=f"{problem.what}: nothing to compare with")
    return Comparison(f"models:{ours.name}", f"models:{theirs.name}", tuple(_changes(ours, theirs)))


@verb("models")
def rm(model: Annotated[str, Live("models")]) -> Model:
    """Remove a version; the record that it was stays.

    model: e.g. delay@7
    """
    version = record.find(Uri.parse(model, noun="models"))
    uri = f"models:{version.name}"
    refuse_referenced(open_store(), uri)
    gone = record.change(version.name, Event("models rm", uri, (uri,)), removed_at=time.time())
    return _model(gone, said=mirror.forget(gone) or "removed; its record stays")


def _refuse_unfinished(run: train.Run) -> None:
    if run.state != "done":
        raise Failed(f"{run.uri} is {run.state}: its model is not finished", "finish it first, e.g. with --resume")
    if not run.model:
        raise Failed(f"{run.uri} saved no model", "end its code with run.save(model), and train again")


def _moved(version: Record, alias: str, before: int | None, after: int) -> Model:
    said = f"{alias} was this version before" if before == after else f"{alias} is now this version"
    if before not in (None, after):
        said += f", and was {version.name.partition('@')[0]}@{before}"
    behind = mirror.point(version.name.partition("@")[0], alias, after)
    hint = "no traffic moved: endpoints serve what they served; `%deploy promote` moves traffic"
    return _model(version, said="; ".join(part for part in (said, hint, behind) if part))


def _model(found: Record, *, said: str = "") -> Model:
    body, place = found.body, record.folder(found.name)
    return Model(
        uri=f"models:{found.name}",
        aliases=record.held(found),
        checked=body.get("checked", {}).get("verdict", ""),
        metrics=body["metrics"],
        run=body["run"],
        rows=body["rows"],
        created_at=body["created_at"],
        size_bytes=artifact.size(place),
        digest=body["files"]["model.onnx"],
        note=body["note"],
        said=said,
        path=place,
    )


def _changes(ours: Record, theirs: Record) -> list[tuple[str, str, str]]:
    """(what, theirs, ours) of all that differs."""
    old, new = theirs.body, ours.body
    found: list[tuple[str, Any, Any]] = [
        (f"metric {key}", old["metrics"].get(key), new["metrics"].get(key))
        for key in {**old["metrics"], **new["metrics"]}
    ]
    found += [(key, old[key], new[key]) for key in ("run", "rows", "data", "note")]
    before, after = (_model(item).columns for item in (theirs, ours))
    kinds = ({item.name: item.type for item in side} for side in (before, after))
    was, now = kinds
    found += [(f"column {name}", was.get(name), now.get(name)) for name in {**was, **now}]
    sizes = zip(before.categories, after.categories, strict=False)
    found += [(f"values of {a.name}", len(a.categories), len(b.categories)) for a, b in sizes if a.name == b.name]
    found += [(f"file {key}", old["files"].get(key, "")[:12], new["files"].get(key, "")[:12]) for key in new["files"]]
    return [(what, shown(what, a), shown(what, b)) for what, a, b in found if a != b]
