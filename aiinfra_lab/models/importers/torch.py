"""Programs of torch.export, .pt2: a graph and its weights. What in such a file could be a pickle is refused."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...config import Settings
from ...errors import Failed, UsageProblem
from ...train.export import silence
from ...train.inputs import Arrays
from ...train.signature import CUSTOM, Task, Tensor

# Sizes as torch writes them, `2*s0 + 1` or `Max(1, s0)`: it reads them with `eval`.
_SIZE = re.compile(r"[\w\s+\-*/%,.()<>=]*")
_NAMES = {
    *("Max", "Min", "Mod", "Pow", "Integer", "Add", "Mul", "Eq", "Ne", "True", "False", "oo", "int_oo"),
    *("FloorDiv", "CleanDiv", "CeilDiv", "PythonMod", "ModularIndexing", "Where", "floor", "ceiling"),
    *("TruncToInt", "IntTrueDiv", "FloatTrueDiv", "ToFloat", "FloorToInt", "CeilToInt", "PowByNatural"),
}
_SYMBOL = re.compile(r"[a-z]+\d+|\d+")
_NEW_SYMBOL = re.compile(r"Symbol\('([a-z]+\d+)'(?:, \w+=(?:True|False))*\)")
_WORD = re.compile(r"\w+")
_LARGE = 1_500_000_000  # bytes; beyond 2 GB no ONNX file can hold its weights


class TorchFile:
    """See `Importer` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def suits(self, path: Path) -> bool:
        return path.suffix == ".pt2" and path.is_file()

    def read(self, path: Path) -> TorchProgram:
        import torch

        if reason := next(_unsafe(path), ""):
            raise UsageProblem(
                f"{path} holds {reason}, which can run any code when it is read",
                "export the network again without objects of its own: "
                'torch.export.save(torch.export.export(model.eval(), (example,)), "model.pt2")',
            )
        with silence():
            program = torch.export.load(path)
        return TorchProgram(path, program)


class TorchProgram:
    """See `Original`."""

    tolerance = 1e-5
    task: Task = CUSTOM

    def __init__(self, path: Path, program: Any) -> None:
        self._path = path
        self._program = program
        self._module = program.module()
        self._names: tuple[str, ...] = ()

    def tensors(self) -> tuple[Tensor, ...]:
        wanted = set(self._program.graph_signature.user_inputs)
        values = [node.meta["val"] for node in self._program.graph.nodes if node.name in wanted]
        names = [name for name in self._program.graph_signature.user_inputs if isinstance(name, str)]
        return tuple(self._tensor(name, value) for name, value in zip(names, values, strict=True))

    def _tensor(self, name: str, value: Any) -> Tensor:
        import numpy as np

        shape = [size if isinstance(size, int) else -1 for size in value.shape]
        if not shape or shape[0] >= 0:
            raise UsageProblem(
                f"its input {name} has the shape {shape}, whose first size cannot vary",
                'export it so that it can: rows = {0: torch.export.Dim("rows")}; torch.export.save(torch.export.export('
                f'model.eval(), (example,), dynamic_shapes=(rows,)), "{self._path}")',
            )
        dtype = np.dtype(str(value.dtype).removeprefix("torch."))
        return Tensor.of(
            name, np.zeros([max(0, size) for size in shape], dtype), [at for at, size in enumerate(shape) if size < 0]
        )

    def predict(self, given: Any) -> Arrays:
        import torch

        names = self._program.graph_signature.user_inputs
        with torch.no_grad():
            answer = self._module(*(torch.from_numpy(given[name]) for name in names))
        found = by_place(answer)
        self._names = tuple(found)
        return {name: tensor.numpy() for name, tensor in found.items()}

    def convert(self, path: Path) -> None:
        inputs = list(self._program.graph_signature.user_inputs)
        to_onnx(self._program, inputs, self._names, path, self._path.stat().st_size)


def by_place(answer: Any) -> dict[str, Any]:
    """What a network gave, by name: of one that gives no dict by their place."""
    if isinstance(answer, dict):
        return answer
    each = list(answer) if isinstance(answer, list | tuple) else [answer]
    names = ["output"] if len(each) == 1 else [f"output{at}" for at in range(1, len(each) + 1)]
    return dict(zip(names, each, strict=True))


def traced(network: Any, example: Mapping[str, Any], free: Sequence[Sequence[int]]) -> Any:
    """The program of a network that is called with these tensors by name. free: of each the sizes that may vary."""
    import torch

    rows, length = torch.export.Dim("rows", min=1), torch.export.Dim("length", min=1)
    shapes = {name: {at: rows if at == 0 else length for at in each} for name, each in zip(example, free, strict=True)}
    with silence():
        return torch.export.export(network, (), kwargs=dict(example), dynamic_shapes=shapes)


def to_onnx(program: Any, inputs: Sequence[str], outputs: Sequence[str], path: Path, weights_bytes: int) -> None:
    """Write a program of torch.export as ONNX. Failed when torch makes none of it."""
    import torch

    with silence():
        made = torch.onnx.export(
            program, (), input_names=list(inputs), output_names=list(outputs), dynamo=True, verbose=False
        )
    if made is None:
        raise Failed("torch gave no ONNX program", "export it as ONNX where it was trained, and add that file")
    made.save(path, external_data=weights_bytes > _LARGE)


def _unsafe(path: Path) -> Iterator[str]:
    """What of a file torch would read as a pickle or as a line of Python; Failed where it is no such file."""
    if not zipfile.is_zipfile(path):
        raise Failed(f"{path} is no program of torch.export", "save it again, or copy it again whole")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if not any(name.endswith("archive_format") for name in names):
            raise Failed(f"{path} is no program of torch.export", "write it with torch.export.save")
        for name in names:
            part = name.rpartition("/")[2]
            if part.startswith(("custom_obj_", "opaque_obj_")) or (
                part.endswith(".pt") and "/sample_inputs/" not in name
            ):
                yield f"a pickle, {part}"
            if part.endswith(".json"):
                yield from _unsafe_values(json.loads(archive.read(name)))
            if "/sample_inputs/" in name:
                yield from _unsafe_inputs(archive.read(name))


def _unsafe_values(body: Any) -> Iterator[str]:
    pending = [body]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if value.get("use_pickle"):
                yield "weights as a pickle"
            text = value.get("expr_str", "")
            if isinstance(text, str) and not _is_size(text):
                yield f"a size that is none, {text[:40]!r}"
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _is_size(text: str) -> bool:
    text = _NEW_SYMBOL.sub(r"\1", text)
    words = _WORD.findall(text)
    known = all(word in _NAMES or _SYMBOL.fullmatch(word) for word in words)
    return bool(_SIZE.fullmatch(text)) and known and "__" not in text


def _unsafe_inputs(content: bytes) -> Iterator[str]:
    """Sample inputs are read as tensors alone, and as anything where that fails: only tensors may be there."""
    import io

    import torch

    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception:  # noqa: BLE001  # whatever it is, torch would then read it without that care
        yield "sample inputs that are no tensors"
