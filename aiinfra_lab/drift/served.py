"""The two samples: what an endpoint was asked and answered (current), and what its model learned from (reference)."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import data as data_noun
from .. import features, models, nouns
from ..deploy.base import PredictionLog
from ..deploy.lifecycle import target_of
from ..deploy.record import EndpointRecord
from ..errors import NotFound, UsageProblem, did_you_mean
from ..resolve import resolve
from ..show import Result
from ..store import Record
from ..units import parse_duration
from ..uris import Uri
from . import values

if TYPE_CHECKING:
    import polars as pl

    from ..data import Dataset
    from ..features.contract import Column
    from ..models import Model

MOST_ROWS = 200_000
"""Of a longer log the newest rows are taken."""
ROWS_AT_FIRST = 20_000
"""Most samples begin within so many; only then is a target asked for all."""


@dataclass(frozen=True, slots=True)
class ServedEndpoint:
    """What drift asks of an endpoint."""

    record: Record[EndpointRecord]

    @property
    def name(self) -> str:
        """Without its noun."""
        return self.record.name

    @property
    def uri(self) -> str:
        """Its own."""
        return self.record.uri

    @property
    def model_uri(self) -> str:
        """The version that it serves; empty when it serves nothing yet."""
        # One that was just started has its first model on trial and no champion yet.
        return self.record.body.champion or self.record.body.canary or ""

    @property
    def started_at(self) -> float:
        """When it was last started, in epoch seconds."""
        return self.record.body.started_at


def endpoint(name: object) -> ServedEndpoint:
    """The endpoint, whether it lives or not. NotFound when there never was one."""
    return ServedEndpoint(resolve(name, EndpointRecord))


def model_of(served: ServedEndpoint) -> Model:
    """The version that the endpoint serves. NotFound when it serves none yet."""
    if not served.model_uri:
        raise NotFound(f"endpoint {served.name} serves no model yet", nouns.find("deploy").first(served.name))
    return models.get(served.model_uri)


@dataclass(frozen=True)
class Sample:
    """Rows as their model reads them, and what it answered. uri: what they are. by: the column that was asked for.

    That one need be none of the model's: it says which rows depend on each other, and is not compared. logged: of a
    log, how many rows it has, those that count for nothing included. outputs: the columns that the model answered.
    """

    rows: pl.DataFrame
    uri: str
    by: pl.Series | None = None
    logged: int = 0
    outputs: tuple[str, ...] = ()


def log_rows(served: ServedEndpoint, model: Model, since_at: float, by: str = "") -> Sample:
    """What the model was asked since then and what it answered: its columns and its outputs, newest rows first.

    A row that was asked again, with the same id and values, counts once: repetition is no evidence of anything.
    UsageProblem when `by` is not among the model's columns, which are all that is logged of a row, NotFound when the
    target keeps no log, Unavailable when it does not answer.
    """
    askable = [name for name in model.row_names if name not in model.texts]
    if by and by not in askable:
        # No nearest name: an hour instead of a moment would be another unit, and a plausible verdict.
        fix = f"{did_you_mean('', askable)}; a log has these: judge rows that have others with --rows"
        raise UsageProblem(f"the log of {served.uri} has no column {by!r} for --by", fix)
    rows, answers, asked, logged = [], [], set(), 0
    for logged, line in enumerate(_lines(served, model, since_at), 1):  # noqa: B007  # the last number is how many there are
        # A row without outputs was not answered; and another version's answers say nothing of this one's.
        if line.get("outputs") and line["model"] == model.uri and isinstance(line.get("inputs"), Mapping):
            question = (line.get("row_id"), json.dumps(line["inputs"], sort_keys=True))
            if question not in asked:
                asked.add(question)
                rows.append(line["inputs"])
                answers.append(line["outputs"])
    answered = _answered(answers, model)
    frame = _frame(rows, model).hstack(answered)
    return Sample(frame, served.uri, frame[by] if by else None, logged, (*answered.columns,))


def feature_rows(rows: object, model: Model, by: str = "", data: object = None) -> Sample:
    """Rows taken through the model's features, with what the model answers; those of a model of arrays as they are.

    Rows that were taken through them before, `features:…`, are used as they are, and so are those for a model that
    learned from data without a feature set. data: the version whose tables the
    views read, when the rows are not from it. UsageProblem when neither the rows nor what they were made from have the
    column `by`.
    """
    if not model.has_columns:
        return _array_rows(rows, model, by)
    if not model.columns.features_uri:
        return _own_rows(rows, model, by)
    found = features.open_rows(rows) if _are_joined(rows) else _join(rows, model, data)
    made = found.table()
    if lacking := [name for name in model.columns.names if name not in made.columns]:
        fix = f"give data, e.g. {known_data(model)}: it is taken through {model.columns.features_uri}"
        raise UsageProblem(f"{found.uri} has no column {lacking[0]!r}, which {model.uri} reads", fix)
    table = made.select(model.columns.names)
    # Answered by this very model, so that the prediction is compared although the rows were never served.
    answered = _answered(model.answers(table.to_pandas()), model)
    declared = _column(by, found, made) if by else None
    return Sample(_read(table, model).hstack(answered), found.uri, declared, outputs=(*answered.columns,))


def _own_rows(rows: object, model: Model, by: str) -> Sample:
    """Rows of a model that takes a table's columns as they are, without features of ours."""
    import polars as pl

    found = features.open_rows(rows)
    made = found.table()
    if lacking := [item.name for item in model.columns if item.required and item.name not in made.columns]:
        fix = f"give data, e.g. {known_data(model)}, that has the columns it learned from"
        raise UsageProblem(f"{found.uri} has no column {lacking[0]!r}, which {model.uri} reads", fix)
    empty = [name for name in model.columns.names if name not in made.columns]
    table = made.with_columns(pl.lit(None).alias(name) for name in empty).select(model.columns.names)
    answered = _answered(model.answers(table.to_pandas()), model)
    declared = _column(by, found, made) if by else None
    return Sample(_read(table, model).hstack(answered), found.uri, declared, outputs=(*answered.columns,))


