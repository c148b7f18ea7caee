"""What a model takes and gives: named tensors, and the task that says what the outputs mean.

Datatypes are those of the Open Inference Protocol, version 2; MLflow's ModelSignature is made of this one. It needs
numpy only, for the endpoint's process has nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import Damaged, Failed, UsageProblem, did_you_mean

FILE, EXAMPLE = "signature.json", "example.json"
TaskName = Literal["classification", "regression", "ranking", "embedding", "generation", "custom"]
RowForm = Literal["columns", "arrays", "texts"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)
SCORE = "score"
# Protocol's name → NumPy's. BYTES are texts.
DATATYPES = {
    "BOOL": "bool",
    **{f"{kind.upper()}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BYTES": "object",
}
_BY_DTYPE = {dtype: name for name, dtype in DATATYPES.items()}
# What stands beside a row's outputs in its answer.
RESERVED = ("row_id", "error", "outputs")

Labels = Sequence[Any] | Mapping[str, Sequence[Any]]
"""Labels as somebody names them: of all outputs, or each output's own."""
Answers = list[dict[str, Any]]
"""A row's outputs by name, one dict a row."""


def may_hold(datatype: str, kind: type) -> bool:
    """Whether a tensor of that datatype takes a value of that type, be it Python's or NumPy's; no missing one."""
    if issubclass(kind, bool | np.bool_) or datatype == "BOOL":
        return issubclass(kind, bool | np.bool_) and datatype == "BOOL"
    if datatype == "BYTES":
        return issubclass(kind, str)
    return issubclass(kind, Real if datatype.startswith("FP") else Integral)


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named array. shape: -1 for the rows, which come first, and for any other size that may vary."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.datatype not in DATATYPES:
            raise ValueError(f"{self.name} is of {self.datatype!r}; {did_you_mean(self.datatype, DATATYPES)}")
        if not self.shape or self.shape[0] != -1:
            raise ValueError(f"{self.name} has the shape {list(self.shape)}, which does not begin with -1 for the rows")

    @classmethod
    def of(cls, name: str, values: NDArray[Any], free: Sequence[int] = ()) -> Tensor:
        """What an array of rows is like. free: further dimensions whose size may vary."""
        shape = tuple(-1 if at in (0, *free) else size for at, size in enumerate(values.shape))
        dtype = "object" if values.dtype.kind in "OUS" else values.dtype.name
        if dtype not in _BY_DTYPE:
            raise UsageProblem(f"{name} is an array of {dtype}", f"make it one of {', '.join(_BY_DTYPE)}")
        return cls(name, _BY_DTYPE[dtype], shape)

    @property
    def dtype(self) -> str:
        """NumPy's name of its datatype."""
        return DATATYPES[self.datatype]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row's part; empty for one value a row."""
        return self.shape[1:]

    @property
    def is_text(self) -> bool:
        """Whether it holds texts."""
        return self.datatype == "BYTES"

    @property
    def is_scalar(self) -> bool:
        """Whether it has one value a row."""
        return not self.row_shape

    @property
    def type(self) -> str:
        """Its datatype and sizes: `FP32 [rows, 8, 8]`."""
        sizes = ", ".join("rows" if at == 0 else "any" if size < 0 else str(size) for at, size in enumerate(self.shape))
        return f"{self.datatype} [{sizes}]"

    def __str__(self) -> str:
        return f"{self.name} {self.type}"


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the outputs mean. labels: of a classification, in the order in which an output has a number for each.

    labels_by_output: the same where each output has labels of its own; then there are none for all of them.
    """

    name: TaskName = "custom"
    labels: tuple[str, ...] = ()
    labels_by_output: dict[str, tuple[str, ...]] = {}

    def labels_of(self, output: str) -> tuple[str, ...]:
        """The labels of that output; none where it has none."""
        return self.labels_by_output.get(output, self.labels)

    @property
    def all_labels(self) -> Mapping[str, tuple[str, ...]]:
        """Output → its labels, where each has its own; else those of all, under an empty name; empty without any."""
        return self.labels_by_output or ({"": self.labels} if self.labels else {})


CUSTOM = Task()


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Named inputs → named outputs. ValueError when names repeat, or the outputs do not fit the task.

    rows: whether a row is made of columns, which the columns contract turns into the inputs; of the inputs' arrays; or
    of those with a text, which a tokenizer turns into what the network takes.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    task: Task = CUSTOM
    rows: RowForm = "columns"

    def __post_init__(self) -> None:
        for side in (self.inputs, self.outputs):
            names = [item.name for item in side]
            if not names or len({*names}) < len(names):
                raise ValueError(f"the names {names} are none, or one stands there twice")
        if taken := next((item.name for item in self.outputs if item.name in RESERVED), ""):
            raise ValueError(f"no output can be called {taken!r}: a row's answer has that besides")
        if unknown := {*self.task.labels_by_output} - {item.name for item in self.outputs}:
            raise ValueError(f"there are labels of {min(unknown)}, which is no output")

    @classmethod
    def from_json(cls, text: str | bytes) -> Signature:
        """What `to_json` wrote. Damaged when it is something else."""
        try:
            found = json.loads(text)
            return msgspec.convert(_upgraded(found), cls)
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            raise Damaged(f"this is no signature: {problem}", f"take the model's {FILE} again") from None

    def to_json(self) -> str:
        """The signature as text; the same signature always has the same text."""
        body = msgspec.to_builtins(self)
        if not self.task.labels_by_output:
            del body["task"]["labels_by_output"]  # most have none, and stay the same text as without them
        return json.dumps(body, indent=1, ensure_ascii=False) + "\n"

    def has_labels(self, output: Tensor) -> bool:
        """Whether that output has a number for each label."""
        labels = self.task.labels_of(output.name)
        return bool(labels) and output.row_shape == (len(labels),)

    def answers(self, given: Mapping[str, NDArray[Any]], rows: int) -> Answers:
        """One object of named values a row. Of an output with a number for each label that is the label with the
        highest, and `NAME_probabilities` with each label's.

        Failed when an output lacks, or has another number of rows.
        """
        found = self.answer_columns(given, rows)
        return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]

    def answer_columns(self, given: Mapping[str, NDArray[Any]], rows: int) -> dict[str, list[Any]]:
        """The same by output: of each its value in every row."""
        found: dict[str, list[Any]] = {}
        for output in self.outputs:
            values = given.get(output.name)
            if values is None or len(values) != rows:
                count = "nothing" if values is None else f"{len(values)} rows"
                raise Failed(f"{output.name} is {count} for {rows} rows", "register the model anew")
            found.update(self._columns_of(output, values))
        return found

    def columns(self, given: Mapping[str, NDArray[Any]], rows: int) -> dict[str, NDArray[Any]]:
        """The same as columns of a table: each label's probability is one of its own, `NAME_probabilities.LABEL`."""
        found: dict[str, NDArray[Any]] = {}
        for output in self.outputs:
            empty = np.zeros((rows, *(max(0, size) for size in output.row_shape)), output.dtype)
            values = given.get(output.name, empty)
            if not self.has_labels(output):
                found[output.name] = values
                continue
            labels = self.task.labels_of(output.name)
            found[output.name] = np.array(labels)[values.argmax(axis=1)]
            for at, label in enumerate(labels):
                found[f"{probabilities(output.name)}.{label}"] = values[:, at]
        return found

    def _columns_of(self, output: Tensor, values: NDArray[Any]) -> Iterator[tuple[str, list[Any]]]:
        if not self.has_labels(output):
            if output.is_text:
                values = np.vectorize(_as_text, [object])(values)
            # As float64: a text of a float32 has digits that say nothing.
            yield output.name, (values.astype(np.float64) if values.dtype.kind == "f" else values).tolist()
            return
        labels = self.task.labels_of(output.name)
        yield output.name, [labels[at] for at in values.argmax(axis=1)]
        yield probabilities(output.name), [dict(zip(labels, row, strict=True)) for row in values.astype(float).tolist()]

    @cached_property
    def answered(self) -> tuple[str, ...]:
        """The names of a row's answer, in its order."""
        each = (
            (item.name, probabilities(item.name)) if self.has_labels(item) else (item.name,) for item in self.outputs
        )
        return tuple(name for names in each for name in names)

    @property
    def summary(self) -> str:
        """It in a few words: `numbers, codes → score`."""
        return f"{', '.join(item.name for item in self.inputs)} → {', '.join(item.name for item in self.outputs)}"


