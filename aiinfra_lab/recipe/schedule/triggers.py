"""What happens that a recipe runs for: a new version of a thing, a verdict of drift, a file that changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ... import nouns
from ...errors import LabError, NotFound, UsageProblem
from ...resolve import resolve_any
from ...units import read_duration
from ...uris import Uri
from ..inputs import files_of, in_project, is_path
from .deciding import RecipeTrigger

KEYS = {
    "on": 'a list: "data:NAME" for a new version, also of other nouns; "drift:NAME" for a verdict of drift; files',
    "every": "the least time between two runs for that, e.g. 1h; none where it is left out",
}
DRIFT = "drift"


def read_trigger(where: str, table: Mapping[str, Any]) -> RecipeTrigger:
    """A table that has no other keys than `KEYS`. UsageProblem for what is wrong in it."""
    on = table.get("on")
    if not isinstance(on, list) or not on or not all(isinstance(each, str) for each in on):
        raise UsageProblem(f"{where}: it says not on what", 'write on = ["data:flights", "drift:delay"]')
    for source in on:
        if not is_path(source):
            try:
                uri = Uri.parse(source)
            except UsageProblem as problem:
                raise UsageProblem(f"{where}: {problem.what}", problem.fix) from None
            if uri.tag or uri.part or not nouns.find(uri.noun).has_versions:
                raise UsageProblem(f"{where}: {source!r} has no new versions", f"name what has: {uri.noun}:NAME")
    try:
        every_s = read_duration(table["every"]) if "every" in table else 0.0
    except UsageProblem as problem:
        raise UsageProblem(f"{where}: every: {problem.what}", problem.fix) from None
    return RecipeTrigger(tuple(on), every_s)


def present(trigger: RecipeTrigger) -> dict[str, str]:
    """Each source → what stands for how it is now; empty for what is not there."""
    return {source: _files(source) if is_path(source) else _version(source) for source in trigger.on}


def fired(seen: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What has happened since then, a few words each. What was not there and comes counts; what goes does not."""
    return [
        f"{source} changed" if is_path(source) else f"{value} is new"
        for source, value in now.items()
        if value and value != seen.get(source, "") and (is_path(source) or _counts(value))
    ]


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


def _files(source: str) -> str:
    """By what the file system tells of each: a content that is looked at every second would cost a disk."""
    try:
        files = files_of(source)
        stats = [(in_project(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
    except (LabError, OSError):
        return ""
    return hashlib.sha256(repr(stats).encode()).hexdigest()
