"""What a line that is wrong was meant to be: the line again, with what was wrong put right or left out.

Each suggestion can be typed as it stands. Nothing here reads a line; `words.py` does.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import nouns
from .errors import LabError, UsageProblem, did_you_mean, nearest
from .show import Result
from .uris import Uri

if TYPE_CHECKING:
    from .verbs import Parameter, Verb
    from .words import Word

# What people type who know other tools, and what it is called here.
_FLAGS = {"alias": "to", "dry-run": "dry", "dry_run": "dry", "output": "into", "out": "into", "file": "code"}
_VERBS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("list", "all", "ps", "status"), ("ls", "show")),
    **dict.fromkeys(("delete", "remove", "del", "drop", "destroy"), ("rm", "stop")),
    **dict.fromkeys(("create", "new", "make", "register", "save"), ("add", "start", "run")),
    **dict.fromkeys(("begin", "up", "launch", "serve", "open", "update"), ("start", "run", "add")),
    **dict.fromkeys(("end", "kill", "down", "terminate", "cancel", "shutdown", "close"), ("stop",)),
    **dict.fromkeys(("describe", "info", "inspect", "view", "cat", "print"), ("show",)),
    **dict.fromkeys(("test", "validate", "verify", "lint", "evaluate"), ("check",)),
    **dict.fromkeys(("logs", "history", "lineage", "events"), ("log",)),
    **dict.fromkeys(("compare", "cmp"), ("diff",)),
    **dict.fromkeys(("load", "fetch", "download", "read", "open"), ("get",)),
    **dict.fromkeys(("execute", "fit", "train"), ("run",)),
    **dict.fromkeys(("revert", "undo", "restore"), ("rollback", "start")),
}
# What is one word of a line without quotes; a `?` at its end would ask for help.
_ONE_WORD = re.compile(r"(?!#)[\w@%+=:,./#~-]+")
_DOUBLE_QUOTED_ESCAPES = '"\\$`!'  # some in a shell alone
# A new thing is called as its maker likes: no name of one that exists is an example for it.
_MAKERS = ("start", "run", "add")


def command(verb: Verb, words: Iterable[Word]) -> str:
    """The line that has these words, as it is typed in a notebook."""
    return " ".join([f"{'%%' if verb.code else '%'}{verb.noun}", verb.name, *map(_typed, words)])


def quoted(text: str, mark: str = "") -> str:
    """The text as one word of a line, in quotes where it must be. mark: the quote that it begins with.

    >>> quoted("age"), quoted("stay days"), quoted("stay", '"')
    ('age', "'stay days'", '"stay"')
    """
    typed = text.replace("$", "$$")
    if not mark and _ONE_WORD.fullmatch(text):
        return text
    if mark == '"' or (not mark and "'" in text and not {*text} & {*_DOUBLE_QUOTED_ESCAPES}):
        return '"' + re.sub(r'(["\\])', r"\\\1", typed) + '"'
    return "'" + typed.replace("'", "'\"'\"'") + "'"


def nearest_flag(word: str, known: Iterable[str]) -> str:
    """The parameter or flag that was meant: by another tool's word for it, or by its spelling; empty when none is."""
    names = {name.lstrip("-").rstrip("_"): name for name in known}
    bare = word.lstrip("-–—").rstrip("_")
    meant = _FLAGS.get(bare, "")
    return names.get(meant) or names.get(nearest(bare, names)) or ""


def unknown_verb(noun: str, name: str, verbs: Iterable[str], others: Callable[[str], Iterable[str]]) -> str:
    """The fix for a verb that a noun does not have. others: the nouns that have it."""
    known = list(verbs)
    if nearest(name, ["--help"]):
        return "did you mean --help?"
    meant = next((verb for verb in _VERBS.get(name, ()) if verb in known), "") or nearest(name, known)
    if meant:
        return f"did you mean {meant}?"
    theirs = list(others(name))
    has = f"`%{noun} --help` lists what {noun} has: {', '.join(sorted(known))}"
    return f"{has}; {name} is a verb of {', '.join(theirs)}" if theirs else has


