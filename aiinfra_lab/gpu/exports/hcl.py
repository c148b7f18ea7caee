"""Terraform's language, as far as an export writes it, formatted as `terraform fmt` does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Expression:
    """A reference or a call, written as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """A map with a line for each of its pairs."""

    of: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Block:
    """`head { … }`: its attributes, below each other, then its blocks."""

    head: str
    attributes: Mapping[str, Any]
    blocks: Sequence[Block] = ()


def written(*blocks: Block) -> str:
    """The text of a file."""
    return "\n".join("\n".join(_lines(block)) + "\n" for block in blocks)


def value(given: Any) -> str:
    """A value on one line."""
    if isinstance(given, Expression):
        return given.text
    if isinstance(given, str):
        return json.dumps(given, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")
    if isinstance(given, Mapping):
        pairs = ", ".join(f"{_key(name)} = {value(each)}" for name, each in given.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(given, list | tuple):
        return f"[{', '.join(map(value, given))}]"
    return json.dumps(given)


def _lines(block: Block) -> list[str]:
    body = _attributes(block.attributes)
    for each in block.blocks:
        body += [*([""] if body else []), *_lines(each)]
    return _within(f"{block.head} {{", body)


def _attributes(given: Mapping[str, Any]) -> list[str]:
    """Those of one line below each other, texts of several, maps: the formatter aligns the first two."""
    maps = {name: each.of for name, each in given.items() if isinstance(each, Pairs)}
    others = {_key(name): each for name, each in given.items() if name not in maps}
    width = max(map(len, others), default=0)
    lines = [f"{name:{width}} = {value(each)}" for name, each in others.items() if not _has_lines(each)]
    for name, text in ((name, each) for name, each in others.items() if _has_lines(each)):
        lines += [f"{name:{width}} = <<-EOT", *(f"  {line}".rstrip() for line in _escaped(text).splitlines()), "EOT"]
    for name, pairs in maps.items():
        lines += _within(f"{_key(name)} = {{", _attributes(pairs))
    return lines


def _within(head: str, body: Sequence[str]) -> list[str]:
    return [head, *(f"  {line}" if line else "" for line in body), "}"] if body else [f"{head}}}"]


def _has_lines(given: Any) -> bool:
    return isinstance(given, str) and "\n" in given


def _escaped(text: str) -> str:
    return text.replace("${", "$${").replace("%{", "%%{")


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) else value(name)
