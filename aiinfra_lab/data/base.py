"""What data promises of what keeps the content of versions, and of where data can be brought from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable


class VersionStore(Protocol):
    """Keeps the content of folders under a key that the content decides.

    Names, numbers and lineage are records and none of its business. The folders are on this machine; where the content
    is kept is for the store to decide. Every method raises Failed when the engine refuses, Unavailable when it cannot
    be reached or another process holds it, and may be called again after a crash at any point.
    """

    def ingest(self, folder: Path) -> str:
        """Take the files of a folder in and return their key, when they are stored for good.

        The files may become links to what is stored, so the caller must not write to them again; it may delete them.
        The same names and bytes give the same key, and taking them in twice costs nothing but the reading.
        """

    def checkout(self, key: str, into: Path) -> None:
        """Make the folder `into`, which must not exist, with that content. The caller must not write to its files.

        NotFound when the content is not stored, and then `into` does not exist afterwards either.
        """

    def forget(self, key: str, keep: Sequence[str]) -> None:
        """Delete that content, except what the contents of the keys in `keep` share with it.

        Returns silently when it is not stored (any more).
        """


@runtime_checkable
class Repairing(Protocol):
    """What a version store can do besides: put content in the place of what is damaged of the same."""

    def repair(self, folder: Path) -> str:
        """As `ingest`, and what is stored under these names' content with other bytes is replaced."""


@runtime_checkable
class WorkingCopies(Protocol):
    """What a version store can do besides: show the newest version of each name in the workspace, as `data/NAME`.

    For engines whose own tools work on such folders. A store that lacks these methods leaves `data/` alone.
    """

    def publish(self, name: str, key: str) -> None:
        """Make `data/NAME` that content, in files that may be written to; returns when it is done.

        What is there is overwritten: ask `is_modified` first. NotFound when the content is not stored.
        """

    def withdraw(self, name: str) -> None:
        """Take `data/NAME` away; returns silently when there is none."""

    def is_modified(self, name: str) -> bool:
        """Whether `data/NAME` holds what no stored content is equal to, so that overwriting it would lose it."""


class Source(Protocol):
    """Where data can be brought from: the part before the colon of `--from SCHEME:LOCATION`."""

    def read(self, location: str, into: Path) -> str:
        """Write the files of that location into the empty folder `into`; return the location as it is best written.

        UsageProblem when the location names nothing, Missing when something must be installed first; then `into` is
        still empty.
        """
