"""What must hold before a version gets traffic: its last check, and of a canary what its rule has seen."""

from __future__ import annotations

from ..errors import Failed
from ..store import Record
from . import client, versions


def may_serve(uri: str) -> str:
    """What to say of a version that is to serve: nothing when its last check found it good. Failed when it was bad."""
    found = versions.verdict(uri)
    if found == "bad":
        raise Failed(f"{uri} was checked and found bad", _why(uri))
    return "" if found == "good" else f"{_doubt(uri, found)}: `%models check {uri}`"


def may_take_all(record: Record, canary: str) -> str:
    """What to say of a canary that is to get all traffic. Failed unless it was found good, and its rule saw something.

    A rule that is undecided is said and stops nobody: the interval of a rare error needs many requests to close.
    """
    if (found := versions.verdict(canary)) == "bad":
        raise Failed(
            f"{canary} was checked and found bad",
            f"take its traffic away: `%deploy rollback {record.name}`; {_why(canary)}",
        )
    if found != "good":
        raise Failed(_doubt(canary, found), f"check it first: `%models check {canary}`")
    judged = (client.status(record.body["url"]) or {}).get("verdict")
    if not judged:
        return ""
    if judged["state"] == "breach":
        raise Failed(
            f"{canary} breaks its rule: {'; '.join(judged['reasons'])}",
            f"start another version: `%deploy start {record.name} --model …`",
        )
    if not judged["requests"]:
        raise Failed(
            f"the rule of {record.name} has nothing to judge by: {canary} has answered no request",
            f"send some: `%deploy run {record.name} --rows …`; "
            f"or do without the rule: `%deploy start {record.name} --model {canary}`",
        )
    return f"the rule was undecided after {judged['requests']:,} requests" if judged["state"] == "undecided" else ""


def _doubt(uri: str, verdict: str) -> str:
    return f"{uri} was checked, and the verdict was: {verdict}" if verdict else f"{uri} has not been checked"


def _why(uri: str) -> str:
    return f"`%models check {uri} --report` shows why; --require and --margin say what is good enough"
