"""`python -m tests.benchmarks._writer HOME WRITER COMMITS`: commits pairs of records until killed, or until done.

Whatever the store has acknowledged is noted in a file of the writer's own, so that a judge knows what may not be lost.
Started again, it goes on behind the last commit that the store has.
"""

import os
import sys
from pathlib import Path
from typing import ClassVar

from aiinfra_lab.store import Body, Event, Record
from aiinfra_lab.store.sqlite import SqliteStore


class Sample(Body, frozen=True, kw_only=True):
    """What is written."""

    kind: ClassVar[str] = "bench"

    number: int


def names(writer: str, number: int) -> tuple[str, str]:
    """The two records of a commit."""
    return f"{writer}-{number}-a", f"{writer}-{number}-b"


def subject(writer: str, number: int) -> str:
    """What a commit's event is about."""
    return f"bench:{writer}-{number}"


def main(home: Path, writer: str, commits: int) -> None:
    """Commit until all are there."""
    store = SqliteStore(home / "store.sqlite")
    noted = os.open(home / f"acknowledged-{writer}", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    for number in range(commits):
        if store.get(Sample, names(writer, number)[0]) is None:
            pair = [Record.new(name, Sample(number=number)) for name in names(writer, number)]
            store.commit(pair, Event("bench", subject(writer, number)))
            os.write(noted, f"{number}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