class SavedExample(msgspec.Struct, frozen=True):
    """A few rows, and what the model answered when it was saved."""

    rows: list[dict[str, Any]]
    answers: Answers

    @classmethod
    def read(cls, folder: Path) -> SavedExample:
        """That of a model's folder; without rows where it has none."""
        path = folder / EXAMPLE
        body = json.loads(path.read_bytes()) if path.is_file() else {}
        # Before 0.3 a model gave nothing but a score.
        answers = body.get("answers") or [{SCORE: score} for score in body.get("scores", [])]
        return cls(body.get("rows", []), answers)


def read(folder: Path) -> Signature:
    """The signature of the model in that folder; that of a table's score where none was written beside it."""
    path = folder / FILE
    return Signature.from_json(path.read_bytes()) if path.is_file() else OF_SCORE


def probabilities(name: str) -> str:
    """What a row's answer calls the number of each label of that output."""
    return f"{name}_probabilities"


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def task_of(name: str, labels: Labels = (), classes: Sequence[str] = ()) -> Task:
    """A task as somebody wrote it. UsageProblem for one that there is not, and for labels that do not fit it.

    labels: of all outputs, or a mapping of each output's own. classes: some that it may be of, for the message.
    """
    if isinstance(labels, Mapping) and labels:
        # Labels by output say themselves what they are of.
        of = "classification" if name == "custom" else name
        each = {str(output): task_of(of, own).labels for output, own in labels.items()}
        return Task("classification", (), each)
    if name not in TASKS:
        raise UsageProblem(f"{name!r} is no task", did_you_mean(name, TASKS))
    texts = tuple(str(label) for label in labels)
    if texts and name != "classification":
        raise UsageProblem(f"{name} has no labels", "leave them out, or write task='classification'")
    if len({*texts}) < len(texts) or (name == "classification" and len(texts) < 2):
        fix = f"write labels={[*classes] or ['no', 'yes']}"
        raise UsageProblem(f"a classification has two labels or more, each once, not {list(texts)[:5]}", fix)
    return Task(name, texts)


