"""Where something stands in a recipe's file, which a parsed table no longer knows."""

from __future__ import annotations

import re
from pathlib import Path


def text_of(path: Path) -> str:
    """What stands in a recipe's file; some editors of Windows put a byte order mark first, which TOML does not know."""
    return path.read_text("utf-8-sig")


def line_of(text: str, header: str, key: str) -> int:
    """Where a key of a table stands in the recipe's file, or else the table's head."""
    at, is_inside = 1, False
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[([^\]]+)\]", line):
            inner = found[1].replace('"', "").replace(" ", "")
            is_inside = inner in (header, f"{header}.parameters")
            at = number if is_inside else at
        elif is_inside and re.search(rf"(?:^|[\s{{,])\"?{re.escape(key)}\"?\s*=", line):
            return number
    return at
