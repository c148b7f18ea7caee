"""The one table of nouns, and what each noun tells of its things to those who know none of them.

`lab`, `cost`, `audit`, completion and the panel ask `find(noun)`; none of them has a list of nouns or opens a noun's
record. A noun answers in its own folder: `noun.py` holds a subclass of `Noun` and its instance `NOUN`.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from .errors import NotFound, UsageProblem, did_you_mean

if TYPE_CHECKING:
    from .jobs import Job
    from .store import Body, Record
    from .uris import Uri

# Noun → its package, in the order in which help and lists show them.
TABLE: dict[str, str] = {
    "lab": "aiinfra_lab.lab",
    "gpu": "aiinfra_lab.gpu",
    "data": "aiinfra_lab.data",
    "features": "aiinfra_lab.features",
    "train": "aiinfra_lab.train",
    "models": "aiinfra_lab.models",
    "deploy": "aiinfra_lab.deploy",
    "drift": "aiinfra_lab.drift",
    "cost": "aiinfra_lab.cost",
    "recipe": "aiinfra_lab.recipe",
}

B = TypeVar("B", bound="Body")

# What a state means to whoever reads a list, where no more is known of it.
STATE_DETAILS = {
    "lost": "its process vanished without a word",
    "starting": "waiting for its process",
    "stopping": "was asked to end",
}

# An end is soon in the last part of a thing's time, however long that is: never from its start on, nor for hours.
SOON_PART = 0.2
SOON_S = 1800.0

# Of what has ended so many are looked at, the last written, for those that their budgets ended.
_ENDED_LOOKED_AT = 20

# A request to end that brought no end for so long may not have reached whoever was to carry it out.
STOP_AGAIN_S = 30.0
LOG_LINES = 12  # of a job's log, for who looks closer


@dataclass(frozen=True, slots=True)
class Action:
    """A verb that somebody may choose for a thing with one key press, and what is asked before it is called.

    title: what the button says, with the verb in it. question: what is asked. consequence: what ends, for whom, and
    what stays. instead: the verb of another action of the same thing that may be what is really wanted. flags: what the
    verb is called with besides the thing.
    """

    verb: str
    title: str
    question: str
    consequence: str
    instead: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a thing does now, whatever was written last.

    state: in the words of the noun's own `ls`. detail: why, in a few words, when that is worth saying. can_stop:
    whether a request to end it would be new, or may be needed again. job: the id of the job that does it, when there is
    one. context: what the process that started it was started for (`config.context`).
    figure: the one number to look at, with its unit. facts: a few more. progress: steps that are done, of how many.
    usd_per_hour, on_machine, within: as in `Span`. actions: what may be done to it and is asked about first; also its
    stop, where that does harm. kind: what it is, if not what its noun's things are. group: what it is listed below.
    """

    uri: str
    state: str
    is_live: bool = False
    started_at: float = 0.0
    ended_at: float | None = None
    deadline_at: float | None = None
    detail: str = ""
    can_stop: bool = False
    job: str = ""
    context: str = ""
    figure: str = ""
    facts: tuple[str, ...] = ()
    progress: tuple[int, int] | None = None
    usd_per_hour: float | None = None
    on_machine: bool = True
    within: str = ""
    actions: tuple[Action, ...] = ()
    kind: str = ""
    group: str = ""

    @property
    def ends_soon(self) -> bool:
        """Whether it runs and its time is nearly over; see `ends_soon`."""
        return self.is_live and self.state == "running" and ends_soon(self.started_at, self.deadline_at)


@dataclass(frozen=True, slots=True)
class Fact:
    """One line about a thing. state: a word that judges the value. share: which part it is of a limit."""

    label: str
    value: str
    state: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True)
class ArmRow:
    """A version that answers a share of an endpoint's requests. cells: in the columns of `Details.columns`."""

    uri: str
    role: str
    share: float
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Details:
    """What is shown of one thing when somebody looks closer.

    problem, fix: why it failed and what helps. arms: what an endpoint serves. url, example: where it answers, and a
    command line that asks it. picture: an SVG text; picture_alt: the same in words. log: the last lines it printed.
    code: a line for a notebook that shows its outputs.
    """

    facts: tuple[Fact, ...] = ()
    problem: str = ""
    fix: str = ""
    columns: tuple[str, ...] = ()
    arms: tuple[ArmRow, ...] = ()
    url: str = ""
    example: str = ""
    picture: str = ""
    picture_alt: str = ""
    log: str = ""
    code: str = ""


