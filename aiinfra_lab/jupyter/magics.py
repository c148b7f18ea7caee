"""The nouns as IPython magics. Loading registers their names, one completer and two readings of lines, and no more."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import NotFound, UsageProblem
from ..help import Help
from ..nouns import TABLE
from ..suggestions import mistaken_noun
from ..verbs import help_of, verbs_of
from ..words import forgotten_dollar, split, understand
from .asking import MISSPELT, MisspeltNouns, asked_help
from .completion import Completer
from .news import News

_OWN = object()  # no value of IPython's


class NounMagic:
    """`%NOUN VERB …` and `%%NOUN VERB …` for one noun."""

    # IPython passes the caller's local variables only to magics that ask for them, and expands `$x` and `{x}` itself
    # (as text, silently) unless a magic forbids it.
    needs_local_scope = True
    _ipython_magic_no_var_expand = True

    def __init__(self, noun: str, ipython: Any, news: News) -> None:
        self.noun = noun
        self.ipython = ipython
        self.news = news
        self.__name__ = noun

    def __call__(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> Any:
        hidden = self.ipython.user_ns_hidden  # what IPython itself put there, unless somebody gave it a value since
        known = {**self.ipython.user_ns, **(local_ns or {})}
        names = {name: value for name, value in known.items() if hidden.get(name, _OWN) is not value}
        words = split(line, names)
        try:
            call = understand(self.noun, words, cell, names=names)
            result = call if isinstance(call, Help) else call.run()
        except (NotFound, UsageProblem) as problem:
            if hint := forgotten_dollar(words[1:], names, problem.what):
                problem.fix = f"{hint}; {problem.fix}"
            raise
        if isinstance(call, Help):
            return call
        self.news.show()
        if call.bind is not None:
            self.ipython.user_ns[call.bind] = result
        if any(item.kind == "outputs" for item in call.verb.parameters):
            brought: Any = result
            self.ipython.user_ns.update(brought.values)
            result = dataclasses.replace(brought, values={})  # else the list of results would keep them for ever
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
        verb = verbs_of(self.noun).get(next(iter(line.split()), ""))
        how = "put it at the top of a cell of its own, with the code below: `%"
        if verb is None or verb.code is None:
            how = "write it with one %, it takes no code: `"
        raise UsageProblem(f"%%{self.noun} is not the first line of its cell", f"{how}%{self.noun} {line.strip()}`")


class UnknownNoun:
    """`%gup start`: what `MisspeltNouns` makes of a magic that nobody has and that is spelled like a noun."""

    _ipython_magic_no_var_expand = True
    __name__ = MISSPELT

    def __init__(self, ipython: Any) -> None:
        self.ipython = ipython

    def __call__(self, line: str, cell: str | None = None) -> Any:
        percent = "%" if cell is None else "%%"
        wrong, _, rest = line.partition(" ")
        if wrong in self.ipython.magics_manager.magics["line" if cell is None else "cell"]:
            # It came with what the lines before it in the same cell have loaded.
            run = self.ipython.run_line_magic if cell is None else self.ipython.run_cell_magic
            return run(wrong, rest, *(() if cell is None else (cell,)))
        meant = mistaken_noun(wrong, rest.split())
        # In whole, as it is to be typed: the noun alone, or the verb behind it where they changed places.
        right = meant.removeprefix("did you mean ").removesuffix("?")
        rest = rest if " " not in right else rest.partition(" ")[2]
        whole = f"{percent}{right} {rest}".rstrip()
        raise UsageProblem(f"there is no noun {wrong!r}", f"did you mean `{whole}`?")


def load(ipython: Any) -> None:
    """Register every noun; loading again changes nothing."""
    news = News()
    for noun in TABLE:
        magic = NounMagic(noun, ipython, news)
        for kind in ("line", "cell"):
            ipython.register_magic_function(magic, kind, noun)
        ipython.register_magic_function(LateCellMagic(noun), "line", f"%{noun}")
    for kind in ("line", "cell"):
        ipython.register_magic_function(UnknownNoun(ipython), kind, MISSPELT)
    for transformers, change in _changes(ipython):
        if change.__name__ not in {getattr(known, "__name__", "") for known in transformers}:
            transformers.append(change)
    Completer(ipython).attach()


def unload(ipython: Any) -> None:
    """Take the magics, the completer and the readings of lines away."""
    magics = ipython.magics_manager.magics
    for noun in (*TABLE, MISSPELT):
        for kind in ("line", "cell"):
            magics[kind].pop(noun, None)
        magics["line"].pop(f"%{noun}", None)
    for transformers, change in _changes(ipython):
        transformers[:] = [known for known in transformers if getattr(known, "__name__", "") != change.__name__]
    Completer(ipython).detach()


def _changes(ipython: Any) -> list[tuple[list[Any], Any]]:
    """IPython's lists of functions that change lines before they run, and what is ours in each."""
    return [(ipython.input_transformers_cleanup, asked_help), (ipython.input_transformers_post, MisspeltNouns(ipython))]
