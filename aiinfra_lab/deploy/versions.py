"""Model versions, as the registry knows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from ..errors import Damaged, LabError, NotFound
from ..files import differences
from ..models import promotion
from ..models import record as registry
from ..resolve import resolve as resolved
from ..store import Record, open_store
from ..train.environments import Environment
from ..uris import Uri

ALIAS = "champion"


def resolve(text: object) -> str:
    """The version that a models URI means now: an endpoint serves versions, never an alias. NotFound says what is."""
    return _version(text).uri


def verdict(uri: str) -> str:
    """How the last check of a version ended: good, bad, cannot tell, or nothing when there was none."""
    return _version(uri).body.verdict


def objection(uri: str) -> LabError | None:
    """What speaks against calling a version good now: its last check, or what changed since."""
    return promotion.objection(_version(uri))


def newest_but(serving: Collection[str]) -> str:
    """The newest version of the same model that no check found bad, without those; empty when there is none."""
    if not serving:
        return ""
    model = Uri.parse(next(iter(serving))).name
    found = open_store().list(registry.ModelVersion, name=model, skip_unreadable=True)
    fit = (one for one in found if not one.body.is_removed and one.body.verdict != "bad" and one.uri not in serving)
    return next((one.uri for one in fit), "")


def found_bad(uri: str) -> bool:
    """Whether the last check of a version, which may have been removed since, found it bad."""
    version = open_store().get(registry.ModelVersion, Uri.parse(uri).label)
    return version is not None and version.body.verdict == "bad"


def alias_differs(endpoint: str, uri: str) -> str:
    """A note for when a version serves all traffic and the champion alias does not mean it; else empty."""
    version = _version(uri)
    if ALIAS in registry.held(version):
        return ""
    name = Uri.parse(uri).name
    holder = registry.aliases(name).get(ALIAS)
    means = f"means models:{name}@{holder}" if holder else "does not exist yet"
    return f"models:{name}@{ALIAS} {means}: `%deploy promote {endpoint}` makes it this version"


def alias_means(uri: str) -> str:
    """A note on a version that the champion alias means now."""
    return f"models:{Uri.parse(uri).name}@{ALIAS} means {uri}"


def alias_back(gone: str, back: str) -> str:
    """Point the champion alias from one version back to the other, where that undoes its last move; what came of it."""
    from .. import models

    name = Uri.parse(gone).name
    if ALIAS not in registry.held(_version(gone)):
        return ""
    if _held_before(name) == back:
        models.rollback(name)
        return alias_means(back)
    return f"{gone} is still the {ALIAS}: `%models promote {back}` moves the alias too"


def _held_before(name: str) -> str:
    record = open_store().get(registry.ModelAliases, name)
    try:
        return f"models:{name}@{registry.before(record.body, ALIAS, name)}" if record else ""
    except NotFound:
        return ""


def artifact(uri: str) -> Path:
    """The folder of a version's files, every one as it was recorded. Damaged when it is not."""
    version = _version(uri)
    return whole(uri, registry.folder(version.name), version.body.files)


def whole(uri: str, path: Path, files: Mapping[str, str]) -> Path:
    """The folder, every one of whose files has the digest that was recorded. Damaged when it has not."""
    if reasons := differences(path, files):
        raise Damaged(f"the files of {uri} are not what was registered: {'; '.join(reasons)}", "add the model again")
    return path


def unbuilt(uri: str) -> str:
    """The packages of the environment that has to be built before a version can serve here; empty when none has to."""
    environment = Environment.of(registry.folder(Uri.parse(uri).label))
    return environment.names if environment and not environment.is_built else ""


def recorded(uri: str) -> dict[str, str]:
    """The digest of each of a version's files, as it was registered."""
    return dict(_version(uri).body.files)


def _version(text: object) -> Record[registry.ModelVersion]:
    return resolved(text, registry.ModelVersion)
