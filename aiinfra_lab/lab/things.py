"""What there is in a workspace: one line for each thing that a noun's own `ls` lists, with what it does now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import LabError
from ..nouns import TABLE as NOUNS
from ..show import Result
from ..store import Record, open_store

_KINDS = {*NOUNS} - {"lab", "recipe"}


@dataclass(frozen=True)
class Thing(Result):
    """Anything the workspace knows, in one line."""

    uri: str
    changed_at: float
    state: str


def things() -> list[Thing]:
    """Everything, the last changed first."""
    records = [each for kind in _KINDS for each in open_store().list(kind) if not each.body.get("removed_at")]
    found = [Thing(f"{each.kind}:{each.name}", each.updated_at, state_of(each)) for each in records]
    return sorted([*found, *_recipes()], key=lambda thing: thing.changed_at, reverse=True)


def _recipes() -> Iterator[Thing]:
    """A recipe is a thing with a file of its own; its runs are its history."""
    from ..recipe.noun import NOUN

    yield from (Thing(each.uri, each.changed_at, each.state) for each in NOUN.things())


def state_of(record: Record) -> str:
    """As the noun's own `ls` says it: what lives is observed, whatever was written last."""
    observe = _OBSERVED.get(record.kind)
    if observe is None:
        return str(record.body.get("state", ""))
    try:
        return observe(record)
    except LabError:
        return "cannot tell"  # its place cannot be asked, and the others still can


def _session(record: Record) -> str:
    from ..gpu import sessions

    return sessions.said(sessions.status(record))


def _run(record: Record) -> str:
    from ..train.record import state

    return state(record)


def _endpoint(record: Record) -> str:
    from ..deploy import lifecycle

    return lifecycle.place_of(record).observe(record.body["job"]).word


def _recipe(record: Record) -> str:
    from ..recipe.noun import NOUN
    from ..recipe.record import RunRecord

    run = open_store().get(RunRecord, record.name)
    return NOUN.observe([run])[0].state if run else ""


_OBSERVED: dict[str, Callable[[Record], str]] = {
    "gpu": _session,
    "train": _run,
    "deploy": _endpoint,
    "recipe": _recipe,
}
