"""Packing: the variables of one Python as memory that can be sent."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from .arrays import of_numpy, of_torch
from .form import ALIGNED, MAGIC, Node, aligned, size_of
from .memory import MemorySpan, meet, places_of
from .needs import PackageNeeds, python_version
from .plain import INLINE, JSON_TYPES, SHARED, is_nested, to_json
from .problems import problem_of
from .tables import of_pandas, of_polars, of_pyarrow

_LONG = 4096  # letters that do not stand in the head
APART = "it shares no memory with its views"
_MOST = 2**53  # below it, JSON's whole numbers are those of any reader


class Packed:
    """Values on their way. `bytes()` of it is what is sent; iterated, it is the same in pieces, none of them copied.

    It shows the memory of the values, which must not change before it is sent. needs: see `requirements`. sizes: bytes
    by variable; what several share counts for the first. changes: what differs over there, in words.
    """

    def __init__(
        self,
        start: bytes,
        parts: list[list[memoryview]],
        needs: dict[str, str],
        sizes: dict[str, int],
        changes: list[str],
    ) -> None:
        self.start, self.parts, self.needs, self.sizes, self.changes = start, parts, needs, sizes, changes

    def __iter__(self) -> Iterator[bytes | memoryview]:
        yield self.start
        for part in self.parts:
            yield from part
            yield bytes(-size_of(part) % ALIGNED)

    def __bytes__(self) -> bytes:
        return b"".join(self)

    @property
    def size(self) -> int:
        """How many bytes are sent."""
        return len(self.start) + sum(aligned(size_of(part)) for part in self.parts)


def pack(values: Mapping[str, object], namespace: dict[str, Any] | None = None) -> Packed:
    """Make variables ready to be sent. One that cannot go is an error that names it, its type and what to do.

    namespace: where they are from when that goes along as a whole: its functions then use that of the other side, and
    bring none of what they use
    """
    writer = ValueWriter(namespace)
    nodes: dict[str, Node] = {}
    sizes: dict[str, int] = {}
    # What needs no pickle comes first: what a pickled value shares with it, it then refers to.
    for may_pickle in (False, True):
        for name in [name for name in values if name not in nodes]:
            before = writer.size
            with contextlib.suppress(_NeedsPickle):
                nodes[name] = writer.variable(name, values[name], may_pickle=may_pickle)
                sizes[name] = writer.size - before
    return writer.packed({name: nodes[name] for name in values}, {name: sizes[name] for name in values})


class ValueWriter:
    """What was met so far. objects: the nodes, as JSON, of all that has an identity; parts: the memory behind them."""

    def __init__(self, namespace: dict[str, Any] | None = None) -> None:
        self.namespace = namespace
        self.objects: list[str] = []
        self.parts: list[list[memoryview]] = []
        self.size = 0
        # The values themselves too: an id is given to another object once its own is gone.
        self.known: dict[int, tuple[int, object]] = {}
        self.pickled: dict[int, tuple[int, object]] = {}
        self.pickled_in: list[str] = []
        self.spans: list[MemorySpan] = []
        self.touched: list[tuple[int, int]] = []  # the memory of arrays, from which address to which
        self.copied: dict[int, tuple[int, int]] = {}  # of these, by id, it goes by itself
        self.copies: dict[Any, tuple[Any, Any]] = {}  # of accelerators' memory, with what was copied
        self.changes: set[str] = set()
        self.devices: set[str] = set()  # the accelerators on which tensors are
        self.inside: dict[int, object] = {}  # containers that the pickler has met
        self.may_pickle = True
        self.needs = PackageNeeds()
        self.stream = io.BytesIO()
        self.dumps = 0  # in it
        self.buffers: list[int] = []
        self._pickler: Any = None
        if namespace is not None:
            self.known[id(namespace)] = (0, namespace)
            self.objects.append('["namespace"]')

    def reached(self) -> dict[int, object]:
        """What it has met that others may share, by id."""
        met = {key: value for key, (_, value) in [*self.known.items(), *self.pickled.items()]}
        if self._pickler is not None:
            met.update((key, value) for key, (_, value) in self._pickler.memo.copy().items())
        return {key: value for key, value in met.items() if value is not self.namespace and _may_be_shared(value)}

    def packed(self, nodes: dict[str, Node], sizes: dict[str, int]) -> Packed:
        if self.pickled:
            self.needs.packages["python"] = python_version()
        needs = self.needs.all()
        stream = self.part(self.stream.getbuffer())
        looked = [(span.low, span.high) for span in self.spans]
        looks, apart = places_of(self.spans, self.part)
        if apart or meet(looked, self.copied.values()):
            self.changes.add(APART)
        head = {
            "needs": needs,
            "pickle": {"stream": stream, "buffers": self.buffers, "variables": self.pickled_in},
            "looks": looks,
            "parts": [size_of(part) for part in self.parts],
            "values": nodes,
        }
        text = f'{to_json(head)[:-1]},"objects":[{",".join(self.objects)}]}}'.encode("utf-8", "surrogatepass")
        start = MAGIC + struct.pack("<Q", len(text)) + text
        packed = Packed(start + bytes(-len(start) % ALIGNED), self.parts, needs, sizes, sorted(self.changes))
        # The pickler is in a cycle with this: the values would live until the next collection.
        vars(self).clear()
        return packed

    def variable(self, name: str, value: object, *, may_pickle: bool) -> Node:
        """Its node; _NeedsPickle, and nothing has changed, where it cannot be without a pickle that it may not be."""
        self.may_pickle = may_pickle
        before, *counts = (
            *(len(self.pickled), len(self.objects), len(self.parts), len(self.known)),
            *(self.size, len(self.spans)),
        )
        try:
            node = self.node(value)
        except _NeedsPickle:
            self._take_back(*counts)
            raise
        except RecursionError:
            reason = RecursionError("it is nested too deep, or holds itself inside a tuple")
            raise _cannot_go(name, value, value, reason) from None
        except _NotPickled as problem:
            raise _cannot_go(name, value, problem.value, problem.reason) from problem.reason
        if len(self.pickled) > before:
            self.pickled_in.append(name)
        self.size += len(to_json(node))
        return node

    def _take_back(self, objects: int, parts: int, known: int, size: int, spans: int) -> None:
        del self.objects[objects:], self.parts[parts:], self.spans[spans:]
        self.known, self.size = dict([*self.known.items()][:known]), size

    def part(self, *pieces: Any) -> int:
        """Send this memory in one; its number."""
        views = [memoryview(piece) for piece in pieces]
        views = [view.cast("B") for view in views if view.nbytes]
        self.parts.append(views)
        self.size += size_of(views)
        return len(self.parts) - 1

    def look(self, span: MemorySpan, source: MemorySpan | None = None) -> int:
        """Send what an array looks at, with what others look at of it; its number. source: where it was copied from"""
        self.touched.append(((source or span).low, (source or span).high))
        self.spans.append(span)
        self.size += span.size
        return len(self.spans) - 1

    def copies_of(self, value: object, low: int, high: int) -> None:
        """The memory of this goes by itself: whoever else looks at it has another one over there."""
        self.touched.append((low, high))
        self.copied[id(value)] = low, high

    def node(self, value: Any) -> Node:
        kind = type(value)
        if kind in JSON_TYPES and value == value and not (kind is str and len(value) > _LONG):  # noqa: PLR0124
            return value
        if kind is int and -_MOST < value < _MOST:
            return value
        if known := self.known.get(id(value)) or self.pickled.get(id(value)):
            return ["ref", known[0]]
        if kind in INLINE and (node := INLINE[kind](self, value)) is not None:
            return self.once(value, node) if is_nested(node) else node
        number = len(self.objects)
        self.objects.append("null")
        if id(value) in self.inside:
            self.add(number, self.by_pickle(value, number))  # which only names what it has pickled before
        elif kind in SHARED:
            self.known[id(value)] = (number, value)
            self.add(number, SHARED[kind](self, value))
        else:
            self.add(number, self.formed(value, number) or self.by_pickle(value, number))
        return ["ref", number]

    def once(self, value: Any, node: Node) -> Node:
        """Of what has no identity that matters, but may be in many places: each would double what holds it twice."""
        number = len(self.objects)
        self.objects.append("null")
        self.add(number, node)
        self.known[id(value)] = (number, value)  # only now: one that holds itself cannot be built
        return ["ref", number]

    def nodes(self, values: Collection[Any]) -> list[Node]:
        kinds = set(map(type, values))
        is_plain = kinds <= JSON_TYPES and (float not in kinds or all(value == value for value in values))  # noqa: PLR0124
        if is_plain or (kinds == {int} and min(values) > -_MOST and max(values) < _MOST):
            return list(values)
        return [self.node(value) for value in values]

    def add(self, number: int, node: Node) -> None:
        self.objects[number] = to_json(node)
        self.size += len(self.objects[number])

    def formed(self, value: Any, number: int) -> Node | None:
        """By the form of its library; None for what has none."""
        form = FORMS.get(_library(value))
        try:
            node = form(self, value) if form else None
        except Exception as problem:  # whatever a library's own code raises
            raise (
                problem if isinstance(problem, RecursionError | _NotPickled) else _NotPickled(value, problem)
            ) from problem
        if node is not None:
            self.known[id(value)] = (number, value)
        return node

    def by_pickle(self, value: object, number: int) -> Node:
        if not self.may_pickle:
            raise _NeedsPickle
        if isinstance(value, memoryview):  # which cloudpickle makes bytes of
            raise _NotPickled(value, TypeError("it is a view of the memory of another value"))
        self.pickled[id(value)] = (number, value)
        before, dump = self.stream.tell(), self.dumps
        self.dumps += 1
        try:
            self._pickler = self._pickler or self._make_pickler()
            self._pickler.dump(value)
        except (RecursionError, _NotPickled):
            raise
        except Exception as problem:  # whatever an object's own code raises
            raise _NotPickled(value, problem) from problem
        self.size += self.stream.tell() - before
        return ["pickled", dump]

    def _make_pickler(self) -> Any:
        """One for all of them: what pickled values share they share afterwards."""
        import cloudpickle

        writer = self

        class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
            def persistent_id(self, value: Any) -> int | None:
                if known := writer.known.get(id(value)):
                    return known[0]
                if type(value) in SHARED:
                    writer.inside[id(value)] = value
                if _library(value) not in FORMS or id(value) in writer.pickled:
                    return None
                number = len(writer.objects)
                writer.objects.append("null")
                if (node := writer.formed(value, number)) is None:
                    writer.objects.pop()
                    return None
                writer.add(number, node)
                return number

            def reducer_override(self, value: Any) -> Any:
                writer.needs.pickled(value)
                return writer.in_namespace(value, super().reducer_override(value))

        return Pickler(self.stream, protocol=5, buffer_callback=self._take_buffer)

    def in_namespace(self, value: Any, reduced: Any) -> Any:
        """What cloudpickle makes of a function, with the namespace itself for the part of it that it uses."""
        is_ours = self.namespace is not None and getattr(value, "__globals__", None) is self.namespace
        if not is_ours or not isinstance(reduced, tuple):
            return reduced
        make, (code, _, *arguments), (attributes, slots), *rest = reduced
        return make, (code, self.namespace, *arguments), (attributes, {**slots, "__globals__": {}}), *rest

    def _take_buffer(self, buffer: pickle.PickleBuffer) -> None:
        self.buffers.append(self.part(buffer.raw()))


class _NeedsPickle(Exception):
    """It has no form without one."""


class _NotPickled(Exception):
    """Which value could not be, and why."""

    def __init__(self, value: object, reason: Exception) -> None:
        super().__init__(str(reason))
        self.value, self.reason = value, reason


def _cannot_go(name: str, value: object, culprit: object, reason: Exception) -> Exception:
    why = str(reason).partition("\n")[0] or type(reason).__name__
    holds = "" if culprit is value else f", which holds a {kind_of(culprit)},"
    fix = "make it in the cell that needs it, or take along what it is made from"
    if isinstance(culprit, io.IOBase):
        fix = "take along its path or what is read from it, and open it in the cell that needs it"
    elif isinstance(culprit, Iterator):
        fix = f"take along what it gives, as in `{name} = list({name})`"
    elif isinstance(culprit, memoryview):
        fix = f"take along its content, as in `{name} = bytes({name})`"
    elif isinstance(reason, ModuleNotFoundError) and reason.name == "cloudpickle":
        fix = "install cloudpickle where it is, as in `pip install cloudpickle`, or take along what it is made from"
    return problem_of("UsageProblem", f"`{name}` ({kind_of(value)}){holds} cannot go to another machine: {why}", fix)


def kind_of(value: object) -> str:
    """A value's type, in words for people."""
    kind = type(value)
    module = getattr(kind, "__module__", "__main__")
    return kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"


_ALIKE = (str, bytes, int, float, complex, tuple, frozenset, type(None), types.ModuleType)


def _may_be_shared(value: object) -> bool:
    """Whether it makes a difference that two have the same one, and not one that is alike."""
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return value.__module__ == "__main__"  # else it is imported
    return not isinstance(value, _ALIKE)


def _library(value: object) -> str:
    name = getattr(type(value), "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""


FORMS: dict[str, Callable[[ValueWriter, Any], Node | None]] = {
    "numpy": of_numpy,
    "pandas": of_pandas,
    "polars": of_polars,
    "pyarrow": of_pyarrow,
    "torch": of_torch,
}
"""By the library that a value's class is of; None for a value that has no form of its own."""
