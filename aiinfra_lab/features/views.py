"""What a view is, how a cell's code becomes views, and how they run over tables.

A view is the user's own code: it is executed as any cell of the notebook is.
"""

from __future__ import annotations

import inspect
import linecache
import traceback
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import Failed, LabError, NotFound, UsageProblem, did_you_mean
from ..help import Terms
from ..units import parse_duration
from ..verbs import parameter_docs

if TYPE_CHECKING:
    import polars as pl

    Tables = Mapping[str, pl.LazyFrame]


@dataclass(frozen=True)
class View:
    """A function over tables that returns what became known of an entity, a row for each time that it did; or, without
    a timestamp, one row for each entity.

    It can be called as the function that it decorates.
    """

    function: Callable[..., Any]
    entity: tuple[str, ...]
    timestamp: str
    ttl_s: float | None = None
    known_at: str | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables it reads: the names of its parameters."""
        return tuple(inspect.signature(self.function).parameters)

    @property
    def times(self) -> tuple[str, ...]:
        """The columns that say when."""
        return tuple(name for name in (self.timestamp, self.known_at) if name)

    def features(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Those of its columns that are features, in its order."""
        return tuple(name for name in columns if name not in {*self.entity, *self.times})

    def run(self, tables: Tables) -> pl.DataFrame:
        """What the function returns for these tables, checked to be a frame with its keys and times.

        NotFound for a table or column that is not there, Failed when the function raises or returns something else.
        """
        missing = [table for table in self.tables if table not in tables]
        if missing:
            raise NotFound(
                f"view {self.name} reads a table {missing[0]!r} that is not there", did_you_mean(missing[0], tables)
            )
        frame = _frame(self, _call(self, tables))
        for column in (*self.entity, *self.times):
            if column not in frame.columns:
                raise NotFound(
                    f"view {self.name} returns no column {column!r}",
                    f"{did_you_mean(column, frame.columns)}; its decorator names it",
                )
        if not self.features(frame.columns):
            raise Failed(f"view {self.name} returns no feature", "return a column besides its keys and times")
        return frame


def view(
    *, entity: str | Iterable[str], timestamp: str = "", ttl: str | float | None = None, known_at: str | None = None
) -> Callable[[Callable[..., Any]], View]:
    """Make a function over tables a view. Its parameters name the tables, and are polars LazyFrames unless annotated
    as `pl.DataFrame` or `pd.DataFrame`; it returns any of the three, of pandas with a named index as columns.

    entity: the column, or columns, that identify the entity of a row
    timestamp: the column that says since when the row holds, which must also be when it became KNOWN: an arrival
      delay holds and is known at arrival, not at departure. A time without a zone is UTC. Left out, for rows without a
      time, the view returns one row for each entity, and nothing proves that a row's features were known before it
    ttl: how old a value may grow before it counts as missing, e.g. "3h"; without it, never
    known_at: the column that says when the row became known, where that is later than `timestamp`

        @view(entity="origin", timestamp="observed_at", ttl="3h")
        def weather_now(weather: pl.LazyFrame) -> pl.LazyFrame:
            return weather.select("origin", "observed_at", "temp", "wind_speed")
    """
    keys = (entity,) if isinstance(entity, str) else tuple(entity)
    if not all(keys) or not keys:
        raise UsageProblem("a view needs an entity", '@view(entity="origin", timestamp="observed_at")')
    if not timestamp and (ttl is not None or known_at):
        fix = 'add one: @view(entity="origin", timestamp="observed_at", …)'
        raise UsageProblem(f"{'ttl' if ttl is not None else 'known_at'} says nothing without a timestamp", fix)
    seconds = None if ttl is None else parse_duration(ttl)

    def decorate(function: Callable[..., Any]) -> View:
        return View(function, keys, timestamp, seconds, known_at)

    return decorate


def arguments_help() -> Terms:
    """What `@view` takes, as its docstring says it."""
    return Terms("argument", parameter_docs(view.__doc__ or ""), "@view(…) over a function takes")


