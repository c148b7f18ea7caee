"""Unpacking: the variables again, in another Python."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any

from . import plain
from .arrays import to_numpy, to_numpy_scalar, to_torch
from .form import MAGIC, Node, aligned
from .needs import installed, mismatches
from .packing import Packed
from .plain import FILLED
from .problems import problem_of
from .tables import to_pandas, to_polars, to_pyarrow


def requirements(packed: Packed | bytes | bytearray | memoryview) -> dict[str, str]:
    """What must be installed where it is unpacked: package -> version, or "" where any version will do.

    A form of its own needs its library only. What is pickled needs the packages of its classes and functions, and
    the Python, as they are here; a module that belongs to no package is one of the user's, and stands for itself.
    """
    return dict(packed.needs if isinstance(packed, Packed) else _head(memoryview(packed))[0]["needs"])


def unpack(data: bytes | bytearray | memoryview, *, pickles: bool = False, to_devices: bool = False) -> dict[str, Any]:
    """The variables, in their order. An error where something that they need is not installed here.

    data: memory that can be written to, as a bytearray, becomes the memory of the arrays, and whoever hands it over
    lets go of it; out of bytes they are copied. pickles: whether to load what was pickled, which runs code of the
    machine that it comes from. to_devices: whether tensors of an accelerator go to the same one here, where there is
    such; else they are in the processor's memory.
    """
    head, start = _head(memoryview(data))
    if head["pickle"]["variables"] and not pickles:
        raise _denied(", ".join(head["pickle"]["variables"]))
    if lacking := mismatches(installed(head["needs"]), head["needs"]):
        raise problem_of(
            "Missing",
            f"this Python cannot unpack {', '.join(head['values'])}: {'; '.join(lacking)}",
            "install the same versions on both sides, or take along arrays, tables and plain values",
        )
    reader = ValueReader(head, memoryview(data), start, pickles=pickles, to_devices=to_devices)
    try:
        return {name: _unpacked(reader, name, node) for name, node in head["values"].items()}
    finally:
        # It is in a cycle with its unpickler: the data would live until the next collection.
        vars(reader).clear()


def _unpacked(reader: ValueReader, name: str, node: Node) -> Any:
    reason: Exception
    try:
        return reader.value(node)
    except zoneinfo.ZoneInfoNotFoundError as problem:
        reason, fix = problem, "install the time zones on this machine, as in `pip install tzdata`"
    except RecursionError as problem:
        reason, fix = problem, "take it along in parts that are nested less deep"
    except (AttributeError, ImportError) as problem:
        reason, fix = problem, "bring the same code of yours to both sides, or define it in the notebook"
    raise problem_of("Failed", f"`{name}` cannot be unpacked here: {reason}", fix) from reason


def _denied(names: str) -> Exception:
    return problem_of(
        "Denied",
        f"{names} came as a pickle, which runs code of the machine it comes from",
        "bring back arrays, tensors, tables or plain values, as a network's `state_dict()`; or allow pickles of a "
        "machine that is yours",
    )


def _head(data: memoryview) -> tuple[dict[str, Any], int]:
    """What stands before the parts, and where they begin."""
    length = struct.unpack_from("<Q", data, 8)[0] if data.nbytes >= 16 else 0
    if data[:8] != MAGIC and data[:7] == MAGIC[:7]:
        what = "these values were packed by another version of aiinfra-lab"
        raise problem_of("Damaged", what, "pack them again, with the version that is here")
    if data[:8] != MAGIC or length > data.nbytes - 16:
        raise problem_of("Damaged", "these bytes are no packed values", "hand over all of what `pack` gave")
    head: dict[str, Any] = json.loads(str(data[16 : 16 + length], "utf-8", "surrogatepass"))
    start = aligned(16 + length)
    if data.nbytes < start + sum(map(aligned, head["parts"])):
        raise problem_of("Damaged", "the end of these packed values is missing", "send them again")
    return head, start


class ValueReader:
    """Builds each object when it is first met, which is the order in which they were packed."""

    def __init__(self, head: dict[str, Any], data: memoryview, start: int, *, pickles: bool, to_devices: bool) -> None:
        self.pickles, self.to_devices = pickles, to_devices
        self.nodes, self.built = head["objects"], [_NOT_YET] * len(head["objects"])
        self.parts, self.looks = [], head["looks"]
        self._shared: dict[int, memoryview] = {}
        self._made: dict[int, Any] = {}
        self._loaded = 0
        for size in head["parts"]:
            self.parts.append(data[start : start + size])
            start += aligned(size)
        pickled = head["pickle"]
        self.unpickler = _Unpickler(
            io.BytesIO(self.parts[pickled["stream"]]), buffers=map(self.memory, pickled["buffers"])
        )
        self.unpickler.reader = self

    def memory(self, part: int) -> memoryview:
        """A part that can be written to, and that nobody else has."""
        view = self.parts[part]
        return memoryview(bytearray(view)) if view.readonly else view

    def look(self, number: int) -> tuple[memoryview, int, list[int] | None]:
        """Memory that others may look at too, where it begins there and by which strides it goes on."""
        part, offset, strides = self.looks[number]
        if part not in self._shared:
            self._shared[part] = self.memory(part)
        return self._shared[part], offset, strides

    def once(self, look: int, make: Callable[[], Any]) -> Any:
        """What is made of its memory for all that look at it."""
        part = self.looks[look][0]
        if part not in self._made:
            self._made[part] = make()
        return self._made[part]

    def value(self, node: Node) -> Any:
        if not isinstance(node, list):
            return node
        if node[0] != "ref":
            return READ[node[0]](self, *node[1:])
        number = node[1]
        if self.built[number] is _NOT_YET:
            tag, *rest = self.nodes[number]
            if tag in FILLED:  # there before what it holds, which may be itself
                make, fill = FILLED[tag]
                self.built[number] = make()
                fill(self, self.built[number], *rest)
            else:
                self.built[number] = READ[tag](self, *rest)
        return self.built[number]

    def load(self, dump: int) -> Any:
        """The next of the pickled values, which this must be; whoever made the data may not have declared them."""
        if not self.pickles:
            raise _denied("a value")
        if dump != self._loaded:
            raise problem_of("Damaged", "its pickles are not in their order", "pack it again")
        self._loaded += 1
        return self.unpickler.load()

    def values(self, nodes: list[Node]) -> Iterator[Any]:
        return map(self.value, nodes)


class _Unpickler(pickle.Unpickler):
    """Gets arrays, tensors and tables, and what it shares with plain values, from the reader."""

    reader: ValueReader

    def persistent_load(self, number: int) -> Any:
        return self.reader.value(["ref", number])


_NOT_YET = object()


READ: dict[str, Callable[..., Any]] = {
    **plain.READ,
    "namespace": lambda _: vars(sys.modules["__main__"]),
    "numpy": to_numpy,
    "numpy.generic": to_numpy_scalar,
    "pandas": to_pandas,
    "pickled": ValueReader.load,
    "polars": to_polars,
    "pyarrow": to_pyarrow,
    "torch": to_torch,
}
