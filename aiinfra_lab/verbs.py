"""The language: one typed function per verb, from whose signature come every face of it.

`@verb("gpu")` on a function makes it the Python call, the `%gpu` magic, the `aiinfra gpu` command, their help and
their completion. Words become values here, by the annotations; `words.py` takes a line apart.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import importlib
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from .config import opt_out
from .errors import Denied, Failed, LabError, Unavailable, UsageProblem, did_you_mean
from .help import Help, Page, Terms
from .leftovers import sweep
from .nouns import TABLE
from .show import Listing, Quote, Result, Sentence
from .store.base import left_out
from .suggestions import command, completed, unknown_argument, unknown_verb
from .units import Unit

VERBS = {
    "ls": "list, newest first",
    "show": "one thing in full",
    "start": "bring something that lives on into being; on a live name: update it",
    "stop": "end what lives on",
    "run": "work that ends",
    "add": "record something that exists as a new version",
    "rm": "delete, keeping the record that it was",
    "get": "hand a thing to the cell or to disk",
    "diff": "two things, compared by meaning",
    "check": "judge, change nothing, raise with the fix when the verdict is bad or cannot be told",
    "policy": "what a thing must satisfy: look at it, or replace it",
    "log": "history: output, events, lineage",
    "promote": "move traffic or an alias forward",
    "rollback": "move traffic or an alias back",
    "export": "write files for another system",
}

# Heads the last lines of a verb's docstring: a call that works in a project as the example's.
_EXAMPLE = "Example:"
# What a parameter of that kind could be, where it has no default that says so.
_USUAL = {"int": 1, "float": 1, "bool": "yes"}
_MOST_CHOICES = 6
# The flags of one letter, which may be given several times.
_SHORT = {"params": "-p", "inputs": "-i", "outputs": "-o"}
# How a usage line calls a value, where that is not its kind.
_VALUES = {"path": "FILE", "destination": "PATH"}

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Live:
    """Annotation of a parameter that names a thing of that noun: completes the names that exist.

    only: those that the verb takes: names without their versions, versions alone, or what lives
    """

    noun: str
    only: Literal["", "names", "versions", "live"] = ""


@dataclass(frozen=True, slots=True, init=False)
class Uris:
    """Annotation of a parameter that takes the URI of a thing of any of these nouns."""

    nouns: tuple[str, ...]

    def __init__(self, *nouns: str) -> None:
        object.__setattr__(self, "nouns", nouns)


@dataclass(frozen=True, slots=True)
class Suggested:
    """Annotation of a parameter some values of which are known once others are: a run's columns, by its data.

    find: given the line's words by their parameters, the values; of Params `key=value`. is_closed: it takes no others
    """

    find: Callable[[Mapping[str, str]], Iterable[str]]
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """Annotation of a parameter with values that are only known at run time. is_open: it takes others too."""

    find: Callable[[], Iterable[str]]
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str


_ROWS, _CODE, _PARAMS, _DESTINATION = _Kind("rows"), _Kind("code"), _Kind("params"), _Kind("destination")
_INPUTS, _OUTPUTS = _Kind("inputs"), _Kind("outputs")

Rows = Annotated[object, _ROWS]
"""Rows: a URI, a path, or in Python and notebooks a DataFrame or a handle."""

Code = Annotated[str, _CODE]
"""The body of the cell; `--code FILE` on the command line."""

Params = Annotated[Mapping[str, object], _PARAMS]
"""`-p key=value`, any number of times; a verb gets every value as text."""


class Typed(str):
    """A value of Params as it was typed: what it means is for the verb to guess, where a text from Python is a text."""

    __slots__ = ()


KEPT = _Kind("kept")
"""Annotation of Params: in Python a verb gets the objects as they are given, since it knows their types itself."""

Inputs = Annotated[Mapping[str, object], _INPUTS]
"""`-i NAME` in a notebook, any number of times: variables that the verb takes along. It gets their values by name."""

Outputs = Annotated[str | Sequence[str], _OUTPUTS]
"""`-o NAME` in a notebook, any number of times: variables that it brings back, as `values` of its result."""

Name = str | Result
"""A thing's name or URI, or its handle. A verb gets the text; `Annotated[Name, Live("gpu")]` completes it."""

FilePath = Path | str
"""A path. A verb gets a Path."""