def ends_soon(started_at: float, deadline_at: float | None) -> bool:
    """Whether what has lived since then and ends at that moment should be given more time now, or left."""
    return deadline_at is not None and deadline_at - time.time() <= soon_s(deadline_at - started_at)


def soon_s(whole_s: float) -> float:
    """The last part of a time that is so long, in which its end is soon."""
    return min(SOON_PART * whole_s, SOON_S)


def is_overdue(stop_requested_at: float | None) -> bool:
    """Whether what was asked to end then should have ended by now, so that it may be asked again."""
    return stop_requested_at is not None and time.time() - stop_requested_at > STOP_AGAIN_S


@dataclass(frozen=True, slots=True)
class Thing:
    """One line of what a noun's own `ls` lists. checked: how its last check ended, of what has no state of its own."""

    uri: str
    changed_at: float
    state: str
    checked: str = ""


@dataclass(frozen=True, slots=True)
class StepSpan:
    """A step of a span. began_at: None if it did not run; duration_s: None while it runs, its rest's if it went_on."""

    name: str
    state: str
    began_at: float | None
    duration_s: float | None
    went_on: bool = False

    def took_s(self, is_live: bool) -> float:
        """Its seconds; of one that has not ended until now when its run is live, else none that could be told."""
        if self.duration_s is None and self.began_at is not None and is_live:
            return max(0.0, time.time() - self.began_at)
        return max(0.0, self.duration_s or 0.0)  # a clock may have been set back meanwhile


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time. usd_per_hour: its price; None for the price of this machine, or, when it ran elsewhere
    and in no session, for one that nobody knows.

    within: the session (a URI) whose time it was; then the money is the session's. on_machine: whether it ran here.
    rows, busy_s: what an endpoint predicted, and the seconds that it took to answer. counted_at: until when these were
    written down, while they still grow. steps: those of a pipeline's run. days: the rows that an endpoint predicted on
    each of the last days, in all its starts; with one of them only. of_start: where one start has several spans, which.
    """

    uri: str
    started_at: float
    ended_at: float
    is_live: bool
    usd_per_hour: float | None = None
    on_machine: bool = True
    within: str = ""
    rows: int = 0
    busy_s: float = 0.0
    counted_at: float | None = None
    steps: tuple[StepSpan, ...] = ()
    days: tuple[tuple[str, int], ...] = ()
    of_start: str = ""

    @property
    def duration_s(self) -> float:
        return max(0.0, self.ended_at - self.started_at)


@dataclass(frozen=True, slots=True)
class Throughput:
    """What a load test of a thing has seen: so many requests a second were answered, and 95 % of them in that time.

    The thing may be able to do more. sent, ok: requests, and those that were answered with a prediction. rows: of one
    request. models: the versions that answered. is_current: whether these are what the thing serves now.
    """

    uri: str
    at: float
    for_s: float
    sent: int
    ok: int
    p95_ms: float | None
    rows: int = 1
    models: tuple[str, ...] = ()
    is_current: bool = True

    @property
    def per_s(self) -> float:
        """Requests a second that were answered with a prediction."""
        return self.ok / self.for_s if self.for_s > 0 else 0.0

    @property
    def ok_share(self) -> float:
        return self.ok / self.sent if self.sent else 0.0


@dataclass(frozen=True, slots=True)
class Saving:
    """What was measured to let a machine do more of a thing's work: `rate` times as much. source: what measured it."""

    name: str
    rate: float
    source: str


