"""The grammar of names: `noun:name[@version|@alias][#part]`, e.g. `models:delay@7` or `models:delay@champion`.

The only place that takes a URI apart. A part, like a URL's fragment, is one thing made by that version:
`features:delay@2#9f03…` are the rows that version 2 of the feature set gave for one set of rows.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from pathlib import PurePath

from . import nouns
from .errors import LabError, UsageProblem, did_you_mean
from .nouns import TABLE

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
# It begins with a letter, so that no version can be one.
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PART = re.compile(r"[0-9a-z]{1,64}")
# As the help and the errors write what only the reader knows.
_PLACEHOLDERS = {"NAME": "a name", "N": "the number of a version"}
_LABEL = re.compile(r"([^@#]*)(?:@([0-9]+))?(?:#(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Uri:
    """A name in the workspace. At most one of `version` and `alias` is set; neither means the newest."""

    noun: str
    name: str
    version: int | None = None
    alias: str | None = None
    part: str | None = None

    @classmethod
    def parse(cls, text: object, noun: str | None = None) -> Uri:
        """Read `noun:name@N`; where a verb fixes the noun it may be left out.

        UsageProblem when the text has another noun, or is no name at all.
        """
        words = str(text).strip()
        head, colon, rest = words.partition(":")
        if not colon:
            if noun is None:
                raise UsageProblem(f"{words!r} does not say what kind of thing it is", f"write NOUN:{words or 'NAME'}")
            head, rest = noun, words
        if head not in TABLE:
            raise UsageProblem(f"there is no noun {head!r} in {words!r}", did_you_mean(head, TABLE))
        if noun is not None and head != noun:
            what = f"{words!r} is a {head} thing, and a {noun} one is needed"
            raise UsageProblem(what, _other_fix(noun, rest))
        rest, hash_, part = rest.partition("#")
        name, at, tag = rest.partition("@")
        check_name(name)
        if hash_ and not _PART.fullmatch(part):
            raise UsageProblem(f"{part!r} in {words!r} is no part of anything", "copy the URI as it was shown")
        return cls(head, name, *(_tag(head, name, words, tag) if at else (None, None)), part if hash_ else None)

    @staticmethod
    def is_one(text: object, noun: str | None = None) -> bool:
        """Whether a text begins with a noun, or with that noun, and a colon, so that it can be nothing but a URI."""
        head, colon, _ = str(text).partition(":")
        return bool(colon) and (head in TABLE if noun is None else head == noun)

    @staticmethod
    def is_bare(text: str) -> bool:
        """Whether a URI or a label names neither a version, an alias nor a part."""
        return "@" not in text and "#" not in text

    @staticmethod
    def covers(uri: str, text: str) -> bool:
        """Whether a text is that URI or, when the URI has no version, any version or part of it."""
        return text == uri or (Uri.is_bare(uri) and text.startswith((f"{uri}@", f"{uri}#")))

    @property
    def tag(self) -> str:
        """`7`, `champion`, or the empty string for the newest."""
        return str(self.version) if self.version is not None else self.alias or ""

    @property
    def label(self) -> str:
        """The name with its version or alias and part, without the noun: how a record is called."""
        return self.name + (f"@{self.tag}" if self.tag else "") + (f"#{self.part}" if self.part else "")

    @property
    def bare(self) -> Uri:
        """The name alone: every version of it."""
        return Uri(self.noun, self.name)

    @property
    def whole(self) -> Uri:
        """The version that a part belongs to; itself when it is no part."""
        return replace(self, part=None)

    def at(self, version: int) -> Uri:
        """The same name at that version."""
        return Uri(self.noun, self.name, version)

    def __str__(self) -> str:
        return f"{self.noun}:{self.label}"


def check_name(name: str) -> str:
    """The name itself when it is legal, else UsageProblem with the rule."""
    _refuse_placeholder(name)
    if not _NAME.fullmatch(name):
        rule = "use lower-case letters, digits, '-', '_' and '.', starting with a letter or digit, at most 63"
        # Of a path what its file is called, as a recipe and a notebook are.
        called = PurePath(name).stem if "/" in name else name
        legal = re.sub(r"[^a-z0-9_.-]+", "-", re.sub(r"@.*", "", called.lower())).strip("-_.")[:63]
        fix = f"did you mean {legal}? If not, {rule}" if _NAME.fullmatch(legal) else rule
        raise UsageProblem(f"{name!r} cannot be a name", fix)
    return name


def check_alias(alias: str) -> str:
    """The alias itself when it is legal, else UsageProblem with the rule."""
    if _ALIAS.fullmatch(alias):
        return alias
    rule = "use lower-case letters, digits, '-' and '_', starting with a letter, at most 32"
    meant = _legal_alias(alias)
    fix = f"did you mean {meant}? If not, {rule}" if meant else f"write champion, or another word: {rule}"
    raise UsageProblem(f"{alias!r} cannot be an alias", fix)


def split_label(label: str) -> tuple[str, int | None, str | None]:
    """(name, version, part) of a record's label, e.g. `delay@2#9f03`; what it does not have is None.

    Unlike `Uri.parse` it takes any text, since the store also keeps records whose labels are no names.
    """
    match = _LABEL.fullmatch(label)
    if match is None:
        return label, None, None
    return match[1], int(match[2]) if match[2] else None, match[3]


def begun_name(text: str) -> str:
    """The name at the beginning of a label of which not all is typed yet: `delay` of `delay@ch`."""
    return re.split("[@#]", text, maxsplit=1)[0]


def split_scheme(text: str) -> tuple[str, str | None]:
    """(scheme, location) of `SCHEME:LOCATION`, where data is brought from; location is None without a colon."""
    scheme, colon, location = text.partition(":")
    return scheme, location if colon else None


def leading_version(file_name: str, name: str) -> int:
    """N where a file's name begins with `name@N`, as what belongs to a version is called on disk; else 0."""
    found = re.match(rf"{re.escape(name)}@([0-9]+)", file_name)
    return int(found[1]) if found else 0


