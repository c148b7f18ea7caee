"""Versions, aliases and policies as the workspace remembers them.

A version is the record `delay@7`. The model's own record `delay` has which version holds which alias, and since when,
and what every version must satisfy: one record, so that no alias moves while the policy changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from ..config import settings
from ..errors import Conflict, NotFound
from ..files import retry
from ..resolve import resolve
from ..rules import Rule, parse
from ..store import Body, Event, Record, open_store, update
from ..uris import Uri
from .policies import Policy

_LAST = 20
CHAMPION = "champion"
CheckVerdict = Literal["good", "bad", "cannot tell"]


@dataclass(frozen=True)
class ModelFinding:
    """One thing that was looked at. `fix` says what to do when it is not good."""

    what: str
    state: CheckVerdict
    detail: str
    fix: str = ""


class LastCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a version was checked last: the verdict, what was required for it, and when.

    policy, files: the digests of the policy that it was judged by, and of what the version's files were; empty in
    records of 0.1.0, which kept neither. champion: the version that it was compared with, if any.
    """

    verdict: CheckVerdict
    require: Rule | None = None
    margin: float = 0.0
    at: float = 0.0
    policy: str = ""
    files: str = ""
    champion: int | None = None
    findings: tuple[ModelFinding, ...] = ()


class ModelCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The user's own function that built the network of some weights. path, sha256: of its module's file."""

    reference: str
    path: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.reference} in {self.path} (SHA-256 {self.sha256[:12]}…)"


class ModelSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a model came from that was trained somewhere else. format: the importer that read it.

    path: the file or folder, or the URI that it was got from. sha256: of the file; of a folder, of its files' digests.
    code: what built the network, where the file holds weights alone.
    """

    path: str
    sha256: str
    format: str
    code: ModelCode | None = None

    @property
    def uri(self) -> str:
        """How the lineage calls it: a path as `file:PATH`, as that of data."""
        return f"file:{self.path}" if Path(self.path).is_absolute() else self.path

    def __str__(self) -> str:
        built = f", built by {self.code}" if self.code else ""
        return f"{self.path} ({self.format}, SHA-256 {self.sha256[:12]}…){built}"


class ModelVersion(Body, frozen=True, kw_only=True):
    """A version: the run that it came from, what it learned from, and the digest of every file.

    source: in place of a run, of a model that was trained somewhere else; rows are then those of its example. data: the
    data versions behind its rows. files: file → SHA-256. registered_as: the other registry's name of it. size_bytes: of
    its files; None in records from before that was kept.
    """

    kind: ClassVar[str] = "models"
    schema_version: ClassVar[int] = 5

    run: str = ""
    source: ModelSource | None = None
    rows: str = ""
    rows_digest: str = ""
    data: tuple[str, ...] = ()
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    files: dict[str, str] = msgspec.field(default_factory=dict)
    note: str = ""
    created_at: float = 0.0
    # Kept, so that a list of thousands need not ask the file system for each file of each version.
    size_bytes: int | None = None
    checked: LastCheck | None = None
    registered_as: str = ""
    removed_at: float | None = None

    @classmethod
    def upgrade(cls, fields: dict[str, Any], version: int) -> dict[str, Any]:
        """Version 1 had the text of what was required for the last check; 2 had no more of it than that and its end;
        until 3 every version had a run, and until 4 no source had code.
        """
        checked = fields.get("checked")
        if version == 1 and checked and "require" in checked:
            # Version 1 took a number beyond all others, such as 1e400, which nothing reaches.
            rule = parse(checked["require"], clamp=True) if checked["require"].strip() else None
            return {**fields, "checked": {**checked, "require": msgspec.to_builtins(rule)}}
        return fields

    @property
    def removed_on(self) -> float | None:
        return self.removed_at

    @property
    def verdict(self) -> CheckVerdict | Literal[""]:
        """How its last check ended; nothing when there was none."""
        return self.checked.verdict if self.checked else ""


