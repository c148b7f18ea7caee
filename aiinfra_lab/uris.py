"""The grammar of names: `noun:name[@version|@alias][#part]`, e.g. `models:delay@7` or `models:delay@champion`.

A part, like a URL's fragment, is one thing made by that version: `features:delay@2#9f03…` are the rows that
version 2 of the feature set gave for one set of rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import UsageProblem, did_you_mean

NOUNS = ("lab", "gpu", "data", "features", "train", "models", "deploy", "drift", "cost", "recipe")

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PART = re.compile(r"[0-9a-z]{1,64}")


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
        if head not in NOUNS:
            raise UsageProblem(f"there is no noun {head!r} in {words!r}", did_you_mean(head, NOUNS))
        if noun is not None and head != noun:
            raise UsageProblem(f"{words!r} is a {head} thing, and a {noun} one is needed", f"write {noun}:NAME")
        rest, hash_, part = rest.partition("#")
        name, at, tag = rest.partition("@")
        check_name(name)
        if hash_ and not _PART.fullmatch(part):
            raise UsageProblem(f"{part!r} in {words!r} is no part of anything", "copy the URI as it was shown")
        return cls(head, name, *(_tag(words, tag) if at else (None, None)), part if hash_ else None)

    @property
    def tag(self) -> str:
        """`7`, `champion`, or the empty string for the newest."""
        return str(self.version) if self.version is not None else self.alias or ""

    @property
    def label(self) -> str:
        """The name with its version or alias and part, without the noun: how a record is called."""
        return self.name + (f"@{self.tag}" if self.tag else "") + (f"#{self.part}" if self.part else "")

    def at(self, version: int) -> Uri:
        """The same name at that version."""
        return Uri(self.noun, self.name, version)

    def __str__(self) -> str:
        return f"{self.noun}:{self.label}"


def check_name(name: str) -> str:
    """The name itself when it is legal, else UsageProblem with the rule."""
    if not _NAME.fullmatch(name):
        raise UsageProblem(
            f"{name!r} cannot be a name",
            "use lower-case letters, digits, '-', '_' and '.', starting with a letter or digit, at most 63",
        )
    return name


def _tag(words: str, tag: str) -> tuple[int | None, str | None]:
    if re.fullmatch(r"[1-9][0-9]{0,9}", tag):
        return int(tag), None
    if _ALIAS.fullmatch(tag):
        return None, tag
    raise UsageProblem(f"{tag!r} in {words!r} is neither a version nor an alias", "write @3 or @champion")
