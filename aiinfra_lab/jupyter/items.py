"""What lives in the workspace or recently ended, as the side panel lists it, in the words of each thing's noun.

The nouns say what their things do (`Noun.watched`), `show.states` how each state looks, and `ItemFeed` what of it is
new to a caller. What a thing costs now is summed up here, and nothing else is decided.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from .. import jobs, nouns, signal_records
from ..config import Settings
from ..errors import LabError, NotFound, StoreUnavailable
from ..jobs import Job, JobRecord
from ..kernels import KeptKernel, sweep_launcher
from ..nouns import STATE_DETAILS, Action, Observation
from ..show import Result
from ..show.states import StateMark, mark_of
from ..store import Record, Store, open_store
from ..uris import Uri

# A verb called over REST is a job of its own, not the thing that it makes: under that thing's URI, `deploy stop`
# would end the wrong one.
CALL = "lab:call-"
ENDED_SHOWN = 20
ENDED_SHOWN_S = 24 * 3600.0
# So many things that are gone are remembered; a panel asks every few seconds, and what went before that long.
GONE_KEPT = 2000
BUSY = "Its kernel is busy: what it computes is lost, with all in its memory. Files and records stay."
TOUR = "00-tour.ipynb"
# Between two looks at the budgets.
_LOOK_S = 10.0


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the panel. `since` is when it began to live, or when it ended as far as anybody wrote that down.

    word, glyph, tone: how its state looks. job: what tells it from another start of the same thing: the URI for what
    its noun says of it, whether it has a job yet, still or never, and the job's id for an earlier start and for what no
    noun knows. actions: what is asked about before it is done; a stop that is not among them needs no question. kind,
    group: as in `Observation`.
    """

    uri: str
    noun: str
    name: str
    state: str
    word: str
    glyph: str
    tone: str
    is_live: bool
    since: float
    detail: str
    figure: str
    facts: tuple[str, ...]
    progress: tuple[int, int] | None
    stoppable: bool
    deadline: float | None
    job: str
    actions: tuple[Action, ...]
    kind: str
    group: str


@dataclass(frozen=True, slots=True)
class HourlyPrice:
    """What all that lives costs an hour. is_least: whether something among it has a price that nobody knows."""

    usd_per_hour: float = 0.0
    is_least: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new to a caller. gone: what is no item any more, as `Item.job` names it. feed: which feed says so."""

    rev: int
    items: list[Item]
    gone: list[str]
    price: HourlyPrice
    is_empty: bool
    feed: str


@runtime_checkable
class HasPlan(Protocol):
    """A noun whose things run again, and which can say beforehand what would be done."""

    def plan(self, uri: str) -> Result:
        """What the next run of that thing would do and why, as its noun's own verb says it; nothing is written. It may
        read all that the run would take, which takes as long as that. LabError where it could not run."""


class ItemFeed:
    """Follows what lives in a workspace, and tells what is new since a revision of its store.

    id: what tells it from the feed of another process, which does not know what is gone since its caller's revision.
    """

    def __init__(self, store: Store) -> None:
        self.id = secrets.token_hex(4)
        self.rev = 0
        self._lock = threading.Lock()
        self._store = store
        self._known: dict[str, tuple[Item, int]] = {}
        self._gone: dict[str, int] = {}
        self._warned_at = float("-inf")

    def warn_of_budgets(self) -> None:
        """Send what is due: while nobody else looks, the polls of a panel are all that could."""
        if time.monotonic() - self._warned_at < _LOOK_S:
            return
        self._warned_at = time.monotonic()
        from ..cost import budgets  # not when the server starts: it loads the core only

        with contextlib.suppress(LabError):  # a store that is away is noticed by whoever reads next
            budgets.look()

    def look(self, since: int = 0) -> list[Item]:
        """Items written after that revision, or changed although nobody wrote it down; the last started first."""
        return self.changes(since).items

    def changes(self, since: int = 0, busy: Collection[str] = ()) -> Changes:
        """The same with what is gone since; everything, when the caller knows a revision that is not ours.

        busy: the kernels that compute now, as Jupyter calls them.
        """
        # Requests are answered on several threads at once, and a look changes what is known.
        with self._lock:
            seen = observed()
            found = {item.job: item for item in _items(seen, busy)}
            newest = self._newest()
            # Whoever read this very revision does not know of a change that is not written.
            self._take(found, newest if newest != self.rev else self.rev + 1)
            self.rev = newest
            after = since if since <= newest else 0  # the store was put back from a copy, or is another
            items = [item for item, rev in self._known.values() if rev > after]
            gone = [job for job, rev in self._gone.items() if rev > after]
            return Changes(newest, items, gone, price_of(seen.values()), not found, self.id)

    def _take(self, found: Mapping[str, Item], changed: int) -> None:
        known = {job: self._known.get(job, (None, 0)) for job in found}
        gone = {**self._gone, **dict.fromkeys(self._known.keys() - found.keys(), changed)}
        self._known = {job: (item, known[job][1] if known[job][0] == item else changed) for job, item in found.items()}
        self._gone = dict([(job, rev) for job, rev in gone.items() if job not in found][-GONE_KEPT:])

    def _newest(self) -> int:
        """The store's newest revision. What is known is forgotten when the store lacks the one seen last."""
        # No record is ever deleted: only a store that was put back from a copy has none of that revision or later.
        written = self._store.changed(self.rev - 1)
        if not written:
            self._known, self._gone = {}, {}
            written = self._store.changed()
        return written[0].rev if written else 0


