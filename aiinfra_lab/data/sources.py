"""The schemes of `--from SCHEME:WORDS`, and what brings their data."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageProblem, did_you_mean
from ..providers import make, names
from .base import Source


def fetch(words: str, into: Path) -> str:
    """Write what `SCHEME:WORDS` names into an empty folder; return the source as it is best written."""
    scheme, colon, rest = words.partition(":")
    if not colon or scheme not in names("data.source"):
        raise UsageProblem(f"{words!r} is no source: there is no scheme {scheme!r}", _hint(scheme))
    source: Source = make("data.source", scheme)
    return f"{scheme}:{source.read(rest, into)}"


def _hint(scheme: str) -> str:
    hint = did_you_mean(scheme, names("data.source"))
    return f"{hint} e.g. --from example:nycflights13/2013-01..03; a path needs no --from"
