"""What a network is saved with: rows that say what it takes, of a run's table or arrays that somebody gave."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..errors import UsageProblem
from ..features.contract import refuse_unaskable
from . import signature, texts
from .inputs import MASK, ArrayInputs, Arrays, TextInputs, tokens_of
from .saved_model import COLUMNS
from .signature import RowForm, Tensor
from .table import EXAMPLE_ROWS, TrainingTable
from .texts import TextEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Length(NamedTuple):
    """A first size of a row's array that may vary; alike in all inputs where it has one name. most: up to that."""

    name: str
    most: int | None = None


class Trial(NamedTuple):
    """Inputs that the network has to answer as well, since a row may become them; what is the matter when it does not,
    and how that is fixed.
    """

    inputs: Arrays
    problem: str
    fix: str


class SavedWith(Protocol):
    """What a network is saved with: rows that say what it takes."""

    @property
    def arrays(self) -> Arrays:
        """Inputs by name, in forward's order, on which two forms of the network are compared."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The same as the signature has them."""

    @property
    def lengths(self) -> Mapping[str, Length]:
        """The inputs whose first size in a row may vary."""

    @property
    def trials(self) -> Sequence[Trial]:
        """What the network has to answer besides."""

    @property
    def rows(self) -> RowForm:
        """What a row is made of."""

    @property
    def example(self) -> list[dict[str, Any]]:
        """A few rows as an endpoint gets them."""

    @property
    def asked(self) -> Sequence[str]:
        """The names that a row has."""

    def write(self, folder: Path) -> None:
        """What else an endpoint needs to make inputs of rows."""


class OfTable:
    """The rows of a run, by the columns contract."""

    rows: RowForm = "columns"
    lengths: Mapping[str, Length] = MappingProxyType({})
    trials: Sequence[Trial] = ()

    def __init__(self, table: TrainingTable) -> None:
        self._table = table
        contract = table.columns()
        numbers, codes = contract.encode(table.probe())
        self.arrays: Arrays = {"numbers": numbers, "codes": codes}
        self.tensors = signature.of_table(numbers.shape[1], codes.shape[1])
        self.example = table.example()
        self.asked = contract.names

    def write(self, folder: Path) -> None:
        self._table.save(folder / COLUMNS)


class OfArrays:
    """A few rows of arrays that somebody gave, by input; NAME_mask beside NAME makes its length one that may vary."""

    rows: RowForm = "arrays"
    trials: Sequence[Trial] = ()

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.arrays: Arrays = {name: self._as_rows(name, values) for name, values in given.items()}
        refuse_unaskable(self.arrays)
        lengths = {name: len(values) for name, values in self.arrays.items()}
        if len({*lengths.values()}) != 1 or 0 in lengths.values():
            raise UsageProblem(f"the inputs have {lengths} rows", "give a few rows of each, equally many")
        # A length that its mask has too is that of the longest in the example, and no size of the network.
        free = {part for name in self.arrays if name + MASK in self.arrays for part in (name, name + MASK)}
        self.tensors = tuple(
            Tensor.of(name, values, (1,) if name in free else ()) for name, values in self.arrays.items()
        )
        self.lengths: Mapping[str, Length] = dict.fromkeys(free, Length("length"))
        inputs = ArrayInputs(self.tensors)
        self.asked = inputs.names
        few = range(min(EXAMPLE_ROWS, *lengths.values()))
        self.example = [{name: self._row(name, at) for name in self.asked} for at in few]

    def _row(self, name: str, at: int) -> Any:
        values = self.arrays[name][at]
        if self.arrays[name].dtype == object:
            return values
        mask = self.arrays.get(name + MASK)
        return (values if mask is None else values[mask[at].astype(bool)]).tolist()

    def _as_rows(self, name: str, values: Any) -> NDArray[Any]:
        if are_texts(values):
            fix = "give the tokenizer that it was trained with: `run.save(model, inputs=…, tokenizer=tokenizer)`"
            raise UsageProblem(f"the input {name} is texts", fix)
        return _as_rows(name, values)

    def write(self, folder: Path) -> None:
        pass  # the signature says all of it


