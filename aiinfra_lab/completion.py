"""What may follow in a line of the language: verbs, flags, values, and the names of things that exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from . import nouns
from .errors import LabError
from .uris import Uri
from .verbs import Parameter, Verb, verbs_of


def complete(noun: str, text: str) -> list[str]:
    """Completions of the last word of `text`, which is what stands after the noun; never raises a LabError."""
    # Not `words.split`: it refuses a quote that is still open, as one is while it is typed.
    words = re.split(r"\s+", text.lstrip())
    *before, last = words
    verbs = verbs_of(noun)
    if not before:
        return [name for name in verbs if name.startswith(last)]
    verb = verbs.get(before[0])
    if verb is None:
        return []
    return sorted({word for word in _candidates(verb, before[1:], last) if word.startswith(last)})


def _candidates(verb: Verb, before: list[str], last: str) -> Iterable[str]:
    name, equals, _ = last.partition("=")
    flags = {item.flag: item for item in verb.parameters}
    if equals and name in flags:
        return (f"{name}={value}" for value in _values(flags[name]))
    if last.startswith("-"):
        return _flags(verb, before)
    previous = flags.get(before[-1]) if before else None
    if previous is not None and previous.kind not in ("bool", "params"):
        return _values(previous, last)
    place = len(_positional_words(before, flags))
    if place < len(verb.positionals):
        return _values(verb.positionals[place], last)
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


def _values(item: Parameter, last: str = "") -> Iterable[str]:
    if item.choices:
        return item.choices
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
        return [prefix + name for name in nouns.find(noun).names()]
    except LabError:
        return []  # no workspace yet: nothing has a name