def load(name: str, code: str) -> tuple[tuple[View, ...], tuple[str, ...]]:
    """The views of a cell in the order in which it defines them, and its `columns`, out of a namespace of its own.

    Failed when the code does not run, or holds neither.
    """
    file = f"<features {name}>"
    module = types.ModuleType(f"aiinfra_features_{name}")
    module.__dict__["view"] = view  # a cell needs nothing else of ours, and may do without its import
    # So that tracebacks and `inspect` find the lines of code that is in no file.
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    try:
        exec(compile(code, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102  # the notebook's own code
    except LabError:
        raise
    except Exception as problem:  # whatever the user's code raises
        raise _failed(problem, file, "the cell") from problem
    # Once each, though a cell may bind a view to several names; in order of definition.
    views = tuple({id(item): item for item in vars(module).values() if isinstance(item, View)}.values())
    for item in views:
        if not item.name.isidentifier() or len(item.name) > 100:  # its files are called so
            raise Failed(f"{item.name[:100]!r} cannot be the name of a view", "make it a function with `def NAME(…):`")
    columns = vars(module).get("columns", ())
    # A text is a sequence of letters, each of which would be looked for as a column.
    if isinstance(columns, str) or not all(isinstance(column, str) for column in columns):
        raise Failed("`columns` of the cell is no list of names", 'columns = ["carrier", "distance"]')
    if not views and not columns:
        raise Failed("the cell has neither a view nor `columns`", "write at least one of them; `%features add --help`")
    return views, tuple(columns)


def _call(item: View, tables: Tables) -> Any:
    try:
        return item(**{table: _given(item, table, tables[table]) for table in item.tables})
    except Exception as problem:  # whatever the user's code raises
        raise _failed(problem, item.function.__code__.co_filename, f"view {item.name}") from problem


def _given(item: View, table: str, frame: pl.LazyFrame) -> Any:
    """The table in the form that the parameter is annotated with."""
    # Annotations are texts here: `compile` hands this file's own future import on to the cell's code.
    wanted = typing.get_type_hints(item.function).get(table)
    kind = f"{getattr(wanted, '__module__', '')}.{getattr(wanted, '__name__', '')}"
    if kind.startswith("polars") and kind.endswith(".DataFrame"):
        return frame.collect()
    return frame.collect().to_pandas() if kind.startswith("pandas") else frame


def _with_named_index(frame: Any) -> Any:
    """What `groupby` makes an index of are columns again; an index without a name numbers the rows of a table."""
    return frame.reset_index() if any(name is not None for name in frame.index.names) else frame


def _of_pandas(item: View, returned: Any) -> pl.DataFrame:
    import polars as pl

    from ..data.frames import to_polars

    try:
        return pl.from_pandas(_with_named_index(returned))
    except (ValueError, TypeError, pl.exceptions.PolarsError) as problem:  # pyarrow's errors are both kinds
        try:
            to_polars(returned)
        except Failed as known:  # which says what about the frame it is, and the code that helps
            raise Failed(f"view {item.name}: {known.what}", known.fix) from problem
        raise _failed(problem, item.function.__code__.co_filename, f"view {item.name}") from problem


def _frame(item: View, returned: Any) -> pl.DataFrame:
    import polars as pl

    try:
        if isinstance(returned, pl.LazyFrame):
            return returned.collect()
    except Exception as problem:  # a lazy frame does the user's work only now
        raise _failed(problem, item.function.__code__.co_filename, f"view {item.name}") from problem
    if isinstance(returned, pl.DataFrame):
        return returned
    if type(returned).__module__.startswith("pandas") and hasattr(returned, "columns"):
        return _of_pandas(item, returned)
    raise Failed(
        f"view {item.name} returns an object of type {type(returned).__name__}",
        "return a polars LazyFrame or DataFrame, or pandas",
    )


def _failed(problem: Exception, file: str, what: str) -> Failed:
    # The deepest line that is the cell's own: below it are polars' lines, which say nothing to the user.
    lines = [frame.lineno for frame in traceback.extract_tb(problem.__traceback__) if frame.filename == file]
    line = problem.lineno if isinstance(problem, SyntaxError) else lines[-1] if lines else None
    message = str(problem).strip().partition("\n")[0]
    where = f" in line {line} ({linecache.getline(file, line).strip()})" if line else ""
    return Failed(f"{what} failed{where}: {type(problem).__name__}: {message}", "correct it and run the cell again")
