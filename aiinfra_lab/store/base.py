"""What the workspace's memory holds, and the contract that every store keeps."""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import msgspec

from ..errors import Damaged, LabError, Unavailable
from ..uris import split_label

GENESIS = "0" * 64
CHECK = "`%lab check` names what cannot be read, and what helps"
AUDIT = "`%lab check --audit` says what helps"
# Made once: making it takes as long as a short text does.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a record of one kind holds. Each kind is a subclass in its noun's folder.

    kind: the kind's name, which is the noun or `noun.part`. schema_version: grows when the fields change; then
    `upgrade` brings an older record's JSON up. has_event: whether an event comes with each commit of such a record, so
    that one which none tells of was written by something else.
    """

    kind: ClassVar[str]
    schema_version: ClassVar[int] = 1
    has_event: ClassVar[bool] = False

    @classmethod
    def upgrade(cls, fields: dict[str, Any], version: int) -> dict[str, Any]:  # noqa: ARG003  # subclasses ask
        """The fields as this version has them, given those that a record of that older version has on disk."""
        return fields

    @property
    def about(self) -> str:
        """The URI of the thing that the record belongs to, for `Store.list`; empty when it stands for itself."""
        return ""

    @property
    def is_open(self) -> bool:
        """Whether the end of what it describes is still to be written."""
        return False

    @property
    def removed_on(self) -> float | None:
        """When what it describes was removed, in epoch seconds; None while it is there."""
        return None

    @property
    def is_removed(self) -> bool:
        """Whether only the record is left."""
        return self.removed_on is not None


B = TypeVar("B", bound=Body)
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Record(Generic[K]):
    """One thing the workspace knows: `kind` and `name` identify it, `rev` is the revision that last wrote it."""

    kind: str
    name: str
    body: K
    rev: int = 0
    updated_at: float = 0.0

    @classmethod
    def new(cls, name: str, body: B) -> Record[B]:
        """A record that must not exist yet when it is committed."""
        return Record(body.kind, name, body)

    @property
    def uri(self) -> str:
        """The thing's URI: its noun, and the record's name."""
        return f"{self.kind.partition('.')[0]}:{self.name}"

    @property
    def base(self) -> str:
        """The name without its version and part."""
        return split_label(self.name)[0]

    @property
    def version(self) -> int:
        """N of `NAME@N`; 0 for what has no version."""
        return split_label(self.name)[1] or 0

    def with_(self, **changes: Any) -> Record[K]:
        """The same record at the same revision with these fields of its body changed."""
        return self.of(msgspec.structs.replace(self.body, **changes))  # type: ignore[type-var]

    def of(self, body: K) -> Record[K]:
        """The same record at the same revision with another body."""
        return Record(self.kind, self.name, body, self.rev, self.updated_at)


@dataclass(frozen=True, slots=True)
class Key:
    """Which record was written, and by which revision."""

    kind: str
    name: str
    rev: int


@dataclass(frozen=True, slots=True)
class Event:
    """What a verb did, for the audit log: which things (URIs) went in and which came out."""

    verb: str
    subject: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def uris(self) -> tuple[str, ...]:
        """Every URI that it names, each once."""
        return tuple(dict.fromkeys((self.subject, *self.inputs, *self.outputs)))


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its position in the chain. `hash` covers everything here and the hash before it.

    records: of each record that was committed with it, `KIND NAME`, the revision and the digest, `REV DIGEST`; empty in
    a store that keeps none.
    """

    seq: int
    at: float
    actor: str
    event: Event
    prev: str
    hash: str
    records: Mapping[str, str] = field(default_factory=dict)


