"""The rows on which a model that was trained somewhere else and what will serve are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import features
from ..errors import Failed, UsageProblem, did_you_mean
from ..features.contract import Columns, is_missing, refuse_unaskable
from ..train import texts
from ..train.inputs import MASK, ArrayInputs, Arrays, TableInputs
from ..train.saved_model import COLUMNS
from ..train.signature import RowForm, Tensor
from ..train.table import EXAMPLE_ROWS, PROBE_ROWS
from .base import HasThresholds, Original, TakesArrays, TakesColumns, TakesLikeExample, TakesTexts

if TYPE_CHECKING:
    import pandas as pd

    from ..train.texts import TextEncoder

# So many rows at thresholds are compared: one of a few hundred that is off is enough to see it.
_MOST_AROUND = 500
TEXTS = ("A short text.", "Another one, which is a little longer than the first.", "Why?")
"""What a model of texts is compared on where nobody gives any."""


@dataclass(frozen=True)
class ExampleRows:
    """given: for the original. inputs: the same as what will serve takes it, of which tensors says the sizes."""

    given: Any
    inputs: Arrays
    tensors: tuple[Tensor, ...]
    rows: list[dict[str, Any]]
    asked: Sequence[str]
    columns: Columns | None = None
    uri: str = ""
    digest: str = ""
    notes: tuple[str, ...] = ()
    encoder: TextEncoder | None = None

    @property
    def form(self) -> RowForm:
        return "columns" if self.columns else "texts" if self.encoder else "arrays"

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def last(self) -> tuple[Any, Arrays]:
        """Its last row alone, for the original and for what will serve."""
        if self.encoder:  # alone it is filled up to no other's length
            return self.given[-1:], self.encoder.encode(self.given[-1:].tolist())
        alone = {name: values[-1:] for name, values in self.inputs.items()}
        return (self.given.iloc[-1:] if self.columns else alone), alone

    def write(self, folder: Path) -> None:
        """What else an endpoint needs to make inputs of rows."""
        if self.columns:
            (folder / COLUMNS).write_text(self.columns.to_json(), "utf-8")
        if self.encoder:
            texts.write((self.encoder,), folder)


def read(original: Original, example: object, rows: object, called: str = "rows") -> ExampleRows:
    """The example for that model. UsageProblem when it does not fit what the model takes.

    called: the data that rows become where they are none yet.
    """
    if isinstance(original, TakesColumns):
        return _of_table(original, example, rows, called)
    if isinstance(original, TakesTexts):
        return _of_texts(original.encoder(), example, rows, called)
    if isinstance(original, TakesLikeExample):
        return _like_example(original, example, rows, called)
    assert isinstance(original, TakesArrays)  # an original is one of the four
    return _of_arrays(original.tensors(), example, rows, called)


def _of_table(original: TakesColumns, example: object, rows: object, called: str) -> ExampleRows:
    if rows is None:
        what = "an array as example" if example is not None else "no rows"
        raise UsageProblem(
            f"a model of a table's columns was given {what}",
            "give it rows to be compared on, e.g. --rows data:customers@3 or --rows rows.csv",
        )
    source = features.open_rows(rows, called)
    frame = source.df()
    if not len(frame):
        raise UsageProblem(f"{source.uri} has no rows", "give some, at least one")
    # Of a model that knows no names, columns in another order are others.
    turned = original.columns(frame[frame.columns[::-1]]).names
    columns = original.columns(frame)
    by_place = f"it has no names of columns: those of {source.uri} are taken by their place, {', '.join(columns.names)}"
    notes = () if turned == columns.names else (by_place,)
    refuse_unaskable(columns.names)
    few = frame.iloc[:: max(1, len(frame) // PROBE_ROWS)].head(PROBE_ROWS)
    if len(few) == 1:
        few = few.iloc[[0, 0]]
    few = few[list(columns.names)].reset_index(drop=True)
    shown = [{name: _plain(value) for name, value in row.items()} for row in few.head(EXAMPLE_ROWS).to_dict("records")]
    if isinstance(original, HasThresholds):
        few = _with_rows_around(few, original.thresholds())
    numbers, codes = columns.encode(few)
    tensors = (
        Tensor("numbers", "FP64", (-1, numbers.shape[1])),
        Tensor("codes", "INT64", (-1, codes.shape[1])),
    )
    inputs = TableInputs(columns).encode(few)
    return ExampleRows(few, inputs, tensors, shown, columns.names, columns, str(source.uri), source.digest, notes)


def _with_rows_around(rows: pd.DataFrame, thresholds: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """The rows, and some of them again with one value at a threshold, or the next one to it of either precision.

    What compares in another precision than the original does answers otherwise there, and hardly anywhere else.
    """
    import pandas as pd

    every = [(name, value) for name, values in thresholds.items() for value in {*values} if np.isfinite(value)]
    draw = np.random.default_rng(0)
    sampled = draw.permutation(len(every))[: _MOST_AROUND // 5].tolist()
    around = [(name, near) for name, value in map(every.__getitem__, sampled) for near in _next_to(value)]
    if not around:
        return rows
    more = rows.iloc[draw.integers(0, len(rows), len(around))].reset_index(drop=True)
    chosen, values = np.array([name for name, _ in around]), np.array([value for _, value in around])
    for name in {*chosen.tolist()}:
        more[name] = np.where(chosen == name, values, more[name].astype(np.float64))
    return pd.concat([rows, more], ignore_index=True)


def _next_to(value: float) -> Iterator[float]:
    yield value
    for end in (-np.inf, np.inf):
        yield float(np.nextafter(value, end))
        with np.errstate(over="ignore"):
            near = float(np.nextafter(np.float32(value), np.float32(end)))
        yield near if np.isfinite(near) else value


def _plain(value: Any) -> Any:
    if is_missing(value):
        return None
    return value.item() if hasattr(value, "item") else value


def _of_texts(encoder: TextEncoder, example: object, rows: object, called: str) -> ExampleRows:
    name, uri, digest = encoder.input.name, "", ""
    if rows is not None:
        source = features.open_rows(rows, called)
        frame, uri, digest = source.df(), str(source.uri), source.digest
        if name not in frame.columns:
            raise UsageProblem(f"{uri} has no column {name!r}", f"call the column of texts {name}")
        given = frame[name].head(PROBE_ROWS).tolist()
    else:
        given = TEXTS if example is None else _texts(example)
    if wrong := next((each for each in given if not isinstance(each, str)), None):
        raise UsageProblem(f"{wrong!r} is no text", "give texts: each is a row")
    if not len(given):
        raise UsageProblem("there is no text to compare", "give a few, one a row")
    column = np.array([*given] * (2 if len(given) == 1 else 1), object)
    shown = [{name: text} for text in column[:EXAMPLE_ROWS].tolist()]
    tensors = (Tensor(name, "BYTES", (-1,)),)
    inputs = encoder.encode(column.tolist())
    return ExampleRows(column, inputs, tensors, shown, (name,), uri=uri, digest=digest, encoder=encoder)


def _texts(example: object) -> Sequence[Any]:
    """Texts, or a file with one on each line."""
    if isinstance(example, Sequence) and not isinstance(example, str):
        return example
    path = Path(str(example)).expanduser()
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        fix = "give a text file with one text on each line, or in Python a list of texts"
        raise UsageProblem(f"--example {path} cannot be read: {problem}", fix) from None


def _like_example(original: TakesLikeExample, example: object, rows: object, called: str) -> ExampleRows:
    given = ", ".join(f"{name}={name}" for name in original.required)
    if example is None:
        raise UsageProblem(
            f"nothing says what it is to be compared on; it takes {', '.join(original.names)}",
            f'save a few rows with `np.savez("example.npz", {given})` and add --example example.npz',
        )
    arrays = _arrays(example, original.names)
    off = [name for name in original.required if name not in arrays] or [
        name for name in arrays if name not in original.names
    ]
    if off:
        raise UsageProblem(
            f"the example has {', '.join(arrays) or 'nothing'}, and the network's forward takes "
            f"{', '.join(original.names)}",
            f'np.savez("example.npz", {given})',
        )
    return _of_arrays(original.tensors_like(arrays), arrays, rows, called)


def _of_arrays(tensors: Sequence[Tensor], example: object, rows: object, called: str) -> ExampleRows:
    if example is None and rows is None:
        arrays = ", ".join(f"{item.name}={item.name}" for item in tensors)
        raise UsageProblem(
            f"nothing says what it is to be compared on; it takes {', '.join(map(str, tensors))}",
            f'save a few rows with `np.savez("example.npz", {arrays})` and add --example example.npz',
        )
    inputs = ArrayInputs(tensors)
    uri = digest = ""
    if example is not None:
        arrays_given = _arrays(example, [item.name for item in tensors])
    else:
        source = features.open_rows(rows, called)
        frame, uri, digest = source.df(), str(source.uri), source.digest
        arrays_given = _columns_as_arrays(frame, inputs.names, uri)
    found = {item.name: _fitting(item, arrays_given, tensors) for item in tensors}
    lengths = {name: len(values) for name, values in found.items()}
    if len({*lengths.values()}) != 1 or 0 in lengths.values():
        raise UsageProblem(f"the example's inputs have {lengths} rows", "give a few rows of each, equally many")
    # One row says nothing about whether a row's answer depends on its neighbours.
    found = {name: (values.repeat(2, 0) if len(values) == 1 else values)[:PROBE_ROWS] for name, values in found.items()}
    sized, notes = _sized(tensors, found)
    refuse_unaskable(inputs.names)
    asked = ArrayInputs(sized).names
    few = range(min(EXAMPLE_ROWS, *lengths.values()))
    example_rows = [{name: np.asarray(_unpadded(found, name, at)).tolist() for name in asked} for at in few]
    return ExampleRows(found, found, sized, example_rows, asked, uri=uri, digest=digest, notes=notes)


def _arrays(example: object, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    """The arrays of a .npz, of a .npy where the model has one input, or of a mapping."""
    if isinstance(example, Mapping):
        return {str(name): np.asarray(values) for name, values in example.items()}
    if isinstance(example, np.ndarray):
        return {names[0]: example}
    path = Path(str(example)).expanduser()
    if path.suffix not in (".npz", ".npy") or not path.is_file():
        raise UsageProblem(
            f"--example {path} is {'no .npz file' if path.is_file() else 'not there'}",
            f'np.savez("example.npz", {", ".join(f"{name}={name}" for name in names)}) writes one of arrays',
        )
    try:
        found = np.load(path, allow_pickle=False)
        return {names[0]: found} if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
    except (ValueError, OSError, EOFError) as problem:
        raise UsageProblem(
            f"{path} cannot be read as arrays: {problem}", "write it with np.savez, of arrays of numbers or texts"
        ) from None


def _columns_as_arrays(frame: pd.DataFrame, names: Sequence[str], uri: str) -> Mapping[str, NDArray[Any]]:
    if lacking := next((name for name in names if name not in frame.columns), ""):
        raise UsageProblem(
            f"{uri} has no column {lacking!r}, which the model takes", did_you_mean(lacking, map(str, frame.columns))
        )
    few = frame.head(PROBE_ROWS)
    return {name: np.array([np.asarray(value) for value in few[name]]) for name in names}


def _fitting(item: Tensor, given: Mapping[str, NDArray[Any]], tensors: Sequence[Tensor]) -> NDArray[Any]:
    """An input's array as the type that the model takes. UsageProblem when it lacks, or is of another type or shape."""
    wants = ", ".join(map(str, tensors))
    if item.name not in given:
        raise UsageProblem(
            f"the example has no {item.name!r}, only {', '.join(given) or 'nothing'}; the model takes {wants}",
            f'np.savez("example.npz", {", ".join(f"{each.name}={each.name}" for each in tensors)})',
        )
    if unknown := next((name for name in given if name not in {each.name for each in tensors}), ""):
        raise UsageProblem(f"the example has {unknown!r}, which is no input: the model takes {wants}", "leave it out")
    values = given[item.name]
    sizes = values.shape[1:]
    if (
        not values.ndim
        or len(sizes) != len(item.row_shape)
        or any(size not in (-1, there) for size, there in zip(item.row_shape, sizes, strict=True))
    ):
        raise UsageProblem(
            f"the example's {item.name} has the shape {values.shape}, and the model takes {item}",
            "give an array of that shape, its rows first",
        )
    wanted = np.dtype(item.dtype)
    # Numbers of double precision are what NumPy makes of any list.
    if values.dtype.kind in "OU" and wanted.kind == "O":
        return values.astype(object)
    if not np.can_cast(values.dtype, wanted, "same_kind"):
        raise UsageProblem(
            f"the example's {item.name} is {values.dtype}, and the model takes {item}",
            f'give {item.name}={item.name}.astype("{wanted}")',
        )
    return values.astype(wanted)


