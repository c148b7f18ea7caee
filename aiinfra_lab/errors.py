"""Every error this package raises at people, in one tree.

* LabError                  what happened, and how to mend it
  x UsageProblem            the words are wrong: verb, flag, unit, value
  x NotFound                no such thing, here or in that version
  x Conflict                somebody else was there first
  x Denied                  not allowed: file modes, keys, policy
  x Failed                  it was tried and did not work, or a check said no
    + Interrupted           the waiting was stopped; what was waited for goes on
    + Inconclusive          a check could tell neither; its result is kept
    + StoppedEarly          somebody ended it on purpose; what comes after it stops all the same
  x Unavailable             not now or not here: capacity, a port, a server
    + Missing               an extra, a program or a credential is not installed
    + StoreUnavailable      the workspace's store is away, locked or full
    + Damaged               stored state cannot be trusted

Few kinds, since whoever handles one only decides: try again, ask the person, or give up.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class LabError(Exception):
    """What happened and how to mend it, in two lines.

    Notebooks show the two lines instead of a traceback, and so does papermill's exception.
    """

    exit_code = 1

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  fix: {self.fix}"

    def _render_traceback_(self) -> list[str]:
        # IPython and ipykernel show these lines in place of the traceback.
        return [f"{type(self).__name__}: {self.what}", f"  fix: {self.fix}"]


class UsageProblem(LabError):
    """The words of the command are wrong."""

    exit_code = 2


class NotFound(LabError):
    """No such thing, here or in that version."""


class Conflict(LabError):
    """Somebody else was there first."""


class Denied(LabError):
    """Not allowed."""


class Failed(LabError):
    """It was tried and did not work, or a check said no."""


class Interrupted(Failed):
    """The waiting was stopped; what was waited for goes on."""

    exit_code = 130


class Inconclusive(Failed):
    """A check found neither good nor bad, and says what is lacking. Its result is kept for `show`.

    A kind of its own, since its answer is more rows or another measure, and never another model.
    """

    exit_code = 4


class StoppedEarly(Failed):
    """Somebody ended it, on purpose: nothing is wrong, but what was to come of it is not there."""


class Unavailable(LabError):
    """Not now, or not on this machine."""

    exit_code = 3


class Missing(Unavailable):
    """An extra, a program or a credential is not installed."""


class StoreUnavailable(Unavailable):
    """The workspace's store is away for now: what a verb says of anything else is not known either."""


class Damaged(Unavailable):
    """Stored state cannot be trusted."""


_LONGEST_WORD = 200


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is spelled most like it; empty when none is like it.

    >>> nearest("strat", ["start", "stop"]), nearest("age", ["triage"])
    ('start', '')
    """
    # An endpoint is asked by anybody: a megabyte is no misspelt word, and comparing it would take a while.
    if len(word) > _LONGEST_WORD:
        return ""
    spelled = {each.lower(): each for each in sorted(set(known))}
    # By the share of letters in common, which finds few quickly, and then by the typing errors between them.
    alike = difflib.get_close_matches(word.lower(), spelled, n=8, cutoff=0.6)
    return next((spelled[each] for each in alike if _is_near(word.lower(), each)), "")


def _is_near(word: str, other: str) -> bool:
    """Whether a few typing errors or a missing end lie between two words; of URIs between each two of their parts."""
    parts = [re.split("[:@#]", text) for text in (word, other)]
    pairs = zip(*parts, strict=True) if len(parts[0]) == len(parts[1]) else [(word, other)]
    return all(_errors(*pair) <= _most_errors(*pair) or _is_begun(*pair) for pair in pairs)


def _most_errors(*pair: str) -> int:
    longest = max(map(len, pair))
    return max(longest // 3, int(longest > 1))


def _is_begun(*pair: str) -> bool:
    short, long = sorted(pair, key=len)
    return len(short) > 2 and long.startswith(short)


def _errors(word: str, other: str) -> int:
    """How many letters are added, left out, changed or swapped with the next (optimal string alignment)."""
    rows = [list(range(len(other) + 1))]
    for at, letter in enumerate(word, 1):
        row = [at]
        for to, wanted in enumerate(other, 1):
            row.append(min(rows[-1][to] + 1, row[-1] + 1, rows[-1][to - 1] + (letter != wanted)))
            if at > 1 and to > 1 and (letter, word[at - 2]) == (other[to - 2], wanted):
                row[-1] = min(row[-1], rows[-2][to - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


def did_you_mean(word: str, known: Iterable[str], first: str = "") -> str:
    """The sentence that suggests the nearest known word, or lists what is known; `first` makes the first of them.

    >>> did_you_mean("strat", ["start", "stop"])
    'did you mean start?'
    """
    choices = sorted(set(known))
    if near := nearest(word, choices):
        return f"did you mean {near}?"
    if not choices:
        return f"there is none yet: {first}" if first else "there is none yet"
    more = ", …" if len(choices) > 12 else ""
    return "known: " + ", ".join(choices[:12]) + more
