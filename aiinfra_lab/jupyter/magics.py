"""The nouns as IPython magics. Loading registers their names, one completer and one reading of `?`, and no more."""

from __future__ import annotations

import re
from typing import Any

from ..errors import NotFound, UsageProblem
from ..nouns import TABLE
from ..verbs import Help, help_of
from ..words import forgotten_dollar, split, understand
from .completion import Completer

_QUESTION = re.compile(rf"([ \t]*)%%?({'|'.join(TABLE)})[ \t]+([a-z]+)[ \t]*\?\??[ \t]*(?=\n|$)")


class NounMagic:
    """`%NOUN VERB …` and `%%NOUN VERB …` for one noun."""

    # IPython passes the caller's local variables only to magics that ask for them, and expands `$x` and `{x}` itself
    # (as text, silently) unless a magic forbids it.
    needs_local_scope = True
    _ipython_magic_no_var_expand = True

    def __init__(self, noun: str, ipython: Any) -> None:
        self.noun = noun
        self.ipython = ipython
        self.__name__ = noun

    def __call__(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> Any:
        names = {**self.ipython.user_ns, **(local_ns or {})}
        words = split(line, names)
        try:
            call = understand(self.noun, words, cell)
            result = call if isinstance(call, Help) else call.run()
        except (NotFound, UsageProblem) as problem:
            if hint := forgotten_dollar(words[1:], names, problem.what):
                problem.fix = f"{hint}; {problem.fix}"
            raise
        if isinstance(call, Help):
            return call
        if call.bind is not None:
            self.ipython.user_ns[call.bind] = result
        return result

    # IPython's inspector asks for this before `__doc__`, which is that of the class.
    def getdoc(self) -> str:
        """What `%NOUN?` shows."""
        return help_of(self.noun).content


class LateCellMagic:
    """`%%NOUN` below the first line of a cell: IPython takes it for a line magic called `%NOUN`."""

    _ipython_magic_no_var_expand = True

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.__name__ = f"%{noun}"

    def __call__(self, line: str) -> None:
        raise UsageProblem(
            f"%%{self.noun} is not the first line of its cell",
            f"put it at the top of a cell of its own, with the code below: `%%{self.noun} {line.strip()}`",
        )


def load(ipython: Any) -> None:
    """Register every noun; loading again changes nothing."""
    for noun in TABLE:
        magic = NounMagic(noun, ipython)
        for kind in ("line", "cell"):
            ipython.register_magic_function(magic, kind, noun)
        ipython.register_magic_function(LateCellMagic(noun), "line", f"%{noun}")
    if verb_help not in ipython.input_transformers_cleanup:
        ipython.input_transformers_cleanup.append(verb_help)
    Completer(ipython).attach()


def verb_help(lines: list[str]) -> list[str]:
    """`%NOUN VERB?` as `%NOUN VERB --help`: IPython would look for the word before the `?` alone."""
    # The body of a cell magic is somebody's code, in which the line may be a text.
    if lines and lines[0].startswith("%%") and not _QUESTION.match(lines[0]):
        return lines
    return [_QUESTION.sub(r"\1%\2 \3 --help", line) for line in lines]


def unload(ipython: Any) -> None:
    """Take the magics and the completer away."""
    for noun in TABLE:
        for kind in ("line", "cell"):
            ipython.magics_manager.magics[kind].pop(noun, None)
        ipython.magics_manager.magics["line"].pop(f"%{noun}", None)
    transformers = ipython.input_transformers_cleanup
    transformers[:] = [known for known in transformers if getattr(known, "__name__", "") != verb_help.__name__]
    Completer(ipython).detach()
