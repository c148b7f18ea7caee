"""What happens that a recipe runs for: a new version of a thing, a verdict of drift, a file that changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ... import nouns
from ...errors import LabError, NotFound, UsageProblem
from ...resolve import resolve_any
from ...store import canonical_digest
from ...units import read_duration
from ...uris import Uri
from ..taken import file_digest, files_of, in_project, is_path
from .deciding import RecipeTrigger

KEYS = {
    "on": 'a list: "data:NAME" for a new version, also of other nouns; "drift:NAME" for a verdict of drift; files',
    "every": "the least time between two runs for that, e.g. 1h; none where it is left out",
}
DRIFT = "drift"


def read_trigger(where: str, table: Mapping[str, Any]) -> RecipeTrigger:
    """A table that has no other keys than `KEYS`. UsageProblem for what is wrong in it."""
    on = table.get("on")
    if isinstance(on, str) and on:
        what = f"{where}: on must be a list of texts, and {on!r} was given"
        raise UsageProblem(what, f'write on = ["{on}"]')
    if not isinstance(on, list) or not on or not all(isinstance(each, str) for each in on):
        what = f"{where}: it has no list `on`, or an empty one"
        raise UsageProblem(what, 'write on = ["data:flights", "drift:delay"]')
    for source in on:
        if not is_path(source):
            try:
                uri = Uri.parse(source)
            except UsageProblem as problem:
                is_one = Uri.is_one(source)
                what = problem.what if is_one else f"{source!r} in `on` is no file that is there, and no thing"
                fix = problem.fix if is_one else f'write "./{source}" for a file that is to come, else data:NAME'
                raise UsageProblem(f"{where}: {what}", fix) from None
            if uri.tag or uri.part or not nouns.find(uri.noun).has_versions:
                raise UsageProblem(f"{where}: {source!r} has no new versions", f"name what has: {uri.noun}:NAME")
    try:
        every_s = read_duration(table["every"]) if "every" in table else 0.0
    except UsageProblem as problem:
        raise UsageProblem(f"{where}: every: {problem.what}", problem.fix) from None
    return RecipeTrigger(tuple(on), every_s)


def present(trigger: RecipeTrigger, seen: Mapping[str, str] | None = None) -> dict[str, str]:
    """Each source → what stands for how it is now; empty for what is not there. seen: as it was found before."""
    before = seen or {}
    return {
        source: _files(source, before.get(source, "")) if is_path(source) else _version(source) for source in trigger.on
    }


def fired(seen: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What has happened since then, a few words each. What was not there and comes counts; what goes does not."""
    return [
        f"{source} changed" if is_path(source) else f"{value} is new"
        for source, value in now.items()
        if value and (_differs if is_path(source) else _is_newer)(value, seen.get(source, ""))
    ]


def _differs(files: str, before: str) -> bool:
    """Whether it is another content, and not the same one written again."""
    return files != before and files.partition(" ")[2] != before.partition(" ")[2]


def _is_newer(uri: str, before: str) -> bool:
    """Whether it came after that one: where the newest is removed the one before it is none. Of verdicts only drift."""
    return _number(uri) > _number(before) and _counts(uri)


def _number(uri: str) -> int:
    return (Uri.parse(uri).version or 0) if uri else 0


def _version(source: str) -> str:
    try:
        return resolve_any(source).uri
    except NotFound:
        return ""


def _counts(uri: str) -> bool:
    """Of verdicts only those that say that something drifted."""
    if Uri.parse(uri).noun != DRIFT:
        return True
    return getattr(resolve_any(uri).body, "state", "") == DRIFT


def _files(source: str, before: str) -> str:
    """What the file system tells of each, and behind a space their content, which is read only where that differs: a
    content that is looked at every second would cost a disk."""
    try:
        stats = tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files_of(source))
        stat_digest = hashlib.sha256(repr([(in_project(path), *stat) for path, *stat in stats]).encode()).hexdigest()
        return before if before.partition(" ")[0] == stat_digest else f"{stat_digest} {_content(stats)}"
    except (LabError, OSError):
        return ""


@lru_cache(maxsize=32)  # a run that goes on has the same change looked at again and again
def _content(stats: tuple[tuple[Path, int, int], ...]) -> str:
    return canonical_digest({in_project(path): file_digest(path) for path, *_ in stats})
