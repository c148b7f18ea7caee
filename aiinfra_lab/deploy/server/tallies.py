"""What one front of an endpoint has counted beside its versions: answers by status, refusals, faults, and the like.

It is a table in memory that other processes may read: a name is written once, and what stands beside it changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

_ROWS, _NAME = 128, 24
SIZE = _ROWS * (_NAME + 8)


class Tallies:
    """The table, and its columns. answers, refused: by status. faults, dropped: by their kinds, see `protocol.Server`.

    memory: of SIZE bytes; what is in it goes on.
    """

    def __init__(self, memory: memoryview | None = None) -> None:
        memory = memoryview(bytearray(SIZE)) if memory is None else memory
        self._names, self.cells = memory[: _ROWS * _NAME], memory[_ROWS * _NAME :].cast("d")
        self._places = {name: place for place, name in enumerate(self._written())}
        self.answers, self.refused = Tally(self, "answers"), Tally(self, "refused")
        self.faults, self.dropped = Tally(self, "faults"), Tally(self, "dropped")

    def place(self, name: str) -> int:
        """Where the number of that name stands."""
        if name not in self._places:
            at, written = len(self._places), name.encode()[:_NAME]
            self._names[at * _NAME : at * _NAME + len(written)] = written
            self._places[name] = at
        return self._places[name]

    def set(self, name: str, value: float) -> None:
        """Write a number that is no count, e.g. how many wait."""
        self.cells[self.place(name)] = value

    def read(self) -> dict[str, float]:
        """All of it, whoever writes it."""
        return dict(zip(self._written(), self.cells, strict=False))

    def _written(self) -> Iterator[str]:
        names = bytes(self._names)
        for at in range(0, len(names), _NAME):
            if not (name := names[at : at + _NAME].rstrip(b"\0")):
                return
            yield name.decode()


class Tally(Mapping[int | str, int]):
    """How often each of some things happened. To be written by one process."""

    def __init__(self, table: Tallies, name: str) -> None:
        self._table, self._name = table, name
        self._places: dict[int | str, int] = {}

    def add(self, key: int | str) -> None:
        """Count one."""
        place = self._places.get(key)
        self._table.cells[self._place(key) if place is None else place] += 1

    def __getitem__(self, key: int | str) -> int:
        place = self._places.get(key)
        return 0 if place is None else int(self._table.cells[place])

    def __setitem__(self, key: int | str, count: int) -> None:
        self._table.cells[self._place(key)] = count

    def __iter__(self) -> Iterator[int | str]:
        return (key for key in [*self._places] if self[key])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _place(self, key: int | str) -> int:
        if (place := self._places.get(key)) is None:
            place = self._places[key] = self._table.place(f"{self._name} {key}")
        return place


def total(tables: Sequence[Tallies], name: str) -> dict[str, int]:
    """By key, how often it happened in all fronts."""
    found: dict[str, int] = {}
    for table in tables:
        for row, count in table.read().items():
            column, _, key = row.partition(" ")
            if column == name and key:
                found[key] = found.get(key, 0) + int(count)
    return found


def summed(tables: Sequence[Tallies], name: str) -> int:
    """A number of all fronts together."""
    return int(sum(table.read().get(name, 0) for table in tables))


def least(tables: Sequence[Tallies], name: str) -> int:
    """The smallest of a number among the fronts that have one."""
    return int(min((value for table in tables if (value := table.read().get(name, 0))), default=0))
