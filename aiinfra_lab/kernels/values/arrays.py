"""Arrays of numpy and tensors of torch: their type, their shape and their memory."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Literal

from .form import Node

if TYPE_CHECKING:
    from .packing import ValueWriter
    from .unpacking import ValueReader

_TENSORS = (
    *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64", "complex128", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
)
# Those that not every torch has, and that its own pickle cannot bring back.
_RARE = ("complex32", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2")


def of_numpy(writer: ValueWriter, value: Any) -> Node | None:
    import numpy as np

    is_scalar = isinstance(value, np.generic)
    if not is_scalar and type(value) is not np.ndarray:
        return None
    array = np.asarray(value)
    if (description := _description(array.dtype)) is None or (is_scalar and type(array[()]) is not type(value)):
        return None
    writer.needs.form("numpy")
    if is_scalar:
        return ["numpy.generic", description, array.tobytes().hex()]
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    flat = (array.T if is_fortran else np.ascontiguousarray(array)).reshape(-1)
    part = writer.part(flat.view(np.uint8) if flat.nbytes else b"")
    return ["numpy", description, array.shape, "F" if is_fortran else "C", part]


def _description(kind: Any) -> str | None:
    """A dtype as an .npy file has it; None for one that such a file holds only by pickle, or not exactly."""
    from numpy.lib import format as npy

    if kind.hasobject or kind.metadata:
        return None
    try:
        description = npy.dtype_to_descr(kind)
        return repr(description) if npy.descr_to_dtype(description) == kind else None
    except (TypeError, ValueError):
        return None


def _dtype(description: str) -> Any:
    from numpy.lib import format as npy

    kind = npy.descr_to_dtype(ast.literal_eval(description))
    if kind.hasobject:
        raise ValueError("memory from another machine is taken for no object")
    return kind


def to_numpy(reader: ValueReader, description: str, shape: list[int], order: Literal["C", "F"], part: int) -> Any:
    import numpy as np

    memory, kind = reader.memory(part), _dtype(description)
    if not memory.nbytes:
        return np.ndarray(shape, kind, order=order)
    # It holds on to the memory, so that nobody can resize it, as `ndarray(buffer=…)` does not.
    return np.frombuffer(memory, kind).reshape(shape, order=order)


def to_numpy_scalar(_: ValueReader, description: str, content: str) -> Any:
    import numpy as np

    memory, kind = bytes.fromhex(content), _dtype(description)
    return np.frombuffer(memory, kind)[0] if memory else np.zeros((), kind)[()]


def of_torch(writer: ValueWriter, value: Any) -> Node | None:
    import torch

    is_parameter = type(value) is torch.nn.Parameter
    if not is_parameter and type(value) is not torch.Tensor:
        return None
    kind = str(value.dtype).removeprefix("torch.")
    is_dense = value.layout is torch.strided and value.device.type != "meta"
    if not is_dense or value.is_nested or value.is_quantized or getattr(value, "__dict__", None):
        return None
    if kind not in (*_TENSORS, *_RARE):
        raise TypeError(f"torch brings no tensor of {kind} back")
    writer.needs.form("torch") if kind in _TENSORS else writer.needs.same("torch")
    flat = value.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    flat = flat.as_strided(flat.shape, (1,))  # a single element may have any stride
    part = writer.part(flat.view(torch.uint8).numpy() if flat.numel() else b"")
    return ["torch", kind, list(value.shape), value.requires_grad, is_parameter, part]


def to_torch(
    reader: ValueReader, kind: str, shape: list[int], requires_grad: bool, is_parameter: bool, part: int
) -> Any:
    import torch

    if kind not in (*_TENSORS, *_RARE):
        raise ValueError(f"a tensor has no type {kind}")
    memory = reader.memory(part)
    flat = torch.frombuffer(memory, dtype=torch.uint8) if memory.nbytes else torch.empty(0, dtype=torch.uint8)
    tensor = flat.view(getattr(torch, kind)).reshape(shape)
    return torch.nn.Parameter(tensor, requires_grad) if is_parameter else tensor.requires_grad_(requires_grad)
