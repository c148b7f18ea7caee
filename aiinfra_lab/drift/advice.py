"""What to do when a check cannot tell."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

from .. import models
from ..errors import LabError
from ..stats import blocks, within
from ..stats.dependence import LEAST_ROWS
from ..uris import Uri
from . import served

if TYPE_CHECKING:
    from .results import DriftReport

_OLDEST_S = 365 * 86400  # what `--since 365d` takes, which is all that a log keeps


def more(found: DriftReport) -> str:
    """What it takes to tell what could not be told."""
    untold = [change for change in found.columns if change.p is None]
    if any(change.why.startswith(within.CHANGED) for change in untold):
        if found.judged != found.endpoint:
            return "judge the rows before and after it by themselves, each with --rows"
        return "judge the newest rows alone with --since, e.g. --since 15m: row 1 is the newest"
    if any(change.why.endswith(f"blocks of {found.by} are too few: {blocks.LEAST} are needed") for change in untold):
        return f"declare another column with --by, one with {blocks.LEAST} values or more in each sample"
    if min(found.rows_before, found.rows_now) >= LEAST_ROWS and not found.by:
        return "judge more rows, or say with --by which of them belong together, e.g. by their day"
    if found.judged != found.endpoint:
        return "judge other rows with --rows"
    name = Uri.parse(found.endpoint).name
    send = f"send it more rows with `%deploy run {name} --rows {_data(found.model)}`"
    if found.since_at is None or found.checked_at - found.since_at >= _OLDEST_S:
        return send
    by = f" --by {shlex.quote(found.by)}" if found.by else ""
    return f"{send}, take older ones too with `%drift check {name} --against {found.against}{by} --since 365d`"


def _data(model: str) -> str:
    """Data that the model reads, as far as the model is still there."""
    with contextlib.suppress(LabError):
        return served.known_data(models.get(model))
    return "data:NAME@N"
