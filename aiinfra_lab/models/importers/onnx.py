"""ONNX files, as whatever exported them: the only format that is served as it is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...config import Settings
from ...errors import Failed, LabError, UsageProblem
from ...train.inputs import Arrays
from ...train.saved_model import opened
from ...train.signature import CUSTOM, DATATYPES, Task, Tensor
from ...units import counted
from .. import graph

_TYPE = re.compile(r"tensor\((\w+)\)")
# The runtime's names of types → NumPy's, where they differ.
_TYPES = {"float": "float32", "double": "float64", "string": "object"}
_BY_DTYPE = {dtype: name for name, dtype in DATATYPES.items()}


class OnnxFile:
    """See `Importer` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def suits(self, path: Path) -> bool:
        return path.suffix == ".onnx" and path.is_file()

    def read(self, path: Path) -> OnnxModel:
        return OnnxModel(path, _looked_at(path, _refuse_unknown), opened)

    def read_by(self, path: Path, runtime: Callable[[Path], Any]) -> OnnxModel:
        return OnnxModel(path, _looked_at(path), runtime)


class _Look(NamedTuple):
    """What is kept of a graph once it was looked at: of a large one a second copy would not fit into memory.

    label: of a classifier that gives labels beside probabilities, the output of the labels.
    """

    weights: Mapping[str, Path]
    classes: tuple[str, ...]
    label: str


def _refuse_unknown(path: Path, model: Any) -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    known = ((item.domain, item.name) for item in runtime.get_all_operator_schema())
    if names := graph.unknown(model, known):
        fix = f"export it again with operators of the ONNX standard in place of {', '.join(names)}"
        raise Failed(
            f"{path} has operators that ONNX Runtime does not know: {', '.join(names)}", f"{fix}{_packages(names)}"
        )


def _packages(names: Sequence[str]) -> str:
    """What brings the operators, where that is known; of another version of the runtime nobody knows which."""
    if all(name.startswith("ai.onnx.contrib:") for name in names):
        line = "echo onnxruntime-extensions | uv pip compile - -o requirements.txt"
        return f"; or have a package of operators: {line}, and add it with --environment requirements.txt"
    if all(name.startswith("ai.onnx:") for name in names):
        return "; or pin a newer onnxruntime in a requirements file, and add it with --environment FILE"
    return ""


def _looked_at(path: Path, refuse: Callable[[Path, Any], None] = lambda path, model: None) -> _Look:
    model = graph.load(path)
    refuse(path, model)
    weights = {entry.value: _weights(path, entry.value) for entry in graph.outside(model)}
    return _Look(weights, graph.classes(model), graph.unzip(model))


class OnnxModel:
    """See `Original`."""

    tolerance = 1e-5

    def __init__(self, path: Path, look: _Look, runtime: Callable[[Path], Any]) -> None:
        self._path = path
        self._weights, self._classes, self._label = look
        self._session = _session(path, runtime)

    @property
    def task(self) -> Task:
        return Task("classification", self._classes) if self._label else CUSTOM

    def tensors(self) -> tuple[Tensor, ...]:
        takes = self._session.get_inputs()
        if fixed := next((item for item in takes if item.shape and isinstance(item.shape[0], int)), None):
            raise UsageProblem(
                f"its input {fixed.name} takes {counted(fixed.shape[0], 'row')} at a time and no other number",
                f"make that size one that may vary: {self._varying()}",
            )
        return tuple(map(_tensor, takes))

    def _varying(self) -> str:
        """The line that makes the first size of each input and output one that may vary."""
        sides = (self._session.get_inputs(), self._session.get_outputs())
        free = ", ".join(str({item.name: ["rows", *item.shape[1:]] for item in side}) for side in sides)
        tool = "from onnx.tools.update_model_dims import update_inputs_outputs_dims as varied"
        return f'import onnx; {tool}; onnx.save(varied(onnx.load("{self._path}"), {free}), "{self._path}")'

    def predict(self, given: Any) -> Arrays:
        names = [item.name for item in self._session.get_outputs()]
        found = dict(zip(names, self._session.run(None, dict(given)), strict=True))
        if not self._label:
            return found
        probabilities = next(values for name, values in found.items() if name != self._label)
        return {self._label: self._as_array(probabilities)}

    def _as_array(self, probabilities: Any) -> NDArray[Any]:
        if isinstance(probabilities, np.ndarray):
            return probabilities.astype(np.float32)
        rows = [{str(label): value for label, value in row.items()} for row in probabilities]
        return np.array([[row[label] for label in self._classes] for row in rows], np.float32)

    def convert(self, path: Path) -> None:
        self._session = None  # of a large model two would not fit in memory
        if not self._label and not self._weights:
            shutil.copyfile(self._path, path)
            return
        model = graph.load(self._path)
        graph.unzip(model)
        places = {}
        for at, (location, file) in enumerate(self._weights.items()):
            places[location] = f"weights-{at}.data"
            shutil.copyfile(file, path.parent / places[location])
        for entry in graph.outside(model):
            entry.value = places[entry.value]
        graph.save(model, path)


def _session(path: Path, runtime: Callable[[Path], Any]) -> Any:
    try:
        return runtime(path)
    except LabError:
        raise
    except Exception as problem:  # noqa: BLE001  # the runtime's exceptions share no base class
        text = str(problem)
    if most := re.search(r"support for domain (\S+) is till opset (\d+)", text):
        line = (
            f'import onnx; from onnx import version_converter as v; onnx.save(v.convert_version(onnx.load("{path}"), '
            f'{most[2]}), "{path}")'
        )
        raise Failed(f"{path} was made for a newer opset of {most[1]} than {most[2]}, the runtime's newest", line)
    raise Failed(
        f"{path} cannot be loaded: {text.partition(chr(10))[0][:300]}",
        f"export it again; `onnx.checker.check_model({str(path)!r})` says what is wrong with it",
    )


def _weights(path: Path, location: str) -> Path:
    """The file of weights beside the model. UsageProblem where it lies anywhere else, Failed where it is missing."""
    folder = path.parent.resolve()
    found = (folder / location).resolve()
    if not found.is_relative_to(folder):
        name = Path(location).name
        each = f'[setattr(e, "value", "{name}") for t in m.graph.initializer for e in t.external_data'
        line = (
            f'import onnx; m = onnx.load("{path}", load_external_data=False); {each} if e.value == "{location}"]; '
            f'onnx.save(m, "{path}")'
        )
        fix = f"where you trust it, copy {location} into {folder}, and point the model there: {line}"
        raise UsageProblem(f"{path} has weights outside its folder, in {location}", fix)
    if not found.is_file():
        raise Failed(f"{path} has weights in {location}, which is not there", f"put that file into {folder}")
    return found


def _tensor(item: Any) -> Tensor:
    found = _TYPE.fullmatch(item.type)
    dtype = _TYPES.get(found[1], found[1]) if found else ""
    if dtype not in _BY_DTYPE:
        raise Failed(
            f"its input {item.name} is a {item.type}, which no row can have",
            "export it with inputs that are arrays of numbers or of texts",
        )
    if not item.shape:
        raise Failed(
            f"its input {item.name} is a single number", "export it with inputs whose first dimension is the rows"
        )
    return Tensor(
        item.name, _BY_DTYPE[dtype], (-1, *(size if isinstance(size, int) else -1 for size in item.shape[1:]))
    )
