"""What a network is saved with: rows that say what it takes, of a run's table or arrays that somebody gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import UsageProblem
from ..features.contract import refuse_unaskable
from . import signature
from .inputs import MASK, ArrayInputs, Arrays
from .saved_model import COLUMNS
from .signature import RowForm, Tensor
from .table import EXAMPLE_ROWS, TrainingTable

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SavedWith(Protocol):
    """What a network is saved with: rows that say what it takes."""

    @property
    def arrays(self) -> Arrays:
        """Inputs by name, in forward's order, on which two forms of the network are compared."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The same as the signature has them."""

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

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.arrays = {name: _as_rows(name, values) for name, values in given.items()}
        refuse_unaskable(self.arrays)
        lengths = {name: len(values) for name, values in self.arrays.items()}
        if len({*lengths.values()}) != 1 or 0 in lengths.values():
            raise UsageProblem(f"the inputs have {lengths} rows", "give a few rows of each, equally many")
        # A length that its mask has too is that of the longest in the example, and no size of the network.
        free = {part for name in self.arrays if name + MASK in self.arrays for part in (name, name + MASK)}
        self.tensors = tuple(
            Tensor.of(name, values, (1,) if name in free else ()) for name, values in self.arrays.items()
        )
        inputs = ArrayInputs(self.tensors)
        self.asked = inputs.names
        few = range(min(EXAMPLE_ROWS, *lengths.values()))
        self.example = [{name: self._row(name, at) for name in self.asked} for at in few]

    def _row(self, name: str, at: int) -> Any:
        values = self.arrays[name][at]
        mask = self.arrays.get(name + MASK)
        return (values if mask is None else values[mask[at].astype(bool)]).tolist()

    def write(self, folder: Path) -> None:
        pass  # the signature says all of it


def _as_rows(name: str, values: Any) -> NDArray[Any]:
    import numpy as np

    found = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if not found.ndim or found.dtype.kind not in "fiub":
        raise UsageProblem(
            f"the input {name} is {found.dtype} of the shape {found.shape}", "give an array of numbers, its rows first"
        )
    # Tensors of double precision are rare in networks, and NumPy makes them of any list.
    return found.astype(np.float32) if found.dtype == np.float64 else found
