"""Looking at text tables line by line before they are read, since a reader fills in what a broken line lacks."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ..errors import Failed

_SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Shape:
    """How a CSV file is written."""

    separator: str
    header: tuple[str, ...]
    rows: int


def check_csv(path: Path) -> Shape:
    """Its separator and header, when every line has as many fields; Failed names the first that has not."""
    # Spreadsheets begin a file with a byte order mark, which would become part of the first column's name.
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            first = next(stream, "")
            # Such a file would be one single line, and a table without rows.
            if first.endswith("\r") and first.count('"') % 2 == 0:
                raise Failed(f"the lines of {path.name} end in a carriage return alone", "save it with other line ends")
            # The header decides: it is the one line in which values cannot contain a separator by chance.
            separator = max(_SEPARATORS, key=first.count)
            header = _header(path, first, stream, separator)
            rows = 0
            for number, fields in _counted(stream, separator):
                rows += 1
                if fields != len(header):
                    raise _broken(path, number, f"has {fields} fields where the header has {len(header)}")
        except UnicodeDecodeError as problem:
            raise Failed(f"{path.name} is not text in UTF-8: {problem.reason}", "save it as UTF-8") from None
        except csv.Error as problem:
            raise Failed(f"{path.name} ends inside a quoted field, or has one too long: {problem}", _FIX) from None
    return Shape(separator, header, rows)


def line_of(path: Path, row: int, separator: str) -> int:
    """The line number, from 1, at which the data row with that number, from 0, ends."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=separator)
        for _ in range(row + 2):
            next(reader)
        return reader.line_num


def check_json_lines(path: Path) -> None:
    """Failed unless every line is an object, and a key holds one kind of value throughout; names the line."""
    kinds: dict[str, str] = {}
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                row = json.loads(line, parse_constant=_no_number)
            except ValueError as problem:
                raise _broken(path, number, f"is no JSON: {problem}") from None
            if not isinstance(row, dict):
                raise _broken(path, number, "is no JSON object")
            for key, value in row.items():
                # What a reader makes of mixed values depends on its version; a line's number helps in any case.
                kind = _kind(value)
                if kind and kinds.setdefault(key, kind) != kind:
                    raise _broken(path, number, f"has {kind} in {key!r}, which held {kinds[key]} before")


_FIX = "correct that line, or write the table anew"


def _broken(path: Path, number: int, what: str) -> Failed:
    return Failed(f"line {number} of {path.name} {what}", _FIX)


def _header(path: Path, first: str, rest: Iterator[str], separator: str) -> tuple[str, ...]:
    if not first.strip():
        raise Failed(
            f"{path.name} is empty" if not first else f"line 1 of {path.name} is empty", "give it a header line"
        )
    names = next(csv.reader(chain([first], rest), delimiter=separator, strict=True))
    for name in names:
        if not name.strip() or names.count(name) > 1:
            what = f"column {name!r} twice" if name.strip() else "a column without a name"
            raise Failed(f"the header of {path.name} has {what}", "give every column a name of its own")
    return tuple(names)


def _counted(stream: Iterator[str], separator: str) -> Iterator[tuple[int, int]]:
    """(line number, number of fields) of each row; counting separators is enough until a quote appears."""
    number = 1
    for line in stream:
        number += 1
        # From here on a line break may stand inside a field, which only the slower csv module knows about.
        if '"' in line:
            yield from _parsed(chain([line], stream), separator, number - 1)
            return
        if line.strip("\r\n"):
            yield number, line.count(separator) + 1
        # Empty lines at the end are how editors leave files; in between, a reader would skip them silently.
        elif any(rest.strip() for rest in stream):
            yield number, 0


def _parsed(lines: Iterator[str], separator: str, before: int) -> Iterator[tuple[int, int]]:
    # Only when strict does csv raise for a quoted field that never ends; else the rest of the file is one field.
    reader = csv.reader(lines, delimiter=separator, strict=True)
    blank = 0
    for row in reader:
        if blank and row:
            yield blank, 0
        blank = blank or (0 if row else before + reader.line_num)
        if row:
            yield before + reader.line_num, len(row)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is none of its numbers; a missing one is null")


def _kind(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"