_feeds: dict[int, ItemFeed] = {}


def feed_of(store: Store) -> ItemFeed:
    """The one feed of a store in this process: two would count unwritten changes differently."""
    # By identity: a feed holds its store, so no other ever has that id. In one step, since requests come on threads.
    return _feeds.get(id(store)) or _feeds.setdefault(id(store), ItemFeed(store))


def current() -> list[Item]:
    """Everything that lives, and what ended last; the last started first."""
    return _items(observed())


def observed() -> dict[str, Observation]:
    """The same as its nouns tell it, by what tells each from another start of the same thing (`Item.job`)."""
    seen: dict[str, Observation] = {}
    for noun in nouns.every():
        try:
            seen |= {item.uri: item for item in noun.watched(ENDED_SHOWN)}
        except StoreUnavailable:
            raise  # without the noun's own words its things would be listed wrongly
        except LabError:
            continue  # its provider cannot be asked now: its jobs are listed all the same
    # The noun's own view of a job wins: it knows more of its thing than the job does.
    taken = {item.job for item in seen.values()}
    others = [job for job in _jobs() if job.name not in taken and not _is_seen(job, seen)]
    seen |= {job.name: _of_job(jobs.observe(job)) for job in others}
    newest = sorted(seen.items(), key=lambda pair: pair[1].started_at, reverse=True)
    ended = sorted((one for _, one in newest if not one.is_live), key=_ended_at, reverse=True)[:ENDED_SHOWN]
    recent = {id(one) for one in ended if time.time() - _ended_at(one) <= ENDED_SHOWN_S}
    return {key: one for key, one in newest if one.is_live or id(one) in recent}


def price_of(seen: Iterable[Observation]) -> HourlyPrice:
    """What these cost an hour: each rented machine, and this machine once, however much runs on it.

    What runs in a session costs nothing beside the session.
    """
    from ..cost.prices import machine_usd_per_hour  # not when the server starts: it loads the core only

    paying = [one for one in seen if one.is_live and not one.within]
    rented = [one.usd_per_hour for one in paying if not one.on_machine]
    try:
        here = machine_usd_per_hour() if len(rented) < len(paying) else 0.0
    except LabError:
        here = None  # the setting is no price
    own = [here if one.usd_per_hour is None else one.usd_per_hour for one in paying if one.on_machine]
    known = [usd for usd in (*rented, max((usd for usd in own if usd is not None), default=0.0)) if usd is not None]
    return HourlyPrice(sum(known), is_least=None in rented or None in own)


def items_since(since: int, where: Settings, busy: Collection[str] = ()) -> dict[str, object]:
    """The answer to `GET /aiinfra/items`; see `ItemFeed.changes`."""
    # A poll is the only look at a session that was killed, as long as its panel is all that is open.
    sweep_launcher(where.workspace)
    store = open_store(where)
    feed_of(store).warn_of_budgets()
    changes = feed_of(store).changes(since, busy)
    price = asdict(changes.price)
    # Whoever asks for the first time is told how things are, not what led to it.
    signals = [msgspec.to_builtins(record.body) for record in signal_records.since(store, since)] if since else []
    return {"workspace": where.workspace.name, "now": time.time(), "signals": signals, **asdict(changes), **price}


def details_of(text: str, job: str = "") -> dict[str, object]:
    """The answer to `GET /aiinfra/items/URI`, of one start of it when its job is named as in `Item.job`.

    NotFound when there is no such thing, UsageProblem for what is no URI.
    """
    uri = Uri.parse(text)
    found = nouns.job_details(jobs.poll(job)) if job and job != str(uri) else nouns.find(uri.noun).details(str(uri))
    facts = [
        {
            "label": fact.label,
            "value": fact.value,
            "mark": asdict(mark_of(fact.state, uri.noun)) if fact.state else None,
            "share": fact.share,
        }
        for fact in found.facts
    ]
    return {**asdict(found), "facts": facts, "has_plan": isinstance(nouns.find(uri.noun), HasPlan)}


def plan_of(text: str) -> dict[str, str]:
    """The answer to `GET /aiinfra/plans/URI`: that plan as the output of a cell, by media type.

    NotFound where nothing of the kind is planned, UsageProblem for what is no URI, and what its noun raises.
    """
    uri = Uri.parse(text)
    noun = nouns.find(uri.noun)
    if not isinstance(noun, HasPlan):
        raise NotFound(f"{uri} has no plan: of {noun.plural} nothing is planned", "ask for the plan of a recipe")
    return noun.plan(str(uri)).card().bundle()


