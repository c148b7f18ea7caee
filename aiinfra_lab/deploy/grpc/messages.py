"""The protocol's messages as classes, made of `inference.proto` at run time: no generated code, and no compiler."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

PROTO = Path(__file__).with_name("inference.proto")

_COMMENT = re.compile(r"//.*")
_TOKEN = re.compile(r'"[^"]*"|[\w.]+|[{}()<>=;,]')
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL, "bytes": _Field.TYPE_BYTES, "double": _Field.TYPE_DOUBLE, "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32, "int64": _Field.TYPE_INT64, "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32, "uint64": _Field.TYPE_UINT64,
}  # fmt: skip


@dataclass(frozen=True)
class Method:
    """One call of the service. is_stream: requests and answers go on as long as the client wishes."""

    name: str
    request: Any
    response: Any
    is_stream: bool


def load(path: Path = PROTO) -> tuple[str, Mapping[str, Method]]:
    """The full name of the service, and its methods with the classes of their messages."""
    file = _file(path)
    # A pool of its own: a client in this process may have brought the same names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    [service] = file.service
    methods = {
        item.name: Method(
            item.name,
            found[f"{file.package}.{item.input_type}"],
            found[f"{file.package}.{item.output_type}"],
            item.server_streaming,
        )
        for item in service.method
    }
    return f"{file.package}.{service.name}", methods


def _file(path: Path) -> Any:
    """What the file says. It reads what that file has of the language, and no more."""
    file = descriptor_pb2.FileDescriptorProto(name=path.name)
    tokens = iter(_TOKEN.findall(_COMMENT.sub("", path.read_text("utf-8"))))
    for token in tokens:
        match token:
            case "syntax":
                _, file.syntax, _ = next(tokens), next(tokens).strip('"'), next(tokens)
            case "package":
                file.package, _ = next(tokens), next(tokens)
            case "message":
                _message(tokens, file.message_type.add())
            case "service":
                _service(tokens, file.service.add())
            case _:
                raise ValueError(f"{path.name}: {token!r} is not understood here")
    return file


def _message(tokens: Iterator[str], made: Any) -> None:
    made.name, _ = next(tokens), next(tokens)
    for word in iter(lambda: next(tokens), "}"):
        if word == "message":
            _message(tokens, made.nested_type.add())
        elif word == "oneof":
            made.oneof_decl.add().name, _ = next(tokens), next(tokens)
            for kind in iter(lambda: next(tokens), "}"):
                _field(tokens, made, kind).oneof_index = len(made.oneof_decl) - 1
        elif word == "map":
            _, key, _, value, _ = (next(tokens) for _ in range(5))
            _map(tokens, made, key, value)
        elif word == "repeated":
            _field(tokens, made, next(tokens)).label = _Field.LABEL_REPEATED
        else:
            _field(tokens, made, word)


def _field(tokens: Iterator[str], made: Any, kind: str) -> Any:
    name, _, number, _ = (next(tokens) for _ in range(4))
    return _add(made, name, int(number), kind)


def _add(made: Any, name: str, number: int, kind: str) -> Any:
    field = made.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    field.type = _SCALARS.get(kind, _Field.TYPE_MESSAGE)
    if kind not in _SCALARS:
        field.type_name = kind
    return field


def _map(tokens: Iterator[str], made: Any, key: str, value: str) -> None:
    """A map is a repeated message of keys and values, by a name that the language fixes."""
    name = next(tokens)
    entry = made.nested_type.add(name=f"{name.title()}Entry")
    entry.options.map_entry = True
    _add(entry, "key", 1, key)
    _add(entry, "value", 2, value)
    _, number, _ = (next(tokens) for _ in range(3))
    _add(made, name, int(number), entry.name).label = _Field.LABEL_REPEATED


def _service(tokens: Iterator[str], made: Any) -> None:
    made.name, _ = next(tokens), next(tokens)
    for _ in iter(lambda: next(tokens), "}"):
        method = made.method.add(name=next(tokens))
        method.input_type, method.client_streaming = _argument(tokens)
        next(tokens)  # returns
        method.output_type, method.server_streaming = _argument(tokens)
        _, _ = next(tokens), next(tokens)


def _argument(tokens: Iterator[str]) -> tuple[str, bool]:
    _, *words = iter(lambda: next(tokens), ")")
    return words[-1], words[0] == "stream"