def unknown_argument(verb: Verb, name: str, values: Mapping[str, object]) -> str:
    """The fix for an argument in Python that a verb does not have. values: all that were given"""
    known = [item.name for item in verb.parameters]
    if meant := nearest_flag(name, known):
        return f"did you mean {meant}?"
    line = [str(values[item.name]) for item in verb.parameters if item.positional and item.name in values]
    params = next((item.name for item in verb.parameters if item.kind == "params"), "")
    if params and _may_be_given(verb, name, line):
        return f'did you mean {params}={{"{name}": {reprlib.repr(values[name])}}}?'
    return did_you_mean(name, known)


def unknown_flag(verb: Verb, line: Sequence[Word], at: int, known: Iterable[str], fits: Callable[..., bool]) -> str:
    """The fix for a flag that a verb does not have. fits: whether these words of the verb can be understood."""
    name, equals, value = str(line[at]).partition("=")
    if meant := nearest_flag(name, known):
        return f"did you mean {meant}?"
    after = [word for word in line[at + 1 : at + 2] if not (isinstance(word, str) and word.startswith("-"))]
    if (equals or after) and _may_be_given(verb, name.lstrip("-"), line[:at]):
        return f"did you mean -p {name.lstrip('-')}={_typed(value if equals else after[0])}?"
    # With its value, unless that is a word of the verb.
    shorter = [[*line[:at], *line[end:]] for end in (at + 1, at + 2)]
    rest = next((words for words in (shorter if equals else shorter[::-1]) if fits(words)), shorter[0])
    others = ", ".join(f"{each.noun} {each.name}" for each in _verbs_with(name))
    whose = f"{name} is a flag of {others}" if others else f"known: {', '.join(sorted(known))}"
    return f"leave it out: `{command(verb, rest)}`; {whose}"


def excess(verb: Verb, line: Sequence[Word], at: int, fits: Callable[..., bool]) -> str:
    """The fix for a word that stands where nothing more may stand. fits: as for `unknown_flag`.

    First what it may have been meant as; each of these ways answers nothing where it cannot tell.
    """
    ways = (_without_dashes, _unit_problem, _unquoted, _of_another_noun, _without_flag, _in_place_of_first)
    for way in ways:
        if fix := way(verb, line, at):
            return fix
    # With those that follow it, since each of them would be one too many as well.
    shorter = [[*line[:at], *line[end:]] for end in range(at + 1, len(line) + 1)]
    rest = next((words for words in shorter if fits(words)), shorter[0])
    what = "leave it out" if len(rest) + 1 == len(line) else "leave them out"
    return f"{what}: `{command(verb, rest)}`; or quote words that belong together"


def _without_dashes(verb: Verb, line: Sequence[Word], at: int) -> str:
    """`for 2h` or `for=2h`, and `epochs=3` of a verb with parameters."""
    name, equals, value = str(line[at]).partition("=")
    if name in {item.flag[2:] for item in verb.flags if item.kind != "params"}:
        return f"did you mean --{name}{equals}{value}?"
    is_one = bool(name and equals and value) and _may_be_given(verb, name, line[:at])
    return f"did you mean -p {_typed(line[at])}?" if is_one else ""


def _may_be_given(verb: Verb, name: str, line: Sequence[Word]) -> bool:
    """Whether that may be a parameter of what the verb is for: one that is known, where no others are taken."""
    item = next((item for item in verb.parameters if item.kind == "params"), None)
    if item is None or item.known is None or not item.known.is_closed:
        return item is not None
    return any(value.startswith(f"{name}=") for value in _values(verb, item, "", line))


