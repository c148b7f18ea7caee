"""What the verbs of `models` return, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..resolve import files_of
from ..show import Card, Result, plain_card, shown, shown_apart
from ..store import Record
from ..units import plain
from ..uris import Uri
from . import artifact, policies, record
from .policies import Policy
from .record import ModelFinding, ModelVersion

if TYPE_CHECKING:
    from ..features.contract import Columns


@dataclass(frozen=True)
class Model(Result):
    """A version of a model. `path` is its folder: model.onnx, columns.json, signature.json, example.json, card.md, …

    checked: how the last check ended: good, bad, cannot tell, or nothing when there was none; outdated when it ended
    well and says nothing any more, so that `promote` would refuse the version. findings: what it found. outdated: why
    it says nothing any more, else nothing. said: what a verb did.
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
    findings: tuple[ModelFinding, ...] = field(default=(), repr=False)
    outdated: str = ""

    @property
    def _files(self) -> Path:
        return files_of(self.uri, self.path)

    @property
    def columns(self) -> Columns:
        """The columns contract: which columns a row needs, and how they are encoded."""
        from ..features.contract import Columns

        return Columns.from_json((self._files / "columns.json").read_text("utf-8"))

    @property
    def signature(self) -> dict[str, Any]:
        """The tensors that the ONNX file takes and gives."""
        found: dict[str, Any] = json.loads((self._files / "signature.json").read_text("utf-8"))
        return found

    @property
    def model_card(self) -> str:
        """The model card, in Markdown."""
        return (self._files / "card.md").read_text("utf-8")

    def predict(self, rows: Any) -> Any:
        """The scores of rows, as a NumPy vector. `rows` are dicts, or a data frame with the contract's columns."""
        from ..train.export import scores

        return scores(self.path / "model.onnx", *self.columns.encode(rows))

    def card(self) -> Card:
        plain = super().card()
        unseen = ("path", "digest", "said", "checked", "findings", "outdated")
        facts = [(name, value) for name, value in plain.facts if name not in unseen]
        state, label = self.checked or "not checked", Uri.parse(self.uri).label
        # After a verb that changed something a line is enough; the rest is for whoever looks at a version.
        if self.said:
            return plain_card(self.uri, state=state, facts=facts, notes=[self.said])
        notes = [f"{self.outdated}: `%models check {label}` judges it again"] if self.outdated else []
        details = [("model card", self.model_card)] if (self.path / "card.md").exists() else []
        table = _table(self.findings)
        return plain_card(self.uri, state, facts, *table, notes=[*notes, *_fixes(self.findings)], details=details)


@dataclass(frozen=True)
class ModelVerdict(Result):
    """What a check found. `state` is good, bad or cannot tell.

    note: what the policy asked for beyond the check, and what it asks for from now on; else nothing.
    """

    uri: str
    state: str
    findings: tuple[ModelFinding, ...]
    note: str = ""

    @property
    def label(self) -> str:
        """`delay@7`."""
        return Uri.parse(self.uri).label

    def card(self) -> Card:
        notes = [*_fixes(self.findings), *([self.note] if self.note else [])]
        header, rows = _table(self.findings)
        return plain_card(self.uri, state=self.state, header=header, rows=rows, notes=notes)


@dataclass(frozen=True)
class ModelPolicy(Result):
    """What every version of a model must satisfy. bounds: (bound, where it came from, since when).

    require, margin: what is in force, with what the settings require. measure: what is compared with the champion, or
    nothing for the best known one. said: what a verb did.
    """

    uri: str
    require: str
    margin: float
    bounds: tuple[tuple[str, str, float], ...]
    margin_source: str = ""
    measure: str = ""
    said: str = ""

    def card(self) -> Card:
        rows = [(bound, source, shown("since_at", since) if since else "") for bound, source, since in self.bounds]
        margin = f"margin {plain(self.margin)}" + (f" of {self.measure}" if self.measure else "")
        rows.append((margin, self.margin_source or "unless stated otherwise", ""))
        notes = [self.said] if self.said else []
        return plain_card(f"policy of {self.uri}", header=["must satisfy", "from", "since"], rows=rows, notes=notes)