def _array_rows(rows: object, model: Model, by: str) -> Sample:
    found = features.open_rows(rows)
    made = found.table()
    if lacking := [name for name in (*model.row_names, *([by] if by else [])) if name not in made.columns]:
        raise UsageProblem(f"{found.uri} has no column {lacking[0]!r}", did_you_mean(lacking[0], made.columns))
    asked = made.select(model.row_names).to_dicts()
    answered = _answered(model.answers(asked), model)
    frame = values.frame(model.row_names, asked, model.texts).hstack(answered)
    return Sample(frame, found.uri, made[by] if by else None, outputs=(*answered.columns,))


def _answered(answers: Sequence[Mapping[str, Any]], model: Model) -> pl.DataFrame:
    return values.frame(model.signature.answered, answers, model.texts)


def _column(name: str, found: features.FeatureRows | Dataset, made: pl.DataFrame) -> pl.Series:
    """A column of rows with features, or of the rows that they were made from, whose order they keep."""

    known = [made]
    if name not in made.columns and isinstance(found, features.FeatureRows) and Uri.is_one(found.rows_uri):
        known.append(data_noun.open_rows(found.rows_uri).table())
    table = next((table for table in known if name in table.columns), None)
    if table is None:
        raise _no_column(found.uri, name, [column for each in known for column in each.columns])
    if table[name].dtype.is_nested():
        raise UsageProblem(f"{name} of {found.uri} holds lists", "give --by a column of texts, numbers or times")
    return table[name]


def _no_column(where: str, name: str, known: Iterable[str]) -> UsageProblem:
    return UsageProblem(f"{where} has no column {name!r} for --by", did_you_mean(name, known))


def moment(text: str | None, served: ServedEndpoint) -> float:
    """When the sample begins, in epoch seconds: `15m` ago, an epoch time, or when the endpoint was last started."""
    if text is None:
        return served.started_at
    if re.fullmatch(r"[0-9]{9,}(\.[0-9]+)?", text.strip()):
        return float(text)
    try:
        return time.time() - parse_duration(text)
    except UsageProblem as problem:
        raise UsageProblem(
            f"--since {text!r} is no moment", "write 15m for the last 15 minutes, or an epoch time, e.g. 1767225600"
        ) from problem


def known_data(model: Model) -> str:
    """Data that can be taken through the model's features, for a fix: what they were made on; NAME@N when it is gone.

    Not the newest: that may be anything, and none of its tables may have what the model reads.
    """
    with contextlib.suppress(NotFound, UsageProblem):
        if not model.columns.features_uri:
            return model.rows
        found = features.show(model.columns.features_uri)
        uri = found.data_uri if isinstance(found, features.FeatureRows) else found.data
        if Uri.parse(uri).label in nouns.find("data").names():
            return uri
    return "data:NAME@N"


def _are_joined(rows: object) -> bool:
    return isinstance(rows, str | Result) and Uri.is_one(rows) and Uri.parse(rows).noun == "features"


def _join(rows: object, model: Model, data: object) -> features.FeatureRows:
    return features.join_aside(model.columns.features_uri, rows, data)


def _lines(served: ServedEndpoint, model: Model, since_at: float) -> Iterator[Mapping[str, Any]]:
    """What was logged since then, newest first, asked of the target: the log may lie anywhere."""
    body, target = served.record.body, target_of(served.record)
    if not isinstance(target, PredictionLog):
        fix = f"judge newer rows with --rows, of data that has the columns of {known_data(model)}"
        raise NotFound(f"{body.on} keeps no log of what {served.uri} predicted", fix)
    found: Sequence[Mapping[str, Any]] = ()
    for rows in (ROWS_AT_FIRST, MOST_ROWS):
        found = target.predictions(body.job, body.log_dir, rows)
        if len(found) < rows or found[-1]["at"] < since_at:
            break
    return itertools.takewhile(lambda line: line["at"] >= since_at, found)


def _frame(rows: list[dict[str, Any]], model: Model) -> pl.DataFrame:
    import polars as pl

    if not model.has_columns:
        return values.frame(model.row_names, rows, model.texts)
    series = {column.name: [row.get(column.name) for row in rows] for column in model.columns}
    return _read(pl.DataFrame([_series(column, series[column.name]) for column in model.columns]), model)


def _read(frame: pl.DataFrame, model: Model) -> pl.DataFrame:
    """The frame as the model reads it: a category has one spelling however it was sent."""
    from ..features.contract import CATEGORY

    categories = [_series(column, frame[column.name]) for column in model.columns if column.type == CATEGORY]
    return frame.with_columns(*categories)


def _series(column: Column, values: Iterable[Any]) -> pl.Series:
    import polars as pl

    from ..features.contract import CATEGORY, category_text

    if column.type == CATEGORY:
        return pl.Series(column.name, [category_text(value) for value in values], dtype=pl.String)
    # Not strict: what is no number becomes a missing value, and does not end the check.
    return pl.Series(column.name, list(values), dtype=pl.Float64, strict=False)
