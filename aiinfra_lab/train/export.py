"""A network as files that nothing needs torch or trust to read: ONNX, safetensors and JSON.

The ONNX form is accepted only after it answered as torch does, on other rows and batch sizes than those that it was
traced with.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import logging
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .. import files
from ..errors import Failed, UsageProblem, did_you_mean
from ..features.contract import refuse_unaskable
from ..files import building, publish, write_json
from ..units import counted
from . import checkpoint, signature
from .environments import PACKAGES, installed
from .given import SavedWith, Trial, are_texts
from .inputs import Arrays
from .saved_model import ONNX, SavedModel
from .signature import Signature, Task, Tensor

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

TOLERANCE = 1e-4


def save(
    model: Any,
    given: SavedWith,
    target: Path,
    outputs: Sequence[str] = (),
    task: Task = signature.CUSTOM,
    label: str = "",
    labels: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> None:
    """Write the model's folder, whole or not at all; a folder that is there is replaced.

    outputs: what forward gives is called; `score` when nothing is said, and then it is one number a row. Of a
    classification an output with a number for each label becomes probabilities, by softmax where it is none.
    label: what such an output is called when nothing is said. labels: of each label its classes, as far as they are
    known: where the task is custom and forward gives a number for each of them, it is a classification of these.

    UsageProblem when it is no module or its outputs have the wrong shape, Failed when it cannot be exported.
    """
    import torch

    if not isinstance(model, torch.nn.Module):
        raise UsageProblem(
            f"run.save was given a {type(model).__name__}", "give it the torch.nn.Module that was trained"
        )
    with building(target) as folder:
        with _evaluating(model) as still, torch.no_grad():
            network = _Network(still, [*given.arrays], tuple(outputs), task, label, labels)
            _write(network, given, folder)
        publish(folder, target, replace=True)


def takes(model: Any, count: int) -> bool:
    """Whether its forward can be given so many inputs; also where it is nothing that has one."""
    try:
        inspect.signature(model.forward).bind(*range(count))
    except (AttributeError, TypeError):
        return not hasattr(model, "forward")
    return True


def takes_masks(model: Any, inputs: Mapping[str, Any]) -> bool:
    """Whether its forward takes a mask after the tokens of each text among such inputs."""
    return takes(model, len(inputs) + sum(map(are_texts, inputs.values())))


def _write(network: _Network, given: SavedWith, folder: Path) -> None:
    expected = network.answer(given.arrays)
    model, task = network.model, network.task
    network.refuse_taken(given.asked)
    answers = tuple(
        signature.as_answered(Tensor.of(name, values), task, given.rows) for name, values in expected.items()
    )
    made = Signature(given.tensors, answers, task, given.rows)
    # Not flushed alone: publishing the model's folder flushes all of it.
    files.write(folder / signature.FILE, made.to_json(), flush=False)
    given.write(folder)
    tried = [(trial.inputs, _tried(network, trial)) for trial in given.trials]
    _to_onnx(network, given, folder / ONNX)
    saved = SavedModel(folder)
    for arrays, wanted in [(given.arrays, expected), *tried]:
        _same(saved, network, arrays, wanted)
    found = saved.answers(given.example)
    _alone(saved, given.example, found)
    # A state dict also holds a module's extra state, which may be any object.
    state = {name: tensor for name, tensor in model.state_dict().items() if hasattr(tensor, "detach")}
    checkpoint.save_tensors(folder / "weights.safetensors", state, {"format": "pt"})
    write_json(folder / signature.EXAMPLE, {"rows": given.example, "answers": found})
    (folder / PACKAGES).write_text(installed(), "utf-8")


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[Any]:
    """A copy on the CPU that answers and does not learn; the user's model stays as it is."""
    yield copy.deepcopy(model).cpu().eval()


