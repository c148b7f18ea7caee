"""docs/lint.md, out of the rules' docstrings: `python -m aiinfra_lab.recipe.lint.pages > docs/lint.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from .base import LintRule
from .rules import RULES

_GROUPS = {
    "0": "The lint itself",
    "1": "Does it run at all?",
    "2": "Is it safe?",
    "3": "Does it give the same again?",
}
_HEAD = """# What `%recipe check` looks for in notebooks

Made of the rules' docstrings in `aiinfra_lab/recipe/lint/`:
`python -m aiinfra_lab.recipe.lint.pages > docs/lint.md` writes it anew.

`%recipe check NAME` reads each notebook of a recipe as its file has it. No kernel is started, and nothing of it is
imported or run. An error fails the check; a warning is shown on its card. `--fix` makes the edits that change nothing
of what a notebook does, and keeps the file's form; `--report` returns errors too instead of raising.

`# lab: ignore[LAB301]` behind a line silences a rule there, and at the head of a cell, or below its cell magic, in all
of it. Several codes stand behind commas.
"""


def page() -> str:
    """The text of docs/lint.md."""
    return "\n".join([_HEAD, *_sections()]) + "\n"


def _sections() -> Iterator[str]:
    for digit, title in _GROUPS.items():
        rules = [rule for rule in RULES if rule.code.removeprefix("LAB").startswith(digit)]
        yield f"## {title}\n"
        yield "| code | | what is found |\n|---|---|---|"
        yield from (f"| {rule.code} | {rule.severity} | {_lines(rule)[0]} |" for rule in rules)
        yield ""
        yield from (f"**{rule.code}** {' '.join(rest)}\n" for rule in rules if (rest := _lines(rule)[1:]))


def _lines(rule: LintRule) -> list[str]:
    return [line for line in (inspect.getdoc(rule) or "").splitlines() if line]


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
