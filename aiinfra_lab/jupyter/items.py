"""What lives in the workspace or recently ended, as the side panel lists it, in the words of each thing's noun."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass

from .. import jobs, nouns
from ..config import Settings
from ..errors import LabError, StoreUnavailable
from ..jobs import Job, JobRecord
from ..kernels import sweep_launcher
from ..nouns import STATE_DETAILS, Observation
from ..store import Record, Store, open_store
from ..uris import Uri

# A verb called over REST is a job of its own, not the thing that it makes: under that thing's URI, `deploy stop`
# would end the wrong one.
CALL = "lab:call-"
ENDED_SHOWN = 20
ENDED_SHOWN_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the panel. `since` is when it began to live, or when it ended as far as anybody wrote that down.

    job: what tells it from another start of the same thing: the URI for what its noun says of it, whether it has a job
    yet, still or never, and the job's id for an earlier start and for what no noun knows.
    """

    uri: str
    noun: str
    name: str
    state: str
    since: float
    detail: str
    stoppable: bool
    deadline: float | None
    job: str


class ItemFeed:
    """Follows what lives in a workspace, and tells what is new since a revision of its store."""

    def __init__(self, store: Store) -> None:
        self.rev = 0
        self._lock = threading.Lock()
        self._store = store
        self._known: dict[str, tuple[Item, int]] = {}

    def look(self, since: int = 0) -> list[Item]:
        """Items written after that revision, or changed although nobody wrote it down; the last started first."""
        # Requests are answered on several threads at once, and a look changes what is known.
        with self._lock:
            found = current()
            newest = self._newest()
            # Whoever read this very revision does not know of a change that is not written.
            changed = newest if newest != self.rev else self.rev + 1
            known = {item.job: self._known.get(item.job, (None, 0)) for item in found}
            self._known = {
                item.job: (item, known[item.job][1] if known[item.job][0] == item else changed) for item in found
            }
            self.rev = newest
            return [item for item, rev in self._known.values() if rev > since]

    def _newest(self) -> int:
        """The store's newest revision. What is known is forgotten when the store lacks the one seen last."""
        # No record is ever deleted: only a store that was put back from a copy has none of that revision or later.
        written = self._store.changed(self.rev - 1)
        if not written:
            self._known = {}
            written = self._store.changed()
        return written[0].rev if written else 0


_feeds: dict[int, ItemFeed] = {}


def feed_of(store: Store) -> ItemFeed:
    """The one feed of a store in this process: two would count unwritten changes differently."""
    # By identity: a feed holds its store, so no other ever has that id. In one step, since requests come on threads.
    return _feeds.get(id(store)) or _feeds.setdefault(id(store), ItemFeed(store))


def current() -> list[Item]:
    """Everything that lives, and what ended last; the last started first."""
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
    others = [job for job in _jobs() if job.name not in taken and not _runs_once(job.body.subject, seen)]
    seen |= {job.name: _of_job(jobs.observe(job)) for job in others}
    newest = sorted(seen.items(), key=lambda pair: pair[1].started_at, reverse=True)
    ended = sorted((one for _, one in newest if not one.is_live), key=_ended_at, reverse=True)[:ENDED_SHOWN]
    recent = {id(one) for one in ended if time.time() - _ended_at(one) <= ENDED_SHOWN_S}
    return [_item(key, one) for key, one in newest if one.is_live or id(one) in recent]


def items_since(since: int, where: Settings) -> dict[str, object]:
    """The answer to `GET /aiinfra/items`: everything, when the caller knows a revision that is not ours."""
    # A poll is the only look at a session that was killed, as long as its panel is all that is open.
    sweep_launcher(where.workspace)
    feed = feed_of(open_store(where))
    found = feed.look(since)
    if since > feed.rev:  # the store was put back from a copy, or is another
        found = feed.look(0)
    items = [asdict(each) for each in found]
    return {"rev": feed.rev, "workspace": where.workspace.name, "now": time.time(), "items": items}


def _jobs() -> Iterator[Record[JobRecord]]:
    """Every live job and the last that ended: also those that no noun's record names, such as an earlier start."""
    store = open_store()
    yield from store.list(JobRecord, is_open=True, skip_unreadable=True)
    # What was written last need not have ended last: twice as many as are shown leaves room for those.
    yield from store.list(JobRecord, is_open=False, limit=2 * ENDED_SHOWN, order="written", skip_unreadable=True)


def _runs_once(subject: str, seen: Collection[str]) -> bool:
    """Whether that is a version, which is never started again: then its job is that of the one that was seen."""
    return subject in seen and not Uri.is_bare(subject)


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
        return f"started again {job.restarts} times" if job.restarts > 1 else "started again once"
    return STATE_DETAILS.get(state, "a verb called over REST" if job.subject.startswith(CALL) else "")


def _item(key: str, seen: Observation) -> Item:
    uri = Uri.parse(seen.uri)
    return Item(
        uri=seen.uri,
        noun=uri.noun,
        name=uri.label,
        state=seen.state,
        since=seen.started_at if seen.is_live else _ended_at(seen),
        detail=seen.detail or STATE_DETAILS.get(seen.state, ""),
        stoppable=seen.can_stop,
        deadline=seen.deadline_at if seen.is_live else None,
        job=key,
    )


def _ended_at(seen: Observation) -> float:
    return seen.ended_at or seen.started_at
