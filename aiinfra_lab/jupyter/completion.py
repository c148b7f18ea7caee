"""Completion of the magics in notebooks, also behind an assignment or inside a loop."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..completion import complete, split
from ..nouns import TABLE
from ..words import variables

# At the start of a line, behind an assignment, or behind what begins a statement on the same line.
_CALL = re.compile(rf"(?:^|[=:;])[ \t]*(%%?)({'|'.join(TABLE)})[ \t]+(.*)$")


class _Nothing(list[Any]):
    """No completion, and none by others: IPython asks whether there is any before it keeps its own back, which would
    offer every builtin and load jedi for 2 s."""

    def __len__(self) -> int:
        return 1


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
            hidden = self.ipython.user_ns_hidden  # what IPython itself put there
            return _match(context, [name for name in variables(self.ipython.user_ns) if name not in hidden])

        matcher = context_matcher()(match)
        matcher.__name__ = matcher.matcher_identifier = _match.__name__
        self.matchers.append(matcher)

    def detach(self) -> None:
        """Remove it."""
        self.matchers[:] = [item for item in self.matchers if item.__name__ != _match.__name__]


def _match(context: Any, names: Sequence[str]) -> dict[str, Any]:
    from IPython.core.completer import SimpleCompletion

    lines = context.full_text.split("\n")
    at = context.cursor_line if len(lines) > context.cursor_line else 0
    if at > 0 and lines[0].startswith("%%"):
        return {"completions": [], "suppress": False}  # the body of a cell magic is somebody's code
    line = context.line_with_cursor[: context.cursor_position]
    while at > 0 and lines[at - 1].endswith("\\"):  # one call over several lines
        at -= 1
        line = f"{lines[at][:-1]} {line}"
    found = _CALL.search(line)
    if found is None:
        return {"completions": [], "suppress": False}
    percent, noun, words = found.groups()
    fragment = split(words)[1]
    offered = [SimpleCompletion(text=word, type="magic") for word in complete(noun, words, names, percent)]
    return {
        "completions": offered or _Nothing(),
        "matched_fragment": fragment,
        "suppress": True,
    }
