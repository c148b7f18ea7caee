"""Taking a line apart: words, quotes, `$name`, flags, and the call they make."""

from __future__ import annotations

import re
import shlex
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from .errors import LabError, NotFound, UsageProblem, did_you_mean
from .help import Help
from .suggestions import command, excess, nearest_flag, sample, second_command, split_value, unknown_flag
from .verbs import Parameter, Typed, Verb, find_verb, help_of, verbs_of

HELP = ("--help", "-h")
_VARIABLE = re.compile(r"\$\$|\$([A-Za-z_]\w*)")
_OBJECT = re.compile(r"\$([A-Za-z_]\w*)(;|&&)?")
# Also with one dash, or with the long one that an editor made of two; no negative number.
_FLAG = re.compile(r"--|[–—-][a-zA-Z–—-]")


@dataclass(frozen=True, slots=True)
class Given:
    """A word that is a variable of the caller: the object itself, not its text. name: the variable's."""

    value: Any
    name: str = field(default="", compare=False)


Word = str | Given


class AnyName(dict[str, Any]):
    """Has a variable of every name: for lines of which only the words count."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> None:
        return None


@dataclass(frozen=True)
class Call:
    """A line understood: the verb, its values, and the name that its result is bound to."""

    verb: Verb
    values: Mapping[str, Any]
    bind: str | None

    def run(self) -> Any:
        return self.verb.call(**self.values)


def split(line: str, names: Mapping[str, Any] | None = None) -> list[Word]:
    """The words of a line. `$name` is replaced from `names`: as the object where it is a whole word.

    A `#` that starts a word starts a comment. UsageProblem for an unclosed quote or an unknown name.
    """
    source = StringIO(line)
    lexer = shlex.shlex(source, posix=True)
    # shlex would cut `features:delay@2#9f03` at its `#`: to it a comment may begin inside a word.
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[Word] = []
    try:
        # By what is typed, since the token has lost its quotes: `'#1f77b4'` is a word.
        while not line[source.tell() :].lstrip().startswith("#") and (token := lexer.get_token()) is not None:
            words += [token] if names is None else _interpolate(token, names)
    except ValueError as problem:
        raise UsageProblem(f"a quote is not closed in {line.strip()!r}", "close it, or leave it out") from problem
    return words


def understand(
    noun: str,
    words: Sequence[Word],
    body: str | None = None,
    also: Sequence[str] = (),
    names: Mapping[str, Any] | None = None,
) -> Call | Help:
    """The call that the words make, or the help they ask for. A bare noun looks.

    `also`: flags that the caller took out of the line, to be suggested when one of them is misspelled. `names`: the
    variables of a notebook, None where there are none.
    """
    if not words:
        return Call(find_verb(noun, "ls" if "ls" in verbs_of(noun) else "show"), {}, None)
    name, rest = words[0], list(words[1:])
    if fix := second_command(noun, words):
        raise UsageProblem("a second command stands in the line", fix)
    if not isinstance(name, str):
        raise UsageProblem(f"a verb must follow %{noun}", f"one of: {', '.join(verbs_of(noun))}")
    if name in HELP:
        return help_of(noun, next((word for word in rest if isinstance(word, str) and word in verbs_of(noun)), None))
    if name.endswith("?") and name.rstrip("?") in verbs_of(noun):
        return help_of(noun, name.rstrip("?"))
    verb = find_verb(noun, name)
    if any(word in HELP for word in rest if isinstance(word, str)):
        return help_of(noun, name)
    values, bind = _values(verb, rest, also, names)
    if verb.code is not None and body is not None:
        values[verb.code.name] = body
    elif body is not None and body.strip():
        again = command(verb, rest)
        raise UsageProblem(f"%%{noun} {name} takes no cell body", f"write it with one %, alone: `{again}`")
    return Call(verb, values, bind)


def variables(names: Mapping[str, Any]) -> list[str]:
    """The names that somebody gave to a value: no module, function or type, and nothing that is hidden."""
    odd = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)
    return [name for name, value in names.items() if not name.startswith("_") and not isinstance(value, odd)]


def forgotten_dollar(words: Sequence[Word], names: Mapping[str, Any], what: str) -> str:
    """The sentence that suggests `$name`, when an error names a word that is a variable's name; else nothing."""
    known = set(variables(names))
    for before, word in zip(["", *words], words, strict=False):
        flag, equals, value = word.rpartition("=") if isinstance(word, str) else ("", "", "")
        if value in known and re.search(rf"\b{re.escape(value)}\b", what):
            start = f"{flag}{equals}" if equals else f"{before} " if str(before).startswith("-") else ""
            return f"if the variable is meant: `{start}${value}`"
    return ""


def _interpolate(token: str, names: Mapping[str, Any]) -> list[Word]:
    """One word; two where the end of a command stands right behind an object, whose text is of no use in a line."""
    found = _OBJECT.fullmatch(token)
    name, end = found.groups() if found else ("", "")
    if name and (not end or not isinstance(_look_up(name, names), str | int | float | Path)):
        return [Given(_look_up(name, names), name), *([end] if end else [])]
    return [_VARIABLE.sub(lambda match: str(_look_up(match[1], names)) if match[1] else "$", token)]


def _look_up(name: str, names: Mapping[str, Any]) -> Any:
    if name not in names:
        known = [f"${known}" for known in variables(names)]
        first = "assign it first, or write $$ for a dollar"
        raise NotFound(f"there is no variable ${name}", did_you_mean(f"${name}", known, first))
    return names[name]