Destination = Annotated[FilePath, _DESTINATION]
"""A path at which a verb makes a file or a folder; the folders that are there are completed. A verb gets a Path."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a verb, as the annotations describe it."""

    name: str
    kind: str  # text, int, float, bool, path, choice, rows, code, params, destination, list, or a unit's name
    default: Any
    positional: bool
    doc: str
    choices: tuple[str, ...] = ()
    live: Live | None = None
    uris: tuple[str, ...] = ()
    find: Callable[[], Iterable[str]] | None = None
    known: Suggested | None = None
    is_open: bool = False
    unit: Unit | None = None
    is_kept: bool = False

    @property
    def flag(self) -> str:
        """How it is written as a flag, without a verb that fixes its place."""
        return _SHORT.get(self.kind) or "--" + self.name.rstrip("_").replace("_", "-")

    @property
    def switch(self) -> str:
        """How its help calls it: what is on by default can be switched off."""
        return f"--[no-]{self.flag[2:]}" if self.kind == "bool" and self.default is True else self.flag

    @property
    def word(self) -> str:
        """How it is called in a usage line."""
        return self.name.rstrip("_").upper().replace("_", "-")

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    def lacks(self, value: object) -> bool:
        """Whether a call with that value, None for no value, is one without what it must have."""
        return self.required and value is None

    def read(self, value: Any) -> Any:
        """The value that a word, or a Python object, stands for; UsageProblem when it stands for none.

        None, e.g. a notebook's variable that holds nothing, is as good as leaving it out.
        """
        if value is None or (not self.required and value is self.default):
            return self.default
        if self.unit is not None:
            try:
                return self.unit.read(value)
            except UsageProblem as problem:
                raise UsageProblem(f"{self.flag} {problem.what}", problem.fix) from None
        return _READERS[self.kind](self, value)

    def problem(self, value: object, wanted: str) -> UsageProblem:
        given = f"{value!r}" if isinstance(value, str | int | float | bool) else f"a {type(value).__name__}"
        usual = self.default if isinstance(self.default, int | float) else _USUAL.get(self.kind, "")
        example = f", e.g. {usual}" if usual != "" else ""
        return UsageProblem(
            f"{self.flag} {given} is not {wanted}", f"give {self.flag} {wanted}{example}; {self.doc}".rstrip("; ")
        )


