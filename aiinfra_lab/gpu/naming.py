"""One name is a session or a pool, and never both: whoever starts either writes the same record with it."""

from __future__ import annotations

from typing import ClassVar

from ..errors import Conflict
from ..store import Body, Record, open_store
from .pool_record import PoolRecord


class NameRecord(Body, frozen=True, kw_only=True):
    """What was started last under a name. The session or the pool itself says whether it lives."""

    kind: ClassVar[str] = "gpu.name"

    is_pool: bool = False


def claim(name: str, *, is_pool: bool = False) -> Record[NameRecord]:
    """Of a name, to be committed with what is started. To be read before it is looked whether the other one lives:
    somebody who starts that at this moment has then changed it, and one of the two commits is a Conflict."""
    before, body = open_store().get(NameRecord, name), NameRecord(is_pool=is_pool)
    return before.of(body) if before else Record.new(name, body)


def refuse_pool(name: str) -> None:
    """Conflict where a pool that lives has the name."""
    pool = open_store().get(PoolRecord, name)
    if pool is not None and pool.body.is_open:
        raise taken(name)


def taken(name: str) -> Conflict:
    """That somebody else was first."""
    what = f"gpu:{name} was started by somebody else at this moment"
    return Conflict(what, f"look at it with `%gpu show {name}`; or take another name")
