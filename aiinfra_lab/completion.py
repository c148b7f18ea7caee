"""What may follow in a line of the language: verbs, flags, values, and the names of things that exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import nouns
from .errors import LabError
from .uris import Uri
from .verbs import Parameter, Verb, verbs_of

_MOST_FILES = 50


def complete(noun: str, text: str, variables: Iterable[str] = ()) -> list[str]:
    """Completions of the last word of `text`, which is what stands after the noun; never raises a LabError.

    variables: the names that `$` may stand before
    """
    # Not `words.split`: it refuses a quote that is still open, as one is while it is typed.
    words = re.split(r"\s+", text.lstrip())
    *before, last = words
    verbs = verbs_of(noun)
    if not before:
        return [name for name in verbs if name.startswith(last)]
    verb = verbs.get(before[0])
    if verb is None:
        return []
    head, dollar, _ = last.rpartition("$")
    if dollar:
        found = {f"{head}${name}" for name in variables}
    else:
        found = set(_candidates(verb, before[1:], last))
    return sorted(word for word in found if word.startswith(last))


def _candidates(verb: Verb, before: list[str], last: str) -> Iterable[str]:
    name, equals, value = last.partition("=")
    flags = {item.flag: item for item in verb.parameters}
    if equals and name in flags:
        return (f"{name}={found}" for found in _values(verb, flags[name], value))
    if last.startswith("-"):
        return _flags(verb, before)
    previous = flags.get(before[-1]) if before else None
    if previous is not None and previous.kind not in ("bool", "params"):
        return _values(verb, previous, last)
    place = len(_positional_words(before, flags))
    if place < len(verb.positionals):
        return _values(verb, verb.positionals[place], last)
    return _flags(verb, before) if not last else ()


def _positional_words(before: list[str], flags: dict[str, Parameter]) -> list[str]:
    found, skip = [], False
    for word in before:
        if skip:
            skip = False
        elif word in ("-o", "-p"):
            skip = True
        elif word.startswith("-"):
            skip = word in flags and flags[word].kind != "bool"
        else:
            found.append(word)
    return found


def _flags(verb: Verb, before: list[str]) -> Iterator[str]:
    used = {word.partition("=")[0] for word in before}
    for item in verb.parameters:
        if item.positional or item.flag in used or item.kind == "code":
            continue
        yield f"--no-{item.flag[2:]}" if item.kind == "bool" and item.default is True else item.flag
    yield from ("-o", "--help")


def _values(verb: Verb, item: Parameter, last: str = "") -> Iterable[str]:
    if item.choices:
        return item.choices
    if item.kind == "rows":
        return [*_rows(verb), *_files(last)]
    if item.kind in ("path", "code"):
        return _files(last)
    if item.find is not None:
        try:
            return list(item.find())
        except LabError:
            return []  # nobody can be asked now, for example outside a workspace
    return live_names(item.live, last) if item.live else ()


def live_names(noun: str, last: str = "") -> list[str]:
    """The names of what exists of a noun, as they are written: with the noun in front when it was typed so."""
    prefix = f"{noun}:" if Uri.is_one(last, noun) else ""
    try:
        found = nouns.find(noun)
        return [prefix + name for name in (*found.names(), *found.aliases())]
    except LabError:
        return []  # no workspace yet: nothing has a name


def _rows(verb: Verb) -> Iterator[str]:
    """The URIs of what has rows, as far as that noun takes them: features are made of data alone."""
    for noun in ("data",) if verb.noun in ("data", "features") else ("data", "features"):
        yield from live_names(noun, f"{noun}:")


def _files(last: str) -> list[str]:
    """Files and folders whose path begins so, in the first folder that it names or the current one."""
    typed = last[: last.rfind("/") + 1]
    folder = Path(typed).expanduser()
    try:
        names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    except (OSError, RuntimeError):  # no such folder, or the home of nobody
        return []
    # A word ends at a space; what is hidden is offered to whoever begins with the dot.
    plain = [name for name in names if " " not in name and (not name.startswith(".") or last != typed)]
    return [typed + name for name in plain if (typed + name).startswith(last)][:_MOST_FILES]
