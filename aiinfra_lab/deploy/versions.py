"""Model versions, as the registry knows them."""

from __future__ import annotations

from pathlib import Path

from ..errors import Damaged, NotFound
from ..models import record as registry
from ..models.artifact import differences
from ..store import open_store
from ..uris import Uri

ALIAS = "champion"


def resolve(words: object) -> str:
    """The version that a models URI means now: an endpoint serves versions, never an alias. NotFound says what is."""
    return f"models:{registry.find(words).name}"


def verdict(uri: str) -> str:
    """How the last check of a version ended: good, bad, cannot tell, or nothing when there was none."""
    return str(registry.find(uri).body.get("checked", {}).get("verdict", ""))


def alias_elsewhere(endpoint: str, uri: str) -> str:
    """What to say when a version serves all traffic and the champion alias does not mean it; else nothing."""
    version = registry.find(uri)
    if ALIAS in registry.held(version):
        return ""
    name = Uri.parse(uri).name
    holder = registry.aliases(name).get(ALIAS)
    means = f"means models:{name}@{holder}" if holder else "does not exist yet"
    return f"models:{name}@{ALIAS} {means}: `%deploy promote {endpoint}` makes it this version"


def alias_means(uri: str) -> str:
    """What to say of a version that the champion alias means now."""
    return f"models:{Uri.parse(uri).name}@{ALIAS} means {uri}"


def alias_back(gone: str, back: str) -> str:
    """Point the champion alias from one version back to the other, where that undoes its last move; what came of it."""
    from .. import models

    name = Uri.parse(gone).name
    if ALIAS not in registry.held(registry.find(gone)):
        return ""
    if _held_before(name) == back:
        models.rollback(name)
        return alias_means(back)
    return f"{gone} is still the {ALIAS}: `%models promote {back}` moves the alias too"


def _held_before(name: str) -> str:
    record = open_store().get(registry.ALIASES, name)
    try:
        return f"models:{name}@{registry.before(record.body, ALIAS, name)}" if record else ""
    except NotFound:
        return ""


def artifact(uri: str) -> Path:
    """The folder of a version's files, every one as it was recorded. Damaged when it is not."""
    record = registry.find(uri)
    path = registry.folder(record.name)
    if said := differences(path, record.body["files"]):
        raise Damaged(f"the files of {uri} are not what was registered: {'; '.join(said)}", "add the model again")
    return path
