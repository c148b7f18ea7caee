"""An ONNX graph as it is served: what feeds it, what it gives, and what of it the runtime has to find.

Weights outside the file are never read here.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Failed

if TYPE_CHECKING:
    from ..features.contract import Columns

OPSET = 17
IR_VERSION = 9
_MOST_BYTES = (1 << 31) - 1  # of any message of protobuf


def load(path: Path) -> Any:
    """The graph of a file, without weights that lie outside it. Failed when the file is none."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types

    if path.stat().st_size > _MOST_BYTES:
        raise Failed(
            f"{path} is larger than 2 GB, which is the most that a file of ONNX can hold",
            "export it again with its weights beside it: torch.onnx.export(…, external_data=True), or "
            "onnx.save(model, path, save_as_external_data=True)",
        )
    try:
        # Mapped, not read: the parsed graph is then the only copy in memory.
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            view = memoryview(content)
            try:
                model = onnx.ModelProto.FromString(view)
            finally:
                view.release()
    except (DecodeError, ValueError) as problem:
        raise Failed(
            f"{path} is no ONNX model: {problem}", "export it again; a download may have been cut off"
        ) from None
    if not model.graph.node:
        raise Failed(f"{path} is an ONNX model without a single node", "export it again")
    return model


def save(model: Any, path: Path) -> None:
    """Write the graph."""
    import onnx

    onnx.save(model, path)