def _sized(tensors: Sequence[Tensor], found: Arrays) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    """The inputs with every size that may vary set to the example's, but for those with a mask, and what to say of it.

    Rows of unequal sizes would have to be filled up, and without a mask the model would take the filling for values.
    """
    free = {part for item in tensors if item.name + MASK in found for part in (item.name, item.name + MASK)}
    made = tuple(
        Tensor(item.name, item.datatype, (-1, *_sizes(item, found[item.name], item.name in free))) for item in tensors
    )
    notes = [f"{new} is taken in the example's size" for old, new in zip(tensors, made, strict=True) if old != new]
    return made, tuple(notes)


def _sizes(item: Tensor, values: NDArray[Any], is_free: bool) -> list[int]:
    first = [-1] if is_free and item.row_shape and item.row_shape[0] < 0 else []
    return [*first, *values.shape[1 + len(first) :]]


def _unpadded(found: Arrays, name: str, at: int) -> NDArray[Any]:
    values, mask = found[name][at], found.get(name + MASK)
    kept: NDArray[Any] = values if mask is None else values[mask[at].astype(bool)]
    return kept


def refuse_unfinished(name: str, values: NDArray[Any]) -> None:
    """Failed when an output holds what is no answer."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Failed(
            f"its {name} holds NaN or infinity for the example", "give an example like the rows that it was trained on"
        )