def _values(
    verb: Verb, line: Sequence[Word], also: Sequence[str], names: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], str | None]:
    values: dict[str, Any] = {}
    bind = None
    words = list(line)
    while words:
        at, word = len(line) - len(words), words.pop(0)
        if word in ("-i", "-o") and (item := _of_kind(verb, "inputs" if word == "-i" else "outputs")):
            given = _names(item, _next(words, item.flag, verb, line), names)
            if item.kind == "inputs":
                assert names is not None
                values.setdefault(item.name, {}).update((name, look_up(name, names)) for name in given)
            else:
                values.setdefault(item.name, []).extend(given)
        elif word == "-o":
            bind = _identifier(_next(words, "-o", verb, line))
        elif word == "-p" and (params := _of_kind(verb, "params")):
            key, equals, value = str(_plain(_next(words, "-p", verb, line))).partition("=")
            if not equals or not key:
                # `-p epochs = 3`: the blanks part it into three words.
                apart = [str(word) for word in words[:2]] if words[:1] == ["="] else []
                meant = f"did you mean -p {key}={apart[1]}?" if len(apart) > 1 else ""
                fix = meant or f"write -p {key or 'key'}=1, or another value"
                raise UsageProblem(f"-p {key!r} gives no value", fix)
            values.setdefault(params.name, {})[key] = Typed(value)
        elif isinstance(word, str) and _FLAG.match(word):
            _flag(verb, line, at, words, values, also)
        elif place := next((item for item in verb.positionals if item.name not in values), None):
            values[place.name] = _plain(word)
        elif verb.code is not None and verb.code.name not in values and str(word).endswith(".py"):
            values[verb.code.name] = _file_text(Path(str(word)))
        else:
            what = f"{_plain(word)!s} is one word too many for {command(verb, ())}"
            raise UsageProblem(what, excess(verb, line, at, lambda words: _fits(verb, words)))
    return values, bind


def _flag(
    verb: Verb, line: Sequence[Word], at: int, words: list[Word], values: dict[str, Any], also: Sequence[str]
) -> None:
    name, equals, inline = str(line[at]).partition("=")
    known = {item.flag: item for item in verb.parameters}
    negated = known.get("--" + name.removeprefix("--no-")) if name.startswith("--no-") else None
    if name not in known and negated is not None and negated.kind == "bool" and not equals:
        values[negated.name] = False
        return
    if name not in known or not name.startswith("--"):
        raise UsageProblem(f"{command(verb, ())} has no flag {name}", _flag_meant(verb, line, at, also))
    item = known[name]
    if item.kind == "bool" and not equals:
        values[item.name] = True
        return
    given = inline if equals else _plain(_next(words, name, verb, line))
    if whole := split_value(verb, item, given, words, line):
        raise UsageProblem(f"the value of {name} is more than one word", f"did you mean {whole}?")
    values[item.name] = _file_text(Path(str(given))) if item.kind == "code" else given


def _flag_meant(verb: Verb, line: Sequence[Word], at: int, also: Sequence[str]) -> str:
    name = str(line[at]).partition("=")[0]
    off = {f"--no-{item.flag[2:]}" for item in verb.flags if item.kind == "bool"}
    if name.startswith("--no-") and (meant := nearest_flag(name, off)):
        return f"did you mean {meant}?"
    return unknown_flag(verb, line, at, [*_flags(verb), *also], lambda words: _fits(verb, words))


def _fits(verb: Verb, words: Sequence[Word]) -> bool:
    try:
        _values(verb, words, (), AnyName())
    except LabError:
        return False
    return True


def _next(words: list[Word], flag: str, verb: Verb, line: Sequence[Word]) -> Word:
    # A forgotten value must not take the next flag; one dash is let through, for negative numbers.
    if not words or (isinstance(words[0], str) and words[0].startswith("--")):
        item = next((item for item in verb.flags if item.flag == flag), None)
        after = len(line) - len(words)
        value = sample(verb, item, str(line[0])) if item else "result" if flag == "-o" else "key=1"
        again = command(verb, [*line[:after], value, *words]) if value else ""
        raise UsageProblem(f"{flag} needs a value", f"e.g. `{again}`" if again else verb.usage())
    return words.pop(0)


def _names(item: Parameter, word: Word, names: Mapping[str, Any] | None) -> list[str]:
    """The variables that a word names, `a` or `a,b`, or the one that it is."""
    if names is None:
        problem = f"{item.flag} names a variable of a notebook, and a shell has none"
        raise UsageProblem(problem, "leave it out, and let the code read and write files")
    found = [word.name] if isinstance(word, Given) else [name.strip() for name in word.split(",")]
    if wrong := next((name for name in found if not name.isidentifier()), None):
        fix = f"name variables, as in {item.flag} rows, and make one first of what is none"
        raise UsageProblem(f"{item.flag} {wrong} is no variable's name", fix)
    return found


def look_up(name: str, names: Mapping[str, Any]) -> Any:
    """A variable by its name; NotFound with a suggestion."""
    if name not in names:
        known = [known for known in names if not known.startswith("_")]
        raise NotFound(f"there is no variable {name}", did_you_mean(name, known, "assign it first"))
    return names[name]


def _plain(word: Word) -> Any:
    return word.value if isinstance(word, Given) else word


def _of_kind(verb: Verb, kind: str) -> Parameter | None:
    return next((item for item in verb.parameters if item.kind == kind), None)


def _flags(verb: Verb) -> list[str]:
    return list(dict.fromkeys(["-o", *(item.flag for item in verb.parameters)]))


def _identifier(word: Word) -> str:
    if not isinstance(word, str) or not word.isidentifier():
        raise UsageProblem(f"-o {_plain(word)!s} cannot be a variable's name", "write result, or another name")
    return word


def _file_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise NotFound(
            f"the code in {path} cannot be read: {problem}", "give --code a file of Python text"
        ) from problem
