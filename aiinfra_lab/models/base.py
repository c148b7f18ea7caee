"""What another registry does for our versions, and how a model that was trained somewhere else comes in.

Our own records are complete without another registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from ..features.contract import Columns
    from ..train.inputs import Arrays
    from ..train.signature import Task, Tensor
    from ..train.texts import TextEncoder
    from .record import ModelCode


@dataclass(frozen=True, slots=True)
class Entry:
    """A version as another registry is to know it.

    uri: the version. folder: its files. tracked_as: the tracking server's id of its run, empty for a model that has
    none, as it was trained somewhere else. note: what it is meant for.
    """

    uri: str
    folder: Path
    tracked_as: str
    note: str
    tags: Mapping[str, str]


class ModelRegistry(Protocol):
    """A registry that is kept in line with ours.

    A method returns when it is done for good there, and raises Unavailable when it cannot be.
    """

    def register(self, entry: Entry) -> str:
        """The registry's own name of the version, made when it has none of that URI; so it may be called twice.

        NotFound when it keeps a version with its run, and does not know that.
        """

    def alias(self, name: str, alias: str, uri: str | None) -> None:
        """Point an alias of the model at a version, or at nothing; may be repeated. NotFound for an unknown version."""

    def aliases(self, name: str) -> Mapping[str, str]:
        """Every alias of the model with the URI it points at; empty for an unknown model."""

    def versions(self, name: str) -> set[str]:
        """The URIs of the model's versions; empty for an unknown model."""

    def remove(self, uri: str) -> None:
        """Remove a version; silent when there is none."""


class Importer(Protocol):
    """A format of models that were trained somewhere else. Nothing of it may run code that came with the model."""

    def suits(self, path: Path) -> bool:
        """Whether that file or folder is of this format, by its name and its first bytes. It reads no more and imports
        no library; silent about what is no model at all.
        """

    def read(self, path: Path) -> Original:
        """The model as its own library reads it. Failed for a file that is damaged, or holds what cannot be served;
        UsageProblem for one that has to be saved otherwise. The fix names the line that does it. Of a damaged file it
        may raise whatever its library does.
        """


@runtime_checkable
class BuiltByCode(Protocol):
    """A capability of an importer: its files hold weights alone, and the user's own code builds the network."""

    def read_with(self, path: Path, code: str) -> tuple[Original, ModelCode]:
        """The model, built by that function, `package.module:function`, and what is to be recorded of it. UsageProblem
        where there is no such function or it takes arguments; Failed where the weights are not all of its network's.
        """


@runtime_checkable
class RunsAsItIs(Protocol):
    """A capability of an importer: its files are ONNX, and so run by whatever runtime the version is to run by."""

    def read_by(self, path: Path, runtime: Callable[[Path], Any]) -> Original:
        """See `read`. runtime: gives something like an `onnxruntime.InferenceSession` of a file."""


class Original(Protocol):
    """A model as its own library runs it. It is also a `TakesArrays`, a `TakesLikeExample`, a `TakesColumns` or a
    `TakesTexts`."""

    @property
    def task(self) -> Task:
        """What the model itself knows: a classification with its labels, or with none where it has no names for them;
        `custom` where it knows nothing.
        """

    @property
    def tolerance(self) -> float:
        """By how much of the largest number what is served may answer differently; 1e-5 unless there is a reason."""

    def predict(self, given: Any) -> Arrays:
        """Its outputs by name, a row for each row, of arrays by input or of a data frame of the columns that it takes.

        May be called any number of times, with one row too. It may raise whatever its library does.
        """

    def convert(self, path: Path) -> None:
        """Write it as ONNX, and beside it weights that do not fit in. Called once, last: it may let go of all.

        The file takes the same arrays, `numbers` (FP64) and `codes` (INT64) of the columns, or the texts' tokens and
        where there are some, as the encoder calls them, and gives the same
        outputs. Failed when its library cannot convert it; it may raise whatever its library does.
        """


@runtime_checkable
class TakesArrays(Protocol):
    """A capability of an original: it takes arrays by name, their rows first."""

    def tensors(self) -> tuple[Tensor, ...]:
        """What it takes; -1 for every size that may vary."""


@runtime_checkable
class TakesLikeExample(Protocol):
    """A capability of an original: it takes arrays by name, and nothing but an example says of which type and shape."""

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be given, in its order."""

    @property
    def required(self) -> tuple[str, ...]:
        """What of that it cannot do without."""

    def tensors_like(self, example: Mapping[str, NDArray[Any]]) -> tuple[Tensor, ...]:
        """What it takes, if that is an example of it; called before it predicts. The names are some of its own, and all
        that are required.
        """


@runtime_checkable
class TakesColumns(Protocol):
    """A capability of an original: it takes the columns of a table."""

    def columns(self, rows: pd.DataFrame) -> Columns:
        """The contract of the columns that it takes out of such rows, `raw` and in its order. Columns that some of the
        rows lack a value of are optional; the last asked for are those that it predicts. UsageProblem when the rows do
        not have what it takes.
        """


@runtime_checkable
class HasThresholds(Protocol):
    """A capability of an original that takes columns: its answers step where a column passes certain values. What will
    serve is compared with it there too.
    """

    def thresholds(self) -> Mapping[str, Sequence[float]]:
        """Of each column of numbers the values that it is compared with; none of one that is made another first. Asked
        once, after `columns`.
        """


@runtime_checkable
class TakesTexts(Protocol):
    """A capability of an original: it takes a text a row, and `predict` is given an array of them."""

    def encoder(self) -> TextEncoder:
        """The tokenizer that goes with the model, cut where the model ends."""
