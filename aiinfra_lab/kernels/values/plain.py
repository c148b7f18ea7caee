"""Plain values of Python, exactly, as nodes of the head: no pickle, and any Python reads them."""

from __future__ import annotations

import collections
import ctypes
import datetime as dt
import decimal
import fractions
import json
import pathlib
import struct
import uuid
import zoneinfo
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .form import Node

if TYPE_CHECKING:
    from .packing import ValueWriter
    from .unpacking import ValueReader

_SHORT = 64  # bytes that stand in the head

JSON_TYPES = {type(None), bool, str, float}
# As they are: written by number, two surrogates that stand alone side by side would be read as one letter.
to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


_HOLDING = ("tuple", "frozenset", "slice")
_FEW = 8


def is_nested(node: Node) -> bool:
    """Whether a value that cannot change holds another such one, or much: it is then sent once, wherever it is."""
    if node[0] not in _HOLDING:
        return False
    items = node[1:] if node[0] == "slice" else node[1]
    return len(items) > _FEW or any(isinstance(item, list) and item[0] in _HOLDING for item in items)


def _of_bytes(writer: ValueWriter, value: bytes | bytearray) -> Node:
    return [type(value).__name__, value.hex() if len(value) <= _SHORT else writer.part(value)]


def _of_bytearray(writer: ValueWriter, value: bytearray) -> Node:
    if value:
        low = ctypes.addressof(ctypes.c_char.from_buffer(value))
        writer.copies_of(value, low, low + len(value))
    return _of_bytes(writer, value)


def _to_bytes(reader: ValueReader, content: str | int) -> bytes | memoryview:
    return bytes.fromhex(content) if isinstance(content, str) else reader.parts[content]


def of_zone(zone: dt.tzinfo | None) -> Node:
    """The node of a time zone; `False` for one that has none."""
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return [[offset.days, offset.seconds, offset.microseconds], *name]
    return zone.key or False if type(zone) is zoneinfo.ZoneInfo else False


def to_zone(node: Node) -> dt.tzinfo | None:
    if isinstance(node, list):
        return dt.timezone(dt.timedelta(*node[0]), *node[1:])
    return zoneinfo.ZoneInfo(node) if node else None


def _of_time(_: ValueWriter, value: dt.datetime | dt.time) -> Node | None:
    names = ("year", "month", "day") if isinstance(value, dt.datetime) else ()
    fields = [getattr(value, name) for name in (*names, "hour", "minute", "second", "microsecond")]
    zone = of_zone(value.tzinfo)
    return None if zone is False else [type(value).__name__, fields, zone, value.fold]


def _to_time(kind: Any, fields: list[int], zone: Node, fold: int) -> Any:
    return kind(*fields, tzinfo=to_zone(zone), fold=fold)


def _of_ordered(writer: ValueWriter, value: collections.OrderedDict[Any, Any]) -> Node:
    return ["OrderedDict", writer.nodes([*value]), writer.nodes([*value.values()]), writer.node(vars(value) or None)]


def _fill_dict(
    reader: ValueReader, made: dict[Any, Any], keys: list[Node], values: list[Node], more: Node = None
) -> None:
    found = [*reader.values(keys)]  # before the values, as they were written: pickles are read in their order
    made.update(zip(found, reader.values(values), strict=True))
    if more:  # a state dict's `_metadata`
        vars(made).update(reader.value(more))


