"""The schemes of `--from SCHEME:WORDS`, and what brings their data."""

from __future__ import annotations

import importlib
from pathlib import Path

from ..errors import UsageProblem, did_you_mean
from .base import Source

SOURCES = {"example": "aiinfra_lab.data.example:Example"}


def fetch(words: str, into: Path) -> str:
    """Write what `SCHEME:WORDS` names into an empty folder; return the source as it is best written."""
    scheme, colon, rest = words.partition(":")
    if not colon or scheme not in SOURCES:
        raise UsageProblem(f"{words!r} is no source: there is no scheme {scheme!r}", _hint(scheme))
    module, _, name = SOURCES[scheme].partition(":")
    source: Source = getattr(importlib.import_module(module), name)()
    return f"{scheme}:{source.read(rest, into)}"


def _hint(scheme: str) -> str:
    return f"{did_you_mean(scheme, SOURCES)} e.g. --from example:nycflights13/2013-01..03; a path needs no --from"