class _Network:
    """A network with names for what it gives."""

    def __init__(
        self,
        model: Any,
        inputs: Sequence[str],
        names: tuple[str, ...],
        task: Task,
        label: str,
        labels: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.model = model
        self._label, self._labels = label, labels
        self.inputs = inputs
        self.names = names
        self.task = task
        # Those whose numbers for the labels are no probabilities yet.
        self.logits: frozenset[str] = frozenset()

    def answer(self, arrays: Arrays) -> dict[str, Any]:
        """What torch answers, by output, checked for shape and sense."""
        import torch

        rows = len(arrays[self.inputs[0]])
        try:
            answer = self.model(*(torch.from_numpy(arrays[name]) for name in self.inputs))
        except TypeError as problem:
            raise UsageProblem(
                f"the model cannot be called: {problem}", f"give it `def forward(self, {', '.join(self.inputs)})`"
            ) from problem
        if not self.names:
            self.names = self._usual_names(answer, rows)
        self._refuse_others(answer, rows)
        found = self.by_name(answer)
        if self.task.name == "custom" and self._labels and self._are_classified(found):
            own, several = next(iter(self._labels.values())), len(self._labels) > 1
            self.task = Task("classification", (), {**self._labels}) if several else Task("classification", own)
        self._refuse_unlabelled(found)
        if not self.logits:
            self.logits = frozenset(name for name, tensor in found.items() if self._are_logits(name, tensor))
        for name, tensor in found.items():
            if not bool(tensor.isfinite().all()):
                raise Failed(f"the model's {name} holds NaN or infinity", "look at the loss: the training diverged")
        return {name: tensor.numpy() for name, tensor in self.outputs(answer).items()}

    def _usual_names(self, answer: Any, rows: int) -> tuple[str, ...]:
        """What is given when nobody says how it is called: names of its own, the label, or a score."""
        if isinstance(answer, dict):
            return tuple(answer)
        labels = self.task.labels or (self._labels.get(self._label, ()) if self.task.name == "custom" else ())
        if self._label and labels and tuple(getattr(answer, "shape", ())) == (rows, len(labels)):
            return (self._label,)
        _refuse_other_than_scores(answer, rows)
        return (signature.SCORE,)

    def by_name(self, answer: Any) -> dict[str, Any]:
        """What forward gave, a tensor for each name; of one tensor for several names each has a column."""
        if isinstance(answer, dict):
            return {name: answer[name] for name in self.names}
        if self._is_one_for_all(answer):
            return {name: answer[:, at] for at, name in enumerate(self.names)}
        return dict(zip(self.names, answer if isinstance(answer, list | tuple) else (answer,), strict=True))

    def _is_one_for_all(self, answer: Any) -> bool:
        return len(self.names) > 1 and getattr(answer, "ndim", 0) == 2 and answer.shape[1] == len(self.names)

    def outputs(self, answer: Any) -> dict[str, torch.Tensor]:
        """What is exported: real numbers as float32, whatever precision the model trains in, and probabilities."""
        import torch

        found = self.by_name(answer)
        floats = {name: tensor.float() for name, tensor in found.items() if tensor.is_floating_point()}
        return {
            **found,
            **floats,
            **{name: torch.softmax(floats[name], dim=1) for name in self.names if name in self.logits},
        }

    def _refuse_others(self, answer: Any, rows: int) -> None:
        """UsageProblem unless there is one tensor for each name, with a row for each row."""
        import torch

        if isinstance(answer, dict) and {*answer} != {*self.names}:
            raise UsageProblem(
                f"forward gives {', '.join(map(str, answer))}, and outputs names {', '.join(self.names)}",
                "name in outputs what forward gives, or leave outputs out",
            )
        count = len(answer) if isinstance(answer, dict | list | tuple) else 1
        count = len(self.names) if self._is_one_for_all(answer) else count
        if count != len(self.names):
            raise UsageProblem(
                f"forward gives {counted(count, 'tensor')}, and outputs has {counted(len(self.names), 'name')}",
                f"write outputs={[f'output{at}' for at in range(1, count + 1)]} with names of your own",
            )
        for name, tensor in self.by_name(answer).items():
            if not isinstance(tensor, torch.Tensor) or not tensor.ndim or len(tensor) != rows:
                what = f"the shape {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else type(tensor).__name__
                fix = "let forward return tensors whose first dimension is the rows"
                raise UsageProblem(f"for {rows} rows {name} is {what}", fix)

    def _refuse_unlabelled(self, found: Mapping[str, Any]) -> None:
        """UsageProblem when labels are named, and no output has a number for each of them or one a row."""
        for output, labels in self.task.all_labels.items():
            if output and output not in found:
                fix = did_you_mean(output, found)
                raise UsageProblem(f"labels names {output}, and forward gives {', '.join(found)}", fix)
            meant = {output: found[output]} if output else found
            count = len(labels)
            if any(tuple(tensor.shape[1:]) in ((), (count,)) for tensor in meant.values()):
                continue
            name, tensor = next(iter(meant.items()))
            sizes = " x ".join(map(str, tensor.shape[1:]))
            raise UsageProblem(
                f"{name} has {sizes} numbers a row, and there are {count} labels",
                "name a label for each number, in order",
            )

    def _are_classified(self, found: Mapping[str, Any]) -> bool:
        """Whether there is a number for each class of whatever may be predicted."""
        return all(
            name in found and tuple(found[name].shape[1:]) == (len(labels),) for name, labels in self._labels.items()
        )

    def refuse_taken(self, columns: Sequence[str]) -> None:
        """UsageProblem when an output is called as one of the columns that it is predicted from."""
        refuse_unaskable(self.names)
        made = [each for name in self.names for each in (name, signature.probabilities(name))]
        if taken := next((name for name in made if name in columns or name in signature.RESERVED), ""):
            raise UsageProblem(
                f"no output can be called {taken!r}: a row has that name already", "name it otherwise in outputs"
            )

    def _are_logits(self, name: str, tensor: Any) -> bool:
        labels = self.task.labels_of(name)
        if not labels or tuple(tensor.shape[1:]) != (len(labels),):
            return False
        sums = tensor.double().sum(1)
        return bool((tensor < 0).any() or (tensor > 1).any() or ((sums - 1).abs() > 1e-3).any())


def _refuse_other_than_scores(answer: Any, rows: int) -> None:
    import torch

    if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != (rows,):
        shape = f"shape {tuple(answer.shape)}" if isinstance(answer, torch.Tensor) else f"a {type(answer).__name__}"
        raise UsageProblem(
            f"for {rows} rows the model's forward gives {shape}, not one score a row, shape ({rows},)",
            _way_to_one_score(answer),
        )


def _way_to_one_score(score: Any) -> str:
    columns = score.shape[1] if getattr(score, "ndim", 0) == 2 else 0
    named = "or say what it gives: `run.save(model, outputs=[…])`"
    if not columns:
        return f"let forward return one tensor, of one number a row; {named}"
    if columns == 1:
        return "end forward with `.squeeze(1)`"
    classes = [str(at) for at in range(columns)]
    named = f"of {columns} classes say which they are: `run.save(model, task='classification', labels={classes})`"
    if columns > _MOST_CLASSES:
        named = "of a classification name each class: `run.save(model, task='classification', labels=[…])`"
    return f"{named}; or end forward with the one column that is the prediction, such as `[:, 0]`"


_MOST_CLASSES = 10


def _to_onnx(network: _Network, given: SavedWith, path: Path) -> None:
    import torch

    # Never one row: torch.export takes 0 and 1 for constants of the network instead of for a number of rows.
    few = tuple(torch.from_numpy(_few(given.arrays[name])) for name in network.inputs)
    rows = torch.export.Dim("rows", min=1)
    lengths = {length: torch.export.Dim(length.name, min=1, max=length.most) for length in given.lengths.values()}
    free = tuple(
        {0: rows, **({1: lengths[given.lengths[name]]} if name in given.lengths else {})} for name in network.inputs
    )
    with silence():
        try:
            # Given as one tuple, which is the one argument `*inputs` of the module.
            program = torch.export.export(_module(network), few, dynamic_shapes=(free,), strict=False)
            made = torch.onnx.export(
                program, (), input_names=[*network.inputs], output_names=[*network.names], dynamo=True, verbose=False
            )
        except (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError) as problem:
            raise _not_exportable(problem) from problem
        if made is None:
            raise Failed("torch gave no ONNX program", "simplify the model's forward")
        _rename_others(made.model.graph, {*network.inputs, *network.names})
        made.save(path, external_data=False)


def _rename_others(graph: Any, taken: Collection[str]) -> None:
    """Give values within the network other names than its inputs and outputs: torch calls each as its operation."""
    for node in graph.all_nodes():
        for value in node.outputs:
            if value.name in taken and not value.is_graph_output():
                value.name = f"{value.name}.within"


def _few(values: NDArray[Any]) -> NDArray[Any]:
    return values[:7].repeat(1 if len(values) > 1 else 2, axis=0)


def _module(network: _Network) -> torch.nn.Module:
    """The network as one module, whose answer is a tuple of what it is to give."""
    import torch

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = network.model

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(network.outputs(self.model(*inputs)).values())

    return Exported().eval()


def _tried(network: _Network, trial: Trial) -> dict[str, Any]:
    """What torch answers to it. UsageProblem with the trial's fix where it does not."""
    try:
        return network.answer(trial.inputs)
    except (Failed, IndexError, RuntimeError, ValueError) as problem:
        raise UsageProblem(trial.problem, trial.fix) from problem


def _alone(saved: SavedModel, rows: Sequence[Mapping[str, Any]], together: signature.Answers) -> None:
    """Failed unless a row is answered alike whatever else is in its batch."""
    off = max(signature.difference([answer], saved.answers([row])) for row, answer in zip(rows, together, strict=True))
    if not off <= TOLERANCE:
        raise Failed(
            f"a row's answer depends on the other rows of its batch (by {off:.2g})",
            "what fills up shorter rows must not count: let forward take the mask, and leave out what it says is none",
        )


def _same(saved: SavedModel, network: _Network, arrays: Arrays, expected: Mapping[str, Any]) -> None:
    """Failed unless ONNX Runtime gives what torch gives, for one row and for many."""
    import numpy as np

    many = len(arrays[network.inputs[0]])
    # One row too: a network that was traced with many may have their number as a constant.
    for size in dict.fromkeys((1, many)):
        last = {name: values[-size:] for name, values in arrays.items()}
        given = saved.run_network(last)
        wanted = expected if size == many else network.answer(last)
        for name, values in wanted.items():
            same_shape = given[name].shape == values.shape
            off = float(np.abs(given[name].astype(float) - values.astype(float)).max()) if same_shape else float("inf")
            # `not … <=`, since NaN compares false with everything.
            if not off <= TOLERANCE * max(1.0, float(np.abs(values.astype(float)).max())):
                raise Failed(
                    f"the ONNX form of the model answers differently from torch ({name} by {off:.2g} for {size} rows)",
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
        fix = "do not compare or fix an input's first size, as `numbers.shape[0]`"
        return Failed(f"forward only works for one number of rows{where}", fix)
    first = str(problem).strip().partition("\n")[0]
    return Failed(
        f"the model cannot be exported to ONNX{where}: {first[:300]}", "keep forward to torch operations on tensors"
    )


@contextlib.contextmanager
def silence() -> Iterator[None]:
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