@runtime_checkable
class HasBudget(Protocol):
    """What the record of a thing has that lives on a budget: of this start of it."""

    started_at: float
    ended_at: float | None
    ended_by: str
    budget_usd: float | None

    def spent_usd(self, ended_at: float | None) -> float:
        """The money until then or, given None, until now."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one start of a thing may cost, and what it has cost. fix: the command that gives it more."""

    uri: str
    started_at: float
    budget_usd: float
    spent_usd: float
    fix: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A thing that must stay because something else uses it, and the command that ends that.

    uri: what must stay, with all that it was made of. user: who needs it, e.g. `deploy:delay serves`.
    """

    uri: str
    user: str
    release: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about a thing that may surprise somebody, and the command that puts it right.

    state: a word of the alphabet of states, where it is another than the thing's own
    """

    uri: str
    detail: str
    fix: str
    state: str = ""

    @property
    def text(self) -> str:
        """All of it in words."""
        return f"{self.state}: {self.detail}" if self.state else self.detail


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file or a folder that nothing needs any more, kept for people: a log. last_at: when it was last written."""

    uri: str
    path: Path
    last_at: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Keeping:
    """Files that fall under one pair of settings, `SETTING_days` and `SETTING_gib`, with the size's default.

    why: what else is true of them, where others of their kind are kept whatever their age.
    """

    setting: str
    default_gib: float
    files: tuple[KeptFile, ...]
    why: str = ""


class Noun(Generic[B]):
    """What a noun tells of its things. A method raises LabError when a place that it asks cannot answer.

    The defaults are those of a noun whose things are records that neither live nor cost anything.
    """

    name: str
    kind: type[B] | None = None
    """The record of one of its things; None for a noun that keeps none."""
    part_kind: type[Body] | None = None
    """The record of `NAME@N#part`; None when its things have no parts."""
    more_kinds: tuple[type[Body], ...] = ()
    """Further kinds of records that it keeps, which are no things of their own."""
    has_versions = False
    """Whether its things are called `NAME@N`, or by their name alone."""
    usual_alias = ""
    """The alias that is meant to be there, also before it is set."""
    settings: ClassVar[Mapping[str, str]] = {}
    """The names of the settings in its section of `aiinfra.toml`, each with what it sets; see `setting_keys`."""
    plural = "things"
    """What several of its things are called, in messages."""
    stop_consequence = ""
    """What ends for others when one of its things is stopped, and what stays; empty when nobody need be asked."""

    def first(self, name: str) -> str:
        """The command that makes the first thing of that name, for the fix of an error."""
        return f"`%{self.name} --help` says how to make one"

    def aliased(self, name: str, alias: str) -> Uri | None:
        """The version that an alias of that name means now, which may have another name: a run behind a model's alias.

        None when it means nothing yet, or NotFound where the noun knows the way to one. UsageProblem when the noun has
        no aliases.
        """
        fix = f"write {self.name}:{name} for the newest, or @N behind it"
        raise UsageProblem(f"{self.name} has no aliases, and {alias!r} is one", fix)

    def things(self) -> Sequence[Thing]:
        """What its own `ls` lists, the last made first."""
        records = self._present()
        seen = {item.uri: item.state for item in self.observe(records)}
        # To observe may write down ends: read again, or the next look would show another time and order than this one.
        if _is_overtaken(records):
            records = self._present()
        return [
            Thing(record.uri, record.updated_at, seen.get(record.uri, ""), self.checked(record)) for record in records
        ]

    def checked(self, record: Record[B]) -> str:
        """How its last check ended: good, bad or cannot tell; empty when it has a state instead, or was not checked."""
        return ""

    def digest(self, record: Record[Any]) -> str:
        """What stands for its content: the same for two versions with the same content alone. Empty of what lives, and
        of what is more than its record and files hold."""
        return ""

    def names(self) -> Sequence[str]:
        """What may be written where a thing of it is wanted: names and, where there are any, their versions."""
        names: dict[str, None] = {}
        for record in self._present():
            if self.has_versions:
                names.setdefault(record.base)
            names.setdefault(record.name)
        return list(names)

    def aliases(self) -> Sequence[str]:
        """The aliases that mean something now, as they are written: `delay@champion`."""
        return []

    def beginning(self, starts: str, most: int, *, is_live: bool = False) -> Sequence[str]:
        """Of `names` what begins so, for completion: quick, at most so many labels, the last made first. is_live: only
        what has not ended, as far as its record tells."""
        from .store import NameIndex, open_store

        if self.kind is None or not isinstance(store := open_store(), NameIndex):
            return [name for name in self.names() if name.startswith(starts)][:most]
        if is_live:
            records = store.list(self.kind, is_open=True, limit=most, skip_unreadable=True)
            return [record.name for record in records if record.name.startswith(starts)]
        kind = self.part_kind if self.part_kind and "#" in starts else self.kind
        return self.offered(starts, *store.names([kind], starts, most))

    def offered(self, starts: str, labels: Sequence[str]) -> Sequence[str]:
        """What completion offers where the store found these labels of records that begin so."""
        from .uris import split_label

        bases = [split_label(label)[0] for label in labels] if self.has_versions else []
        return list(dict.fromkeys([*(base for base in bases if base.startswith(starts)), *labels]))

    def aliases_beginning(self, starts: str, most: int) -> Sequence[str]:
        """Of `aliases` what begins so, at most so many."""
        return [alias for alias in self.aliases() if alias.startswith(starts)][:most]

    def observe(self, records: Sequence[Record[B]]) -> Sequence[Observation]:
        """What these do now, in their order. Where that shows that one has ended, the end is written down."""
        return [Observation(record.uri, "") for record in records]

    def watched(self, ended: int = 20) -> Sequence[Observation]:
        """What lives, and what ended last, at most that many of the latter."""
        return []

    def details(self, uri: str) -> Details:
        """What there is to see of a thing when somebody looks closer; cheap enough to be asked every few seconds. The
        default tells of its newest job. NotFound when there is neither a record nor a job of it."""
        from . import jobs
        from .resolve import resolve

        if (job := jobs.find(uri)) is not None:
            return job_details(job)
        from .show import moment

        return Details((Fact("written", moment(resolve(uri, self.kind).updated_at)),)) if self.kind else Details()

    def stop(self, uri: str) -> Sequence[str]:
        """Write down the request to end it, and return at once; the jobs that were asked, by their ids. The default
        asks the jobs that are for it. NotFound when nothing of that name lives."""
        from . import jobs
        from .uris import Uri

        living = jobs.ls(uri, live=True)
        if not living:
            live = [Uri.parse(job.subject).label for job in jobs.ls(live=True) if Uri.is_one(job.subject, self.name)]
            raise NotFound(f"nothing called {uri} lives", did_you_mean(Uri.parse(uri).label, live))
        return [jobs.cancel(job.id).id for job in living]

    def keepings(self) -> Sequence[Keeping]:
        """The files that it keeps for people for a while, and under which settings."""
        return []

    def before_freeing(self, paths: Collection[Path]) -> None:
        """Write down what only these files tell of its things: they are about to be deleted."""

    def reconcile(self) -> Sequence[str]:
        """Bring what other tools hold of its things into line with our records; what was done, a sentence each."""
        return []

    def notices(self) -> Sequence[Notice]:
        """What is worth a line of `lab check` about its things."""
        return []

    def spans(self, *, with_steps: bool = False) -> Sequence[Span]:
        """What took time and so may cost money, in any order, each start for itself; its steps where asked for."""
        return []

    def throughputs(self) -> Sequence[Throughput]:
        """What load tests of its things have seen, the newest first."""
        return []

    def savings(self, uri: str) -> Sequence[Saving]:
        """What was measured to let a machine do more of that thing's work: smaller weights, larger batches."""
        return []

    def budgets(self) -> Sequence[Budget]:
        """Its things that live on a budget, or were ended by it within a day; as far as their records tell, for all to
        be asked often. The default is that of records that state one as `HasBudget` does."""
        from .store import open_store

        if self.kind is None or "budget_usd" not in self.kind.__struct_fields__:
            return []
        store = open_store()
        living = store.list(self.kind, is_open=True, skip_unreadable=True)
        over = store.list(self.kind, is_open=False, limit=_ENDED_LOOKED_AT, order="written", skip_unreadable=True)
        recent = [record for record in over if record.updated_at >= time.time() - 86_400]
        found = map(self.budget, [*living, *recent])
        return [each for each in found if each is not None]

    def budget(self, record: Record[Any]) -> Budget | None:
        """That of a thing whose record `HasBudget`; None when it has none, or something else ended it."""
        return _budget(record, self.spent_usd)

    def spent_usd(self, record: Record[Any]) -> float:
        """What this start of a thing that `HasBudget` has cost so far; by default what its record says of that."""
        found: HasBudget = record.body
        return found.spent_usd(found.ended_at)

    def references(self) -> Sequence[Reference]:
        """What must not be removed because a thing of this noun uses it."""
        return []

    def _present(self) -> list[Record[B]]:
        """The records of what was not removed, as far as they can be read."""
        # Imported here: the settings import TABLE, and the store imports the settings.
        from .store import open_store

        if self.kind is None:
            return []
        return [record for record in open_store().list(self.kind, skip_unreadable=True) if not record.body.is_removed]