def nodes(model: Any) -> Iterator[Any]:
    """Every node, also of bodies of loops and of the model's own functions."""
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            graphs = [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
            pending += [inner for graph in graphs for inner in graph.node]


def unknown(model: Any, known: Iterable[tuple[str, str]]) -> list[str]:
    """The operators that are not among these (domain, name), and that the model does not define itself."""
    there = {*known, *((function.domain, function.name) for function in model.functions)}
    used = {("" if node.domain == "ai.onnx" else node.domain, node.op_type) for node in nodes(model)}
    return sorted(f"{domain or 'ai.onnx'}:{name}" for domain, name in used - there)


def outside(model: Any) -> Iterator[Any]:
    """The entry `location` of every tensor whose values lie in another file."""
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    for tensor in _get_all_tensors(model):
        if uses_external_data(tensor):
            yield from (entry for entry in tensor.external_data if entry.key == "location")


def classes(model: Any) -> tuple[str, ...]:
    """The labels that a classifier made of trees, vectors or lines was exported with; else none."""
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.name in ("classlabels_strings", "classlabels_int64s", "classlabels_ints"):
                found = [item.decode() for item in attribute.strings] or [str(item) for item in attribute.ints]
                if len(found) > 1:
                    return tuple(found)
    return ()


def unzip(model: Any) -> str:
    """Leave probabilities as the array that they are before ZipMap makes mappings of them; the label's output goes.

    The name of the output that is left, which is that of the label; empty, and nothing is done, where no label is.
    """
    outputs = {item.name: item for item in model.graph.output}
    zipped = next((node for node in model.graph.node if node.op_type == "ZipMap"), None)
    probable = zipped.output[0] if zipped else next(iter(_beside_label(model, outputs)), "")
    label = next((name for name in outputs if name != probable), "")
    if probable not in outputs or len(outputs) != 2 or not label:
        return ""
    source = zipped.input[0] if zipped else probable
    if zipped:
        model.graph.node.remove(zipped)
    keep(model, label, source)
    return label


def _beside_label(model: Any, outputs: Mapping[str, Any]) -> Iterator[str]:
    """The output of probabilities beside one of labels, as a classifier's own node gives both."""
    for node in model.graph.node:
        is_classifier = node.domain == "ai.onnx.ml" and node.op_type.endswith("Classifier")
        if is_classifier and len(outputs) == 2 and any(_is_label(item) for item in outputs.values()):
            yield from (name for name, item in outputs.items() if not _is_label(item))


def _is_label(output: Any) -> bool:
    import onnx

    kind = output.type.tensor_type
    return kind.elem_type in (onnx.TensorProto.INT64, onnx.TensorProto.STRING) and len(kind.shape.dim) == 1


def keep(model: Any, name: str, inner: str, dtype: int = 1, *, is_flat: bool = False) -> None:
    """Give one output and no other: a tensor inside, as numbers of that type. is_flat: one number a row."""
    from onnx import helper

    _rename(model, name, f"{name}__inside")
    source = f"{name}__inside" if inner == name else inner
    typed = f"{name}__typed" if is_flat else name
    model.graph.node.append(helper.make_node("Cast", [source], [typed], to=dtype))
    if is_flat:
        model.graph.initializer.append(constant(f"{name}__shape", [-1], "int64"))
        model.graph.node.append(helper.make_node("Reshape", [typed, f"{name}__shape"], [name]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(name, dtype, ["rows"] if is_flat else ["rows", None]))
    _standard(model)


def soften(model: Any, names: Iterable[str]) -> None:
    """Make probabilities of the numbers for each label that these outputs give."""
    from onnx import helper

    for name in names:
        _rename(model, name, f"{name}__logits")
        model.graph.node.append(helper.make_node("Softmax", [f"{name}__logits"], [name], axis=1))
    _standard(model)


def _rename(model: Any, name: str, new: str) -> None:
    """Call a tensor inside the graph otherwise; what the graph gives keeps its name."""
    for node in nodes(model):
        for side in (node.input, node.output):
            for at, each in enumerate(side):
                if each == name:
                    side[at] = new
    for item in (*model.graph.initializer, *model.graph.value_info):
        if item.name == name:
            item.name = new


def constant(name: str, values: Sequence[Any], dtype: str) -> Any:
    """Values as a tensor of that name; `object` for texts."""
    import numpy as np
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(values, object if dtype == "object" else dtype), name)


def _standard(model: Any) -> None:
    """Import the standard operators where only those of trees were, so that ours are known."""
    from onnx import helper

    if not any(item.domain in ("", "ai.onnx") for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", OPSET))
        model.ir_version = max(model.ir_version, IR_VERSION)


class Feeding:
    """What makes a converted model's inputs of `numbers` and `codes`, as a columns contract gives them."""

    def __init__(self, columns: Columns) -> None:
        self._numbers = {item.name: at for at, item in enumerate(columns.numbers)}
        self._categories = {item.name: at for at, item in enumerate(columns.categories)}
        self._columns = {item.name: item for item in columns}
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def matrix(self, name: str, order: Sequence[str], dtype: int, codes: Mapping[str, Sequence[float]]) -> None:
        """One array of all columns in that order. codes: of a category the number that the model has for each code."""
        from onnx import helper

        if [*order] == [*self._numbers]:
            self._nodes.append(helper.make_node("Cast", ["numbers"], [name], to=dtype))
            return
        for column in order:
            if column in codes:
                self.looked_up(f"{name}__{column}", column, codes[column], "float64", dtype)
            else:
                self.number(f"{name}__{column}", column, dtype)
        self._nodes.append(helper.make_node("Concat", [f"{name}__{column}" for column in order], [name], axis=1))

    def number(self, name: str, column: str, dtype: int) -> None:
        """A column of numbers as [rows, 1]."""
        from onnx import helper

        self._constants.append(constant(f"{name}__at", [self._numbers[column]], "int64"))
        self._nodes.append(helper.make_node("Gather", ["numbers", f"{name}__at"], [f"{name}__one"], axis=1))
        self._nodes.append(helper.make_node("Cast", [f"{name}__one"], [name], to=dtype))

    def known(self, name: str, column: str, values: Sequence[float], dtype: int) -> None:
        """A column of numbers as [rows, 1], with one whole number that is none of the values for all that are not."""
        from onnx import TensorProto, helper

        self.number(f"{name}__given", column, TensorProto.DOUBLE)
        self._constants.append(constant(f"{name}__values", [[*values]], "float64"))
        self._constants.append(constant(f"{name}__other", [[float(int(max(values)) + 1)]], "float64"))
        self._nodes += [
            helper.make_node("Equal", [f"{name}__given", f"{name}__values"], [f"{name}__equal"]),
            helper.make_node("Cast", [f"{name}__equal"], [f"{name}__count"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", [f"{name}__count"], [f"{name}__any"], axes=[1], keepdims=1),
            helper.make_node("Cast", [f"{name}__any"], [f"{name}__is"], to=TensorProto.BOOL),
            helper.make_node("Where", [f"{name}__is", f"{name}__given", f"{name}__other"], [f"{name}__kept"]),
            helper.make_node("Cast", [f"{name}__kept"], [name], to=dtype),
        ]

    def text(self, name: str, column: str, unseen: str) -> None:
        """A column of categories as texts, [rows, 1]. unseen: what stands for one that is missing or was never seen."""
        self.looked_up(name, column, [unseen, *self._columns[column].categories], "object", None)

    def looked_up(self, name: str, column: str, values: Sequence[Any], kind: str, dtype: int | None) -> None:
        """A column of categories as what the model has for each code, [rows, 1]."""
        from onnx import helper

        self._constants.append(constant(f"{name}__at", [self._categories[column]], "int64"))
        self._constants.append(constant(f"{name}__values", values, kind))
        self._nodes.append(helper.make_node("Gather", ["codes", f"{name}__at"], [f"{name}__code"], axis=1))
        found = f"{name}__found" if dtype else name
        self._nodes.append(helper.make_node("Gather", [f"{name}__values", f"{name}__code"], [found], axis=0))
        if dtype:
            self._nodes.append(helper.make_node("Cast", [found], [name], to=dtype))

    def into(self, model: Any) -> None:
        """Put it before the model, which then takes `numbers` and `codes`."""
        from onnx import TensorProto, helper

        rest = [*model.graph.node]
        del model.graph.node[:], model.graph.input[:]
        model.graph.node.extend([*self._nodes, *rest])
        model.graph.initializer.extend(self._constants)
        used = {name for node in self._nodes for name in node.input}
        for name, dtype, width in (
            ("numbers", TensorProto.DOUBLE, len(self._numbers)),
            ("codes", TensorProto.INT64, len(self._categories)),
        ):
            if name in used:
                model.graph.input.append(helper.make_tensor_value_info(name, dtype, ["rows", width]))
        _standard(model)
