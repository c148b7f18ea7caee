"""What a run's notebooks started and left living, wherever it lives: found by its context, and ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from .. import jobs, nouns
from ..errors import Failed, LabError, StoreUnavailable
from ..files import until

STOP_TIMEOUT_S = 30.0
_LOOK_EVERY_S = 0.2


def end(context: str) -> list[str]:
    """End all that was started in a context that begins so; the URIs of what still lives after STOP_TIMEOUT_S.

    Somebody else's is left alone, and so is what lived before and was only changed. A thing that cannot be ended keeps
    no other alive. StoreUnavailable when the store cannot tell what lives; it may be called again.
    """
    _end_things(context)
    _end_jobs(context)
    return sorted({*_live(nouns.every(), context), *(job.subject for job in _live_jobs(context))})


def _end_things(context: str) -> None:
    """Through their nouns: a machine or an endpoint need be no job of ours."""
    asked = {uri: noun for uri, noun in _live(nouns.every(), context).items() if _ask_to_end(noun, uri)}

    def are_gone() -> bool:
        return not asked.keys() & _live(set(asked.values()), context).keys()

    with contextlib.suppress(Failed):  # the caller names what still lives
        until(are_gone, Failed("it still lives", "wait"), within_s=STOP_TIMEOUT_S, every_s=_LOOK_EVERY_S)


def _end_jobs(context: str) -> None:
    """What is a job and no thing of a noun: a training run, work over REST."""
    for job in _live_jobs(context):
        with contextlib.suppress(LabError):
            jobs.cancel(job.id)
            jobs.wait(job.id, timeout_s=STOP_TIMEOUT_S)


def _live(among: Iterable[nouns.Noun[Any]], context: str) -> dict[str, nouns.Noun[Any]]:
    found: dict[str, nouns.Noun[Any]] = {}
    for noun in among:
        try:
            seen = noun.watched(ended=0)
        except StoreUnavailable:
            raise  # without the store nothing is known to be gone
        except LabError:
            continue
        else:
            found |= {one.uri: noun for one in seen if one.is_live and one.context.startswith(context)}
    return found


def _live_jobs(context: str) -> list[jobs.Job]:
    # A job that nobody supervises is the run itself, or a cell that is about to end.
    return [job for job in jobs.ls(live=True) if job.supervised and job.context.startswith(context)]


def _ask_to_end(noun: nouns.Noun[Any], uri: str) -> bool:
    try:
        noun.stop(uri)
    except StoreUnavailable:
        raise
    except LabError:
        return False
    return True