class Store(Protocol):
    """The workspace's memory. Any number of processes and threads may use it at once.

    Every method raises Damaged when what is stored cannot be trusted, Denied when it may not be read or written,
    StoreUnavailable when the database is away, full, or locked for longer than 30 s (verbs that can wait for it repeat,
    see `patiently`), and Unavailable when it holds a record that a newer version of this package wrote. Whatever else a
    store from another package raises reaches a verb as StoreUnavailable.
    """

    def get(self, kind: type[B], name: str) -> Record[B] | None:
        """The record as last committed, or None."""

    def list(
        self,
        kind: type[B],
        *,
        name: str | None = None,
        about: str | None = None,
        is_open: bool | None = None,
        since_rev: int = 0,
        limit: int | None = None,
        order: Literal["made", "written"] = "made",
        skip_unreadable: bool = False,
    ) -> Sequence[Record[B]]:
        """Records of a kind, the last made (or the last written) first. Each condition that is given must hold.

        name: NAME of `NAME@N`, all its versions. about: the body's `about` is that URI or, when the URI has no version,
        any version of it. since_rev: written after that revision. limit: at most so many. skip_unreadable: leave out a
        record that is damaged or of a newer version rather than raise, log it once as a warning and call `leave_out`:
        for what people look at, never for what decides (what may be removed, which number is next).
        """

    def changed(self, since_rev: int = 0) -> Sequence[Key]:
        """What was written after that revision, of all kinds, the last written first; each record once."""

    def commit(self, records: Sequence[Record[Any]], event: Event | None = None) -> Sequence[Record[Any]]:
        """Write all records and one event, or nothing, and return when it is on disk.

        Conflict unless each record's `rev` is the stored one (0: must not exist); ValueError or TypeError when a body
        is no JSON, as `encode` raises it.
        """

    def events(self, since: int = 0, *, naming: str | None = None, last: int | None = None) -> Iterable[LoggedEvent]:
        """The audit log after that sequence number, oldest first.

        naming: only events that name that URI or, when it has no version, any version of it. last: only so many, the
        newest ones.
        """

    def close(self) -> None:
        """Let go of the connection; may be called twice, and the store used again afterwards."""


@runtime_checkable
class HeadKeeper(Protocol):
    """A store that keeps a second note of its newest event, outside the log that it proves."""

    def head(self) -> tuple[int, str]:
        """Sequence number and hash of the newest event that was noted; (0, GENESIS) when none was."""


class HeadCopy(NamedTuple):
    """The newest event as it is noted at another place, and where; (0, GENESIS) when nothing is."""

    seq: int
    hash: str
    where: str


@runtime_checkable
class HeadCopier(Protocol):
    """A store that keeps a copy of its head where nobody who edits the store looks."""

    def head_copy(self) -> HeadCopy:
        """What that copy says; it may lag behind, and never runs ahead."""


@runtime_checkable
class NameIndex(Protocol):
    """A store that finds names without reading the records: completion asks while somebody types."""

    def names(self, kinds: Sequence[type[Body]], starts: str, most: int) -> Sequence[Sequence[str]]:
        """Names of records of each kind that begin so, at most so many of each: of each `NAME` the highest `NAME@N`,
        then the last made. What was removed, or cannot be read, is left out.

        It need not look at all of them: where the newest that begin so were removed, older ones may be missed.
        """


_left_out: ContextVar[set[str] | None] = ContextVar("left_out", default=None)


@contextlib.contextmanager
def left_out() -> Iterator[set[str]]:
    """The records that lists of this thread leave out while this lasts, since they cannot be read."""
    found: set[str] = set()
    before = _left_out.set(found)
    try:
        yield found
    finally:
        _left_out.reset(before)


def leave_out(kind: str, name: str) -> None:
    """Whoever shows the list says how many records it lacks: a store tells here of each that it left out."""
    found = _left_out.get()
    if found is not None:
        found.add(f"{kind} {name}")


@runtime_checkable
class EventIndex(Protocol):
    """A store that finds the events that name a URI by an index, which can be wrong although the events are not."""

    def indexed(self, after: int, until: int | None) -> dict[int, set[str]]:
        """The URIs under which it finds each event after that number, up to and with the other when one is given."""

    def rebuild_index(self) -> None:
        """Write the index anew from the events' bodies, whole or not at all."""


@dataclass(frozen=True, slots=True)
class Seal:
    """A record as it lies in the store. digest: of what is there now. is_whole: whether that is what was written."""

    kind: str
    name: str
    rev: int
    digest: str
    is_whole: bool