@dataclass(frozen=True)
class Verb:
    """A verb of a noun: its function and everything its signature says."""

    noun: str
    name: str
    function: Callable[..., Any]
    more_help: Callable[[], Terms] | None = None

    @functools.cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """In the order of the signature."""
        docs = parameter_docs(self.function.__doc__ or "")
        signature = inspect.signature(self.function, eval_str=True)
        return tuple(_parameter(item, docs) for item in signature.parameters.values())

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]

    @property
    def positionals(self) -> list[Parameter]:
        return [item for item in self.parameters if item.positional and item.kind != "code"]

    @property
    def flags(self) -> list[Parameter]:
        return [item for item in self.parameters if not item.positional]

    @property
    def code(self) -> Parameter | None:
        """The parameter that takes the cell's body, if there is one."""
        return next((item for item in self.parameters if item.kind == "code"), None)

    @functools.cached_property
    def example(self) -> str:
        """The call that its docstring shows, with the code below it where it has one; empty when it shows none."""
        _, found, text = inspect.cleandoc(self.function.__doc__ or "").partition(f"\n{_EXAMPLE}\n")
        return textwrap.dedent(text).strip("\n") if found else ""

    @functools.cached_property
    def example_values(self) -> Mapping[str, str]:
        """What its example gives, by the names of the parameters."""
        from .words import AnyName, split, understand

        words = split(self.example.partition("\n")[0])
        call = understand(self.noun, words[1:], "", names=AnyName()) if words else None
        values = {} if call is None or isinstance(call, Help) else call.values
        return {name: value for name, value in values.items() if isinstance(value, str)}

    def usage(self) -> str:
        """One line: `%gpu start NAME [--for DURATION]`."""
        return " ".join(self._usage())

    def _usage(self) -> list[str]:
        words = [item.word if item.required else f"[{item.word}]" for item in self.positionals]
        words += [_flag_usage(item) for item in self.parameters if not item.positional]
        return [self.line, *words]

    @property
    def line(self) -> str:
        """How a line begins that calls it: `%gpu start`."""
        return f"{'%%' if self.code else '%'}{self.noun} {self.name}"

    def help(self) -> Page:
        """The usage line, the docstring's text, the parameters, and a call that works."""
        lead, *prose = _prose(self.function.__doc__ or "") or [""]
        items = {item.word if item.positional else item.switch: item for item in self.parameters}
        meanings = {name: item.doc for name, item in items.items()}
        defaults = {name: default for name, item in items.items() if (default := _default(item))}
        result = {"-o": "in a notebook: the variable for the result, as with NAME = in front"}
        if any(item.kind == "outputs" for item in self.parameters):
            result = {}
        parts: list[Sentence | Terms | Quote] = [*map(Sentence, prose)]
        parts.append(Terms("argument", {**meanings, **result}, defaults=defaults))
        if self.code:
            parts.append(
                Sentence("In a notebook the cell below the line is the code; --code FILE gives it in a shell.")
            )
        if self.more_help:
            parts.append(self.more_help())
        if self.example:
            parts.append(Quote(self.example, "Example"))
        return Page(self.line, lead, self._usage(), parts)

    def call(self, **values: Any) -> Any:
        """Call it with words or objects, read by the annotations."""
        known = {item.name: item for item in self.parameters}
        for name in values:
            if name not in known:
                fix = unknown_argument(self, name, values)
                raise UsageProblem(f"{self.noun}.{self.name} takes no {name!r}", fix)
        # A wrong word before a missing one: whoever adds what is missing would only then hear of it.
        read = {name: known[name].read(value) for name, value in values.items() if not known[name].lacks(value)}
        if missing := [item for item in self.parameters if item.lacks(values.get(item.name))]:
            raise self._incomplete(missing, values)
        # Before the verb imports the libraries, some of which read these variables as they are imported.
        opt_out()
        sweep()
        with _plainly(), left_out() as lacks:
            result = self.function(**read)
        return dataclasses.replace(result, unreadable=len(lacks)) if lacks and isinstance(result, Listing) else result

    def _incomplete(self, missing: Sequence[Parameter], values: Mapping[str, Any]) -> UsageProblem:
        what = f"{command(self, ())} needs {' and '.join(item.word for item in missing)}"
        whole = completed(self, values)
        usage = f"e.g. `{whole}`; all of it: {self.usage()}" if whole else self.usage()
        if self.code is None or self.code not in missing:
            return UsageProblem(what, usage)
        how = "write the code below the line, which then begins with %% (in a shell: --code FILE)"
        return UsageProblem(what, f"{how}: {usage}")


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """What the file system refuses is said in our own errors, wherever in a verb it happened."""
    try:
        yield
    except PermissionError as problem:
        raise Denied(f"{problem.filename} may not be read or written", "check who owns it") from problem
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as problem:
        raise Failed(f"{problem.filename}: {problem.strerror}", "choose another path") from problem
    except OSError as problem:
        if problem.errno == errno.EROFS:
            raise Denied(f"{problem.filename} lies on a read-only drive", "use a folder of your own") from problem
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f": {problem.filename}" if problem.filename else ""  # a write to an open file knows no name
            raise Unavailable(f"the disk is full{where}", "free some space, then repeat") from problem
        raise


_registry: dict[str, dict[str, Verb]] = {}


