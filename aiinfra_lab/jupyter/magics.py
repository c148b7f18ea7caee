"""The nouns as IPython magics. Loading registers ten names and one completer, and touches nothing else."""

from __future__ import annotations

from typing import Any

from ..nouns import TABLE
from ..verbs import Help, help_of
from ..words import split, understand
from .completion import Completer


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
        call = understand(self.noun, split(line, names), cell)
        if isinstance(call, Help):
            return call
        result = call.run()
        if call.bind is not None:
            self.ipython.user_ns[call.bind] = result
        return result

    # IPython's inspector asks for this before `__doc__`, which is that of the class.
    def getdoc(self) -> str:
        """What `%NOUN?` shows."""
        return help_of(self.noun).content


def load(ipython: Any) -> None:
    """Register every noun; loading again changes nothing."""
    for noun in TABLE:
        magic = NounMagic(noun, ipython)
        for kind in ("line", "cell"):
            ipython.register_magic_function(magic, kind, noun)
    Completer(ipython).attach()


def unload(ipython: Any) -> None:
    """Take the magics and the completer away."""
    for noun in TABLE:
        for kind in ("line", "cell"):
            ipython.magics_manager.magics[kind].pop(noun, None)
    Completer(ipython).detach()