def first_steps(root: Path) -> list[dict[str, str]]:
    """What can be done where nothing runs: what it is, and the line of the language that does it or a notebook."""
    from ..recipe import declaration

    steps = [{"text": "A kernel that outlives its notebook", "code": "%gpu start trainer"}]
    if recipes := declaration.names():
        steps.append({"text": "The whole story as a pipeline", "code": f"%recipe run {recipes[0]}"})
    else:
        steps.append({"text": "An example with data and a pipeline", "code": "%lab start --from example:flights"})
    tours = [path for path in (root / TOUR, root / "notebooks" / TOUR) if path.is_file()]
    opened = [path.relative_to(root).as_posix() for path in tours[:1]]
    return [*steps, *({"text": "The tour, about 5 minutes", "code": TOUR, "open": path} for path in opened)]


def _jobs() -> Iterator[Record[JobRecord]]:
    """Every live job and the last that ended: also those that no noun's record names, such as an earlier start."""
    store = open_store()
    yield from store.list(JobRecord, is_open=True, skip_unreadable=True)
    # What was written last need not have ended last: twice as many as are shown leaves room for those.
    yield from store.list(JobRecord, is_open=False, limit=2 * ENDED_SHOWN, order="written", skip_unreadable=True)


def _is_seen(job: Record[JobRecord], seen: Mapping[str, Observation]) -> bool:
    """Whether that is the job of what was seen, which does not name it: of a version that is the only one there is.

    A session names its job only once that has a machine.
    """
    subject = job.body.subject
    if subject not in seen:
        return False
    return not Uri.is_bare(subject) or (job.body.is_open and seen[subject].state == "starting")


def _of_job(job: Job) -> Observation:
    state = "stopping" if job.live and job.stop_requested_at else job.state
    return Observation(
        uri=job.subject,
        state=state,
        is_live=job.live,
        started_at=job.started_at,
        ended_at=job.ended_at,
        deadline_at=job.deadline_at,
        detail=_detail(job, state),
        can_stop=job.live and not job.stop_requested_at,
        job=job.id,
    )


def _detail(job: Job, state: str) -> str:
    if state == "failed" and job.exit_code is not None:
        return f"exit code {job.exit_code}"
    if job.live and job.restarts:
        return f"started again {job.restarts_shown}"
    return STATE_DETAILS.get(state, "a verb called over REST" if job.subject.startswith(CALL) else "")


def _items(seen: Mapping[str, Observation], busy: Collection[str] = ()) -> list[Item]:
    guests: dict[str, list[str]] = {}
    for one in seen.values():
        if one.is_live and one.within:
            guests.setdefault(one.within, []).append(one.uri)
    harm = {
        uri: f"{', '.join(those)} {'runs' if len(those) == 1 else 'run'} in it and will end."
        for uri, those in guests.items()
    }
    for one in seen.values():
        if busy and one.is_live and Uri.is_one(one.uri, "gpu") and KeptKernel.of(one.uri).state().kernel in busy:
            harm.setdefault(one.uri, BUSY)
    return [_item(key, one, harm.get(one.uri, "")) for key, one in seen.items()]


def _item(key: str, seen: Observation, harm: str) -> Item:
    uri, mark = Uri.parse(seen.uri), _mark(seen)
    return Item(
        uri=seen.uri,
        noun=uri.noun,
        name=uri.label,
        state=seen.state,
        word=mark.word,
        glyph=mark.glyph,
        tone=mark.tone,
        is_live=seen.is_live,
        since=seen.started_at if seen.is_live else _ended_at(seen),
        detail=seen.detail or STATE_DETAILS.get(seen.state, ""),
        figure=seen.figure,
        facts=seen.facts,
        progress=seen.progress,
        stoppable=seen.can_stop,
        deadline=seen.deadline_at if seen.is_live else None,
        job=key,
        actions=_actions(uri, seen, harm) if seen.is_live else (),
        kind=seen.kind,
        group=seen.group,
    )


def _mark(seen: Observation) -> StateMark:
    # Some ends say why behind the word, in brackets.
    return mark_of("ends soon" if seen.ends_soon else seen.state.partition(" (")[0], Uri.parse(seen.uri).noun)


def _actions(uri: Uri, seen: Observation, harm: str) -> tuple[Action, ...]:
    """Its own, and a question before its stop where its noun or what goes on in it gives reason for one."""
    if any(action.verb == "stop" for action in seen.actions):
        return seen.actions
    harm = f"{harm} {nouns.find(uri.noun).stop_consequence}".strip()
    return (*seen.actions, Action("stop", "Stop", f"Stop {uri.label}?", harm)) if harm else seen.actions


def _ended_at(seen: Observation) -> float:
    return seen.ended_at or seen.started_at