def _unquoted(verb: Verb, line: Sequence[Word], at: int) -> str:
    """A rule without its quotes: `--require auc > 0.6`."""
    flag = max((place for place, word in enumerate(line[:at]) if str(word).startswith("--")), default=None)
    if flag is None or not re.match(r"[<>=!≤≥]", str(line[at])):
        return ""
    name, equals, value = str(line[flag]).partition("=")
    end = next((place for place, word in enumerate(line) if place > flag and str(word).startswith("-")), len(line))
    rule = " ".join([*([value] if equals else []), *map(str, line[flag + 1 : end])])
    return f"put what belongs together in quotes: `{command(verb, [*line[:flag], name, rule, *line[end:]])}`"


def _of_another_noun(verb: Verb, line: Sequence[Word], at: int) -> str:
    """`%lab show data:trips`, where the verb takes no name, and that noun's takes one."""
    from .verbs import verbs_of

    if verb.positionals or not Uri.is_one(line[at]):
        return ""
    with contextlib.suppress(UsageProblem):  # a noun's word and a colon make no name
        meant = Uri.parse(line[at])
        theirs = verbs_of(meant.noun).get(verb.name)
        return f"did you mean `{command(theirs, [meant.label])}`?" if theirs and theirs.positionals else ""
    return ""


def _without_flag(verb: Verb, line: Sequence[Word], at: int) -> str:
    """The value of the one flag that the verb cannot do without, or rows: `%deploy start late delay@1`."""
    given = {str(word).partition("=")[0] for word in line}
    others = [item for item in verb.flags if item.flag not in given]
    lacking = [item.flag for item in others if item.required]
    if not lacking and any(Uri.is_one(line[at], noun) for noun in ("data", "features")):
        lacking = [item.flag for item in others if item.kind == "rows"][:1]
    return f"did you mean `{command(verb, [*line[:at], *lacking, *line[at:]])}`?" if len(lacking) == 1 else ""


def _in_place_of_first(verb: Verb, line: Sequence[Word], at: int) -> str:
    """The name, behind a word that is none: `%models promote champion delay@1`."""
    if at != 1 or len(verb.positionals) != 1 or not isinstance(line[0], str):
        return ""
    known = _values(verb, verb.positionals[0])
    is_second = str(line[1]) in known and line[0] not in known
    return f"did you mean `{command(verb, line[1:])}`?" if is_second else ""


def _unit_problem(verb: Verb, line: Sequence[Word], at: int) -> str:
    """Behind a number that needs a unit, a word that is none: `--for 90 minuts`."""
    before = re.search(r"(--[\w-]+)[= ](\S+)$", " ".join(map(str, line[:at])))
    item = next((item for item in verb.flags if before and item.flag == before[1]), None)
    if before and item and item.unit:
        try:
            item.unit.read(before[2])
        except UsageProblem as problem:
            return f"{problem.fix.rstrip('.')}, as one word behind {item.flag}"
    return ""


def second_command(noun: str, words: Sequence[Word]) -> str:
    """The fix for a line with two commands, `%data ls; %data show trips`; empty for any other."""
    at = next((at for at, word in enumerate(words) if at and _is_magic(word) and _is_end(words[at - 1])), None)
    if at is None:
        return ""
    ended = str(words[at - 1]).rstrip(";&")
    first = " ".join([f"%{noun}", *map(_typed, words[: at - 1]), *([quoted(ended)] if ended else [])])
    return f"write one command a line: `{first}`, then `{' '.join([str(words[at]), *map(_typed, words[at + 1 :])])}`"


def _is_magic(word: Word) -> bool:
    return isinstance(word, str) and word.startswith("%") and word.lstrip("%") in nouns.TABLE


def _is_end(word: Word) -> bool:
    return isinstance(word, str) and word.endswith((";", "&&"))


