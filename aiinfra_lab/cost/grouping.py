"""What things have cost, summed up by what they are, by the day, or by a tag that the settings give them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Literal, get_args

from ..config import settings
from ..errors import UsageProblem
from ..uris import Uri
from . import daily
from .spending import Spending, sessions_usd, total_usd

By = Literal["session", "run", "endpoint", "recipe", "day", "tag"]
CHOICES: tuple[str, ...] = get_args(By)

_NOUNS = {"session": "gpu", "run": "train", "endpoint": "deploy", "recipe": "recipe"}
UNTAGGED = "without a tag"

Group = tuple[str, Sequence[Spending]]


def groups(found: Sequence[Spending], by: By) -> list[Group]:
    """These by their groups, the dearest first; days the newest first, and at last what lies before them."""
    if by == "day":
        first, before = daily.before(found)
        days: list[Group] = [(str(day), of) for day, of in reversed(daily.each_day(found))]
        return [*days, (f"before {first}", before)] if before else days
    name = partial(tag_of, tagged=tags()) if by == "tag" else partial(_called, noun=_NOUNS[by], whole=by == "run")
    # Of runs without their sessions these are where they ran, else what they paid for.
    is_run_only = by == "session" and not any(name(item.span.uri) for item in found)
    made: dict[str, list[Spending]] = {}
    for item in found:
        if group := name(item.span.within if is_run_only and item.span.within else item.span.uri):
            made.setdefault(group, []).append(item)
    return sorted(made.items(), key=lambda group: -usd_of(group[1]))


def usd_of(of: Sequence[Spending], payers: Collection[str] = ()) -> float:
    """The money of a group, as far as it is known: of several things on one machine at a time the machine is paid once.

    A run in a session costs what the session's machine did meanwhile, but nothing where the session itself is among
    these or among the payers, what else is summed up.
    """
    sessions = {item.span.uri for item in of}.union(payers)
    own = [item for item in of if item.span.within not in sessions]
    if len({item.span.uri for item in own}) == 1:
        return sum(item.usd or 0.0 for item in own)
    return total_usd(own) + sessions_usd(own)


def _called(uri: str, noun: str, *, whole: bool) -> str:
    """The group of a thing of that noun, with its version or without; nothing of others."""
    if not Uri.is_one(uri, noun):
        return ""
    return uri if whole else str(Uri.parse(uri).bare)


def tags() -> list[tuple[str, tuple[str, ...]]]:
    """What the settings tag, by the tag: `cost.tags = "team-a: gpu:trainer, train:delay; web: deploy:*"`.

    UsageProblem for a text that is none.
    """
    text = settings().get("cost.tags", "")
    found = []
    for part in filter(None, map(str.strip, text.split(";"))):
        tag, colon, patterns = part.partition(": ")
        named = tuple(filter(None, (each.strip() for each in patterns.split(","))))
        if not colon or not tag.strip() or not named:
            fix = 'write cost.tags = "team-a: gpu:trainer, train:delay; web: deploy:*"'
            raise UsageProblem(f"cost.tags has {part!r}, which tags nothing", fix)
        found.append((tag.strip(), named))
    return found


def tag_of(uri: str, tagged: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The first tag whose patterns name that thing, with or without its version."""
    names = {uri, str(Uri.parse(uri).bare)}
    for tag, patterns in tagged:
        if any(fnmatchcase(name, pattern) for pattern in patterns for name in names):
            return tag
    return UNTAGGED
