"""Telling the other registry what our records say, and again later where it did not listen. Ours are written first."""

from __future__ import annotations

from .. import train
from ..errors import LabError, NotFound
from ..providers import make
from ..store import Record
from ..train import mirror as runs
from . import record
from .base import Entry, ModelRegistry


def registry() -> ModelRegistry:
    """The workspace's other registry."""
    made: ModelRegistry = make("models.registry")
    return made


def tell(version: Record) -> str:
    """Register a version there; what is the matter when it does not know it now, else nothing."""
    try:
        registered = registry().register(entry(version))
    except LabError as problem:
        return _behind(problem)
    record.change(version.name, registered_as=registered)
    return ""


def point(name: str, alias: str, version: int) -> str:
    """Point an alias there; what is the matter when it does not know it now, else nothing."""
    try:
        registry().alias(name, alias, f"models:{name}@{version}")
    except LabError as problem:
        return _behind(problem)
    return ""


def forget(version: Record) -> str:
    """Remove a version there; what is the matter when it still has it, else nothing."""
    try:
        registry().remove(f"models:{version.name}")
    except LabError as problem:
        return _behind(problem)
    return ""


def entry(version: Record) -> Entry:
    """A version as the other registry is told of it."""
    body = version.body
    tags = {
        "lab.run": body["run"],
        "lab.data.uri": body["rows"],
        "lab.data.digest": body["rows_digest"],
        "lab.model.digest": body["files"]["model.onnx"],
    }
    tracked_as = train.show(body["run"]).tracked_as
    return Entry(f"models:{version.name}", record.folder(version.name), tracked_as, body["note"], tags)


def disagreements() -> list[str]:
    """What the other registry says differently from our records, one sentence each; asks the registry."""
    server = registry()
    said = runs.behind(ask=True)
    for name in _names():
        there = server.versions(name)
        here = {f"models:{item.name}" for item in record.records(name)}
        said += [f"the other registry does not have {uri}" for uri in sorted(here - there)]
        said += [f"the other registry still has {uri}, which is not here" for uri in sorted(there - here)]
        theirs, ours = server.aliases(name), _aliases(name)
        for alias in sorted({*theirs, *ours}):
            if theirs.get(alias) != ours.get(alias):
                other, own = theirs.get(alias, "nothing"), ours.get(alias, "nothing")
                said.append(f"{alias} of models:{name} is {own} here and {other} in the other registry")
    return said


def mend() -> list[str]:
    """Make the other registry say what our records say; what was done, one sentence each."""
    done = runs.settle(ask=True)
    server = registry()
    for name in _names():
        there = server.versions(name)
        for version in reversed(record.records(name)):
            if f"models:{version.name}" not in there:
                server.register(entry(version))
                done.append(f"registered models:{version.name}")
        for uri in sorted(there - {f"models:{item.name}" for item in record.records(name)}):
            server.remove(uri)
            done.append(f"removed {uri} from the other registry")
        theirs, ours = server.aliases(name), _aliases(name)
        for alias in sorted({*theirs, *ours}):
            if theirs.get(alias) != ours.get(alias):
                server.alias(name, alias, ours.get(alias))
                done.append(f"{alias} of models:{name} is {ours.get(alias, 'nothing')} again in the other registry")
    return done


def _names() -> list[str]:
    return sorted({item.name.partition("@")[0] for item in record.records(removed=True)})


def _aliases(name: str) -> dict[str, str]:
    return {alias: f"models:{name}@{version}" for alias, version in record.aliases(name).items()}


def _behind(problem: LabError) -> str:
    why = "it does not know the run" if isinstance(problem, NotFound) else problem.what
    return f"the other registry was not told ({why}); `%lab start` tells it"
