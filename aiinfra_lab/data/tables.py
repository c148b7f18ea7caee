"""Files as tables: which are, what is in them, and reading them as the types that were recorded with the version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .. import files
from ..errors import Failed, UsageProblem, did_you_mean
from ..store import canonical_digest
from . import typed
from .lines import check_csv, check_json_lines

if TYPE_CHECKING:
    import polars as pl

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
WRITTEN = (".parquet", ".csv")
"""The endings of files that rows are written to."""
MOST_DESCRIBED = 500
_MOST_LISTED = 120  # letters
_ANOTHER = "choose another --into"


class DataTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that is a table. `columns` holds (name, type) in order; `separator` is how a CSV is written."""

    name: str
    file: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    separator: str = ""

    @property
    def schema(self) -> dict[str, str]:
        return dict(self.columns)


def table_names(files: list[str]) -> dict[str, str]:
    """File → table: the file's name without its ending, unless two files would then be called alike."""
    stems = [file.rpartition(".")[0] for file in files]
    return {file: file if stems.count(stem) > 1 else stem for file, stem in zip(files, stems, strict=True)}


def paired(before: Sequence[DataTable], after: Sequence[DataTable]) -> list[tuple[DataTable, DataTable]]:
    """The tables that both versions have: those of one name, or the only one of each, whatever its file is called."""
    if len(before) == len(after) == 1:
        return [(before[0], after[0])]
    old = {table.name: table for table in before}
    return [(old[table.name], table) for table in after if table.name in old]


def is_table(file: str) -> bool:
    """Whether the file's name says that it is a table."""
    return Path(file).suffix.lower() in SUFFIXES


def describe(folder: Path, files: list[str], text: Sequence[str] = ()) -> list[DataTable]:
    """The tables among the files, at most 500 of them, read whole; the columns in `text` are text in any case.

    Failed with the line when one cannot be read.
    """
    # A folder of thousands of shards would take minutes and make a record of megabytes.
    called = table_names([file for file in files if is_table(file)][:MOST_DESCRIBED])
    tables = [_described(folder, file, name, text) for file, name in called.items()]
    known = {column for table in tables for column, _ in table.columns}
    if unknown := [column for column in text if column not in known]:
        hint = did_you_mean(unknown[0], known) if known else "leave it out: none of the files is a table"
        raise UsageProblem(f"--text {unknown[0]} is no column of this data", hint)
    return tables


def scan(folder: Path, table: DataTable) -> pl.LazyFrame:
    """The table as a lazy frame of its recorded types; nothing is read yet."""
    import polars as pl

    path = folder / table.file
    match path.suffix.lower():
        case ".parquet":
            return pl.scan_parquet(path)
        case ".csv" | ".tsv":
            # As text and then cast to the recorded types: a reader's guess may change with its version.
            text = typed.as_text(path, table.separator, table.rows)
            return text.select(typed.cast(name, kind) for name, kind in table.columns)
        case _:
            return pl.scan_ndjson(path, infer_schema_length=None)


def gaps(name: str, dtype: pl.DataType) -> pl.Expr:
    """How many values of a column are missing: null, or NaN."""
    import polars as pl

    nulls = pl.col(name).null_count()
    return nulls + pl.col(name).is_nan().sum() if dtype.is_float() else nulls


def type_name(dtype: Any) -> str:
    """A column type as this project calls it: int64, float64, text, bool, date, timestamp[us, UTC], category[a, b]."""
    import polars as pl

    if isinstance(dtype, pl.Enum):
        return f"category[{_listed(dtype.categories.to_list())}]"
    if isinstance(dtype, pl.Datetime):
        return f"timestamp[{dtype.time_unit}{', ' + dtype.time_zone if dtype.time_zone else ''}]"
    names = {"String": "text", "Boolean": "bool", "Categorical": "category"}
    base = str(dtype).partition("(")[0]
    return names.get(base, str(dtype).lower())


def is_category(kind: str) -> bool:
    """Whether a type's name is that of categories, fixed ones or any."""
    return kind == "category" or kind.startswith("category[")


def is_same_type(before: str, after: str) -> bool:
    """Whether two names may mean one type: `category` alone does not say which categories there are."""
    if "category" in (before, after):  # records of 0.1.0 say no more of fixed ones either
        return is_category(before) and is_category(after)
    return before == after


def _listed(categories: list[str]) -> str:
    text = ", ".join(categories)
    if len(text) <= _MOST_LISTED and text.count(",") < len(categories):  # no comma is a category's own
        return text
    # A record keeps the type of each column: of many categories it keeps how many, and a digest that tells them apart.
    return f"{len(categories):,} values {canonical_digest(categories)[:12]}"


def _described(folder: Path, file: str, name: str, text: Sequence[str]) -> DataTable:
    import polars as pl

    path = folder / file
    # polars' own message for an empty file names neither the file nor what is wrong.
    if not path.stat().st_size:
        raise Failed(f"{file} is empty", "write the table anew")
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            shape = check_csv(path)
            return DataTable(name, file, shape.rows, tuple(typed.types(path, shape, text)), shape.separator)
        if path.suffix.lower() != ".parquet":
            check_json_lines(path)
        # Without types yet: parquet carries its own, and those of JSON lines are taken from all of them.
        frame = scan(folder, DataTable(name, file, 0, ()))
        columns = tuple((column, type_name(dtype)) for column, dtype in frame.collect_schema().items())
        frame.select(pl.all().null_count()).collect()  # the schema stands at a file's end, and may be all that is whole
        return DataTable(name, file, int(frame.select(pl.len()).collect().item()), _known(file, columns))
    except (pl.exceptions.PolarsError, OSError) as problem:
        first = str(problem).strip().partition("\n")[0]
        raise Failed(
            f"{file} cannot be read as a table: {first}",
            "write it anew, or give it an ending that no table has",
        ) from problem


def _known(file: str, columns: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The columns themselves. Failed for whole numbers that neither pandas nor numpy can hold."""
    for name, kind in columns:
        if "int128" in kind:
            raise Failed(f"column {name} of {file} holds whole numbers of more than 64 bits", "write them as texts")
    return columns


def write(frame: pl.LazyFrame, into: Path) -> None:
    """Write rows to a parquet or a CSV file, whole or not at all. Conflict when something is there."""
    if into.suffix not in WRITTEN:
        raise UsageProblem(f"--into {into} is neither .parquet nor .csv", f"--into {into}.parquet")
    files.refuse_taken(into, _ANOTHER)
    # Before the file is begun: what cannot be computed leaves nothing behind.
    rows = frame.collect()
    with files.writing(into, fix=_ANOTHER) as aside:
        if into.suffix == ".csv":
            rows.write_csv(aside)
        else:
            rows.write_parquet(aside)
