"""How long logs and hold-outs are kept: the one owner of what may be deleted, by settings in days and GiB.

`lab check` says what is past them and `lab rm --expired` frees it; nothing else deletes what people may still read, but
for an endpoint that would fill the disk: it keeps its own log within the same size.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import nouns
from ..config import settings
from ..errors import UsageProblem
from ..nouns import Keeping, KeptFile

DAYS = 90.0
_DAY_S = 86_400.0
_GIB = 2**30
_MOST_TRIES = 10  # at a folder in which something else still writes or deletes


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """What a pair of settings keeps."""

    setting: str
    days: float
    gib: float
    why: str = ""

    @classmethod
    def of(cls, keeping: Keeping) -> RetentionRule:
        """As the settings say it, or the defaults. UsageProblem for what is no length of time or no size."""
        where, name = settings(), keeping.setting
        rule = cls(name, where.get(f"{name}_days", DAYS), where.get(f"{name}_gib", keeping.default_gib), keeping.why)
        for unit, value in (("days", rule.days), ("gib", rule.gib)):
            if not value >= 0:  # also what is no number
                raise UsageProblem(f"{name}_{unit} = {value:g} is no limit", "give it a number from 0 on")
        return rule

    def __str__(self) -> str:
        return "; ".join(filter(None, (f"older than {self.days:g} days or beyond {self.gib:g} GiB", self.why)))

    def past(self, files: Sequence[KeptFile]) -> list[KeptFile]:
        """What it keeps no longer, the oldest first: what is too old, and the oldest of what is too much."""
        now, used, found = time.time(), 0, []
        for file in sorted(files, key=lambda each: each.last_at, reverse=True):
            used += file.size_bytes
            if now - file.last_at > self.days * _DAY_S or used > self.gib * _GIB:
                found.append(file)
        return found[::-1]


@dataclass(frozen=True, slots=True)
class FreedFile:
    """A file that a rule keeps no longer."""

    uri: str
    path: str
    last_at: float
    size_bytes: int
    why: str

    @classmethod
    def of(cls, rule: RetentionRule, file: KeptFile) -> FreedFile:
        return cls(file.uri, str(file.path), file.last_at, file.size_bytes, str(rule))


def expired() -> dict[RetentionRule, list[KeptFile]]:
    """Rule → the files that it keeps no longer, for every rule that has some. UsageProblem for a wrong setting."""
    keepings = [keeping for noun in nouns.every() for keeping in noun.keepings()]
    found = {rule: rule.past(keeping.files) for keeping in keepings for rule in [RetentionRule.of(keeping)]}
    return {rule: files for rule, files in found.items() if files}


def free(files: Sequence[FreedFile]) -> tuple[list[FreedFile], list[str]]:
    """Delete these: those that are gone, and a sentence for each that could not be deleted."""
    for noun in nouns.every():
        noun.before_freeing([Path(file.path) for file in files])
    freed, problems = [], []
    for file in files:
        try:
            _delete(Path(file.path))
            freed.append(file)
        except OSError as problem:
            problems.append(f"{file.path} could not be deleted: {problem.strerror}")
    return freed, problems


def _delete(path: Path) -> None:
    """Something that ends may write into a folder meanwhile, or delete it itself; and so may an endpoint with its log,
    to keep it within its size."""
    for left in reversed(range(_MOST_TRIES)):
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.ENOENT) or not left:
                raise
        else:
            return
