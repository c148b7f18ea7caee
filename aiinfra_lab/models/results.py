"""What the verbs of `models` return, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..resolve import files_of
from ..show import Card, Result, shown_apart
from ..store import Record
from . import artifact, checks, record
from .record import ModelVersion

if TYPE_CHECKING:
    from ..features.contract import Columns


@dataclass(frozen=True)
class Model(Result):
    """A version of a model. `path` is its folder: model.onnx, columns.json, signature.json, example.json, card.md, …

    checked: how the last check ended: good, bad, cannot tell, or nothing when there was none. said: what a verb did.
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
        facts = [(name, value) for name, value in plain.facts if name not in ("path", "digest", "said", "checked")]
        notes = [self.said] if self.said else []
        # After a verb that changed something a line is enough; the model card is for whoever looks at a version.
        details = [("model card", self.model_card)] if not self.said and (self.path / "card.md").exists() else []
        return Card(self.uri, state=self.checked or "not checked", facts=facts, notes=notes, details=details)


@dataclass(frozen=True)
class ModelVerdict(Result):
    """What a check found. `state` is good, bad or cannot tell.

    dropped: what the check before asked for and this one did not, and how to ask for it again; else nothing.
    """

    uri: str
    state: str
    findings: tuple[checks.ModelFinding, ...]
    dropped: str = ""

    def card(self) -> Card:
        rows = [(item.what, item.state, item.detail) for item in self.findings]
        notes = [f"{item.what}: {item.fix}" for item in self.findings if item.fix]
        notes += [self.dropped] if self.dropped else []
        return Card(self.uri, state=self.state, header=["check", "", "what was found"], rows=rows, notes=notes)


def model_of(version: Record[ModelVersion], *, message: str = "", known: Mapping[str, int] | None = None) -> Model:
    """The result that describes a version. known: its model's aliases, for whoever asks for many versions.

    message: what a verb did with it
    """
    body, folder = version.body, record.folder(version.name)
    return Model(
        uri=version.uri,
        aliases=record.held(version, known),
        checked=body.verdict,
        metrics=dict(body.metrics),
        run=body.run,
        rows=body.rows,
        created_at=body.created_at,
        size_bytes=artifact.size(folder) if body.size_bytes is None else body.size_bytes,
        digest=body.files["model.onnx"],
        note=body.note,
        said=message,
        path=folder,
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
