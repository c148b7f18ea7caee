"""Model versions, as the registry knows them."""

from __future__ import annotations

from pathlib import Path

from ..errors import Damaged
from ..models import record as registry
from ..models.artifact import differences


def resolve(words: object) -> str:
    """The version that a models URI means now: an endpoint serves versions, never an alias. NotFound says what is."""
    return f"models:{registry.find(words).name}"


def artifact(uri: str) -> Path:
    """The folder of a version's files, every one as it was recorded. Damaged when it is not."""
    record = registry.find(uri)
    path = registry.folder(record.name)
    if said := differences(path, record.body["files"]):
        raise Damaged(f"the files of {uri} are not what was registered: {'; '.join(said)}", "add the model again")
    return path
