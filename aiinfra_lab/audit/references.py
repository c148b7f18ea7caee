"""What must stay: whatever a noun says that it uses, and all that this was made of."""

from __future__ import annotations

from .. import nouns
from ..errors import Conflict
from ..store import Store
from . import upstream


def refuse_referenced(store: Store, uri: str) -> None:
    """Conflict when something uses `uri`, or uses what was made of it; the fix is the command that ends the use."""
    for reference in (found for noun in nouns.every() for found in noun.references()):
        if reference.uri == uri:
            raise Conflict(f"{reference.user} {uri}", reference.release)
        if any(step.used == uri for step in upstream(store, reference.uri)):
            raise Conflict(f"{reference.user} {reference.uri}, which was made of {uri}", reference.release)