def leading_label(file_name: str) -> str:
    """The label with which a file's name begins: `a@3` and, of a part, `a@3#0f` of `a@3-0f.parquet`; else nothing."""
    found = re.match(rf"({_NAME.pattern}@[0-9]+)(?:-([0-9a-f]+))?", file_name)
    return "#".join(filter(None, found.groups())) if found else ""


def _other_fix(noun: str, label: str) -> str:
    """What of that noun may have been meant where another's thing was named."""
    there: list[str] = []
    with contextlib.suppress(LabError):  # the words are wrong, whatever the store has
        there = [*nouns.find(noun).names(), *nouns.find(noun).aliases()]
    if not label:
        return f"write {noun}:NAME"
    if not there or label in there:
        return f"did you mean {noun}:{label}?"
    return f"there are: {', '.join(f'{noun}:{each}' for each in there[:8])}; for a new one write {noun}:{label}"


def _tag(noun: str, name: str, words: str, tag: str) -> tuple[int | None, str | None]:
    # No leading zero: `@07` would be a second spelling of `@7`, and records are found by their spelling.
    if re.fullmatch(r"[1-9][0-9]{0,9}", tag):
        return int(tag), None
    if _ALIAS.fullmatch(tag):
        return None, tag
    _refuse_placeholder(tag)
    raise UsageProblem(f"{tag!r} in {words!r} is neither a version nor an alias", _tag_fix(noun, name, words, tag))


def _tag_fix(noun: str, name: str, words: str, tag: str) -> str:
    """What could stand behind the `@` instead: of that noun, and as far as that is known there now."""
    kept, typed = nouns.find(noun), words.partition("@")[0]
    meant = _legal_alias(tag) if kept.usual_alias else ""
    if meant:
        return f"did you mean {typed}@{meant}?"
    if not kept.has_versions:
        return f"write {typed}, of which there are no versions"
    there: list[str] = []
    with contextlib.suppress(LabError):  # the words are wrong, whatever the store has
        there = [label for label in (*kept.names(), *kept.aliases()) if label.startswith(f"{name}@")]
    tags = [label.partition("@")[2] for label in there]
    shown = [*tags[:1], *(tag for tag in tags[1:] if not tag.isdigit())][:2]
    return f"write {' or '.join(f'{typed}@{tag}' for tag in shown)}" if shown else f"`%{noun} ls` lists what there is"


def _refuse_placeholder(text: str) -> None:
    if stands_for := _PLACEHOLDERS.get(text):
        raise UsageProblem(f"{text} stands for {stands_for} of yours", "`%lab ls` lists what there is")


def _legal_alias(text: str) -> str:
    """The alias that was most likely meant; empty when there is none."""
    legal = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:32]
    return legal if _ALIAS.fullmatch(legal) else ""
