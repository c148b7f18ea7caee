"""What a model must satisfy: bounds on what its runs measured, and by how much it may be worse than the champion.

A policy belongs to a model and no version. Here it is only joined and compared; the model's own record keeps it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import msgspec

from .. import rules
from ..config import context, settings
from ..errors import UsageProblem
from ..rules import Rule, Term
from ..store import canonical_digest
from ..units import parse_difference, plain, rounded
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
        return canonical_digest([terms, self.allowed, self.measure])

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


def lowered(policy: Policy, measured: Mapping[str, float]) -> Policy:
    """The policy with each bound that refuses those measures lowered to them; left out where they lack its metric."""
    reached = [_reached(term, measured) for term in policy.terms]
    if reached == policy.terms:
        return policy
    terms = tuple(term for term in reached if term)
    return stated(Rule(terms) if terms else None, policy.margin, "models policy")


def loosening(name: str, stored: Policy, measured: Mapping[str, float], margin: float | None) -> str:
    """What lets a version with those measures pass: which settings to change, and one command for all that is stored.

    margin: the least one that lets it pass beside the champion; None where the one in force does
    """
    set_now, after, ways = standing(), lowered(stored, measured), []
    if (bounds := lowered(set_now, measured)) is not set_now:
        ways.append(f"change `require` ({set_now.requirements[0].source}) to '{bounds.rule or ''}'")
    if margin is not None and set_now.margin is not None and set_now.margin < margin:
        ways.append(f"raise `margin` ({set_now.margin_source}) to {plain(margin)}")
    words = [] if after is stored else [f"--require '{after.rule or NOTHING}'"]
    if margin is not None and ((set_now.margin is None) if stored.margin is None else stored.margin < margin):
        words.append(f"--margin {plain(margin)}")
    return " and ".join([*ways, *([f"`%models policy {name} {' '.join(words)}`"] if words else [])])


def refuse_contradiction(name: str, policy: Policy, stored: Policy | None) -> None:
    """UsageProblem where no value satisfies two bounds of the policy; it names both, and where each came from.

    stored: what was stored for the model before this was asked for
    """
    for one in policy.requirements:
        for other in policy.requirements:
            if one.term.wants_more and one.term.excludes(other.term):
                pair = f"{one.term} ({one.source}) and {other.term} ({other.source})"
                raise UsageProblem(f"{pair} cannot both hold of {name}", _without_either(name, (one, other), stored))


def _without_either(name: str, pair: Collection[Requirement], stored: Policy | None) -> str:
    """What takes away either of the two bounds: asked for now, stored, or set."""
    known, settled = (stored.terms if stored else ()), standing().terms
    asked = [str(one.term) for one in pair if one.term not in known and one.term not in settled]
    ways = [f"leave out {' or '.join(asked)}"] if asked else []
    for one in pair:
        if one.term in settled:
            ways.append(f"change `require` ({one.source})")
        elif one.term in known:
            rest = " and ".join(str(term) for term in known if term != one.term)
            ways.append(f"`%models policy {name} --require '{rest or NOTHING}'` takes {one.term} away")
    return "; or ".join(dict.fromkeys(ways))


def _reached(term: Term, measured: Mapping[str, float]) -> Term | None:
    """The bound, or one of few digits that the measured value just satisfies; None where there is no such value."""
    value = measured.get(term.metric)
    if value is None or term.holds(value):
        return None if value is None else term
    return Term(term.metric, ">=" if term.wants_more else "<=", rounded(value, up=not term.wants_more))


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
