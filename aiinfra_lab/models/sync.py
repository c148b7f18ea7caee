"""Bringing another registry to what our records say, at once and later where it could not be reached.

Ours are written first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from .. import train
from ..errors import LabError, NotFound
from ..providers import chosen, make
from ..show import working
from ..store import Record
from ..uris import Uri
from . import record
from .base import Entry, ModelRegistry
from .record import ModelVersion


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What the other registry has differently from our records: in a sentence, and what brings it into line.

    repaired: the sentence that says it was done
    """

    what: str
    repaired: str
    repair: Callable[[], object]


def registry() -> ModelRegistry:
    """The workspace's other registry."""
    made: ModelRegistry = make("models.registry")
    return made


def register(version: Record[ModelVersion]) -> str:
    """Register a version there; why it could not be, else nothing."""
    # Whatever the other registry does: our version is there, and the verb that made it has succeeded.
    try:
        with _telling(version.uri):
            registered = registry().register(entry(version))
    except LabError as problem:
        return _not_synced(problem)
    record.change(version.name, registered_as=registered)
    return ""


def move_alias(name: str, alias: str, version: int | None) -> str:
    """Point an alias there, or at nothing; why it could not be, else nothing."""
    try:
        with _telling(f"models:{name}@{alias}"):
            registry().alias(name, alias, str(Uri("models", name, version)) if version else None)
    except LabError as problem:
        return _not_synced(problem)
    return ""


def remove(version: Record[ModelVersion]) -> str:
    """Remove a version there; why it still has it, else nothing."""
    try:
        with _telling(version.uri):
            registry().remove(version.uri)
    except LabError as problem:
        return _not_synced(problem)
    return ""


def _telling(uri: str) -> AbstractContextManager[object]:
    # Opening a registry may take seconds.
    return working("Model version", uri, f"tells {chosen('models.registry')} of it")


def entry(version: Record[ModelVersion]) -> Entry:
    """A version as the other registry is to know it."""
    body = version.body
    tags = {
        "lab.data.uri": body.rows,
        "lab.data.digest": body.rows_digest,
        "lab.model.digest": body.files["model.onnx"],
    }
    if body.source:
        tags |= {"lab.source": body.source.path, "lab.source.digest": body.source.sha256}
        return Entry(version.uri, record.folder(version.name), "", body.note, tags)
    tags |= {"lab.run": body.run}
    return Entry(version.uri, record.folder(version.name), train.show(body.run).tracked_as, body.note, tags)


def disagreements() -> Iterator[Disagreement]:
    """What the other registry has differently from our records; asks the registry, model by model.

    Unavailable when it cannot be asked.
    """
    ours: dict[str, list[Record[ModelVersion]]] = {}
    for version in record.versions(removed=True):
        ours.setdefault(version.base, []).append(version)
    # Without a model nobody is asked: opening a registry may take seconds.
    server, known = registry() if ours else None, record.all_aliases()
    for name in sorted(ours):
        assert server is not None, "there are models"
        theirs = server.versions(name)
        there = [version for version in ours[name] if not version.body.is_removed and _is_known(version, theirs)]
        numbers = {version.version for version in there}
        aliases = {alias: number for alias, number in known.get(name, {}).items() if number in numbers}
        yield from _versions(server, theirs, there)
        yield from _aliases(server, Uri("models", name), aliases)


def reconcile() -> list[str]:
    """Bring the other registry to what our records say; what was done, one sentence each."""
    done = []
    for found in disagreements():
        try:
            found.repair()
        except NotFound as problem:
            # A registry that needs the run cannot take a version whose run another server tracks; the rest goes on.
            done.append(f"{found.what}: {_without_its_run(problem)}")
        else:
            done.append(found.repaired)
    return done


def _is_known(version: Record[ModelVersion], theirs: set[str]) -> bool:
    """Whether the other registry has it or can be sent it; what another folder made only that one can send."""
    return version.uri in theirs or record.folder(version.name).is_dir()


def _versions(server: ModelRegistry, theirs: set[str], ours: list[Record[ModelVersion]]) -> Iterator[Disagreement]:
    here = {version.uri for version in ours}
    # Oldest first: a registry that numbers by itself then numbers as we do.
    for version in reversed(ours):
        if version.uri not in theirs:
            what = f"the other registry does not have {version.uri}"
            yield Disagreement(what, f"registered {version.uri}", partial(_register, server, version))
    for uri in sorted(theirs - here):
        what = f"the other registry still has {uri}, which is not here"
        yield Disagreement(what, f"removed {uri} from the other registry", partial(server.remove, uri))


def _register(server: ModelRegistry, version: Record[ModelVersion]) -> None:
    record.change(version.name, registered_as=server.register(entry(version)))


def _aliases(server: ModelRegistry, model: Uri, ours: dict[str, int]) -> Iterator[Disagreement]:
    here, theirs = {alias: str(model.at(number)) for alias, number in ours.items()}, server.aliases(model.name)
    for alias in sorted({*theirs, *here}):
        own, other = here.get(alias), theirs.get(alias, "nothing")
        if own == theirs.get(alias):
            continue
        yield Disagreement(
            f"{alias} of {model} is {own or 'nothing'} here and {other} in the other registry",
            f"{alias} of {model} is {own or 'nothing'} again in the other registry",
            partial(server.alias, model.name, alias, own),
        )


def _not_synced(problem: LabError) -> str:
    if isinstance(problem, NotFound):
        return f"the other registry does not have it yet: {_without_its_run(problem)}"
    return f"the other registry does not have it yet ({problem.what}); `%lab start` sends it"


def _without_its_run(problem: NotFound) -> str:
    """Why a registry that keeps versions with their runs refused one, and what helps."""
    tracker, other = chosen("train.tracker"), chosen("models.registry")
    if tracker == other:
        return "it does not know the run; `%lab start` sends both"
    return f"{problem.what}; runs are tracked by {tracker}: choose a registry that goes with it, `registry` in [models]"