@runtime_checkable
class Sealed(Protocol):
    """A store that keeps a digest of each record, and one of all of them together."""

    def seals(self) -> tuple[Sequence[Seal], bool]:
        """Every record at one moment, and whether together they are all that were written, and no others."""


def canonical(value: object) -> str:
    """JSON with one spelling for one value, so that a digest of it means something."""
    return _CANONICAL.encode(value)


def canonical_digest(value: object) -> str:
    """The SHA-256 of that spelling."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def encode(body: Body) -> str:
    """A body as it is stored. ValueError for NaN and infinities, which JSON does not have."""
    return canonical(msgspec.to_builtins(body))


def refuse_newer(kind: type[Body], name: str, version: int) -> None:
    """Unavailable when a newer version of this package wrote the record."""
    newest = kind.schema_version
    if version > newest:
        raise Unavailable(
            f"{kind.kind} {name} was written by a newer aiinfra_lab (version {version} of the record, this one knows "
            f"{newest})",
            "upgrade with `pip install -U aiinfra-lab`",
        )


def decode(kind: type[B], name: str, text: str, version: int) -> B:
    """The body that a stored text holds, brought up from an older version.

    Unavailable when a newer version wrote it, Damaged when it is no body of that kind.
    """
    refuse_newer(kind, name, version)
    try:
        # Straight from the text takes a fraction of the time, and a listing decodes thousands of records.
        if version == kind.schema_version:
            return msgspec.json.decode(text, type=kind)
        return msgspec.convert(kind.upgrade(msgspec.convert(json.loads(text), dict[str, Any]), version), kind)
    # msgspec's own errors are ValueErrors. The others are those of an `upgrade` that met what no version wrote, be it
    # a list for a struct or a text that is refused today; LabErrors too, since whoever lists has asked nothing wrong.
    except (ValueError, KeyError, TypeError, AttributeError, LabError) as problem:
        raise Damaged(f"the record {kind.kind} {name} cannot be read: {problem}", CHECK) from problem


def chain_hash(
    seq: int, at: float, actor: str, event: Event | str, prev: str, records: Mapping[str, str] | str | None = None
) -> str:
    """The SHA-256 that ties an event to all before it, and to the records with it; either may be canonical JSON."""
    body = event if isinstance(event, str) else canonical(asdict(event))
    # The canonical JSON of all of it, in which the event's own stands as it is: keys are sorted. Events of before have
    # no records, and keep their hash.
    with_records = f',"records":{records if isinstance(records, str) else canonical(records)}' if records else ""
    around = (
        f'{{"actor":{canonical(actor)},"at":{canonical(at)},"event":{body},"prev":"{prev}"{with_records},"seq":{seq}}}'
    )
    return hashlib.sha256(around.encode()).hexdigest()


def event_of(body: str) -> Event:
    """The event that its canonical JSON holds. Damaged when it is none."""
    try:
        fields = json.loads(body)
        return Event(**{**fields, "inputs": tuple(fields["inputs"]), "outputs": tuple(fields["outputs"])})
    except (ValueError, TypeError, KeyError) as problem:
        raise Damaged("an event of the audit log cannot be read", AUDIT) from problem


def actor() -> str:
    """Who acts: the user, and what the process was started for when it was started for something."""
    context = os.environ.get("AIINFRA_CONTEXT")
    return f"{_user()} ({context})" if context else _user()


@functools.cache
def _user() -> str:
    try:
        return getpass.getuser()
        # A container may run as a uid without a user's entry: KeyError, and OSError from Python 3.13 on.
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def first_break(events: Iterable[LoggedEvent]) -> int | None:
    """The sequence number at which the chain from the very first event breaks, or None when it is whole."""
    prev, expected = GENESIS, 1
    for logged in events:
        sound = chain_hash(logged.seq, logged.at, logged.actor, logged.event, prev, logged.records) == logged.hash
        if not sound or logged.seq != expected or logged.prev != prev:
            return expected
        prev, expected = logged.hash, expected + 1
    return None