def split_value(verb: Verb, item: Parameter, value: object, after: Sequence[Word], line: Sequence[Word]) -> str:
    """The flag with all words of its value, `--for '2 hours'`, where they were not quoted; else nothing."""
    if not isinstance(value, str):
        return ""
    following = []
    for word in after:
        if not isinstance(word, str) or word.startswith("-"):
            break
        following.append(word)
    for count in range(len(following), 0, -1):
        text = " ".join([value, *following[:count]])
        if _can_be(verb, item, text, line):
            return f"{item.flag} {_shortest(item, text)}"
    return ""


def _shortest(item: Parameter, text: str) -> str:
    """The value as one word."""
    return item.unit.write(item.unit.read(text)) if item.unit and item.unit.write else quoted(text)


def _can_be(verb: Verb, item: Parameter, text: str, line: Sequence[Word]) -> bool:
    """Whether a parameter is known to take that text, as the other words of the line are."""
    if item.unit is None:
        return text in _values(verb, item, text, line)
    with contextlib.suppress(UsageProblem):
        item.unit.read(text)
        return True
    return False


def sample(verb: Verb, item: Parameter, like: str = "", typed: Mapping[str, str] | None = None) -> str:
    """A value that a parameter of a verb could have now, of the name that is given if there is one; empty when none is
    known. typed: those of other parameters."""
    from .completion import values  # it imports the verbs

    if item.kind == "destination":
        return _free(verb.example_values.get(item.name, "out"))
    makes = verb.name in _MAKERS and item.positional
    found = [] if makes else values(verb, item, typed=typed)
    named = [value for value in found if like and value.startswith(like)]
    return next(iter(named or found), "") or verb.example_values.get(item.name, "")


def _free(name: str) -> str:
    """A path at which nothing is, called so or nearly so."""
    path = Path(name)
    others = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return str(next(free for free in itertools.chain([path], others) if not free.exists()))


def _values(verb: Verb, item: Parameter, begun: str = "", line: Sequence[Word] = ()) -> list[str]:
    from .completion import given, values  # it imports the verbs

    return values(verb, item, begun, given(verb, [word if isinstance(word, str) else str(word.value) for word in line]))


def completed(verb: Verb, values: Mapping[str, Any]) -> str:
    """The command with these values and one for each that it lacks; empty where none is known, or one has no text."""
    words: list[str] = []
    typed = {name: str(value) for name, value in values.items() if isinstance(value, str | Result)}
    for item in verb.parameters:
        value = values.get(item.name)
        if item.kind == "code" or (value is None and not item.required):
            continue
        texts = [sample(verb, item, typed=typed)] if value is None else _texts(item, value)
        if not all(texts):
            return ""
        words += texts if item.positional else _flagged(item, texts)
    return command(verb, words)


def _flagged(item: Parameter, texts: Sequence[str]) -> list[str]:
    if item.kind == "bool":
        negative = texts[0].lower() in ("false", "no", "0")
        return [f"--no-{item.flag[2:]}" if negative else item.flag]
    return [word for text in texts for word in (item.flag, text)]


def _texts(item: Parameter, value: Any) -> list[str]:
    if item.kind == "params" and isinstance(value, Mapping):
        return [f"{key}={each}" for key, each in value.items()]
    return [str(value) if isinstance(value, str | int | float | Path | Result) else ""]


def _typed(word: Word) -> str:
    if not isinstance(word, str):
        return f"${word.name}" if word.name else "…"
    return quoted(word)


def _verbs_with(flag: str) -> list[Verb]:
    from .verbs import verbs_of

    found = []
    for noun in nouns.TABLE:
        with contextlib.suppress(LabError, ImportError):  # a noun that cannot be loaded has nothing to suggest
            found += [verb for verb in verbs_of(noun).values() if flag in {item.flag for item in verb.flags}]
    return found[:4]


def mistaken_noun(word: str, following: Sequence[str]) -> str:
    """The fix for a noun that there is not, by its spelling, or where verb and noun have changed places."""
    if following and following[0] in nouns.TABLE:
        return f"did you mean {following[0]} {word}?"
    return did_you_mean(word, nouns.TABLE)
