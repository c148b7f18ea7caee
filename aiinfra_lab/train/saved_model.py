"""A model's folder as something that predicts here: its ONNX file, its signature and its columns contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NotFound
from . import environments, signature, texts
from .environments import Environment
from .inputs import ArrayInputs, Arrays, RowInputs, TableInputs, TextInputs
from .signature import Answers, SavedExample, Signature, Tensor
from .texts import TEXTS, TextEncoder

if TYPE_CHECKING:
    from ..features.contract import Columns

ONNX, COLUMNS = "model.onnx", "columns.json"


@dataclass(frozen=True)
class SavedModel:
    """The model in a folder. Its files are read when they are needed, and once.

    threads: of the runtime; 0 for one on each core. Of few rows more than one cost more than they give.
    """

    folder: Path
    threads: int = 1

    @cached_property
    def signature(self) -> Signature:
        """What it takes and gives. Damaged when the file is none."""
        return signature.read(self.folder)

    @property
    def is_of_table(self) -> bool:
        """Whether its rows are made of columns by a contract; else they are arrays or texts."""
        return self.signature.rows == "columns"

    @cached_property
    def columns(self) -> Columns:
        """Which columns a row needs, and how they become the inputs. Damaged when the file is no contract; NotFound for
        a model of arrays or texts.
        """
        from ..features.contract import Columns

        if not self.is_of_table:
            takes = ", ".join(map(str, self.signature.inputs))
            raise NotFound(
                f"it takes {self.signature.rows} and no columns: {takes}", "its signature says what a row is"
            )
        return Columns.from_json((self.folder / COLUMNS).read_text("utf-8"))

    @cached_property
    def rows(self) -> RowInputs:
        """How rows become its inputs. Missing, Unavailable or Damaged where its tokenizer cannot be read."""
        match self.signature.rows:
            case "columns":
                return TableInputs(self.columns)
            case "arrays":
                return ArrayInputs(self.signature.inputs)
            case "texts":
                return TextInputs(self.signature.inputs, texts.read(self.folder))

    @property
    def row_files(self) -> tuple[str, ...]:
        """What else has to be in the folder for rows to become inputs. Unavailable or Damaged as `rows`."""
        match self.signature.rows:
            case "columns":
                return (COLUMNS,)
            case "arrays":
                return ()
            case "texts":
                return tuple(dict.fromkeys([TEXTS, *(each.file for each in texts.inputs_of(self.folder))]))

    @property
    def encoders(self) -> tuple[TextEncoder, ...]:
        """How its texts become tokens, one for each; none for a model that takes no texts."""
        return self.rows.encoders if isinstance(self.rows, TextInputs) else ()

    @property
    def taken(self) -> tuple[Tensor, ...]:
        """What its network takes: tokens where its signature has texts."""
        return self.rows.taken if isinstance(self.rows, TextInputs) else self.signature.inputs

    @property
    def example(self) -> SavedExample:
        """A few rows with what they were answered when the model was saved."""
        return SavedExample.read(self.folder)

    def inputs(self, rows: Any) -> Arrays:
        """Dicts or a data frame of rows as the arrays that it takes. BadRow for a wrong one."""
        return self.rows.encode(rows)

    def run(self, inputs: Arrays) -> Arrays:
        """What it gives for these arrays, by output as its signature has them: texts for the tokens of some, by the
        tokenizer of its first text.
        """
        found = {**self.run_network(inputs)}
        for item in self.signature.outputs:
            if item.is_text and self.encoders and found[item.name].dtype.kind == "i":
                found[item.name] = self.encoders[0].decoded(found[item.name])
        return found

    def run_network(self, inputs: Arrays) -> Arrays:
        """What the ONNX file gives for these arrays, by output."""
        found = self.session.run(self._outputs, {name: inputs[name] for name in self._inputs})
        return dict(zip(self._outputs, found, strict=True))

    @property
    def given(self) -> tuple[Tensor, ...]:
        """What its network gives: tokens where its signature has texts that are made of them."""
        tokens = {item.name for item in self.session.get_outputs() if item.type == "tensor(int64)"}
        return tuple(
            Tensor(item.name, "INT64", (-1, -1)) if item.is_text and item.name in tokens else item
            for item in self.signature.outputs
        )

    def answers(self, rows: Any) -> Answers:
        """The outputs of each row, as an endpoint answers them."""
        inputs = self.inputs(rows)
        return self.signature.answers(self.run(inputs), len(next(iter(inputs.values()))))

    # A network that makes no use of one of its inputs has it no more, and the runtime refuses what it does not know.
    @cached_property
    def _inputs(self) -> list[str]:
        return [item.name for item in self.session.get_inputs()]

    @cached_property
    def _outputs(self) -> list[str]:
        return [item.name for item in self.signature.outputs]

    @cached_property
    def session(self) -> Any:
        """The runtime with the network in it: of another environment where the version needs other packages than ours.

        Failed when that cannot be built.
        """
        operators = environments.operators(environments.required(self.folder))
        return opened_in(Environment.of(self.folder), self.folder / ONNX, self.threads, operators)


def runtime_version() -> str:
    """The version of ONNX Runtime here."""
    import onnxruntime

    return str(onnxruntime.__version__)


def opened_in(environment: Environment | None, path: Path, threads: int = 1, operators: Sequence[str] = ()) -> Any:
    """See `opened`: the same in that environment, in a process of it; here where there is none."""
    if environment is None:
        return opened(path, threads, operators)
    from .remote_network import RemoteSession

    return RemoteSession(environment, path, threads, operators)


def opened(path: Path, threads: int = 1, operators: Sequence[str] = ()) -> Any:
    """The runtime with the network of an ONNX file in it. operators: modules that bring operators of their own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong comes back as an exception
    for name in operators:
        options.register_custom_ops_library(import_module(name).get_library_path())
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