def verb(noun: str, more_help: Callable[[], Terms] | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a verb of that noun. Its name must stand in the closed list; its words are read on every call.

    more_help: what its help says besides the docstring, of what the verb reads or runs
    """

    def register(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__name__
        if noun not in TABLE or name not in VERBS:
            raise TypeError(f"{noun} {name} is not in the language")
        entry = Verb(noun, name, function, more_help)
        _registry.setdefault(noun, {})[name] = entry

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            names = [item.name for item in entry.parameters]
            if len(args) > len([item for item in entry.parameters if item.positional]):
                raise UsageProblem(f"{noun}.{name} takes fewer positional arguments", entry.usage())
            given = dict(zip(names, args, strict=False))
            if twice := given.keys() & kwargs.keys():
                raise UsageProblem(f"{noun}.{name} got {min(twice)} twice", entry.usage())
            result: R = entry.call(**given, **kwargs)
            return result

        return called

    return register


def verbs_of(noun: str) -> Mapping[str, Verb]:
    """The verbs of a noun; imports the noun's folder, which is light."""
    if noun not in TABLE:
        raise UsageProblem(f"there is no noun {noun!r}", did_you_mean(noun, TABLE))
    importlib.import_module(TABLE[noun])
    return _registry.get(noun, {})


def find_verb(noun: str, name: str) -> Verb:
    """The verb, or UsageProblem with a suggestion."""
    verbs = verbs_of(noun)
    if name not in verbs:
        raise UsageProblem(f"%{noun} has no verb {name!r}", unknown_verb(noun, name, verbs, _nouns_with))
    return verbs[name]


def _nouns_with(name: str) -> list[str]:
    return [noun for noun in TABLE if name in VERBS and name in verbs_of(noun)]


def help_of(noun: str, name: str | None = None) -> Help:
    """The help of a noun (one line a verb) or of one verb."""
    if name is not None:
        return Help(f"{noun}:help", find_verb(noun, name).help())
    verbs = verbs_of(noun)
    module = importlib.import_module(TABLE[noun])
    terms = Terms("verb", {name: verbs[name].summary for name in VERBS if name in verbs})
    lead = (module.__doc__ or "").strip().partition("\n")[0]
    return Help(f"{noun}:help", Page(f"%{noun}", lead, parts=[terms, Sentence(f"`%{noun} VERB --help` says more.")]))


def _parameter(item: inspect.Parameter, docs: Mapping[str, str]) -> Parameter:
    marks, base = _marks(item.annotation)
    kinds = [mark.name for mark in marks if isinstance(mark, _Kind) and mark is not KEPT]
    unit = next((mark for mark in marks if isinstance(mark, Unit)), None)
    kind = unit.name if unit else kinds[0] if kinds else _KINDS.get(base, "text")
    choices: tuple[str, ...] = ()
    if typing.get_origin(base) is Literal:
        kind, choices = "choice", tuple(str(value) for value in typing.get_args(base))
    elif typing.get_origin(base) in (tuple, list, Sequence):
        kind = "list"
    return Parameter(
        name=item.name,
        kind=kind,
        default=item.default,
        positional=item.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD,
        doc=docs.get(item.name, docs.get(item.name.rstrip("_"), "")),
        choices=choices,
        live=next((mark for mark in marks if isinstance(mark, Live)), None),
        uris=next((mark.nouns for mark in marks if isinstance(mark, Uris)), ()),
        find=next((mark.find for mark in marks if isinstance(mark, Choices)), None),
        known=next((mark for mark in marks if isinstance(mark, Suggested)), None),
        is_open=any(mark.is_open for mark in marks if isinstance(mark, Choices)),
        unit=unit,
        is_kept=KEPT in marks,
    )


def _marks(annotation: Any) -> tuple[list[Any], Any]:
    """What Annotated carries, at any depth of `X | None`, and the bare type."""
    if typing.get_origin(annotation) is Annotated:
        base, *marks = typing.get_args(annotation)
        inner, bare = _marks(base)
        return [*marks, *inner], bare
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [_marks(member) for member in typing.get_args(annotation) if member is not type(None)]
        bare = [base for _, base in members]
        # `Path | str`, `str | Result`: what a caller may give; the first that says how it is read counts.
        kinds = [base for base in bare if base in _KINDS and base is not str]
        return [mark for marks, _ in members for mark in marks], (kinds or bare)[0]
    return [], annotation


def _text(parameter: Parameter, value: Any) -> str:
    if isinstance(value, str | Path | Result | int | float) and not isinstance(value, bool):
        return str(value)
    raise parameter.problem(value, "a name")


def _int(parameter: Parameter, value: Any) -> int:
    try:
        if isinstance(value, bool) or float(value) != int(float(value)):
            raise ValueError
        # As a float, 2**53 + 1 would lose its last digit.
        return int(value) if isinstance(value, int | str) and "." not in str(value) else int(float(value))
    except (TypeError, ValueError, OverflowError):
        raise parameter.problem(value, "a whole number") from None


def _float(parameter: Parameter, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise parameter.problem(value, "a number") from None


def _bool(parameter: Parameter, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "yes", "1", "false", "no", "0"):
        return str(value).lower() in ("true", "yes", "1")
    raise parameter.problem(value, "yes or no")


def _choice(parameter: Parameter, value: Any) -> str:
    if str(value) in parameter.choices:
        return str(value)
    raise UsageProblem(
        f"{parameter.flag} {str(value)!r} is not one of its values", did_you_mean(str(value), parameter.choices)
    )


def _list(parameter: Parameter, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, Iterable):
        return tuple(str(part) for part in value)
    raise parameter.problem(value, "a list of names separated by commas")


def _params(parameter: Parameter, value: Any) -> dict[str, object]:
    if isinstance(value, Mapping):
        return {str(key): item if parameter.is_kept else str(item) for key, item in value.items()}
    raise parameter.problem(value, "a mapping of names to values")


def _inputs(parameter: Parameter, value: Any) -> dict[str, object]:
    if isinstance(value, Mapping) and all(isinstance(name, str) and name.isidentifier() for name in value):
        return dict(value)
    raise parameter.problem(value, 'a mapping of variables, as in {"rows": rows}')


def _outputs(parameter: Parameter, value: Any) -> tuple[str, ...]:
    names = _list(parameter, value)
    if wrong := next((name for name in names if not name.isidentifier()), ""):
        raise UsageProblem(f"{parameter.flag} {wrong} cannot be a variable's name", "write result, or another name")
    return names


def _path(parameter: Parameter, value: Any) -> Path:
    return Path(_text(parameter, value)).expanduser()


_KINDS: dict[Any, str] = {str: "text", int: "int", float: "float", bool: "bool", Path: "path", object: "rows"}
_READERS: dict[str, Callable[[Parameter, Any], Any]] = {
    "text": _text,
    "code": _text,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "choice": _choice,
    "list": _list,
    "params": _params,
    "inputs": _inputs,
    "outputs": _outputs,
    "path": _path,
    "destination": _path,
    "rows": lambda parameter, value: value,
}


def parameter_docs(doc: str) -> dict[str, str]:
    """`name: meaning` lines; a line that is indented deeper goes on with the one before."""
    found: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(doc).partition(f"\n{_EXAMPLE}\n")[0].splitlines()[1:]:
        if match := re.match(r"([a-z][a-z0-9_]*): (.+)", line):
            name = match[1]
            found[name] = match[2].strip()
        elif name and line.startswith("  "):
            found[name] += " " + line.strip()
        else:
            name = ""
    return found


def _prose(doc: str) -> list[str]:
    """The paragraphs of a docstring, without its parameter lines."""
    kept, inside = [], False
    for line in inspect.cleandoc(doc).partition(f"\n{_EXAMPLE}\n")[0].splitlines():
        inside = bool(re.match(r"[a-z][a-z0-9_]*: ", line)) or (inside and line.startswith("  "))
        if not inside:
            kept.append(line)
    paragraphs = re.split(r"\n{2,}", "\n".join(kept).strip("\n"))
    return [" ".join(paragraph.split()) for paragraph in paragraphs]


def _flag_usage(item: Parameter) -> str:
    if item.kind == "params":
        return "[-p KEY=VALUE …]"
    if item.kind in ("inputs", "outputs"):
        return f"[{item.flag} NAME …]"
    if item.kind == "code":
        return "[--code FILE]"
    if item.kind == "bool":
        return f"[--no-{item.flag[2:]}]" if item.default is True else f"[{item.flag}]"
    value = "|".join(_few_choices(item)) or _VALUES.get(item.kind, item.kind.upper())
    return f"{item.flag} {value}" if item.required else f"[{item.flag} {value}]"


def _few_choices(item: Parameter) -> Sequence[str]:
    """The values that a flag may have, where they are few enough for a usage line."""
    if item.choices or item.find is None or item.is_open:
        return item.choices
    with contextlib.suppress(LabError):  # outside a workspace there may be nothing to look in, and help is for all
        found = list(item.find())
        return found if len(found) <= _MOST_CHOICES else ()
    return ()


def _default(item: Parameter) -> str:
    if item.default is True:
        return "on"
    # By identity, since 0 equals False, and a number's default is worth a word.
    if item.required or item.default is None or item.default is False or item.default in ("", {}, ()):
        return ""
    return f"{item.default:g}" if isinstance(item.default, float) else str(item.default)


def as_json(value: object) -> Any:
    """A verb's answer as JSON values."""
    if isinstance(value, Result):
        return value.as_json()
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