def difference(wanted: Answers, found: Answers) -> float:
    """By how much two answers to the same rows differ at most, relative to the largest number; infinity where they
    differ in anything but numbers."""
    if len(wanted) != len(found):
        return math.inf
    pairs = [pair for one, other in zip(wanted, found, strict=True) for pair in _pairs(one, other)]
    if any(one is None or other is None for one, other in pairs):
        return math.inf
    numbers = np.array(pairs, np.float64).reshape(-1, 2)
    off = float(np.abs(numbers[:, 0] - numbers[:, 1]).max(initial=0.0))
    return off / max(1.0, float(np.abs(numbers[:, 0]).max(initial=0.0)))


def _pairs(one: Any, other: Any) -> Iterator[tuple[float | None, float | None]]:
    """The numbers of two values of the same form; a pair of None where the forms differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() == other.keys():
        for key in one:
            yield from _pairs(one[key], other[key])
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for here, there in zip(one, other, strict=True):
            yield from _pairs(here, there)
    elif isinstance(one, bool | str) or isinstance(other, bool | str) or one is None or other is None:
        if one != other:
            yield None, None
    elif isinstance(one, int | float) and isinstance(other, int | float):
        yield float(one), float(other)
    else:
        yield None, None


def _upgraded(body: dict[str, Any]) -> dict[str, Any]:
    """Before 0.3 each side was a mapping of names, with NumPy's dtypes and null for the rows."""
    if not isinstance(body["inputs"], Mapping):
        return body
    return {side: [_tensor(name, item) for name, item in body[side].items()] for side in ("inputs", "outputs")}


def _tensor(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    shape = [-1 if size is None else size for size in item["shape"]]
    return {"name": name, "datatype": _BY_DTYPE[item["dtype"]], "shape": shape}


def as_answered(output: Tensor, task: Task, rows: RowForm) -> Tensor:
    """An output of a network as its rows are answered: the tokens that a generation gives are a text, read by the
    tokenizer that it has.
    """
    is_tokens = output.datatype == "INT64" and len(output.row_shape) == 1
    return Tensor(output.name, "BYTES", (-1,)) if is_tokens and (task.name, rows) == ("generation", "texts") else output


def of_table(numbers: int, codes: int) -> tuple[Tensor, ...]:
    """What a model of so many columns of numbers and of categories takes."""
    return (Tensor("numbers", "FP32", (-1, numbers)), Tensor("codes", "INT64", (-1, codes)))


OF_SCORE = Signature(of_table(-1, -1), (Tensor(SCORE, "FP32", (-1,)),))