def job_details(job: Job) -> Details:
    """What a job tells of the thing that it is for: its times, the end of what it printed, and why it failed."""
    from . import jobs, logs
    from .show import moment
    from .units import show_duration

    facts = [Fact("started", moment(job.started_at))]
    if job.ended_at is not None:
        facts.append(Fact("took", show_duration(max(0.0, job.ended_at - job.started_at))))
    if job.exit_code:
        facts.append(Fact("exit code", str(job.exit_code)))
    if job.restarts:
        facts.append(Fact("started again", job.restarts_shown))
    log = jobs.log(job.id, LOG_LINES)
    problem = logs.last_problem(log) if job.state == "failed" else STATE_DETAILS["lost"] if job.state == "lost" else ""
    return Details(tuple(facts), problem=problem, log=log)


def _budget(record: Record[Any], spent_usd: Callable[[Record[Any]], float]) -> Budget | None:
    """Of a record that has one; of one that has ended only where its budget ended it."""
    body, uri = record.body, record.uri
    if not isinstance(body, HasBudget) or not body.budget_usd or (body.ended_at and body.ended_by != "budget"):
        return None
    more = f"%{record.kind} start {record.name} --budget {2 * body.budget_usd:g}"
    fix = f"`{more}` {'starts it again' if body.ended_at else 'gives it more'}"
    spent = spent_usd(record)
    # It is ended to the second, not to the cent.
    spent = max(spent, body.budget_usd) if body.ended_at else spent
    return Budget(uri, body.started_at, body.budget_usd, spent, fix)