def _table(findings: Sequence[ModelFinding]) -> tuple[list[str], list[list[str]]]:
    rows: list[list[str]] = [[item.what, item.state, item.detail] for item in findings]
    return (["check", "", "what was found"] if rows else []), rows


def _fixes(findings: Sequence[ModelFinding]) -> list[str]:
    return [f"{item.what}: {item.fix}" for item in findings if item.fix]


def policy_of(name: str, stored: Policy | None, message: str = "") -> ModelPolicy:
    """The result that describes a model's policy. message: what a verb did with it."""
    policy = policies.in_force(stored)
    bounds = tuple((str(one.term), one.source, one.since_at) for one in policy.requirements)
    require, uri = str(policy.rule or ""), str(Uri("models", name))
    return ModelPolicy(uri, require, policy.allowed, bounds, policy.margin_source, policy.measure, message)


def model_of(
    version: Record[ModelVersion],
    *,
    message: str = "",
    known: Mapping[str, int] | None = None,
    outdated: str = "",
) -> Model:
    """The result that describes a version. known: its model's aliases, for whoever asks for many, without findings.

    message: what a verb did with it. outdated: why its last check says nothing any more
    """
    body, folder = version.body, record.folder(version.name)
    if not (body.checked and body.checked.findings):
        outdated = ""  # of a check that kept nothing there is nothing to doubt that is shown
    return Model(
        uri=version.uri,
        aliases=record.held(version, known),
        checked="outdated" if outdated and body.verdict == "good" else body.verdict,
        metrics=dict(body.metrics),
        run=body.run,
        rows=body.rows,
        created_at=body.created_at,
        size_bytes=artifact.size(folder) if body.size_bytes is None else body.size_bytes,
        digest=body.files["model.onnx"],
        note=body.note,
        said=message,
        path=folder,
        findings=body.checked.findings if body.checked and known is None else (),
        outdated=outdated,
    )


def changes(ours: Record[ModelVersion], theirs: Record[ModelVersion]) -> list[tuple[str, str, str]]:
    """(what, theirs, ours) of all that differs, as it is shown."""
    new, old = ours.body, theirs.body
    pairs: list[tuple[str, Any, Any]] = [
        (f"metric {key}", old.metrics.get(key), new.metrics.get(key)) for key in {**old.metrics, **new.metrics}
    ]
    pairs += [(key, getattr(old, key), getattr(new, key)) for key in ("run", "rows", "note")]
    # Columns by what they mean to a caller, since the digest of columns.json tells no more than that it differs.
    pairs += [("data", list(old.data), list(new.data)), *_columns(model_of(theirs).columns, model_of(ours).columns)]
    names = {**old.files, **new.files}
    pairs += [(f"file {key}", old.files.get(key, "")[:12], new.files.get(key, "")[:12]) for key in names]
    return [(what, *shown_apart(what, a, b)) for what, a, b in pairs if a != b]


def _columns(old: Columns, new: Columns) -> list[tuple[str, Any, Any]]:
    before, after = ({item.name: item.type for item in side} for side in (old, new))
    pairs = [(f"column {name}", before.get(name), after.get(name)) for name in {**before, **after}]
    known = [{item.name: item.categories for item in side.categories} for side in (old, new)]
    shared = [name for name in known[0] if name in known[1]]
    return pairs + [(f"values of {name}", *_values(known[0][name], known[1][name])) for name in shared]


def _values(old: Sequence[str], new: Sequence[str]) -> tuple[str, str]:
    """How many values a category has on each side, and those that the other side lacks."""
    return _own(old, new), _own(new, old)


def _own(values: Sequence[str], others: Sequence[str], most: int = 5) -> str:
    own = sorted({*values} - {*others})
    listed = ", ".join(own[:most]) + ", …" * (len(own) > most)
    return f"{len(values):,}" + (f", with {listed}" if own else "")
