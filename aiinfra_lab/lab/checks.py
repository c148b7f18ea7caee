"""What `lab check` looks at, without importing any of it: a finding each, with the line that mends it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import audit, nouns, providers
from ..config import Settings
from ..errors import Conflict, LabError
from ..jobs import restored
from ..store import Event, open_store
from ..store.sqlite import SqliteStore, copies, restore
from ..units import show_bytes, show_duration

_LEAST_FREE_BYTES = 2 * 2**30
_OLDEST_COPY_S = 2 * 86400
_BUILDER = Path(__file__).parents[2] / ".ci" / "front"  # only a checkout has it


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `state` is ok, off (works without it) or bad."""

    state: str
    what: str
    detail: str
    fix: str = ""


def run(where: Settings, *, with_audit: bool) -> Iterator[Finding]:
    """Every finding, the machine first."""
    yield _python()
    yield _system()
    yield _workspace(where)
    yield _disk(where.workspace)
    yield from _store(where.home)
    if with_audit:
        yield _audit()
    yield _front_end()
    yield from _providers()
    yield from _settings(where)
    with contextlib.suppress(LabError):  # what the store cannot give was found above
        yield from _disagreements()


def known_uris() -> list[str]:
    """Every URI that an event names, for completion."""
    named = (uri for logged in open_store().events() for uri in (logged.event.subject, *logged.event.outputs))
    return sorted(set(named))


def restore_store(home: Path) -> list[str]:
    """Put the newest sound copy back, and in order what lives; says what was done and what is lost.

    Conflict when nothing is wrong with the store.
    """
    if job := os.environ.get("AIINFRA_JOB"):  # the copy may not know it, and then it would have to end itself
        raise Conflict(f"this runs in the job {job}", "`%lab start --restore` in a terminal, or a kernel of its own")
    with restored.unsupervised(home):
        store = _damaged_store()
        newest = store.head()[0]
        copy, aside = restore(store.path)
        first = store.head()[0] + 1
        ended = restored.end_unknown(home)
        restored.settle(home)
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(copy.stat().st_mtime))
    notes = [f"restored the copy of {made}; the damaged store is kept in {aside.name}", _lost(first, newest)]
    if ended:
        count = f"{len(ended)} process" + "es" * (len(ended) > 1)
        notes.append(f"ended {count} that the copy knows nothing of: {', '.join(ended)}")
    detail = {"restored": "; ".join(notes), "copy_of": made, "lost": _lost(first, newest)}
    store.commit([], Event("lab start", "lab:workspace", tuple(ended), detail=detail))
    return notes


def _damaged_store() -> SqliteStore:
    """The store, closed. Conflict when nothing is wrong with it."""
    store = open_store()
    if not isinstance(store, SqliteStore) or _is_sound(store):
        raise Conflict("the store is sound: a copy would lose what was done since", "`%lab check --audit` says so")
    store.close()
    return store


def _lost(first: int, newest: int) -> str:
    if newest < first:
        return "no event is known to be lost"
    if newest == first:
        return f"event {first}, recorded after that copy, is lost"
    return f"events {first} to {newest}, recorded after that copy, are lost"


def _is_sound(store: SqliteStore) -> bool:
    try:
        return bool(store.changed()) and store.integrity() == "ok" and audit.prove(store).sound
    except LabError:
        return False


def mend() -> list[str]:
    """Bring what other tools hold into line with the store's links; says what was done."""
    return [note for noun in ("train", "models") for note in nouns.find(noun).reconcile()]


def _python() -> Finding:
    return Finding("ok", "python", f"{platform.python_version()} in {sys.prefix}")


def _system() -> Finding:
    if platform.system() == "Linux":
        return Finding("ok", "system", f"{platform.system()} {platform.machine()}")
    detail = f"{platform.system()}: sessions and endpoints end with the terminal that started them"
    return Finding("off", "system", detail, "use Linux, or WSL on Windows, for jobs that outlive a kernel")


def _workspace(where: Settings) -> Finding:
    if not where.home.exists():
        return Finding("off", "workspace", f"{where.workspace} is empty", "`%lab start`")
    if os.access(where.home, os.W_OK):
        return Finding("ok", "workspace", str(where.workspace))
    return Finding(
        "bad",
        "workspace",
        f"{where.workspace} may not be written",
        "make it yours, or name another folder in the variable AIINFRA_WORKSPACE",
    )


