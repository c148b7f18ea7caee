"""What data promises of what keeps the content of versions, and of where data can be brought from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class VersionStore(Protocol):
    """Keeps the content of folders under a key that the content decides.

    Names, numbers and lineage are not its matter: they are records. Every method raises Failed when the engine says
    no, Unavailable when another process holds it, and may be called again after a crash at any point.
    """

    def ingest(self, folder: Path) -> str:
        """Take the files of a folder in and return their key, when they are stored.

        The files may become links to what is stored, so the caller must not write to them again. The same content
        gives the same key, and taking it in twice costs nothing but the reading.
        """

    def place(self, key: str, into: Path) -> None:
        """Make the folder `into`, which must not exist, with that content, read-only.

        NotFound when the content is not here.
        """

    def publish(self, name: str, key: str) -> None:
        """Make `data/NAME` of the workspace that content, so that the engine's own tools see it as theirs.

        What stands there is overwritten: ask `unsaved` first. Returns when it is done; calling it twice is harmless.
        """

    def withdraw(self, name: str) -> None:
        """Take `data/NAME` away; returns silently when there is none."""

    def unsaved(self, name: str) -> bool:
        """Whether `data/NAME` holds something that no version holds, so that overwriting it would lose it."""

    def forget(self, key: str, keep: Sequence[str]) -> None:
        """Delete that content, except what the other keys or the workspace's own tracked files share with it.

        Returns silently when it is gone already.
        """


class Source(Protocol):
    """Where data can be brought from: the part before the colon of `--from SCHEME:WORDS`."""

    def read(self, words: str, into: Path) -> str:
        """Write the files that the words name into the empty folder `into`; return the words as they are best written.

        UsageProblem when the words name nothing, Missing when something must be installed first.
        """
