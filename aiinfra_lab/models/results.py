"""What the verbs of `models` return, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from ..resolve import files_of
from ..show import Card, Figure, Fold, Quote, Result, RowHeader, StateMark, Table, mark_of, moment, sentence, shown
from ..store import Record
from ..units import counted, plain
from ..uris import Uri
from . import artifact, findings, policies, record
from .findings import Compared
from .policies import Policy
from .record import ModelFinding, ModelVersion

if TYPE_CHECKING:
    from ..features.contract import Columns
    from ..train.saved_model import SavedModel
    from ..train.signature import Signature
    from ..train.texts import TextEncoder


@dataclass(frozen=True)
class Model(Result):
    """A version of a model. `path` is its folder: model.onnx, columns.json, signature.json, example.json, card.md, …

    checked: how the last check ended: good, bad, cannot tell, or nothing when there was none; outdated when it ended
    well and says nothing any more, so that `promote` would refuse the version. findings: what it found. outdated: why
    it says nothing any more, else nothing. said: what a verb did. margin: what the last check allowed it to be worse.
    source: in place of `run`, where a model came from that was trained elsewhere; rows are then those of its example.
    """

    kind = "Model version"

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
    source: str = ""
    margin: float = field(default=0.0, repr=False, metadata={"json": False})
    is_removed: bool = field(default=False, repr=False, metadata={"json": False})

    @property
    def mark(self) -> StateMark:
        return mark_of("removed" if self.is_removed else self.checked or "not checked")

    @property
    def _files(self) -> Path:
        return files_of(self.uri, self.path)

    @property
    def columns(self) -> Columns:
        """The columns contract: which columns a row needs, and how they are encoded."""
        return self._saved.columns

    @property
    def has_columns(self) -> bool:
        """Whether a row is made of columns; else of arrays, as its signature says."""
        return self._saved.is_of_table

    @property
    def row_names(self) -> tuple[str, ...]:
        """What a row is asked for: the columns, or the arrays."""
        return self._saved.rows.names

    @property
    def texts(self) -> tuple[str, ...]:
        """Its inputs and outputs that are free texts: what a tokenizer reads, and what is generated."""
        made = self.signature.outputs if self.signature.task.name == "generation" else ()
        read = (encoder.input.name for encoder in self.encoders)
        return (*read, *(item.name for item in made if item.is_text))

    @property
    def encoders(self) -> tuple[TextEncoder, ...]:
        """How its texts become tokens, one for each; none for a model that takes no texts."""
        return self._saved.encoders

    @property
    def signature(self) -> Signature:
        """What it takes and gives, by name, and the task that says what that means."""
        return self._saved.signature

    @property
    def model_card(self) -> str:
        """The model card, in Markdown."""
        return (self._files / "card.md").read_text("utf-8")

    def predict(self, rows: Any) -> Any:
        """What it gives for rows: its one output as a NumPy array, or a dict of them by name where it has several.

        `rows` are dicts, or a data frame with the contract's columns. `answers` gives them as an endpoint does.
        """
        saved = self._saved
        found = saved.run(saved.inputs(rows))
        return next(iter(found.values())) if len(found) == 1 else dict(found)

    def answers(self, rows: Any) -> list[dict[str, Any]]:
        """One object of named outputs a row: of a classification the label, and each label's probability."""
        return self._saved.answers(rows)

    @property
    def _saved(self) -> SavedModel:
        from ..train.saved_model import SavedModel

        return SavedModel(self._files)

    def card(self) -> Card:
        known = dict(self.facts())
        names = ("aliases", "run", "source", "rows", "size", "note")
        facts = [*((name, known[name]) for name in names if name in known), *self._signature()]
        head = Card(kind=self.kind, uri=self.uri, state=self.mark, when=f"added {moment(self.created_at)}")
        # After a verb that changed something a line is enough; the rest is for whoever looks at a version.
        if self.said:
            return replace(head, lead=findings.finding_first(self.said), facts=facts)
        lead, advice = self._finding()
        card = [Fold("model card", Quote(self.model_card))] if (self.path / "card.md").exists() else []
        return replace(
            head,
            lead=lead,
            advice=advice,
            facts=facts,
            figures=[Figure(name, f"{value:.4g}") for name, value in [*self.metrics.items()][:_MOST_FIGURES]],
            parts=[*findings.table(self.findings, self.margin), *card],
            next=[f"Next: {self._next()}"],
        )

    def _signature(self) -> list[tuple[str, str]]:
        """What it takes and answers; nothing where its files are elsewhere, or are none."""
        try:
            asked, signature = self._saved.rows.names, self.signature
            takes = counted(len(asked), "column") if self.has_columns else ", ".join(asked)
        except LabError:
            return []
        counts = [len(each) for each in signature.task.all_labels.values()]
        labels = f", {' and '.join(map(str, counts[:-1]))}{' and ' if counts[1:] else ''}" if counts else ""
        labels += counted(counts[-1], "label") if counts else ""
        task = "" if signature.task.name == "custom" else f" · {signature.task.name}{labels}"
        return [("signature", f"{takes} → {', '.join(item.name for item in signature.outputs)}{task}")]

    def _finding(self) -> tuple[str, str]:
        """The first sentence, and what to do."""
        again = f"`%models check {Uri.parse(self.uri).label}`"
        if self.outdated:
            return f"**Its last check says nothing any more:** {self.outdated}.", f"{again} judges it again."
        if not self.checked:
            return "**It has not been checked**, so it can become no champion.", f"{again} judges it."
        return findings.lead(self.findings, self.checked), findings.advice(self.findings)

    def _next(self) -> str:
        uri = Uri.parse(self.uri)
        if self.checked == "good" and not self.aliases:
            return f"`%models promote {uri.label}` makes it the champion"
        return f"`%lab log {self.uri}` shows what it was made of"