def _is_overtaken(records: Sequence[Record[Any]]) -> bool:
    """Whether something of their kind was written since they were read."""
    from .store import open_store

    if not records:
        return False
    newest = max(record.rev for record in records)
    return any(key.kind == records[0].kind for key in open_store().changed(newest))


def find(noun: str) -> Noun[Any]:
    """What that noun tells; its `noun.py` is imported now. UsageProblem with a suggestion for an unknown noun."""
    if noun not in TABLE:
        raise UsageProblem(f"there is no noun {noun!r}", did_you_mean(noun, TABLE))
    found: Noun[Any] = importlib.import_module(f"{TABLE[noun]}.noun").NOUN
    return found


def newest(of: Iterable[str], most: int) -> Mapping[str, Sequence[str]]:
    """Of each of these nouns what `beginning` gives of any beginning, asked together: a store may be far away."""
    from .store import NameIndex, open_store

    found = [find(noun) for noun in of]
    kept = [noun for noun in found if noun.kind is not None]
    if not isinstance(store := open_store(), NameIndex):
        return {noun.name: noun.beginning("", most) for noun in kept}
    labels = store.names([noun.kind for noun in kept if noun.kind is not None], "", most)
    return {noun.name: noun.offered("", those) for noun, those in zip(kept, labels, strict=True)}


def kinds() -> Iterator[type[Body]]:
    """Every kind of record that a noun keeps."""
    for noun in every():
        yield from filter(None, (noun.kind, noun.part_kind, *noun.more_kinds))


def every() -> Iterator[Noun[Any]]:
    """All nouns, in the order of the table."""
    return map(find, TABLE)
