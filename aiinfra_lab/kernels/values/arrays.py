"""Arrays of numpy and tensors of torch: their type, their shape, their memory and what they share of it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .form import Node
from .memory import MemorySpan, span_of

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
        if isinstance(value, np.ndarray):  # masked, or of records: by a pickle
            span = span_of(value, value.ctypes.data, value.shape, value.strides, value.itemsize, value.copy)
            writer.copies_of(value, span.low, span.high)
        return None
    array = np.asarray(value)
    if (description := _description(array.dtype)) is None or (is_scalar and type(array[()]) is not type(value)):
        return None
    writer.needs.form("numpy")
    if is_scalar:
        return ["numpy.generic", description, array.tobytes().hex()]
    span = span_of(
        array, array.ctypes.data, array.shape, array.strides, array.itemsize, lambda: np.ascontiguousarray(array)
    )
    return ["numpy", description, array.shape, writer.look(span), array.flags.writeable]


def _description(kind: Any) -> str | None:
    """A dtype as an .npy file has it; None for one that such a file holds only by pickle, or not exactly."""
    from numpy.lib import format as npy

    if kind.hasobject or kind.metadata or kind.isalignedstruct:
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


def to_numpy(reader: ValueReader, description: str, shape: list[int], look: int, is_writable: bool) -> Any:
    import numpy as np

    kind = _dtype(description)
    memory, offset, strides = reader.look(look)
    if memory.nbytes:
        # What holds on to the memory, so that nobody can resize it, is this flat array and not its view.
        made = np.ndarray(shape, kind, np.frombuffer(memory, np.uint8), offset, strides)
    else:
        made = np.ndarray(shape, kind)
    made.flags.writeable = is_writable
    return made


def to_numpy_scalar(_: ValueReader, description: str, content: str) -> Any:
    import numpy as np

    memory, kind = bytes.fromhex(content), _dtype(description)
    return np.frombuffer(memory, kind)[0] if memory else np.zeros((), kind)[()]


def of_torch(writer: ValueWriter, value: Any) -> Node | None:
    import torch

    is_parameter = type(value) is torch.nn.Parameter
    if not _is_dense(value):
        return None
    kind = str(value.dtype).removeprefix("torch.")
    if kind not in (*_TENSORS, *_RARE):
        raise TypeError(f"torch brings no tensor of {kind} back")
    writer.needs.form("torch") if kind in _TENSORS else writer.needs.same("torch")
    flat = value.detach().resolve_conj().resolve_neg()
    here = flat if flat.device.type == "cpu" else _in_memory(writer, flat)
    grad = value.grad if value.is_leaf else None
    if value._backward_hooks or getattr(value, "_post_accumulate_grad_hooks", None):
        writer.changes.add("its hooks are gone")
    if not value.is_leaf:
        writer.changes.add("its tensors have no history")
    if grad is not None and not (_is_dense(grad) and str(grad.dtype) == str(value.dtype)):
        writer.changes.add("its sparse gradient is gone")
        grad = None
    look = writer.look(_span_of(here, lambda: _compact(here)), _span_of(value, lambda: b""))
    gradient = None if grad is None else writer.node(grad)
    if device := _device(value):
        writer.devices.add(device)
    return ["torch", kind, list(value.shape), value.requires_grad, is_parameter, look, gradient, device]


def _device(tensor: Any) -> str:
    """The accelerator that it is on, as `cuda:0`; empty for the processor."""
    return "" if tensor.device.type == "cpu" else str(tensor.device)


def has_device(device: str) -> bool:
    """Whether this machine has that accelerator."""
    import torch

    where = torch.device(device)
    count = getattr(getattr(torch, where.type, None), "device_count", None)
    return count is not None and (where.index or 0) < count()


def _span_of(tensor: Any, compact: Callable[[], Any]) -> MemorySpan:
    strides = [each * tensor.itemsize for each in tensor.stride()]
    return span_of(tensor, tensor.data_ptr(), tensor.shape, strides, tensor.itemsize, compact)


def _is_dense(tensor: Any) -> bool:
    import torch

    is_plain = type(tensor) is torch.Tensor or type(tensor) is torch.nn.Parameter
    is_strided = is_plain and tensor.layout is torch.strided and tensor.device.type != "meta"
    return bool(is_strided and not (tensor.is_nested or tensor.is_quantized or getattr(tensor, "__dict__", None)))


def _in_memory(writer: ValueWriter, tensor: Any) -> Any:
    """A tensor of an accelerator; what shares its memory there shares it here."""
    import torch

    storage = tensor.untyped_storage()
    key = (str(tensor.device), storage.data_ptr())
    if key not in writer.copies:
        if storage.nbytes() > 2 * tensor.nbytes:  # too much for one that may be alone
            return tensor.cpu()
        writer.copies[key] = (storage.cpu(), storage)
    made = torch.empty(0, dtype=tensor.dtype)
    return made.set_(writer.copies[key][0], tensor.storage_offset(), tensor.shape, tensor.stride())


def _compact(tensor: Any) -> Any:
    import torch

    flat = tensor.contiguous().reshape(-1)
    # A single element may have any stride.
    return flat.as_strided(flat.shape, (1,)).view(torch.uint8).numpy()


def to_torch(
    reader: ValueReader,
    kind: str,
    shape: list[int],
    requires_grad: bool,
    is_parameter: bool,
    look: int,
    gradient: Node,
    device: str,
) -> Any:
    import torch

    if kind not in (*_TENSORS, *_RARE):
        raise ValueError(f"a tensor has no type {kind}")
    dtype = getattr(torch, kind)
    memory, offset, strides = reader.look(look)
    where = torch.device(device if device and reader.to_devices and has_device(device) else "cpu")
    if memory.nbytes:
        if strides is None:
            strides = [each * dtype.itemsize for each in torch.empty(shape, dtype=dtype, device="meta").stride()]
        steps = [each // dtype.itemsize for each in strides]
        flat = torch.frombuffer(memory, dtype=torch.uint8)
        storage = reader.once(look, lambda: flat.to(where).untyped_storage())
        tensor = torch.empty(0, dtype=dtype, device=where).set_(storage, offset // dtype.itemsize, shape, steps)
    else:
        tensor = torch.empty(shape, dtype=dtype, device=where)
    tensor = torch.nn.Parameter(tensor, requires_grad) if is_parameter else tensor.requires_grad_(requires_grad)
    if gradient is not None:
        tensor.grad = reader.value(gradient)
    return tensor
