"""What a model must satisfy: bounds on what its runs measured, and by how much it may be worse than the champion.

A policy belongs to a model and no version. Here it is only joined and compared; the model's own record keeps it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import msgspec

from .. import rules
from ..config import context, settings
from ..errors import UsageProblem
from ..rules import Rule, Term
from ..store import canonical
from ..units import parse_difference, plain
from ..uris import Uri

NOTHING = "none"
"""What `--require` says in place of bounds, where none are wanted any more."""

T = TypeVar("T")

_ONLY_AND: tuple[rules.Connective, ...] = ("and",)


class Requirement(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One bound. source: where it came from, e.g. `--require`, `aiinfra.toml` or `recipe NAME`.

    since_at: when it was stated; 0 for what the settings say, which is as old as they are.
    """

    term: Term
    source: str = ""
    since_at: float = 0.0


class Policy(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is required of every version of a model; nothing at all by default.

    margin: by how much of a measure it may be worse than the champion; None where nobody said, which allows nothing.
    measure: what it is compared with the champion by; empty for the best known one that both have.
    """

    requirements: tuple[Requirement, ...] = ()
    margin: float | None = None
    margin_source: str = ""
    measure: str = ""

    @property
    def terms(self) -> Sequence[Term]:
        return [one.term for one in self.requirements]

    @property
    def rule(self) -> Rule | None:
        return Rule(tuple(self.terms)) if self.requirements else None

    @property
    def allowed(self) -> float:
        """The margin that holds."""
        return self.margin or 0.0

    @property
    def digest(self) -> str:
        """The same for policies that ask for the same, whoever stated them and when."""
        terms = [(term.metric, term.sign, term.threshold) for term in self.terms]
        return hashlib.sha256(canonical([terms, self.allowed, self.measure]).encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.rule}, margin {plain(self.allowed)}" if self.rule else f"margin {plain(self.allowed)}"


def required(text: str | None) -> Rule | None:
    """Read `auc > 0.7 and loss < 0.5`; None where nothing is required. UsageProblem for anything else, also for ""."""
    # No `or`: a version that fails one of two bounds would pass, and the finding could not name what it lacks.
    return None if text is None else rules.parse(text, connectives=_ONLY_AND)


def stated(rule: Rule | None, margin: float | None, source: str = "") -> Policy:
    """The policy that these bounds are. source: in place of the flag's own name, or of the recipe that gave it."""
    origin, now = source or _recipe(), time.time()
    terms = rule.terms if rule else ()
    return Policy(
        _strictest([Requirement(term, origin or "--require", now) for term in terms]),
        margin,
        (origin or "--margin") if margin is not None else "",
        terms[0].metric if terms else "",
    )


def _recipe() -> str:
    """`recipe NAME` in a step of one, else nothing."""
    run = context().partition("/")[0]
    return f"recipe {Uri.parse(run).name}" if Uri.is_one(run, "recipe") else ""


def standing() -> Policy:
    """What `[models]` in the settings requires of every model, as it stands there now. UsageProblem names the key."""
    values = settings().values
    require, margin = settings().get("models.require", ""), values.get("models.margin")
    found = Policy()
    if require.strip():
        where = values["models.require"].source
        rule = _read("require", where, lambda: rules.parse(require, connectives=_ONLY_AND))
        bounds = _strictest([Requirement(term, where) for term in rule.terms])
        found = Policy(bounds, measure=rule.terms[0].metric)
    if margin is not None and margin.value != "":
        number = _read("margin", margin.source, lambda: parse_difference(margin.value))
        found = msgspec.structs.replace(found, margin=number, margin_source=margin.source)
    return found


def in_force(stored: Policy | None) -> Policy:
    """What holds for a model with that stored policy: the stricter of it and the settings, bound by bound."""
    return joined(standing(), stored or Policy())


def joined(one: Policy, other: Policy) -> Policy:
    """The stricter of both, bound by bound. The measure is the one's, where it has any."""
    stricter = one if other.margin is None or (one.margin is not None and one.margin <= other.margin) else other
    return Policy(
        _strictest([*one.requirements, *other.requirements]),
        stricter.margin,
        stricter.margin_source,
        one.measure or other.measure,
    )


def tightened(stored: Policy | None, asked: Policy) -> Policy:
    """The policy to store after a check that asked for this: never a weaker one.

    The first check of a model may say a margin, and by what is compared; later ones may only lower the margin.
    """
    bounds = _strictest([*(stored.requirements if stored else ()), *asked.requirements])
    known = stored or Policy(measure=asked.measure)
    is_first = stored is None and standing().margin is None
    if asked.margin is not None and (is_first or asked.margin <= in_force(stored).allowed):
        known = msgspec.structs.replace(known, margin=asked.margin, margin_source=asked.margin_source)
    return msgspec.structs.replace(known, requirements=bounds)


def beyond(policy: Policy, asked: Policy) -> str:
    """What a policy asks for and a check did not, with where it comes from; else nothing."""
    more = [one for one in policy.requirements if not _is_covered(one.term, asked.terms)]
    found = [f"{one.term} ({one.source})" for one in more]
    if asked.margin is not None and policy.allowed < asked.margin:
        found.append(f"margin {plain(policy.allowed)} ({policy.margin_source or 'unless stated otherwise'})")
    return " and ".join(found)


def flags(rule: Rule | None, margin: float | None) -> list[str]:
    """How bounds are written as flags."""
    found = [f"--require '{rule}'"] if rule else []
    return found + ([f"--margin {plain(margin)}"] if margin else [])


def loosened(name: str, stored: Policy, bound: Requirement, to: Term | None) -> str:
    """What lets a model off one bound of the policy in force, or lowers it to another: which setting, and a command."""
    ways = [f"change `require` ({bound.source})"] if bound.term in standing().terms else []
    if bound.term in stored.terms:
        terms = [to if term == bound.term else term for term in stored.terms]
        rule = " and ".join(str(term) for term in terms if term)
        ways.append(f"`%models policy {name} --require '{rule or NOTHING}'`")
    return " and ".join(ways)


def widened(name: str, stored: Policy, margin: str) -> str:
    """What allows a model that margin: which setting, and a command."""
    set_now, wanted = standing(), float(margin)
    in_the_way = set_now.margin is not None and set_now.margin < wanted
    ways = [f"raise `margin` ({set_now.margin_source}) to {margin}"] if in_the_way else []
    if (set_now.margin is None) if stored.margin is None else stored.margin < wanted:
        ways.append(f"`%models policy {name} --margin {margin}`")
    return " and ".join(ways)


def _strictest(requirements: Sequence[Requirement]) -> tuple[Requirement, ...]:
    """Those that no other one covers, each in the place of what it covers; of two that ask for the same the first."""
    kept: list[Requirement] = []
    for new in requirements:
        if _is_covered(new.term, [one.term for one in kept]):
            continue
        # In its place: of a measure that only the bounds tell about, the first says whether more of it is better.
        place = next((at for at, one in enumerate(kept) if new.term.covers(one.term)), len(kept))
        kept.insert(place, new)
        kept = [one for one in kept if one is new or not new.term.covers(one.term)]
    return tuple(kept)


def _is_covered(term: Term, by: Collection[Term]) -> bool:
    return any(other.covers(term) for other in by)


def _read(key: str, where: str, read: Callable[[], T]) -> T:
    """What that reads of a setting; a problem of its names the setting."""
    try:
        return read()
    except UsageProblem as problem:
        raise UsageProblem(f"models.{key} ({where}): {problem.what}", problem.fix) from None
