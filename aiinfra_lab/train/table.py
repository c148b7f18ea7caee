"""A run's rows as tensors, by the columns contract."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import files
from ..errors import Failed, UsageProblem
from ..features.contract import Columns, category_text, is_missing
from ..features.record import names_of
from ..uris import Uri
from .holdout import divided

if TYPE_CHECKING:
    import torch

EXAMPLE_ROWS = 5
PROBE_ROWS = 256
_MOST_CLASSES = 10  # are named in a message
_MOST_DISTINCT = 0.9  # of the rows have a value of their own in a text that is a category


class Tensors(NamedTuple):
    """What a network of a table takes, and what it should answer. y: float32, or int64 where the label is texts, its
    place among the classes; of several label columns one a column.
    """

    numbers: torch.Tensor
    codes: torch.Tensor
    y: torch.Tensor


class TrainingTable:
    """The rows of a run. The contract is fitted on first use, on the part that is learned from."""

    def __init__(self, rows: Any) -> None:
        if not getattr(rows, "columns", None):
            raise UsageProblem(
                f"{rows.uri} is data: nothing says which of its columns to learn from, and what to predict",
                _way_to_features(rows.uri),
            )
        if not rows.label:
            raise UsageProblem(f"{rows.uri} has no label to learn from", _way_to_a_label(rows.features_uri))
        self.targets = names_of(rows.label)
        """The label's columns, of which `y` has one for each where there are several."""
        self.frame = rows.df()
        self.contract: Columns | None = None
        self.holdout = ""
        """How the hold-out was chosen, once there is one."""
        self.held: Any = None
        """The rows of the hold-out, once there is one."""
        self.group = ""
        self._rows = rows
        self.labels_by_target = _labels(self.frame, self.targets)
        """Of each label of texts those that there are, sorted: `y` is the place in them. Empty for numbers."""
        for name in self.targets:
            if missing := int(self.frame[name].isna().sum()):
                raise Failed(
                    f"{missing} of {len(self.frame)} rows have no {name}", "leave them out of the rows, or label them"
                )

    @property
    def labels(self) -> tuple[str, ...] | dict[str, tuple[str, ...]]:
        """The classes of the label, where it is texts, or those of each where there are several; empty for numbers."""
        if len(self.targets) > 1:
            return self.labels_by_target
        return self.labels_by_target.get(self.targets[0], ())

    @property
    def classes(self) -> list[str]:
        """What a classification of its one label could name, as texts, in order; none where there are too many."""
        if len(self.targets) > 1:
            return []
        found = sorted(self.frame[self.targets[0]].unique(), key=lambda value: (isinstance(value, str), value))
        return [category_text(value) or str(value) for value in found] if 2 <= len(found) <= _MOST_CLASSES else []

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the columns that were learned from, a sentence each."""
        rows = len(self.frame)
        categories = self.contract.categories if self.contract else ()
        return tuple(
            f"{item.name} is learned as a category, and has {len(item.categories):,} values in {rows:,} rows: new rows "
            f"will have others. Leave it out of the columns; or, if it is a text, let the model read it: "
            f"run.save(model, inputs={{{item.name!r}: texts[:4]}}, tokenizer=tokenizer)."
            for item in categories
            if _is_texts(self.frame[item.name].dropna()) and self.frame[item.name].nunique() > _MOST_DISTINCT * rows
        )

    def columns(self) -> Columns:
        """The contract, fitted on all rows unless it was fitted before."""
        return self._fit(self.frame)

    def tensors(self) -> Tensors:
        """All rows, in their order."""
        return self._encode(self.frame, self.columns())

    def split(self, share: float, *, group: str = "", seed: int = 0) -> tuple[Tensors, Tensors]:
        """The rows to learn from, and those that are held out; the contract knows only the former. See `divided`."""
        time = str(getattr(self._rows, "timestamp", "") or "")
        found = divided(self.frame, share, time=time, label=self.targets, group=group, seed=seed)
        self.holdout, self.held, self.group = found.how, found.held, group
        # Fitted on what is learned from alone: means or categories of the hold-out would leak what is to be predicted.
        contract = self._fit(found.learned)
        return self._encode(found.learned, contract), self._encode(found.held, contract)

    def example(self) -> list[dict[str, Any]]:
        """A few rows as an endpoint gets them."""
        contract = self.columns()
        return [
            {name: _json(value) for name, value in zip(contract.names, row, strict=True)}
            for row in self.frame[list(contract.names)].head(EXAMPLE_ROWS).itertuples(index=False, name=None)
        ]

    def probe(self) -> Any:
        """Rows spread over all of them, on which two forms of a model are compared."""
        return self.frame.iloc[:: max(1, len(self.frame) // PROBE_ROWS)].head(PROBE_ROWS)

    def save(self, path: Path) -> None:
        """Write the contract next to the run's other files."""
        # Not flushed alone: publishing the model's folder flushes all of it.
        files.write(path, self.columns().to_json(), flush=False)

    def _fit(self, frame: Any) -> Columns:
        if self.contract is None:
            uri = str(Uri.parse(self._rows.uri).whole) if self._rows.features_uri else ""
            # Also what only the hold-out lacks: a row without it is then nothing to refuse.
            lacking = [name for name in self._rows.columns if self.frame[name].isna().any()]
            optional = {*getattr(self._rows, "optional", ()), *lacking}
            self.contract = Columns.fit(
                frame, self._rows.columns, ", ".join(self.targets), features_uri=uri, optional=optional
            )
        return self.contract

    def _encode(self, frame: Any, contract: Columns) -> Tensors:
        import torch

        numbers, codes = contract.encode(frame)
        return Tensors(torch.from_numpy(numbers), torch.from_numpy(codes), torch.from_numpy(self._y(frame)))

    def _y(self, frame: Any) -> Any:
        import numpy as np

        columns = [
            _places(frame[name], self.labels_by_target[name]) if self.labels_by_target else _numbers(frame[name])
            for name in self.targets
        ]
        return columns[0] if len(columns) == 1 else np.column_stack(columns)