class AliasMove(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One move of an alias. before: the version that it left, if any; by: the verb that moved it."""

    alias: str
    version: int
    before: int | None
    by: Literal["promote", "rollback"]
    at: float


class ModelAliases(Body, frozen=True, kw_only=True):
    """A model's aliases, each with the version that holds it, and every move of one, oldest first; and its policy.

    policy: None until a check or `models policy` has stated it; the settings may require more, see `policies.in_force`.
    """

    kind: ClassVar[str] = "models.aliases"
    schema_version: ClassVar[int] = 2
    has_event: ClassVar[bool] = True

    aliases: dict[str, int] = msgspec.field(default_factory=dict)
    history: tuple[AliasMove, ...] = ()
    policy: Policy | None = None


def folder(label: str) -> Path:
    """Where a version's files are: `delay@7` → its folder in the workspace."""
    return settings().home / "models" / label


def versions(
    name: str | None = None, *, removed: bool = False, skip_unreadable: bool = False
) -> list[Record[ModelVersion]]:
    """Versions, newest first: all, or those of one name; removed ones only when asked for.

    skip_unreadable: see `Store.list`.
    """
    found = open_store().list(ModelVersion, name=name, skip_unreadable=skip_unreadable)
    return [version for version in found if removed or not version.body.is_removed]


def of_model(name: str) -> Record[ModelAliases]:
    """The model's own record; a new one while nothing was written down about it."""
    return open_store().get(ModelAliases, name) or Record.new(name, ModelAliases())


def aliases(name: str) -> dict[str, int]:
    """Alias → version of a model."""
    return dict(of_model(name).body.aliases)


def all_aliases(*, skip_unreadable: bool = False) -> dict[str, dict[str, int]]:
    """Model → its aliases, of all models in one query. skip_unreadable: see `Store.list`."""
    return {name: known.aliases for name, known in all_models(skip_unreadable=skip_unreadable).items()}


def all_models(*, skip_unreadable: bool = False) -> dict[str, ModelAliases]:
    """Model → its own record, of all that have one, in one query. skip_unreadable: see `Store.list`."""
    found = open_store().list(ModelAliases, skip_unreadable=skip_unreadable)
    return {record.name: record.body for record in found}


def last_aliases() -> set[str]:
    """The aliases of the models that were written last."""
    found = open_store().list(ModelAliases, limit=_LAST, order="written", skip_unreadable=True)
    return {alias for record in found for alias in record.body.aliases}


def held(version: Record[ModelVersion], known: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """The aliases that point at a version. known: its model's aliases, when the caller has them."""
    known = aliases(version.base) if known is None else known
    return tuple(sorted(alias for alias, number in known.items() if number == version.version))


def change(label: str, event: Event | None = None, **changes: Any) -> Record[ModelVersion]:
    """Write something about a version: fields of its record, with at most one event."""
    return update(open_store(), ModelVersion, label, lambda body: msgspec.structs.replace(body, **changes), event)


def move(
    name: str,
    alias: str,
    by: Literal["promote", "rollback"],
    choose: Callable[[ModelAliases], int],
    admit: Callable[[Record[ModelVersion], ModelAliases], None] | None = None,
) -> tuple[int | None, int]:
    """Point an alias at the version that `choose` picks from the model's record; returns (before, after).

    Nothing is written when it points there already. admit: raises when the version may not have it.
    """
    model, store = Uri("models", name), open_store()

    def step() -> tuple[int | None, int]:
        # Chosen anew each time: a rollback goes by the history, which somebody else may just have made longer.
        record = of_model(name)
        before, after = record.body.aliases.get(alias), choose(record.body)
        version = resolve(model.at(after), ModelVersion)
        if admit is not None:
            admit(version, record.body)
        if before != after:
            entry = AliasMove(alias=alias, version=after, before=before, by=by, at=time.time())
            moved = record.with_(aliases={**record.body.aliases, alias: after}, history=(*record.body.history, entry))
            # With the version as it was admitted: a check that ends meanwhile, or a removal, is a conflict.
            store.commit([moved, version], _event(model, alias, entry))
        return before, after

    return retry(step, Conflict(f"the aliases of {model} change too fast to be moved", "repeat in a moment"))


def drop(name: str, alias: str) -> None:
    """Take an alias away from the version that holds it; nothing is written when none does."""
    model, store = Uri("models", name), open_store()

    def step() -> None:
        record = store.get(ModelAliases, name)
        if record and (holder := record.body.aliases.get(alias)) is not None:
            left = {known: number for known, number in record.body.aliases.items() if known != alias}
            pointed, detail = str(Uri("models", name, alias=alias)), {"before": holder, "after": None}
            event = Event("models rm", str(model), (str(model.at(holder)),), (pointed,), detail)
            store.commit([record.with_(aliases=left)], event)

    retry(step, Conflict(f"the aliases of {model} change too fast to be moved", "repeat in a moment"))


def champion(known: ModelAliases, name: str) -> int | None:
    """The version that others are compared with: the champion, and without one the last that there was and still is.

    Else a worse one would pass once the alias is taken away.
    """
    holder = known.aliases.get(CHAMPION)
    return _before(known, CHAMPION, _numbers(name)) if holder is None and known.history else holder


def before(known: ModelAliases, alias: str, name: str) -> int:
    """The version that held the alias before its holder, by the history; removed ones are passed over.

    A rollback takes its promotion back: so several in a row go further back, rather than to and fro. NotFound for none.
    """
    there = _numbers(name)
    number = _before(known, alias, there)
    if number is None:
        raise NotFound(
            f"no version held {alias} of models:{name} before",
            f"`%models ls {name}` lists the versions, one of which `models promote` makes the {alias}",
        )
    return number


def _numbers(name: str) -> set[int]:
    return {version.version for version in versions(name)}


def _before(known: ModelAliases, alias: str, there: Collection[int]) -> int | None:
    stack: list[int] = []
    for entry in known.history:
        if entry.alias == alias and entry.by == "rollback":
            # What was promoted since is no version before: it was taken back.
            while stack and stack[-1] != entry.version:
                stack.pop()
        elif entry.alias == alias:
            stack.append(entry.version)
    # Who was removed since cannot hold it again. The holder stands in there twice when it was given the alias back.
    holder = known.aliases.get(alias)
    return next((number for number in reversed(stack) if number in there and number != holder), None)


def _event(model: Uri, alias: str, entry: AliasMove) -> Event:
    pointed = str(Uri(model.noun, model.name, alias=alias))
    detail = {"before": entry.before, "after": entry.version}
    return Event(f"models {entry.by}", str(model), (str(model.at(entry.version)),), (pointed,), detail)
