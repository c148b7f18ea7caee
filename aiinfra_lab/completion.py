"""What may follow in a line of the language: verbs, flags, values, and the names of things that exist.

It answers while somebody types: it asks the store for what begins as the word does and reads no list of all things. Of
many it offers the newest. What was typed already is not offered, nor what the verb would refuse.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import re
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from . import nouns
from .errors import LabError
from .suggestions import quoted
from .uris import Uri
from .verbs import Parameter, Verb, verbs_of
from .words import HELP

MOST = 50
"""So many names of one noun are offered at most: the newest that begin as the word does."""
_MOST_OF_EACH = 5  # where things of several nouns fit
# A word, whose quote may be open still: as it is while it is typed.
_WORD = re.compile(r"""(?:[^\s'"]|'[^']*(?:'|$)|"[^"]*(?:"|$))+""")
_MOST_FILES = 50
LOOK_S = 1.0
"""What is not found within that time is not offered: somebody types, and a store may be away."""
AGAIN_S = 10.0
"""How long nothing is looked up after one look took longer."""
T = TypeVar("T")


class _Looks:
    """Looks at what there is, in a thread: one at a time, and none of them is waited for longer than LOOK_S.

    One that hangs ends by itself, as the store's statements do.
    """

    def __init__(self) -> None:
        self._is_free = threading.Lock()
        self._not_before = 0.0
        self._here = threading.local()

    def at(self, look: Callable[[], list[T]]) -> list[T]:
        """What it finds; nothing where it takes too long, or where one that did has not ended."""
        if getattr(self._here, "looks", False):
            return look()  # a look within a look has its time
        until_at = time.monotonic() + LOOK_S
        if time.monotonic() < self._not_before:
            return []
        if not self._is_free.acquire(timeout=LOOK_S):
            self._not_before = time.monotonic() + AGAIN_S
            return []
        ended: Future[list[T]] = Future()
        context = contextvars.copy_context()
        # A daemon: a process that ends waits for no store.
        threading.Thread(target=context.run, args=(self._run, look, ended), name="completion", daemon=True).start()
        try:
            return ended.result(max(0.0, until_at - time.monotonic()))
        except TimeoutError:
            self._not_before = time.monotonic() + AGAIN_S
            return []

    def _run(self, look: Callable[[], list[T]], ended: Future[list[T]]) -> None:
        self._here.looks = True
        try:
            ended.set_result(look())
        except BaseException as problem:  # noqa: BLE001  # raised where it was asked for
            ended.set_exception(problem)
        finally:
            self._is_free.release()


_looks = _Looks()
# A fork has none of the threads, and may have been made while one of them looked.
os.register_at_fork(after_in_child=_looks.__init__)  # type: ignore[misc]


@dataclass
class _Typed:
    """The words behind a verb, as far as they go: which parameters they give, and which one takes the next word."""

    verb: Verb
    given: dict[str, str] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    flags: set[str] = field(default_factory=set)
    next: Parameter | Literal["-o"] | None = None
    is_over: bool = False

    def read(self, words: Iterable[str]) -> None:
        """Take the words in."""
        flags = {item.flag: item for item in self.verb.parameters}
        for word in words:
            name, equals, value = word.partition("=")
            item = flags.get(name)
            if self.next is not None:
                self._take(self.next, word)
                self.next = None
            elif word == "-o" or (item is not None and item.kind != "bool" and not equals):
                self.flags.add(word)
                self.next = "-o" if item is None else item
            elif item is not None:
                self.flags.add(name)
                self._take(item, value)
            elif word.startswith("-"):
                self.flags.add(f"--{word.removeprefix('--no-')}" if word.startswith("--no-") else word)
            elif (place := self.place) is not None:
                self.given[place.name] = word
            else:
                self.is_over = True

    def _take(self, item: Parameter | Literal["-o"], value: str) -> None:
        if item == "-o":
            return
        if item.kind == "params":
            self.keys.add(value.partition("=")[0])
        self.given[item.name] = value

    @property
    def place(self) -> Parameter | None:
        """The parameter that the next word without a flag is for."""
        return next((item for item in self.verb.positionals if item.name not in self.given), None)


def complete(noun: str, text: str, variables: Iterable[str] = (), percent: str = "") -> list[str]:
    """Completions of the last word of `text`, which is what stands after the noun; never raises a LabError.

    variables: the names that `$` may stand before. percent: the `%` or `%%` before the noun, in a notebook
    """
    before, last = split(text)
    if last[:1] == "#" or any(word[:1] == "#" for word in before):
        return []  # a comment
    verbs = {name: verb for name, verb in verbs_of(noun).items() if percent != "%%" or verb.code}
    if not before:
        found: Iterable[str] = _begun([*verbs, *(HELP[:1] if last.startswith("-") else ())], last)
    elif before[0] in verbs and not {*before} & {*HELP}:
        found = _following(verbs[before[0]], [_unquoted(word) for word in before[1:]], last, list(variables), percent)
    else:
        found = ()
    return sorted({word for word in found if word != last})


def split(text: str) -> tuple[list[str], str]:
    """The words of a line that is not ended, and the last one, which is empty behind a space."""
    words = _WORD.findall(text)
    last = words.pop() if (words and not text.endswith((" ", "\t"))) or (_is_open(text) and words) else ""
    return words, last


def _begun(found: Iterable[str], last: str) -> list[str]:
    return [word for word in found if word.startswith(last)]


def _unquoted(word: str) -> str:
    """What a word says, whose quote may be open still."""
    for end in ("", "'", '"'):
        with contextlib.suppress(ValueError):
            return "".join(shlex.split(word + end)).replace("$$", "$")
    return word


def _is_open(text: str) -> bool:
    """Whether a quote is open at its end."""
    return bool(re.search(r"['\"]", re.sub(r"'[^']*'|\"[^\"]*\"", "", text)))


def _following(verb: Verb, before: list[str], last: str, variables: list[str], percent: str) -> Iterable[str]:
    typed = _Typed(verb)
    typed.read(before)
    if typed.is_over or typed.next == "-o":
        return ()
    name, equals, value = last.partition("=")
    item = next((item for item in verb.flags if item.flag == name and name not in typed.flags), None)
    head, dollar, variable = last.rpartition("$")
    if dollar:
        takes_value = typed.next or (item is not None and equals) or (typed.place and not last.startswith("-"))
        return (f"{head}${name}" for name in _begun(variables, variable)) if takes_value else ()
    if typed.next is not None and typed.next.kind == "inputs":
        return _begun([*_in_list(variables, last)], last)
    if typed.next is not None:
        return _offered(typed, typed.next, last, variables)
    if equals and item is not None and item.kind != "params":
        return (f"{name}={found}" for found in _offered(typed, item, value, variables))
    if last.startswith("-"):
        return _begun(_flags(typed, percent), last)
    if typed.place is not None:
        return _offered(typed, typed.place, last, variables)
    return _flags(typed, percent) if not last else ()


def _flags(typed: _Typed, percent: str) -> Iterator[str]:
    for item in typed.verb.flags:
        # In a cell the code is the body; a line may name a file instead.
        is_free = item.kind in ("params", "inputs", "outputs") or item.flag not in typed.flags
        if is_free and (item.kind != "code" or percent == "%"):
            yield f"--no-{item.flag[2:]}" if item.kind == "bool" and item.default is True else item.flag
    if typed.verb.code is not None and percent == "%" and "--code" not in typed.flags:
        yield "--code"
    if "-o" not in typed.flags and not any(item.kind == "outputs" for item in typed.verb.flags):
        yield "-o"
    yield HELP[0]


def _offered(typed: _Typed, item: Parameter, last: str, variables: list[str]) -> Iterable[str]:
    """What a parameter may be, as it is typed now: in quotes where it must be, with the quote that begins it."""
    found = values(typed.verb, item, _unquoted(last), typed.given)
    mark = last[:1] if last[:1] in ("'", '"') else ""
    if item.kind == "params":
        pairs = [word.partition("=") for word in found]
        return [f"{key}={quoted(value)}" for key, _, value in pairs if key not in typed.keys]
    # An object is given by its variable, and nothing else in a line can be one.
    names = variables if item.kind == "rows" and not last else ()
    # What another parameter of the same noun has already, like the first of two that are compared, is not meant again.
    nouns_of = {other.name: other.live and other.live.noun for other in typed.verb.parameters if other is not item}
    used = {typed.given.get(name) for name, noun in nouns_of.items() if item.live and noun == item.live.noun}
    words = (word for word in found if word not in used)
    return [*(quoted(word, mark) for word in words), *(f"${name}" for name in names)]


def given(verb: Verb, words: Iterable[str]) -> Mapping[str, str]:
    """What the words behind a verb give, by the names of its parameters, as far as they can be understood."""
    typed = _Typed(verb)
    typed.read(words)
    return typed.given


def values(verb: Verb, item: Parameter, last: str = "", typed: Mapping[str, str] | None = None) -> list[str]:
    """Values of a parameter that begin as `last` does, as far as they are known in time; typed: those of others."""
    return _looks.at(lambda: _found(lambda: (w for w in _values(verb, item, last, typed or {}) if w.startswith(last))))


def _found(look: Callable[[], Iterable[str]]) -> list[str]:
    with contextlib.suppress(LabError):  # nobody can be asked now, for example outside a workspace
        return list(look())
    return []


def _values(verb: Verb, item: Parameter, last: str, typed: Mapping[str, str]) -> Iterable[str]:
    if item.choices:
        return item.choices
    if item.known is not None:
        return _in_list(item.known.find(typed), last) if item.kind == "list" else item.known.find(typed)
    if item.kind == "rows":
        return [*_rows(verb, last), *_files(last)]
    if item.kind == "destination":
        return [path for path in _files(last) if path.endswith("/")]  # a file that is there is no place for another
    if item.kind in ("path", "code"):
        return _files(last)
    if item.unit is not None:
        return _quantities(item, last)
    if item.find is not None:
        return item.find()
    if item.uris:
        return _uris(item.uris, last)
    return _live(item, last) if item.live else ()


def _quantities(item: Parameter, last: str) -> Iterable[str]:
    assert item.unit is not None
    if last.isdigit():
        return [f"{last}{unit}" for unit in {"duration": ("s", "m", "h", "d"), "share": ("%",)}.get(item.unit.name, ())]
    return item.unit.usual


def _in_list(found: Iterable[str], last: str) -> Iterator[str]:
    """Names for the last place of a list, `a,b`."""
    head, comma, _ = last.rpartition(",")
    return (f"{head}{comma}{name}" for name in found if name not in head.split(","))


def _live(item: Parameter, last: str) -> Iterable[str]:
    assert item.live is not None
    found = live_names(item.live.noun, last, is_live=item.live.only == "live")
    if item.live.only == "live":
        return found
    if not item.live.only:
        return [*found, *_aliases(item.live.noun, last)]
    return [name for name in found if ("@" in name) == (item.live.only == "versions")]


def live_names(noun: str, last: str = "", most: int = MOST, *, is_live: bool = False) -> list[str]:
    """The names of what exists of a noun, as they are written: with the noun in front when it was typed so."""
    prefix = f"{noun}:" if Uri.is_one(last, noun) else ""
    find = nouns.find(noun).beginning
    found = _looks.at(lambda: _found(lambda: find(last.removeprefix(prefix), most, is_live=is_live)))
    return [prefix + name for name in found]


def _aliases(noun: str, last: str) -> list[str]:
    prefix = f"{noun}:" if Uri.is_one(last, noun) else ""
    with contextlib.suppress(LabError):
        return [prefix + label for label in nouns.find(noun).aliases_beginning(last.removeprefix(prefix), MOST)]
    return []


def _uris(of: Iterable[str], last: str) -> Iterator[str]:
    """URIs of these nouns' things, of each the newest alone until its noun was typed."""
    of = [noun for noun in of if nouns.find(noun).kind is not None]  # others keep no things
    if named := next((noun for noun in of if Uri.is_one(last, noun)), ""):
        yield from live_names(named, last)
        return
    with contextlib.suppress(LabError):  # no workspace yet: nothing has a name
        found = nouns.newest([noun for noun in of if f"{noun}:".startswith(last)], _MOST_OF_EACH)
        yield from (f"{noun}:{name}" for noun, names in found.items() for name in names)


def _rows(verb: Verb, last: str) -> Iterator[str]:
    """The URIs of what has rows, as far as that noun takes them: features are made of data alone."""
    for noun in ("data",) if verb.noun in ("data", "features") else ("data", "features"):
        if f"{noun}:".startswith(last) or Uri.is_one(last, noun):
            yield from live_names(noun, last if Uri.is_one(last, noun) else f"{noun}:")


def _files(last: str) -> list[str]:
    """Files and folders whose path begins so, in the first folder that it names or the current one."""
    typed = last[: last.rfind("/") + 1]
    folder = Path(typed).expanduser()
    try:
        names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    except (OSError, RuntimeError):  # no such folder, or the home of nobody
        return []
    # What is hidden is offered to whoever begins with the dot.
    plain = [name for name in names if not name.startswith(".") or last != typed]
    return [typed + name for name in plain if (typed + name).startswith(last)][:_MOST_FILES]
