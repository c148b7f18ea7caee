"""A network as files that nothing needs torch or trust to read: ONNX, safetensors and JSON.

The ONNX form is accepted only after it gave the same scores as torch, on other rows and batch sizes than those that
it was traced with.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Failed, UsageProblem
from ..files import building, publish, write_json
from . import checkpoint
from .table import TrainingTable

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-4


def save(model: Any, table: TrainingTable, target: Path) -> None:
    """Write the model's folder, whole or not at all; a folder that is there is replaced.

    UsageProblem when it is no module or its output has the wrong shape, Failed when it cannot be exported.
    """
    import torch

    if not isinstance(model, torch.nn.Module):
        raise UsageProblem(
            f"run.save was given a {type(model).__name__}", "give it the torch.nn.Module that was trained"
        )
    with building(target) as folder:
        with _evaluating(model) as still, torch.no_grad():
            _write(still, table, folder)
        publish(folder, target, replace=True)


def environment() -> str:
    """The installed packages with their versions, one a line."""
    found = {item.metadata["Name"]: item.version for item in distributions() if item.metadata["Name"]}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items(), key=lambda item: item[0].lower()))


def scores(path: Path, numbers: Any, codes: Any) -> Any:
    """What the ONNX file answers, as one NumPy vector."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # rows are few here: threads cost more than they give
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {"numbers": numbers, "codes": codes}
    return session.run(["score"], {item.name: given[item.name] for item in session.get_inputs()})[0]


def _write(model: Any, table: TrainingTable, folder: Path) -> None:
    contract = table.columns()
    numbers, codes = contract.encode(table.probe())
    expected = _answer(model, numbers, codes)
    _to_onnx(model, numbers, codes, folder / "model.onnx")
    _same(folder / "model.onnx", model, numbers, codes, expected)
    # A state dict also holds a module's extra state, which may be any object.
    state = {name: tensor for name, tensor in model.state_dict().items() if hasattr(tensor, "detach")}
    checkpoint.save_tensors(folder / "weights.safetensors", state, {"format": "pt"})
    rows = table.example()
    seen = scores(folder / "model.onnx", *contract.encode(rows))
    write_json(folder / "example.json", {"rows": rows, "scores": [float(score) for score in seen]})
    write_json(folder / "signature.json", _signature(numbers.shape[1], codes.shape[1]))
    table.save(folder / "columns.json")
    (folder / "environment.txt").write_text(environment(), "utf-8")


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[Any]:
    """A copy on the CPU that answers and does not learn; the user's model stays as it is."""
    yield copy.deepcopy(model).cpu().eval()


def _answer(model: Any, numbers: Any, codes: Any) -> Any:
    """What torch answers, checked for shape and sense."""
    import torch

    given = (torch.from_numpy(numbers), torch.from_numpy(codes))
    try:
        score = model(*given)
    except TypeError as problem:
        raise UsageProblem(
            f"the model cannot be called: {problem}", "give it `def forward(self, numbers, codes)`"
        ) from problem
    if not isinstance(score, torch.Tensor) or tuple(score.shape) != (len(numbers),):
        shape = f"shape {tuple(score.shape)}" if isinstance(score, torch.Tensor) else f"a {type(score).__name__}"
        raise UsageProblem(
            f"for {len(numbers)} rows the model's forward gives {shape}, not one score a row, shape ({len(numbers)},)",
            _way_to_one_score(score),
        )
    if not bool(torch.isfinite(score).all()):
        raise Failed("the model's scores hold NaN or infinity", "look at the loss: the training diverged")
    return score.float().numpy()


def _way_to_one_score(score: Any) -> str:
    columns = score.shape[1] if getattr(score, "ndim", 0) == 2 else 0
    if not columns:
        return "let forward return one tensor, of one number a row"
    if columns == 1:
        return "end forward with `.squeeze(1)`"
    return "end forward with the one column that is the prediction, such as `[:, 0]`"


def _to_onnx(model: Any, numbers: Any, codes: Any, path: Path) -> None:
    import torch

    # Never one row: torch.export takes 0 and 1 for constants of the network instead of for a number of rows.
    few = tuple(
        torch.from_numpy(part[: min(len(part), 7)].repeat(1 if len(part) > 1 else 2, axis=0))
        for part in (numbers, codes)
    )
    rows = torch.export.Dim("rows", min=1)
    with _silence():
        try:
            program = torch.export.export(_scored(model), few, dynamic_shapes=({0: rows}, {0: rows}), strict=False)
            made = torch.onnx.export(
                program, (), input_names=["numbers", "codes"], output_names=["score"], dynamo=True, verbose=False
            )
        except (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError) as problem:
            raise _not_exportable(problem) from problem
        if made is None:
            raise Failed("torch gave no ONNX program", "simplify the model's forward")
        made.save(path, external_data=False)


def _scored(model: Any) -> torch.nn.Module:
    """The model with its answer as float32, whatever precision it trains in."""
    import torch

    class Scored(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.model(numbers, codes)
            return answer.float()

    return Scored().eval()


def _same(path: Path, model: Any, numbers: Any, codes: Any, expected: Any) -> None:
    """Failed unless ONNX Runtime gives torch's scores, for one row and for many."""
    import numpy as np

    # One row too: a network that was traced with many may have their number as a constant.
    for size in (1, len(numbers)):
        given = scores(path, numbers[-size:], codes[-size:])
        wanted = expected if size == len(numbers) else _answer(model, numbers[-size:], codes[-size:])
        off = float(np.abs(given - wanted).max()) if given.shape == wanted.shape else float("inf")
        # `not … <=`, since NaN compares false with everything.
        if not off <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise Failed(
                f"the ONNX form of the model answers differently from torch (by {off:.2g} for {size} rows)",
                "keep forward to torch operations on its inputs: what is computed outside torch becomes a constant",
            )


def _not_exportable(problem: Exception) -> Failed:
    """Which operation or line stands in the way."""
    # torch's exporter raises texts of many pages and no kinds of its own: what helps has to be read out of them.
    text = f"{problem}\n{problem.__cause__ or ''}"
    operator = re.search(r"No ONNX function found for <OpOverload\(op='aten[.:]+(\w+)'", text)
    if operator:
        return Failed(f"ONNX has no operation for torch's {operator[1]}", f"write forward without {operator[1]}")
    line = re.search(r"File \"(?P<file>[^\"]+)\", line (?P<line>\d+), in forward\s+(?P<text>.+)", text)
    where = f" (line {line['line']}: `{line['text'].strip()}`)" if line else ""
    if "data-dependent" in text:
        return Failed(f"forward decides by the values of its inputs{where}", "use torch.where in place of `if`")
    if "specialized it to be a constant" in text:
        return Failed(f"forward only works for one number of rows{where}", "do not compare or fix numbers.shape[0]")
    first = str(problem).strip().partition("\n")[0]
    return Failed(
        f"the model cannot be exported to ONNX{where}: {first[:300]}", "keep forward to torch operations on tensors"
    )


def _signature(numbers: int, codes: int) -> dict[str, Any]:
    return {
        "inputs": {
            "numbers": {"dtype": "float32", "shape": [None, numbers]},
            "codes": {"dtype": "int64", "shape": [None, codes]},
        },
        "outputs": {"score": {"dtype": "float32", "shape": [None]}},
    }


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's chatter out of the notebook: it warns of packages that nobody needs here.

    Logging as a whole is off for these seconds: torch makes its loggers' handlers anew while it exports, so that a
    filter on them would not last. What goes wrong is raised.
    """
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
