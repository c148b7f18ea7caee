"""What the notebooks of runs started and left living, wherever it lives: found by its context, and ended."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

from .. import jobs, nouns
from ..errors import LabError, StoreUnavailable
from ..nouns import Noun, Observation
from ..uris import Uri
from ..verbs import verbs_of

JOB_ENDS_WITHIN_S = 30.0


def context_of(run: str) -> str:
    """What the context of everything that a run's notebooks start begins with."""
    return f"{run}/"


def end(*runs: str) -> list[str]:
    """End all that these runs started; the URIs of what still lives after the time that its provider needs for an end.

    Somebody else's is left alone, and so is what lived before and was only changed. A thing that cannot be ended keeps
    no other alive. StoreUnavailable when the store cannot tell what lives; it may be called again.
    """
    left = [uri for noun, uri in _ask_things(runs) if not _ends(noun, uri)]
    for job in _living_jobs(runs):
        with _others_go_on():
            jobs.cancel(job.id)
            jobs.wait(job.id, timeout_s=JOB_ENDS_WITHIN_S)
    return sorted({*left, *(seen.uri for seen in living(*runs)), *(job.subject for job in _living_jobs(runs))})


def ask_to_end(*runs: str) -> list[str]:
    """Ask all that these runs started for its end, and return at once; the URIs of what was asked."""
    asked = [uri for _, uri in _ask_things(runs)]
    for job in _living_jobs(runs):
        with _others_go_on():
            jobs.cancel(job.id)
            asked.append(job.subject)
    return sorted(set(asked))


def living(*runs: str) -> list[Observation]:
    """The things that these runs started and that live: sessions and endpoints, not the jobs without one."""
    return [seen for _, seen in _living_things(runs)]


def _ask_things(runs: Collection[str]) -> list[tuple[Noun[Any], str]]:
    """Through their nouns: a machine or an endpoint need be no job of ours."""
    asked = []
    for noun, seen in _living_things(runs):
        with _others_go_on():
            noun.stop(seen.uri)
            asked.append((noun, seen.uri))
    return asked


def _ends(noun: Noun[Any], uri: str) -> bool:
    """Whether what was asked to end does: its noun's own verb knows how long its provider needs, and how often to ask.

    Of a noun without that verb the things are jobs, which are waited for as such.
    """
    stop = verbs_of(noun.name).get("stop")
    try:
        if stop is not None:
            stop.call(name=Uri.parse(uri).label)
    except StoreUnavailable:
        raise
    except LabError:
        return False
    return True


def _living_things(runs: Collection[str]) -> Iterator[tuple[Noun[Any], Observation]]:
    contexts = tuple(map(context_of, runs))
    for noun in nouns.every():
        with _others_go_on():
            yield from [
                (noun, one) for one in noun.watched(ended=0) if one.is_live and one.context.startswith(contexts)
            ]


def _living_jobs(runs: Collection[str]) -> list[jobs.Job]:
    """What is a job and perhaps no thing of a noun: a training run, work over REST."""
    contexts = tuple(map(context_of, runs))
    # A job that nobody supervises is the run itself, or a cell that is about to end.
    return [job for job in jobs.ls(live=True) if job.supervised and job.context.startswith(contexts)]


@contextlib.contextmanager
def _others_go_on() -> Iterator[None]:
    """A noun or a thing that refuses is passed over. Without the store nothing is known to be gone: that is raised."""
    try:
        yield
    except StoreUnavailable:
        raise
    except LabError:
        return
