"""To every sink, whatever becomes of the others; what did not get through goes with the next alert."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..config import Settings, settings
from ..errors import Failed, LabError, Unavailable
from ..providers import make
from ..store import Store, open_store
from ..units import parse_duration
from . import record
from .base import Alert
from .destinations import CONTRACT, Destination, usable

_log = logging.getLogger(__name__)
_REPEAT = "6h"
# Of older alerts, to each destination with each new one: nobody is flooded who was away, nor the caller kept.
MOST_OLD = 20


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Why a destination has not got an alert. destination: "" for an entry of `to` that names none."""

    destination: str
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of an alert. is_new: False when people know it already, and it was not sent again.

    delivered: the destinations that have it. undelivered: the others; they get it with a later alert. A destination to
    which another process sends it just now is in neither.
    """

    alert: Alert
    is_new: bool
    delivered: tuple[str, ...] = ()
    undelivered: tuple[Undelivered, ...] = ()


def repeat_s(where: Settings | None = None) -> float:
    """After how long the same trouble is sent again (`alerts.repeat`)."""
    return parse_duration((where or settings()).get("alerts.repeat", _REPEAT))


def deliver_aside(alert: Alert, to: Sequence[str] | None = None) -> threading.Thread:
    """The same by a thread, for whoever must not wait for a sink; the process does not end before it is done."""
    run = contextvars.copy_context().run  # the settings belong to it
    thread = threading.Thread(target=run, args=(deliver, alert, to), name="alert")
    thread.start()
    return thread


def deliver(alert: Alert, to: Sequence[str] | None = None) -> Delivery:
    """Send an alert to all destinations, `alerts.to` unless `to` names others, and first what they lack of before.

    Never raises for a sink, a setting or a store that fails: whoever has something to alert of is in trouble enough.
    The same trouble of a subject (kind and `what`) is sent again after `alerts.repeat` only; "recovered" only when it
    had failed, was late or drifted. A destination that is away is asked once in each call; what it lacks is sent in
    later ones, oldest first, for three days, or until it was refused five times. Two processes send nothing twice; when
    one is killed while it sends, the receiver may get that alert again, with the same id.
    """
    try:
        where = settings()
        destinations, wrong = usable(to, where)
        again_s = repeat_s(where)
    except LabError as problem:
        _log.warning("alert %s is not sent: %s", alert.id, problem)
        return Delivery(alert, True, (), (_undelivered("", problem),))
    failed = [_undelivered("", each) for each in wrong]
    for each in wrong:
        _log.warning("alert %s cannot be sent everywhere: %s", alert.id, each)
    if not destinations:
        return Delivery(alert, True, (), tuple(failed))
    call = _Call(alert, where)
    try:
        is_new = call.with_store(open_store(where), destinations, again_s)
    except LabError as problem:
        # That the store is away may be what the alert is about.
        _log.warning("alert %s is sent without a record: %s", alert.id, problem)
        is_new = True
        call.without_store(destinations)
    return Delivery(alert, is_new, tuple(call.delivered), (*failed, *call.undelivered))


class _Call:
    """One delivery, and what became of its alert."""

    def __init__(self, alert: Alert, where: Settings) -> None:
        self.delivered: list[str] = []
        self.undelivered: list[Undelivered] = []
        self._alert = alert
        self._where = where
        self._away: set[str] = set()

    def with_store(self, store: Store, destinations: Sequence[Destination], again_s: float) -> bool:
        """Write it down, then send what is written down. LabError when nothing could be written down."""
        is_new = record.add(store, self._alert, destinations, again_s)
        try:
            self._send_all(store)
        except LabError as problem:
            _log.warning("alerts are left for the next time: %s", problem)
        return is_new

    def without_store(self, destinations: Sequence[Destination]) -> None:
        """Send it once, and remember nothing."""
        for each in destinations:
            self._note(self._alert, each, self._send(self._alert, each))

    def _send_all(self, store: Store) -> None:
        waiting = record.unsent(store)
        mine = [each for each in waiting if each.alert.id == self._alert.id]
        old = _first(each for each in waiting if each.alert.id != self._alert.id)
        for each in sorted((*old, *mine), key=lambda unsent: unsent.alert.at):
            self._send_one(store, each)

    def _send_one(self, store: Store, unsent: record.Unsent) -> None:
        destination = unsent.destination
        if str(destination) in self._away:
            problem: LabError | None = Unavailable(f"{destination} is away", "it is sent with the next alert")
        elif lease := record.lease(store, unsent):
            try:
                problem = self._send(unsent.alert, destination)
            except KeyboardInterrupt:
                record.settle(store, unsent, lease, Unavailable("it was interrupted", "it is sent with the next alert"))
                raise
            if record.settle(store, unsent, lease, problem):
                _log.error("alert %s is given up for %s", unsent.alert.id, destination)
        else:
            return
        self._note(unsent.alert, destination, problem)

    def _send(self, alert: Alert, destination: Destination) -> LabError | None:
        """Why it did not go there; None when it did."""
        try:
            make(CONTRACT, destination.sink, self._where).send(alert, destination.address)
        except LabError as problem:
            if isinstance(problem, Unavailable):
                self._away.add(str(destination))
            _log.warning("alert %s did not reach %s: %s", alert.id, destination, problem)
            return problem
        except Exception as problem:  # noqa: BLE001  # a mistake in a sink may not end what it alerts of
            # Only its kind: the message may hold what was sent.
            what = f"{destination.sink} failed by a mistake of its own: {type(problem).__name__}"
            _log.error("alert %s: %s", alert.id, what)
            return Failed(what, "report it; it is sent with the next alert")
        return None

    def _note(self, alert: Alert, destination: Destination, problem: LabError | None) -> None:
        if alert.id != self._alert.id:
            return
        if problem is None:
            self.delivered.append(str(destination))
        else:
            self.undelivered.append(_undelivered(str(destination), problem))


def _first(waiting: Iterable[record.Unsent]) -> Iterator[record.Unsent]:
    """So many of each destination, lest one that is away keeps the others waiting."""
    count: Counter[Destination] = Counter()
    for each in waiting:
        count[each.destination] += 1
        if count[each.destination] <= MOST_OLD:
            yield each


def _undelivered(destination: str, problem: LabError) -> Undelivered:
    return Undelivered(destination, problem.what, problem.fix)
