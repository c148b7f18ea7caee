"""Weights without their network, .safetensors: the network is built by a function of the user's own code."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...config import Settings
from ...errors import Failed, LabError, UsageProblem, did_you_mean
from ...train.inputs import MASK, Arrays
from ...train.signature import CUSTOM, Task, Tensor
from ..base import Original
from ..record import ModelCode
from ..sources import sha256
from .torch import by_place, to_onnx, traced

_FUNCTION = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")
_MOST_NAMES = 5


class SafetensorsFile:
    """See `Importer` and `BuiltByCode` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def suits(self, path: Path) -> bool:
        return path.suffix == ".safetensors" and path.is_file()

    def read(self, path: Path) -> Original:
        raise UsageProblem(
            f"{path} holds weights, and nothing says which network they are of",
            "name the function of your own that builds it: --code package.module:function",
        )

    def read_with(self, path: Path, code: str) -> tuple[Original, ModelCode]:
        from safetensors.torch import load_model

        factory = _factory(code)
        network = _built(factory, code)
        try:
            missing, unexpected = load_model(network, path, strict=False)
        except RuntimeError as problem:  # torch's own for a weight of another shape
            reason = " ".join(str(problem).split())[:300]
            raise Failed(f"the weights do not fit what {code} builds: {reason}", _fix(code)) from None
        if missing:
            raise Failed(f"{path} lacks {_few(missing)}, which {code} builds", _fix(code))
        if unexpected:
            raise Failed(f"{path} has {_few(unexpected)}, which {code} does not build", _fix(code))
        module = Path(inspect.getfile(factory)).absolute()
        return BuiltNetwork(path, network.eval()), ModelCode(code, str(module), sha256(module))


class BuiltNetwork:
    """See `Original` and `TakesLikeExample`."""

    tolerance = 1e-5
    task: Task = CUSTOM

    def __init__(self, path: Path, network: Any) -> None:
        self._path = path
        self._network = network
        self._given: tuple[Tensor, ...] = ()
        self._example: tuple[Any, ...] = ()
        self._names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        parameters = inspect.signature(self._network.forward).parameters.values()
        return tuple(each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD)

    @property
    def required(self) -> tuple[str, ...]:
        parameters = inspect.signature(self._network.forward).parameters
        return tuple(name for name in self.names if parameters[name].default is inspect.Parameter.empty)

    def tensors_like(self, example: Mapping[str, NDArray[Any]]) -> tuple[Tensor, ...]:
        own = next((each.dtype for each in self._network.parameters() if each.is_floating_point()), None)
        number = str(own).removeprefix("torch.") if own is not None else "float32"
        given = {name: example[name] for name in self.names if name in example}
        made = []
        for name, values in given.items():
            # NumPy makes double precision of any list; the network takes numbers as its own weights are.
            typed = values[:0].astype(number) if values.dtype.kind == "f" else values[:0]
            is_free = name + MASK in given or name.removesuffix(MASK) in given.keys() - {name}
            made.append(Tensor.of(name, typed, (1,) if is_free and values.ndim > 1 else ()))
        self._given = tuple(made)
        return self._given

    def predict(self, given: Any) -> Arrays:
        import torch

        tensors = {item.name: torch.from_numpy(given[item.name]) for item in self._given}
        self._example = self._example or tuple(tensors.values())
        with torch.no_grad():
            found = by_place(self._network(**tensors))
        self._names = tuple(found)
        return {name: np.asarray(tensor) for name, tensor in found.items()}

    def convert(self, path: Path) -> None:
        names = [item.name for item in self._given]
        free = [[at for at, size in enumerate(item.shape) if size < 0] for item in self._given]
        program = traced(self._network, dict(zip(names, self._example, strict=True)), free)
        to_onnx(program, names, self._names, path, self._path.stat().st_size)


def _factory(code: str) -> Any:
    """The user's function. UsageProblem where it cannot be had, Failed where its module raises."""
    place, name = _parts(code)
    here = str(Path.cwd())
    sys.path.insert(0, here)  # a shell's command would not look into the current folder
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as problem:
        if not place.startswith(problem.name or " "):
            raise Failed(f"{place} needs {problem.name}, which is not installed", "install it here") from None
        fix = f"start in the folder that has {place.partition('.')[0]}, or install it: pip install -e ITS_FOLDER"
        raise UsageProblem(f"--code {code}: there is no module {problem.name}", fix) from None
    except Exception as problem:  # the user's own code may raise anything
        raise Failed(
            f"{place} cannot be imported: {_reason(problem)}", f"see `python -c 'import {place}'`"
        ) from problem
    finally:
        sys.path.remove(here)
    if not callable(found := getattr(module, name, None)):
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise UsageProblem(f"--code {code}: {place} has no function {name!r}", did_you_mean(name, known))
    return found


def _parts(code: str) -> tuple[str, str]:
    found = _FUNCTION.fullmatch(code)
    if not found:
        raise UsageProblem(f"--code {code} names no function", "write package.module:function, e.g. mine.net:build")
    return found[1], found[2]


def _built(factory: Any, code: str) -> Any:
    import torch

    try:
        inspect.signature(factory).bind()
    except TypeError:
        place, name = _parts(code)
        raise UsageProblem(
            f"--code {code} takes arguments: {name}{inspect.signature(factory)}",
            f"write beside it a function without any, `def build(): return {name}(…)`, and say --code {place}:build",
        ) from None
    try:
        network = factory()
    except LabError:
        raise
    except Exception as problem:  # the user's own code may raise anything
        raise Failed(
            f"{code} raised {_reason(problem)}", f"call it alone, {_parts(code)[1]}(), and mend it"
        ) from problem
    if not isinstance(network, torch.nn.Module):
        raise UsageProblem(f"{code} gives a {type(network).__name__}", "let it return the torch.nn.Module")
    return network


def _reason(problem: Exception) -> str:
    return f"{type(problem).__name__}: {str(problem).partition(chr(10))[0][:300]}"


def _few(names: Any) -> str:
    listed = sorted(names)
    return ", ".join(listed[:_MOST_NAMES]) + (f" and {len(listed) - _MOST_NAMES} more" * (len(listed) > _MOST_NAMES))


def _fix(code: str) -> str:
    return (
        f"let {code} build the network that was trained, with the same sizes and names; or save its weights again by "
        'safetensors.torch.save_model(model, "weights.safetensors")'
    )