def _disk(workspace: Path) -> Finding:
    existing = next(folder for folder in (workspace, *workspace.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free >= _LEAST_FREE_BYTES:
        return Finding("ok", "disk", f"{show_bytes(free)} free")
    return Finding("bad", "disk", f"only {show_bytes(free)} free", "free some space: data versions and models need it")


def _store(home: Path) -> Iterator[Finding]:
    try:
        store = open_store()
        if not isinstance(store, SqliteStore):
            yield Finding("ok", "store", f"{len(store.changed())} records in PostgreSQL")
            return
        if not store.path.exists() and not store.path.with_name("audit.head").exists():
            return
        found = store.integrity()
    except LabError as problem:
        yield Finding("bad", "store", problem.what, problem.fix)
        return
    yield Finding("ok", "store", found) if found == "ok" else Finding("bad", "store", found, "`%lab start --restore`")
    newest = next(iter(copies(home / "store.sqlite")), None)
    age_s = time.time() - newest.stat().st_mtime if newest else None
    if age_s is None or age_s < _OLDEST_COPY_S:
        yield Finding("ok", "copy of the store", "none due yet" if age_s is None else f"{show_duration(age_s)} old")
    else:
        yield Finding(
            "off", "copy of the store", f"{show_duration(age_s)} old", "the next verb that makes something makes one"
        )


def _audit() -> Finding:
    store = open_store()
    proof = audit.prove(store)
    if proof.sound:
        gaps = [str(logged.event.detail["lost"]) for logged in store.events() if "lost" in logged.event.detail]
        return Finding("ok", "audit log", "; ".join([proof.why, *gaps]))
    return Finding(
        "bad", "audit log", proof.why, "compare with your own backup; `%lab start --restore` puts back a copy"
    )


def _front_end() -> Finding:
    if importlib.util.find_spec("jupyterlab") is None:
        return Finding("off", "JupyterLab", "not in this environment", "`pip install jupyterlab`")
    shared = Path(sys.prefix, "share", "jupyter", "labextensions", "aiinfra-lab")
    if shared.exists():
        return Finding("ok", "JupyterLab", "with the side panel")
    again = "`pip install --force-reinstall --no-deps aiinfra-lab`"
    fix = "`make front` in the checkout" if _BUILDER.is_file() else again
    return Finding("off", "JupyterLab", "the side panel is not installed", fix)


def _providers() -> Iterator[Finding]:
    for contract, table in providers.TABLE.items():
        for name, provider in table.items():
            if providers.importable(provider):
                yield Finding("ok", f"{contract} on {name}", provider.what)
            else:
                state = "off" if provider.extra else "bad"
                detail, fix = f"{provider.needs} is not installed", f"`{providers.install(provider)}`"
                yield Finding(state, f"{contract} on {name}", detail, fix)
    unusable = dict(providers.problems())
    for each in providers.foreign():
        what, problem = f"{each.contract} on {each.name}", unusable.get(each)
        if problem is None:
            yield Finding("ok", what, f"brought by {each.package}")
        else:
            yield Finding("off", what, problem.what, problem.fix)


def _settings(where: Settings) -> Iterator[Finding]:
    for key, value, source in where.explain():
        yield Finding("ok", f"setting {key}", f"{value!r} from {source}")


def _disagreements() -> Iterator[Finding]:
    """An endpoint serves versions, an alias names one: when they differ, somebody may be surprised."""
    store = open_store()
    champions = {record.name: record.body["aliases"].get("champion") for record in store.list("models.aliases")}
    for record in store.list("deploy"):
        served = str(record.body.get("champion") or "").removeprefix("models:")
        name, _, version = served.partition("@")
        champion = champions.get(name)
        if version and champion and str(champion) != version and not record.body.get("stopped_at"):
            detail = f"serves models:{served}, while the champion is models:{name}@{champion}"
            fix = f"`%deploy start {record.name} --model models:{name}@{champion}`"
            yield Finding("off", f"deploy:{record.name}", detail, fix)
