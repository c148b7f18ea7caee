"""What looks like a reference in a recipe's file and is none, or stands where none is filled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageProblem
from .lines import line_of, text_of
from .references import REFERENCE, RUN_WORDS, is_output

_FILLED = ("parameters", "in", "out", "matrix")
_WORD = r"(?:params|matrix)\.[A-Za-z_]\w*|run\.\w+|steps\.[\w-]+\.out\.[\w-]+"
_DOUBLE = re.compile(r"\$\{\{\s*([^{}]*?)\s*\}\}")
_BARE = re.compile(rf"(?<!\$)\$({_WORD})|(?<![\0$])\{{\{{?\s*({_WORD})\s*\}}\}}?")
_OPEN = re.compile(r"\$\{\s*([\w.-]*)")


def refuse_misspelt(path: Path, table: Mapping[str, Any]) -> None:
    """UsageProblem with all of them, each with its line."""
    if found := list(_misspelt(table)):
        text = text_of(path)
        what = "; ".join(f"{each} ({path.name} line {line_of(text, header, key)})" for header, key, each, _ in found)
        raise UsageProblem(what, "; ".join(dict.fromkeys(fix for *_, fix in found)))


def _misspelt(table: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """(the table, the key, what is wrong, the fix)"""
    params = [f"params.{name}" for name in _entries(table.get("parameters"))]
    for key, value in table.items():
        if key in ("parameters", "small"):
            yield from _in_values(key, value, RUN_WORDS)
        elif key == "steps":
            for name, step in _entries(value).items():
                known = [*params, *(f"matrix.{each}" for each in _entries(_entries(step).get("matrix")))]
                yield from _in_table(f"steps.{name}", step, _FILLED, known)
        elif key == "schedule":
            yield from _in_table(key, value, ("parameters",), RUN_WORDS)
        elif isinstance(value, Mapping):
            yield from _in_table(key, value, (), ())
        else:
            yield from _unfilled("", key, value)


def _in_table(
    header: str, table: Any, are_filled: Sequence[str], known: Sequence[str]
) -> Iterator[tuple[str, str, str, str]]:
    for key, value in _entries(table).items():
        yield from _in_values(header, value, known) if key in are_filled else _unfilled(header, key, value)


def _in_values(header: str, values: Any, known: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    for name, value in _entries(values).items():
        for text in _texts(value):
            if found := _found(text, known):
                spelt, fix = found
                yield header, name, f"[{header}] {name}: {spelt!r} is no reference", fix


def _found(text: str, known: Sequence[str]) -> tuple[str, str] | None:
    """What stands in a text, and what to write instead; the first."""
    rest = REFERENCE.sub("\0", text)
    if found := _DOUBLE.search(rest):
        return found[0], f"write ${{{found[1]}}}; or $${{{{ for the text ${{{{"
    if found := _OPEN.search(rest):
        return found[0], f"write ${{{found[1] or 'params.NAME'}}}, with its closing brace; or $${{ for the text ${{"
    for found in _BARE.finditer(rest):
        word = found[1] or found[2]
        if word in known or is_output(word):
            return found[0], f"write ${{{word}}}"
        if word in RUN_WORDS:
            return found[0], f'write day = "${{{word}}}" below [parameters], and ${{params.day}} here'
    return None


def _unfilled(header: str, key: str, value: Any) -> Iterator[tuple[str, str, str, str]]:
    if any(re.search(r"(?<!\$)\$\{", text) for text in _texts(value)):
        fix = f"write {key} without it: it is filled in `parameters`, `in`, `out` and `matrix` of a step alone"
        yield header, key, f"`{key}` takes no ${{…}}", fix


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from _texts(each)
        case Mapping():
            for each in value.values():
                yield from _texts(each)


def _entries(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
