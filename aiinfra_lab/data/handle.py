"""The handle of a version: what `data add` and `data get` give to the cell."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NotFound, UsageProblem, did_you_mean
from ..show import Card, Result, mark_of, sentence
from ..units import counted
from ..uris import Uri, check_name
from .frames import to_pandas
from .tables import SUFFIXES, DataTable, scan
from .version_card import version_card

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Dataset(Result):
    """A version of data. `digest` covers every byte; `rows` are the main table's, None when there is none.

    path: the folder with its files, read-only, or the one file that was added. tables: the names of its tables.
    """

    uri: str
    digest: str
    rows: int | None
    tables: tuple[str, ...]
    files: int
    size_bytes: int
    source: str
    added_at: float
    path: Path
    note: str = ""
    described: tuple[DataTable, ...] = field(default=(), repr=False, metadata={"json": False})

    def df(self, table: str | None = None) -> Any:
        """A table as a pandas data frame: the main one unless another is named.

        Columns with gaps are pandas' Int64 and boolean, and fixed categories are ordered.
        """
        return to_pandas(self.table(table))

    def table(self, name: str | None = None) -> pl.DataFrame:
        """A table as a polars data frame."""
        return self.scan(name).collect()

    def scan(self, name: str | None = None) -> pl.LazyFrame:
        """A table as a polars lazy frame: nothing is read before it is collected."""
        table = self.describe(name)
        return scan(self.folder, table)

    @property
    def folder(self) -> Path:
        """The version's folder, from which tables name their files, also when the version was a single file."""
        return self.path.parent if self.path.is_file() else self.path

    def describe(self, name: str | None = None) -> DataTable:
        """The columns and types of a table. NotFound when there is none of that name."""
        known = {table.name: table for table in self.described}
        if name is None or not known:
            return known[self.main()]
        if name not in known:
            raise NotFound(f"{self.uri} has no table {name!r}", did_you_mean(name, known))
        return known[name]

    def main(self) -> str:
        """The table that is meant when none is named: the one that the data is called after, or the only one."""
        main = main_table(Uri.parse(self.uri).name, self.tables)
        if main is None and not self.tables:
            raise NotFound(f"{self.uri} holds no table", f"write {_KINDS} from what is in {self.path}, and add that")
        if main is None:
            listed = ", ".join(self.tables[:12]) + (", …" if len(self.tables) > 12 else "")
            raise UsageProblem(
                f"{self.uri} has {len(self.tables)} tables, and none is called like it: {listed}",
                f'name one in Python, as in .df("{self.tables[0]}"); to have one as rows, {self._alone()}',
            )
        return main

    def _alone(self) -> str:
        """What makes a table the one that is meant: data of its name or, where that can be no name, its file alone."""
        # Not every table has a name that data may have, e.g. with capital letters; any one that has will do.
        for table in self.tables:
            with contextlib.suppress(UsageProblem):
                return f"add the data under its name: `%data add {check_name(table)} {self.uri}`"
        return f"add its file alone: `%data add NAME {self.path / self.described[0].file}`"

    def card(self) -> Card:
        main = main_table(Uri.parse(self.uri).name, self.tables)
        return version_card(
            self.uri,
            main,
            self.described,
            files=self.files,
            size_bytes=self.size_bytes,
            added_at=self.added_at,
            facts=[("source", self.source), ("digest", self.digest[:12])],
            folder=self.folder,
            state=mark_of("complete"),  # a handle is made of files that are there
            lead=self._lead(main),
            next_=[f"Next: `%data show {Uri.parse(self.uri).label}`", f"`%data check {Uri.parse(self.uri).label}`"],
        )

    def _lead(self, main: str | None) -> str:
        if self.note:
            return sentence(self.note)
        table = next((one for one in self.described if one.name == main), None)
        if table:
            size = f"{counted(table.rows, 'row')} of {counted(len(table.columns), 'column')}"
            return f"**{size}**, as the handle's `.df()` gives them."
        many = f"**{len(self.tables):,} tables**, none called like it: `.df(NAME)` gives one." if self.tables else ""
        return many or "**No file is a table**: the handle's `.path` is where its files are."


_KINDS = f"a table ({', '.join(SUFFIXES)})"


def main_table(name: str, tables: Sequence[str]) -> str | None:
    """The table that the data is called after, as `flights-july` is after `flights`, or the only one."""
    # `flights-july` is most likely flights of a month, beside the tables that it needs.
    called_after = [table for table in tables if name == table or name.startswith(f"{table}-")]
    if called_after:
        # The longest, so that `flights-july-late` means the table flights-july and not flights.
        return max(called_after, key=len)
    return tables[0] if len(tables) == 1 else None