INLINE: dict[type, Callable[[ValueWriter, Any], Node | None]] = {
    int: lambda _, value: ["int", hex(value)],
    float: lambda _, value: ["nan", struct.pack(">d", value).hex()],  # with its sign and its payload
    str: lambda writer, value: ["str", writer.part(value.encode("utf-8", "surrogatepass"))],
    bytes: _of_bytes,
    complex: lambda writer, value: ["complex", *writer.nodes([value.real, value.imag])],
    tuple: lambda writer, value: ["tuple", writer.nodes(value)],
    frozenset: lambda writer, value: ["frozenset", writer.nodes(value)],
    range: lambda writer, value: ["range", *writer.nodes([value.start, value.stop, value.step])],
    slice: lambda writer, value: ["slice", *writer.nodes([value.start, value.stop, value.step])],
    type(...): lambda *_: ["ellipsis"],
    dt.datetime: _of_time,
    dt.time: _of_time,
    dt.date: lambda _, value: ["date", value.toordinal()],
    dt.timedelta: lambda _, value: ["timedelta", value.days, value.seconds, value.microseconds],
    dt.timezone: lambda _, value: ["zone", of_zone(value)],
    zoneinfo.ZoneInfo: lambda _, value: ["zone", of_zone(value)] if value.key else None,
    decimal.Decimal: lambda _, value: ["Decimal", str(value)],
    fractions.Fraction: lambda writer, value: ["Fraction", *writer.nodes([value.numerator, value.denominator])],
    uuid.UUID: lambda _, value: ["UUID", value.hex],
    type(pathlib.Path()): lambda _, value: ["Path", str(value)],
    pathlib.PurePosixPath: lambda _, value: ["PurePosixPath", str(value)],
    pathlib.PureWindowsPath: lambda _, value: ["PureWindowsPath", str(value)],
}
"""Values that cannot change, and so have no identity that matters."""

SHARED: dict[type, Callable[[ValueWriter, Any], Node]] = {
    list: lambda writer, value: ["list", writer.nodes(value)],
    set: lambda writer, value: ["set", writer.nodes(value)],
    dict: lambda writer, value: ["dict", writer.nodes([*value]), writer.nodes([*value.values()])],
    bytearray: _of_bytearray,
    collections.OrderedDict: _of_ordered,
}

FILLED: dict[str, tuple[Callable[[], Any], Callable[..., None]]] = {
    "list": (list, lambda reader, made, nodes: made.extend(reader.values(nodes))),
    "set": (set, lambda reader, made, nodes: made.update(reader.values(nodes))),
    "dict": (dict, _fill_dict),
    "OrderedDict": (collections.OrderedDict, _fill_dict),
}

READ: dict[str, Callable[..., Any]] = {
    "int": lambda _, text: int(text, 16),
    "nan": lambda _, content: struct.unpack(">d", bytes.fromhex(content))[0],
    "str": lambda reader, part: str(reader.parts[part], "utf-8", "surrogatepass"),
    "bytes": lambda reader, content: bytes(_to_bytes(reader, content)),
    "bytearray": lambda reader, content: bytearray(_to_bytes(reader, content)),
    "complex": lambda reader, *nodes: complex(*reader.values([*nodes])),
    "tuple": lambda reader, nodes: tuple(reader.values(nodes)),
    "frozenset": lambda reader, nodes: frozenset(reader.values(nodes)),
    "range": lambda reader, *nodes: range(*reader.values([*nodes])),
    "slice": lambda reader, *nodes: slice(*reader.values([*nodes])),
    "ellipsis": lambda _: ...,
    "datetime": lambda _, *fields: _to_time(dt.datetime, *fields),
    "time": lambda _, *fields: _to_time(dt.time, *fields),
    "date": lambda _, days: dt.date.fromordinal(days),
    "timedelta": lambda _, *fields: dt.timedelta(*fields),
    "zone": lambda _, zone: to_zone(zone),
    "Decimal": lambda _, text: decimal.Decimal(text),
    "Fraction": lambda reader, *nodes: fractions.Fraction(*reader.values([*nodes])),
    "UUID": lambda _, text: uuid.UUID(text),
    "Path": lambda _, text: pathlib.Path(text),
    "PurePosixPath": lambda _, text: pathlib.PurePosixPath(text),
    "PureWindowsPath": lambda _, text: pathlib.PureWindowsPath(text),
}
