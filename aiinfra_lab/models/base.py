"""What another registry does for our versions. Our own records are complete without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """A version as another registry is to know it.

    uri: the version. folder: its files. tracked_as: the tracking server's id of its run. note: what it is meant for.
    """

    uri: str
    folder: Path
    tracked_as: str
    note: str
    tags: Mapping[str, str]


class ModelRegistry(Protocol):
    """A registry that is kept in line with ours.

    A method returns when it is done for good there, and raises Unavailable when it cannot be.
    """

    def register(self, entry: Entry) -> str:
        """The registry's own name of the version, made when it has none of that URI; so it may be called twice.

        NotFound when it keeps a version with its run, and does not know that.
        """

    def alias(self, name: str, alias: str, uri: str | None) -> None:
        """Point an alias of the model at a version, or at nothing; may be repeated. NotFound for an unknown version."""

    def aliases(self, name: str) -> Mapping[str, str]:
        """Every alias of the model with the URI it points at; empty for an unknown model."""

    def versions(self, name: str) -> set[str]:
        """The URIs of the model's versions; empty for an unknown model."""

    def remove(self, uri: str) -> None:
        """Remove a version; silent when there is none."""