def _places(column: Any, labels: Sequence[str]) -> Any:
    return column.map({text: at for at, text in enumerate(labels)}).to_numpy(dtype="int64", copy=True)


def _numbers(column: Any) -> Any:
    try:
        # A copy: pandas may hand out memory that is read-only, which torch warns of.
        return column.to_numpy(dtype="float32", copy=True)
    except (TypeError, ValueError):
        raise Failed(
            f"the label {column.name} holds what is neither a number nor a text",
            "make it the number to predict, or the name of a class",
        ) from None


def _labels(frame: Any, targets: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The classes of each label, where they are texts; none where they are numbers."""
    of_texts = [name for name in targets if _is_texts(frame[name].dropna())]
    if of_texts and (others := [name for name in targets if name not in of_texts]):
        raise UsageProblem(
            f"{of_texts[0]} is texts, and the label {others[0]} is not: a model has one task",
            f"make both numbers or both texts, or learn {of_texts[0]} in a run of its own: --label "
            + shlex.quote(of_texts[0]),
        )
    return {name: tuple(sorted(set(frame[name].dropna()))) for name in of_texts}


def _is_texts(present: Any) -> bool:
    return bool(len(present)) and all(isinstance(value, str) for value in present)


def _way_to_features(uri: str) -> str:
    """What makes rows to learn from of data: a feature set of that data, or how to make one."""
    from ..features.sets import versions

    name = Uri.parse(uri).name
    known = [each for each in versions(skip_unreadable=True) if Uri.parse(each.body.newest_data).name == name]
    plainly = f"name the label to learn from its columns as they are: `%%train run NAME --rows {uri} --label COLUMN`"
    if known:
        made = f"`X = %features get {known[0].base} --rows {uri}`"
        return f"take it through a feature set: {made}, then --rows $X; or {plainly}"
    return (
        f"{plainly}; or take it through a feature set, which `%%features add NAME --data {uri} --label COLUMN` makes, "
        f"with --timestamp COLUMN where rows have a time: `X = %features get NAME --rows {uri}`, then --rows $X"
    )


def _way_to_a_label(uri: str) -> str:
    """What gives rows a label: a set that names one, or rows that have the column it names."""
    from ..features.sets import find_or_none

    record = find_or_none(uri)
    if record is None:
        return "take them through a feature set that has a label: `%features ls` says which do"
    known = record.body
    if known.label:
        wanted = ", ".join(names_of(known.label))
        return f"choose rows that have {wanted}: `%features get {record.name} --rows {known.newest_data}`"
    timed = f" --timestamp {shlex.quote(known.timestamp)}" if known.timestamp else ""
    return (
        f"add the set again with a label, `%%features add {record.base} --data {known.newest_data}{timed} "
        "--label COLUMN`, and get its rows again"
    )


def _json(value: Any) -> Any:
    if is_missing(value):
        return None
    return value.item() if hasattr(value, "item") else value
