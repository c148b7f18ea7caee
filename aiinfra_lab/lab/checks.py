"""What `lab check` looks at, without importing any of it: a finding each, with the line that mends it."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import platform
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import audit, nouns, providers, setting_keys
from ..config import Settings
from ..errors import Damaged, LabError, did_you_mean
from ..jobs import unit
from ..show import StateMark, mark_of
from ..store import HeadCopier, HeadKeeper, Store, open_store
from ..store.sqlite import SqliteStore, copies
from ..units import counted, show_bytes, show_duration
from . import damage, retention
from .orphans import orphans

UNCOVERED = "not covered: files beside them, such as the curves of a run"
_LEAST_FREE_BYTES = 2 * 2**30
# The first commit of a day makes a copy: without one for two days nothing was committed, or copying fails.
_OLDEST_COPY_S = 2 * 86400
_BUILDER = Path(__file__).parents[2] / ".ci" / "front"  # only a checkout has it


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """One thing looked at. `state` is ok, off (works without it) or bad."""

    state: str
    what: str
    detail: str
    fix: str = ""

    @property
    def mark(self) -> StateMark:
        """How its state looks."""
        return mark_of({"ok": "passed", "off": "needs a look", "bad": "not passed"}[self.state])


class OptionalFinding(HealthFinding):
    """A part that is not installed, and that nothing needs."""

    @property
    def mark(self) -> StateMark:
        return mark_of("not installed" if self.state == "off" else "not passed")


def run(where: Settings, *, with_audit: bool) -> Iterator[HealthFinding]:
    """Every finding, the machine first."""
    yield _python()
    yield _system()
    yield _workspace(where)
    yield _disk(where.workspace)
    yield from _store(where.home)
    yield from _records(where.home)
    yield from _audit() if with_audit else _events()
    yield _front_end()
    yield _pool()
    yield from _providers(where)
    yield from _settings(where)
    yield from _notices()
    yield from _expired()
    yield from _after_a_boot(where)


def known_uris() -> list[str]:
    """The URI of everything there is, for completion and suggestions."""
    found = (f"{noun.name}:{name}" for noun in nouns.every() for name in noun.names() if noun.kind is not None)
    return sorted(set(found))


def reconcile() -> list[str]:
    """Bring what other tools hold into line with the store's links; what was done, a sentence each."""
    return [sentence for noun in nouns.every() for sentence in _reconcile(noun)]


def _reconcile(noun: nouns.Noun[Any]) -> Iterator[str]:
    try:
        yield from noun.reconcile()
    except Damaged as problem:  # without all records nothing is known to be too much there
        yield f"{noun.name} was not brought into line: {problem.what}; {problem.fix}"


def _python() -> HealthFinding:
    return HealthFinding("ok", "python", f"{platform.python_version()} in {sys.prefix}")


def _system() -> HealthFinding:
    if platform.system() == "Linux":
        return HealthFinding("ok", "system", f"{platform.system()} {platform.machine()}")
    detail = f"{platform.system()}: sessions and endpoints end with the terminal that started them"
    return HealthFinding("off", "system", detail, "use Linux, or WSL on Windows, for jobs that outlive a kernel")


def _workspace(where: Settings) -> HealthFinding:
    if not where.home.exists():
        return HealthFinding("off", "workspace", f"{where.workspace} is empty", "`%lab start`")
    if not os.access(where.home, os.W_OK):
        fix = "make it yours, or name another folder in the variable AIINFRA_WORKSPACE"
        return HealthFinding("bad", "workspace", f"{where.workspace} may not be written", fix)
    if where.home.stat().st_mode & 0o077:
        fix = f"`chmod -R go= {shlex.quote(str(where.home))}`, unless they are to read it"
        return HealthFinding("off", "workspace", f"others may open {where.home}", fix)
    return HealthFinding("ok", "workspace", str(where.workspace))


