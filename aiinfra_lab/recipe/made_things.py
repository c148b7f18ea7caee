"""What a recipe's steps make, seen from outside: whether it is there, whether it lives, and its newest version."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable
from typing import Any

from .. import nouns
from ..errors import NotFound
from ..resolve import resolve_any
from ..store import Event, Record, open_store
from ..uris import Uri

# That are looked at: what a step has just made is among the newest, and who made a version is the first that names it.
_MOST_EVENTS = 1000


def newest(uri: Uri) -> str | None:
    """The URI with the version that it means now; of what lives and has no versions itself. None: there is none."""
    record = _found(str(uri))
    if record is None or (can_live(str(uri)) and not _is_live(uri, record)):
        return None
    return record.uri


def made_by(uri: Uri, runs: Collection[str], step: str) -> str | None:
    """The version that a step made in these runs, or made once more as it was: the last that it has logged.

    Of what lives, and of what a noun logs nothing of, the newest. runs: its own, and those in whose kernel it went on
    """
    if can_live(str(uri)):
        return newest(uri)
    own = re.compile(rf".* \((?:{'|'.join(map(re.escape, runs))})/{re.escape(step)}\)")
    for one in reversed(list(open_store().events(naming=str(uri), last=_MOST_EVENTS))):
        if own.fullmatch(one.actor):
            for text in _versions(one.event, uri):
                if is_there(text, alive=False):
                    return text
    found = newest(uri)
    return None if found and _is_logged(found) else found


def _is_logged(text: str) -> bool:
    """Whether an event says that this version was made: the first that names it, or near it."""
    # Others name it too, later: as what they take, and what their steps are credited with.
    first = itertools.islice(open_store().events(naming=text), _MOST_EVENTS)
    return any(text == one.event.subject and text in one.event.outputs for one in first)


def _versions(event: Event, uri: Uri) -> list[str]:
    """Those of a thing that an event says were made, or got a name such as the champion's."""
    found = [Uri.parse(text) for text in event.outputs if Uri.covers(str(uri), text)]
    if any(one.alias for one in found):
        found += [Uri.parse(text) for text in event.inputs if Uri.covers(str(uri), text)]
    return [str(one) for one in found if one.version is not None and one.part is None]


def standing(text: str) -> str | None:
    """What others go on from: the version behind its noun's usual alias, such as the champion, or else the newest."""
    alias = nouns.find(Uri.parse(text).noun).usual_alias
    found = _found(f"{text}@{alias}") if alias else None
    return found.uri if found else newest(Uri.parse(text))


def is_there(text: str, *, alive: bool) -> bool:
    """Whether the thing was not removed; one that lives must be living if `alive`."""
    record = _found(text)
    if record is None:
        return False
    # What has versions stays as it was made: it is there or it is not.
    return not alive or not can_live(text) or _is_live(Uri.parse(text), record)


def are_there(uris: Iterable[str], *, alive: bool) -> bool:
    """Whether all of them are there; see `is_there`."""
    return all(is_there(uri, alive=alive) for uri in uris)


def digest(text: str) -> str:
    """What stands for its content, by its noun; empty where the noun cannot tell, or there is none."""
    record = _found(text)
    return nouns.find(record.kind.partition(".")[0]).digest(record) if record else ""


def metrics(text: str) -> dict[str, float]:
    """What was measured of it; nothing of what has no metrics."""
    record = _found(text)
    return dict(getattr(record.body, "metrics", {})) if record else {}


def can_live(text: str) -> bool:
    """Whether it is something that lives, such as an endpoint, and so has no versions."""
    return not nouns.find(Uri.parse(text).noun).has_versions


def _is_live(uri: Uri, record: Record[Any]) -> bool:
    (seen,) = nouns.find(uri.noun).observe([record])
    return seen.is_live


def _found(text: str) -> Record[Any] | None:
    try:
        return resolve_any(text)
    except NotFound:
        return None
