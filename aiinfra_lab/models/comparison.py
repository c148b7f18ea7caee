"""Two versions of models compared by meaning."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import NotFound
from ..resolve import resolve
from ..show import Card, Cell, Comparison, Fold, Number, Part, RowHeader, Table, sentence, shown_apart
from ..store import Record
from ..train.metrics import is_lower_better
from ..train.record import TrainingRun
from ..units import counted, difference, show_difference
from ..uris import Uri
from .record import ModelVersion, folder
from .results import Model, model_of

if TYPE_CHECKING:
    from ..features.contract import Columns
    from ..train.paired import GivenRows, Incomparable, PairedComparison

_METRIC, _FILE = "metric ", "file "
_MOST_IN_A_SENTENCE = 3


@dataclass(frozen=True)
class ModelComparison(Comparison):
    """See `Comparison`: measures first, then what else differs, files by their digests.

    metrics: name, the other's value, this one's; of those that differ. paired: both on the same held out rows;
    unpaired: why they could not be compared on them.
    """

    kind = "Model comparison"

    metrics: tuple[tuple[str, float | None, float | None], ...] = field(default=(), metadata={"json": False})
    paired: PairedComparison | None = field(default=None, repr=False)
    unpaired: str = field(default="", repr=False)

    def card(self) -> Card:
        rest = [row for row in self.changes if not row[0].startswith((_METRIC, _FILE))]
        files = [(what.removeprefix(_FILE), *sides) for what, *sides in self.changes if what.startswith(_FILE)]
        mine, theirs = (Uri.parse(uri).label for uri in (self.uri, self.other))
        titles = (RowHeader("measure"), Number(theirs), Number(mine), Number("difference"), "that is")
        parts: list[Part] = [
            *self._on_same_rows(mine, theirs),
            Table(titles, [_measured(*row) for row in self.metrics], self._of_measures(bool(rest))),
            Table((RowHeader("what"), theirs, mine), rest, "What else differs" if self.metrics else ""),
        ]
        if files:
            parts.append(Fold(counted(len(files), "file", "differ"), Table((RowHeader("file"), theirs, mine), files)))
        lead = self.note and sentence(self.note)
        lead = lead or self._lead(len(rest))
        return Card(kind=self.kind, uri=f"{self.other} → {self.uri}", lead=lead, parts=parts, notes=self._about_pair())

    def _on_same_rows(self, mine: str, theirs: str) -> list[Table]:
        from ..train import paired_card

        return [paired_card.table_of(self.paired, mine, theirs)] if self.paired else []

    def _about_pair(self) -> list[str]:
        from ..train import paired_card

        if self.paired:
            return paired_card.notes_of(self.paired)
        return [f"They were not compared on the same held out rows: {self.unpaired}."] if self.unpaired else []

    def _of_measures(self, is_more: bool) -> str:
        return "As each run measured it" if self.paired else "Measures" if is_more else ""

    def _lead(self, others: int) -> str:
        if not self.changes:
            return "**Nothing differs.**"
        if self.paired:
            from ..train import paired_card

            mine, theirs = (Uri.parse(uri).label for uri in (self.uri, self.other))
            more = f" {counted(others, 'other thing', 'differ').capitalize()}." if others else ""
            return f"{paired_card.sentence_of(self.paired, mine, theirs)}{more}"
        shown = [(name, *shown_apart(name, *values)) for name, *values in self.metrics[:_MOST_IN_A_SENTENCE]]
        moved = [f"{name} {theirs} → {ours}" for name, theirs, ours in shown]
        more = counted(others, "other thing", "differ") if others else ""
        if not moved:
            return f"**No measure differs**{', but ' + more if more else ''}."
        return f"**{', '.join(moved)}.** {more and more + '.'}".strip()


def _measured(name: str, theirs: float | None, ours: float | None) -> tuple[Cell, ...]:
    texts = shown_apart(name, theirs, ours)
    if theirs is None or ours is None:
        return name, *texts, "–", ""
    lower = is_lower_better(name)
    judged = "" if lower is None else "better" if (difference(ours, theirs) < 0) == lower else "worse"
    return name, *texts, show_difference(ours, theirs), judged


def compare(ours: Record[ModelVersion], theirs: Record[ModelVersion], rows: object = None) -> ModelComparison:
    """How two versions differ. rows: those to measure both on, in place of held out ones."""
    new, old = ours.body.metrics, theirs.body.metrics
    pairs = ((name, old.get(name), new.get(name)) for name in {**old, **new})
    metrics = tuple((name, before, after) for name, before, after in pairs if before != after)
    from ..train.paired import PairedComparison

    pair = on_same_rows(ours, theirs, rows)
    return ModelComparison(
        ours.uri,
        theirs.uri,
        tuple(changes(ours, theirs)),
        metrics=metrics,
        paired=pair if isinstance(pair, PairedComparison) else None,
        unpaired="" if isinstance(pair, PairedComparison) else pair.what,
    )


def on_same_rows(
    ours: Record[ModelVersion], theirs: Record[ModelVersion], rows: object = None
) -> PairedComparison | Incomparable:
    """Both versions on the newer's held out rows, or on those that are given; or why that cannot be."""
    from ..train import paired

    first, second = (
        paired.ComparedModel(one.uri, folder(one.name), one.body.created_at, _run_of(one)) for one in (ours, theirs)
    )
    try:
        return paired.attempt(first, second, None if rows is None else _given(ours, rows))
    except paired.Incomparable as problem:
        return problem