def _disk(workspace: Path) -> HealthFinding:
    # The workspace may not be made yet: then the disk that it would be on counts.
    existing = next(folder for folder in (workspace, *workspace.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free >= _LEAST_FREE_BYTES:
        return HealthFinding("ok", "disk", f"{show_bytes(free)} free")
    return HealthFinding(
        "bad", "disk", f"only {show_bytes(free)} free", "free some space: data versions and models need it"
    )


def _pool() -> HealthFinding:
    """The process of which kernels are forked."""
    from ..pool import asking, wanted  # here, since only a check looks at it

    if not wanted.is_on():
        return HealthFinding("ok", "warm pool", "off: by [kernels] pool, or for less than 4 GB of memory")
    facts = asking.order("show")
    if not facts:
        return HealthFinding("ok", "warm pool", "none runs; a run of a recipe begins one")
    made = f"{counted(facts['forked'], 'fork')} since it began, {facts['alive']} alive"
    return HealthFinding("ok", "warm pool", f"{made}; has imported {', '.join(facts['packages']) or 'nothing'}")


def _store(home: Path) -> Iterator[HealthFinding]:
    try:
        store = open_store()
        if not isinstance(store, SqliteStore):
            yield HealthFinding(
                "ok", "store", f"{counted(len(store.changed()), 'record')} on {providers.chosen('store')}"
            )
            return
        # To look must not make a store; but where a log's head lies and no store, one is lost.
        if not store.path.exists() and not store.path.with_name("audit.head").exists():
            return
        found = store.integrity()
    except LabError as problem:
        yield HealthFinding("bad", "store", problem.what, _fix(problem))
        return
    yield (
        HealthFinding("ok", "store", found)
        if found == "ok"
        else HealthFinding("bad", "store", found, damage.repair(store))
    )
    newest = next(iter(copies(home / "store.sqlite")), None)
    age_s = time.time() - newest.stat().st_mtime if newest else None
    if age_s is None or age_s < _OLDEST_COPY_S:
        yield HealthFinding(
            "ok", "copy of the store", "none due yet" if age_s is None else f"{show_duration(age_s)} old"
        )
    else:
        yield HealthFinding(
            "off", "copy of the store", f"{show_duration(age_s)} old", "the next verb that makes something makes one"
        )


def _records(home: Path) -> Iterator[HealthFinding]:
    """Records that cannot be read, those of a kind that nobody here knows, and files that no record names."""
    try:
        store = open_store()
        # By the keys alone: the bodies are what may be unreadable.
        there = Counter(key.kind for key in store.changed())
    except LabError:
        return  # said above
    known = damage.kinds()
    for name, count in there.items():
        if name not in known:
            detail = f"{count} of a kind that nothing here knows"
            yield HealthFinding("off", f"records {name}", detail, "install the package that wrote them, or upgrade")
    found = list(damage.unreadable(store))
    fix = functools.cache(lambda: damage.repair(store))  # it reads whole copies
    for key, problem in found:
        helps = fix() if isinstance(problem, Damaged) else problem.fix
        yield HealthFinding("bad", f"record {key.kind} {key.name}", problem.what, helps)
    for path in orphans(home, store):
        detail = "no record names it: the store was put back from an older copy, or a crash left it"
        yield HealthFinding(
            "off", str(path.relative_to(home)), detail, f"copy out what you need, then: {_removal(path)}"
        )


def _removal(path: Path) -> str:
    return f"`rm -rf {shlex.quote(str(path))}` removes it, after which a new version may get its number"


def _fix(problem: LabError) -> str:
    return damage.repair(open_store()) if isinstance(problem, Damaged) else problem.fix


def _events() -> Iterator[HealthFinding]:
    """An event that cannot be read; whether they are those that were written is what `--audit` looks at."""
    try:
        for _ in open_store().events():
            pass
    except Damaged as problem:
        yield HealthFinding("bad", "audit log", problem.what, damage.repair(open_store()))
    except LabError:
        return  # said above


def _audit() -> Iterator[HealthFinding]:
    try:
        store = open_store()
        yield _proof(store)
        yield from _notes_of_the_head(store)
    except LabError:
        return  # said above


def _notes_of_the_head(store: Store) -> Iterator[HealthFinding]:
    """That one is not kept, or lags: what it would find cannot be found then."""
    if not isinstance(store, HeadKeeper) or not isinstance(store, HeadCopier):
        return
    # First: what is committed meanwhile is noted as well.
    newest = next((logged.seq for logged in store.events(last=1)), 0)
    copy, (noted, _) = store.head_copy(), store.head()
    lacks = f"does not tell of event {newest}"
    if noted < newest:
        detail = f"{lacks}: it cannot be written or, after a power cut, what it lacks was not on the disk yet"
        yield HealthFinding("off", "head of the log", detail, "the next event writes it anew, see that it can")
    if copy.where and copy.seq < newest:
        detail = f"{copy.where} {lacks}: a log rewritten together with its head is not found"
        fix = f"see that {Path(copy.where).parent} can be written; the next event does it"
        yield HealthFinding("off", "copy of the head", detail, fix)


def _proof(store: Store) -> HealthFinding:
    proof = audit.prove(store)
    if proof.sound:
        # The chain of a restored store is sound although events are lost: its own event says which.
        gaps = [str(logged.event.detail["lost"]) for logged in store.events() if "lost" in logged.event.detail]
        return HealthFinding("ok", "audit log", "; ".join([proof.why, *gaps, UNCOVERED]))
    index = "`%lab start --restore` writes the index anew from the events, and loses nothing"
    fix = index if proof.is_index_wrong else proof.fix or damage.repair(store)
    return HealthFinding("bad", "audit log", proof.why, fix)


def _front_end() -> HealthFinding:
    if importlib.util.find_spec("jupyterlab") is None:
        return OptionalFinding("off", "JupyterLab", "not in this environment", "`pip install jupyterlab`")
    shared = Path(sys.prefix, "share", "jupyter", "labextensions", "aiinfra-lab")
    if shared.exists():
        return HealthFinding("ok", "JupyterLab", "with the side panel")
    again = "`pip install --force-reinstall --no-deps aiinfra-lab`"
    fix = "`make front` in the checkout" if _BUILDER.is_file() else again
    return HealthFinding("off", "JupyterLab", "the side panel is not installed", fix)


def _providers(where: Settings) -> Iterator[HealthFinding]:
    for contract, table in providers.TABLE.items():
        for name, provider in table.items():
            if providers.importable(provider):
                yield HealthFinding("ok", f"{contract} on {name}", provider.what)
            else:
                state = "off" if provider.extra else "bad"
                detail, fix = f"{provider.needs} is not installed", f"`{providers.install(provider)}`"
                yield OptionalFinding(state, f"{contract} on {name}", detail, fix)
    unusable = dict(providers.problems())
    for each in providers.foreign():
        what, problem = f"{each.contract} on {each.name}", unusable.get(each)
        if problem is None:
            yield HealthFinding("ok", what, f"brought by {each.package}")
        else:
            yield HealthFinding("off", what, problem.what, problem.fix)
    for contract in providers.CONTRACTS:
        name, there = providers.chosen(contract), providers.names(contract)
        if name and name not in there:
            source = next((place for key, _, place in where.explain() if key == contract), "the settings")
            fix = f"choose another in {source}: {did_you_mean(name, there)}; or install the package that brings it"
            yield HealthFinding(
                "bad", f"{contract} on {name}", "the settings choose it, and nothing here brings it", fix
            )


def _settings(where: Settings) -> Iterator[HealthFinding]:
    for key, value, source in where.explain():
        try:
            setting_keys.read(key)
        except LabError as problem:
            yield HealthFinding("bad", f"setting {key}", problem.what, problem.fix)
        else:
            yield HealthFinding("ok", f"setting {key}", f"{value!r} from {source}")


def _expired() -> Iterator[HealthFinding]:
    """What `lab rm --expired` would free: nothing is deleted before it was said here."""
    try:
        found = retention.expired()
    except LabError as problem:
        yield HealthFinding("bad", "retention", problem.what, problem.fix)
        return
    for rule, files in found.items():
        size = show_bytes(sum(file.size_bytes for file in files))
        yield HealthFinding("off", f"old {rule.setting}", f"{len(files)} of {size}, {rule}", "`%lab rm --expired`")


def _after_a_boot(where: Settings) -> Iterator[HealthFinding]:
    """Whether somebody brings back what shall live once the machine was started again."""
    try:
        living = unit.should_live()
    except LabError:
        return  # said above
    if not living or platform.system() != "Linux":
        return
    what, lives = "after a boot", f"{counted(living, 'endpoint')} shall live on"
    if unit.is_enabled(where):
        yield HealthFinding("ok", what, f"{lives}, and {unit.name(where)} brings them back")
    elif unit.has_user_sessions():
        fix = f"`{unit.command()}` installs the unit that does, and says how to enable it"
        yield HealthFinding("off", what, f"{lives}, and no systemd unit brings them back", fix)
    else:  # no fault of a container, which has its own way to start again
        stay = shlex.join([sys.executable, "-m", "aiinfra_lab.jobs.supervisor", "stay"])
        yield HealthFinding("ok", what, f"{lives}; without systemd services of yours, `{stay}` brings them back")


def _notices() -> Iterator[HealthFinding]:
    """What the nouns find worth saying of their things."""
    for noun in nouns.every():
        with contextlib.suppress(LabError):  # what the store or a provider cannot give was found above
            for notice in noun.notices():
                yield HealthFinding("off", notice.uri, notice.text, notice.fix)