@dataclass(frozen=True)
class ModelVerdict(Result):
    """What a check found. `state` is good, bad or cannot tell.

    note: what the policy asked for beyond the check, and what it asks for from now on; else nothing. margin: by how
    much it might be worse than the champion. compared: its measures beside the champion's, where there is another one.
    """

    kind = "Model check"

    uri: str
    state: str
    findings: tuple[ModelFinding, ...]
    note: str = ""
    margin: float = field(default=0.0, repr=False)
    compared: Compared | None = field(default=None, repr=False)
    aliases: tuple[str, ...] = field(default=(), repr=False, metadata={"json": False})

    @property
    def label(self) -> str:
        """`delay@7`."""
        return Uri.parse(self.uri).label

    def card(self) -> Card:
        return Card(
            kind=self.kind,
            uri=self.uri,
            state=self.mark,
            when=f"against {self.compared.called} {self.compared.uri}" if self.compared else "",
            lead=findings.lead(self.findings, self.state),
            advice=findings.advice(self.findings),
            parts=[
                *findings.table(self.findings, self.margin),
                *([self.compared.table(self.margin)] if self.compared else []),
            ],
            notes=[sentence(self.note)] if self.note else [],
            next=[f"Next: {self._next()}"],
        )

    def _next(self) -> str:
        if self.state != "good":
            diff = f" · `%models diff {self.label} {Uri.parse(self.compared.uri).label}`" if self.compared else ""
            return f"`%models policy {Uri.parse(self.uri).name}` shows what it must satisfy{diff}"
        if record.CHAMPION in self.aliases:
            return f"`%deploy start {Uri.parse(self.uri).name} --model {self.uri}` serves it"
        return f"`%models promote {self.label}` makes it the champion"


@dataclass(frozen=True)
class ModelPolicy(Result):
    """What every version of a model must satisfy. bounds: (bound, where it came from, since when).

    require, margin: what is in force, with what the settings require. measure: what is compared with the champion, or
    nothing for the best known one. said: what a verb did.
    """

    kind = "Model policy"

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
        name = Uri.parse(self.uri).name
        must = [f"satisfy **{self.require}**"] if self.require else []
        must.append(f"be **{findings.no_worse(self.margin)}** than the champion")
        was = f" {findings.finding_first(self.said, is_bold=False)}." if self.said else ""
        return Card(
            kind=self.kind,
            uri=self.uri,
            lead=f"Every version must {' and '.join(must)}.{was}",
            parts=[Table((RowHeader("must satisfy"), "from", "since"), rows)],
            next=[f"Next: `%models check {name}` judges its newest version by it"],
        )


_MOST_FIGURES = 5


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
        source=str(body.source or ""),
        margin=body.checked.margin if body.checked else 0.0,
        is_removed=body.is_removed,
    )
