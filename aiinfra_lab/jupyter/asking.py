"""Lines that IPython would read otherwise: a `?` anywhere in a magic of ours, and a magic that is spelled like one.

IPython calls both with the lines of a cell before it runs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ..completion import complete, split
from ..errors import nearest
from ..nouns import TABLE
from ..suggestions import quoted
from ..verbs import VERBS

MISSPELT = "unknown_noun"
"""The magic, line and cell, that says what was meant; its line begins with the word that is no noun."""

_NOUNS = "|".join(TABLE)
_BEHIND = re.compile(rf"([ \t]*)(?:[\w., \t]+=[ \t]*)?(%%?)({_NOUNS})\b([^\n#]*?)\?\??[ \t]*\n?$")
_BEFORE = re.compile(rf"([ \t]*)\?\??[ \t]*(%%?)({_NOUNS})\b([^\n#]*)\n?$")
_AMID = re.compile(rf"([ \t]*)(?:[\w., \t]+=[ \t]*)?(%%?)({_NOUNS})\?\??([ \t]+[^\n]*)\n?$")
# A help text that is assigned would not be seen.
_ASSIGNED = re.compile(rf"([ \t]*)[\w., \t]+=[ \t]*(%)({_NOUNS})\b([^\n#]*)[ \t](?:--help|-h)\b[^\n]*\n?$")
# What IPython makes of `%name words` and of `%%name words` with a body.
_MAGIC = re.compile(r"(get_ipython\(\)\.run_(line|cell)_magic\()'(\w+)', (?=['\"])")
_NO_BODY = re.compile(rf"get_ipython\(\)\.run_cell_magic\(('(?:{_NOUNS}|{MISSPELT})', .*), ''\)$")


def asked_help(lines: list[str]) -> list[str]:
    """`%gpu?`, `?%gpu`, `%gpu? start`, `%gpu start?`, `%gpu start t?` and `x = %gpu start?` as `%gpu start --help`.

    IPython would look for the word before the `?` alone.
    """
    first = _help(lines[0], has_body=len(lines) > 1) if lines else None
    # The body of a cell magic is somebody's code, in which such a line may be a text.
    if lines and lines[0].startswith("%%"):
        return [first, *lines[1:]] if first else lines
    found = {at: text for at, line in enumerate(lines) if (text := _help(line, has_body=False))}
    begun = set(_begun(lines)) if found else set[int]()
    return [found[at] if at in found and at in begun else line for at, line in enumerate(lines)]


def _help(line: str, *, has_body: bool) -> str | None:
    """The line that shows the help for which that line asks; None when it asks for none."""
    for form in (_BEHIND, _BEFORE, _AMID, _ASSIGNED):
        if asked := form.match(line):
            indent, percent, noun, rest = asked.groups()
            if form is _BEHIND and _ends_in_value(line.rstrip(), percent, noun, rest):
                return None
            verb = next(iter(rest.split()), "")
            percent = percent if has_body else "%"
            return " ".join(filter(None, [f"{indent}{percent}{noun}", verb, "--help\n"]))
    return None


def _ends_in_value(line: str, percent: str, noun: str, asked: str) -> bool:
    """Whether the `?` belongs to the last word, such as the name of a column. asked: the words without the `?`."""
    return quoted(split(line)[1]) in complete(noun, asked, percent=percent)


def _begun(lines: Sequence[str]) -> Iterator[int]:
    """The lines that begin a statement: any other may lie within a text."""
    from IPython.core.inputtransformer2 import make_tokens_by_line

    for tokens in make_tokens_by_line([line if line.endswith("\n") else f"{line}\n" for line in lines]):
        if tokens:
            yield tokens[0].start[0] - 1


class MisspeltNouns:
    """A magic that nobody has and that is spelled like a noun, or whose noun stands behind its verb, as our error.

    And `%%gpu ls` without a body as `%gpu ls`: IPython would refuse it with a sentence of its own.
    """

    __name__ = "misspelt_nouns"

    def __init__(self, ipython: Any) -> None:
        self.magics = ipython.magics_manager

    def __call__(self, lines: list[str]) -> list[str]:
        return [_NO_BODY.sub(r"get_ipython().run_line_magic(\1)", _MAGIC.sub(self._magic, line)) for line in lines]

    def _magic(self, found: re.Match[str]) -> str:
        start, kind, name = found.groups()
        if name in self.magics.magics[kind] or name in self.magics.lazy_magics:
            return found[0]
        words = found.string[found.end() + 1 :].strip("')\"\n").split(maxsplit=1)
        is_swapped = name in VERBS and bool(words) and words[0] in TABLE
        return f"{start}{MISSPELT!r}, '{name} ' " if is_swapped or nearest(name, TABLE) else found[0]
