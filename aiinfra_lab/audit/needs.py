"""What must stay: the model versions that serve or hold an alias, and all that they were made of.

Later nouns are heard of only through their records and events, so that an earlier one may ask before it deletes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import Conflict
from ..store import Store
from . import upstream


@dataclass(frozen=True, slots=True)
class Need:
    """Who needs a model version, and the command that ends the need."""

    model: str
    who: str
    release: str


def needs(store: Store) -> Iterator[Need]:
    """Every endpoint that was not stopped with each version it serves, and every alias with its holder."""
    for record in store.list("deploy"):
        for role in ("champion", "canary"):
            if (model := record.body.get(role)) and not record.body.get("stopped_at"):
                yield Need(model, f"deploy:{record.name} serves", f"stop it first: `%deploy stop {record.name}`")
    for record in store.list("models.aliases"):
        for alias, version in record.body["aliases"].items():
            fix = f"promote another version first: `%models promote {record.name}@N --to {alias}`"
            yield Need(f"models:{record.name}@{version}", f"models:{record.name}@{alias} is", fix)


def refuse_needed(store: Store, uri: str) -> None:
    """Conflict when something that serves or holds an alias is `uri`, or was made of it."""
    wanted = list(needs(store))
    for need in wanted:
        if need.model == uri:
            raise Conflict(f"{need.who} {uri}", need.release)
        if any(step.used == uri for step in upstream(store, need.model)):
            raise Conflict(f"{need.who} {need.model}, which was made of {uri}", need.release)