class OfTexts(OfArrays):
    """A few texts, of one input or of several, and arrays beside them if it takes some. tokenizer: of the library
    tokenizers or of transformers, for all texts; or a mapping with one for each.

    has_mask: whether forward takes, after the tokens of each, where there are some.
    """

    rows: RowForm = "texts"

    def __init__(self, given: Mapping[str, Any], tokenizer: Any, *, has_mask: bool = True) -> None:
        names = [name for name, values in given.items() if are_texts(values)]
        if not names:
            raise UsageProblem(
                "none of the inputs is texts, and a tokenizer reads some",
                'give a few: `inputs={"text": ["first", "second"]}`',
            )
        self._encoders = texts.encoders(tokenizer, names, has_mask=has_mask)
        tokens = [name for encoder in self._encoders for name in encoder.names]
        if clash := [name for name in tokens if name in given]:
            raise UsageProblem(f"an input is called {clash[0]!r}, as the tokens are", "call it otherwise")
        super().__init__(given)
        self.lengths = {**self.lengths, **dict(self._token_lengths())}
        rows = [dict(zip(names, row, strict=True)) for row in zip(*(self.arrays[name] for name in names), strict=True)]
        ArrayInputs([Tensor(name, "BYTES", (-1,)) for name in names]).validate(rows)
        # Two tokens at least: torch.export takes a size of 1 for a constant of the network.
        encoded = tokens_of(self._encoders, self.arrays, least=2)
        self.arrays = self._beside(encoded, len(rows))
        self.trials = tuple(trial for encoder in self._encoders for trial in self._tried(encoder))

    def write(self, folder: Path) -> None:
        texts.write(self._encoders, folder)

    def _token_lengths(self) -> Iterator[tuple[str, Length]]:
        # Each text has a length of its own.
        for at, encoder in enumerate(self._encoders, start=1):
            length = Length("tokens" if at == 1 else f"tokens{at}", max(2, encoder.input.most_tokens))
            yield from ((name, length) for name in encoder.names)

    def _as_rows(self, name: str, values: Any) -> NDArray[Any]:
        is_text = any(name == encoder.input.name for encoder in self._encoders)
        return np.array([*values], object) if is_text else super()._as_rows(name, values)

    def _beside(self, encoded: Arrays, rows: int) -> Arrays:
        """The tokens in the place of the texts, beside as many rows of what else is given."""
        names = TextInputs(self.tensors, self._encoders).arrays
        return {name: encoded[name] if name in encoded else self.arrays[name][:rows] for name in names}

    def _tried(self, encoder: TextEncoder) -> Iterator[Trial]:
        """The last token of the vocabulary, the longest text, and one in which there is nothing."""
        made_of = encoder.input
        most, last = made_of.most_tokens, made_of.vocabulary - 1
        of_it = f" of `{made_of.name}`" if len(self._encoders) > 1 else ""

        def trial(ids: Sequence[int], problem: str, fix: str) -> Trial:
            return Trial(self._beside(encoder.filled([ids]), 1), problem, fix)

        yield trial(
            [last] * min(2, most),
            f"the tokenizer{of_it} has {made_of.vocabulary:,} tokens, and the network does not take the last of them",
            "give its embedding as many: `nn.Embedding(tokenizer.get_vocab_size(), …)`",
        )
        yield trial(
            [*itertools.islice(itertools.cycle(self.arrays[made_of.ids][0].tolist()), most)],
            f"a text{of_it} may have {most:,} tokens, and the network does not take so many",
            "cut texts where it ends: `tokenizer.enable_truncation(N)`",
        )
        yield trial(
            [],
            f"the network has no answer to a text{of_it} without tokens",
            "divide by how many there are, but never by 0: `attention_mask.sum(1).clamp(min=1)`",
        )


def are_texts(values: Any) -> bool:
    """Whether the first of them is one; what the others are, is looked at then."""
    if hasattr(values, "detach") or isinstance(values, str) or not isinstance(values, Iterable):
        return False
    return isinstance(next(iter(values), None), str)


def _as_rows(name: str, values: Any) -> NDArray[Any]:
    found = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if not found.ndim or found.dtype.kind not in "fiub":
        raise UsageProblem(
            f"the input {name} is {found.dtype} of the shape {found.shape}", "give an array of numbers, its rows first"
        )
    # Tensors of double precision are rare in networks, and NumPy makes them of any list.
    return found.astype(np.float32) if found.dtype == np.float64 else found