def _given(ours: Record[ModelVersion], rows: object) -> GivenRows:
    """Rows with what the model takes, and its label. Incomparable for a model of no table."""
    from .. import features
    from ..features.opening import rows_of
    from ..features.record import names_of
    from ..train.paired import GivenRows, Incomparable

    saved = model_of(ours)
    if not saved.has_columns or not saved.columns.label:
        raise Incomparable(f"{ours.uri} has no column as its label", "leave out --rows")
    source = features.rows_for(rows, saved.columns, rows_of(ours.base))
    return GivenRows(str(source.uri), source.df(), names_of(saved.columns.label))


def _run_of(version: Record[ModelVersion]) -> TrainingRun | None:
    """The run that it came from, where there is one."""
    with contextlib.suppress(NotFound):
        return resolve(version.body.run, TrainingRun).body if Uri.is_one(version.body.run) else None
    return None


def changes(ours: Record[ModelVersion], theirs: Record[ModelVersion]) -> list[tuple[str, str, str]]:
    """(what, theirs, ours) of all that differs, as it is shown."""
    new, old = ours.body, theirs.body
    pairs: list[tuple[str, Any, Any]] = [
        (f"metric {key}", old.metrics.get(key), new.metrics.get(key)) for key in {**old.metrics, **new.metrics}
    ]
    pairs += [(key, getattr(old, key), getattr(new, key)) for key in ("run", "rows", "note")]
    pairs.append(("source", str(old.source or ""), str(new.source or "")))
    # Columns by what they mean to a caller, since the digest of columns.json tells no more than that it differs.
    pairs += [("data", list(old.data), list(new.data)), *_signatures(model_of(theirs), model_of(ours))]
    names = {**old.files, **new.files}
    pairs += [(f"file {key}", old.files.get(key, "")[:12], new.files.get(key, "")[:12]) for key in names]
    return [(what, *shown_apart(what, a, b)) for what, a, b in pairs if a != b]


def _signatures(old: Model, new: Model) -> list[tuple[str, Any, Any]]:
    """What each takes and gives: the columns of a table one by one, arrays and outputs with their shapes."""
    before, after = old.signature, new.signature
    pairs: list[tuple[str, Any, Any]] = [("task", before.task.name, after.task.name)]
    was_named, named = before.task.all_labels, after.task.all_labels
    pairs += [
        (f"labels of {each}" if each else "labels", *_values(was_named.get(each, ()), named.get(each, ())))
        for each in {**was_named, **named}
    ]
    cut, now_cut = _cut(old), _cut(new)
    several = len({**cut, **now_cut}) > 1
    pairs += [(f"texts of {name}" if several else "texts", cut.get(name), now_cut.get(name)) for name in cut | now_cut]
    for side in ("inputs", "outputs"):
        if side == "inputs" and old.has_columns and new.has_columns:
            pairs += _columns(old.columns, new.columns)
            continue
        was, now = ({item.name: str(item) for item in getattr(each, side)} for each in (before, after))
        pairs += [(f"{side[:-1]} {name}", was.get(name), now.get(name)) for name in {**was, **now}]
    return pairs


def _cut(model: Model) -> dict[str, str]:
    """How much it reads of each of its texts, and by which tokenizer."""
    known = [encoder.input for encoder in model.encoders]
    return {
        each.name: f"{counted(each.most_tokens, 'token')} of {each.vocabulary:,} by the tokenizer {each.digest[:12]}"
        for each in known
    }


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
