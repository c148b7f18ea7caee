"""Completion of the magics in notebooks, also behind an assignment or inside a loop."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..completion import complete
from ..nouns import TABLE
from ..words import variables


class Completer:
    """IPython's matcher for lines that hold one of our magics; silent everywhere else."""

    def __init__(self, ipython: Any) -> None:
        self.matchers: list[Any] = ipython.Completer.custom_matchers
        self.ipython = ipython

    def attach(self) -> None:
        """Add the matcher once."""
        from IPython.core.completer import context_matcher

        self.detach()

        def match(context: Any) -> dict[str, Any]:
            return _match(context, variables(self.ipython.user_ns))

        matcher = context_matcher()(match)
        matcher.__name__ = matcher.matcher_identifier = _match.__name__
        self.matchers.append(matcher)

    def detach(self) -> None:
        """Remove it."""
        self.matchers[:] = [item for item in self.matchers if item.__name__ != _match.__name__]


def _match(context: Any, names: Sequence[str]) -> dict[str, Any]:
    from IPython.core.completer import SimpleCompletion

    line = context.line_with_cursor[: context.cursor_position]
    found = re.search(rf"(?:^|[=:;\s(])%%?({'|'.join(TABLE)})[ \t]+(.*)$", line)
    if found is None:
        return {"completions": [], "suppress": False}
    fragment = found[2].rsplit(None, 1)[-1] if found[2] and not found[2][-1].isspace() else ""
    # Where nothing fits, what was typed is the answer: an empty one suppresses nothing, and IPython would offer every
    # builtin and load jedi for 2 s.
    words = complete(found[1], found[2], names) or [fragment]
    return {
        "completions": [SimpleCompletion(text=word, type="magic") for word in words],
        "matched_fragment": fragment,
        "suppress": True,
    }
