"""What a verb orders of an endpoint, as changes of its record's body: pure functions, each with its words for the user.

The endpoint's process follows the body whenever its generation grows. `earlier` holds the champions before this one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import Conflict, UsageProblem
from ..stats.bounds import parse_rule
from ..store import Loose
from ..units import show_share

KIND = "deploy"
NO_CHAMPION = "there is no champion yet: the canary serves 100 %, and there is nothing to roll back to"


@dataclass(frozen=True)
class Traffic:
    """What an endpoint is to serve. `generation` grows by one with every change that anybody orders."""

    champion: str | None
    canary: str | None
    share: float
    salt: str
    rollback_if: str
    generation: int

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Traffic:
        """What a record's body orders."""
        return cls(**{name: body[name] for name in cls.__dataclass_fields__})

    @property
    def uris(self) -> list[str]:
        """The versions that get traffic."""
        return [uri for uri in (self.champion, self.canary) if uri]

    @property
    def judged(self) -> list[str | None]:
        """What a judge's counts belong to: this canary, since it began, under this rule."""
        return [self.canary, self.salt, self.rollback_if]


@dataclass(frozen=True)
class Wish:
    """What `deploy start` was asked for; `canary` is None when the model shall get all traffic."""

    model: str
    canary: float | None
    rollback_if: str

    def __post_init__(self) -> None:
        if self.canary == 0:
            raise UsageProblem("a canary with no traffic shows nothing", "give --canary a share, e.g. 5%")
        if self.rollback_if and self.canary is None:
            raise UsageProblem("--rollback-if judges a canary, and there is none", "add --canary 5%")
        if self.rollback_if:
            parse_rule(self.rollback_if)


def fresh(before: Mapping[str, Any] | None, wish: Wish, **place: Any) -> tuple[Loose, str]:
    """The body of an endpoint that starts; it remembers the champion that served when it was last stopped."""
    known = before or {"champion": None, "earlier": [], "generation": 0, "versions": {}}
    champion, earlier = known["champion"], known["earlier"]
    if champion not in known["versions"]:  # it was ordered and never came to serve
        champion, earlier = next(reversed(earlier), None), earlier[:-1]
    body: Loose = {
        "champion": champion,
        "earlier": earlier,
        "generation": known["generation"],
        "canary": None,
        "share": 0.0,
        "salt": "",
        "rollback_if": "",
        "judged": None,
        "verdict": None,
        "rolled_back": None,
        "problem": None,
        "problem_generation": None,
        "started_at": time.time(),
        "ended_at": None,
        "stopped_at": None,
        "earlier_spans": _lives_before(before),
        "count": 0,
        "versions": {},
        "log_lost_rows": 0,
        **place,
    }
    return updated(body, wish)


def _lives_before(before: Mapping[str, Any] | None) -> list[Loose]:
    """What earlier starts of this name took and did is not forgotten. One that was killed has no end but its job's."""
    if before is None:
        return []
    busy_ms = sum(counts.get("busy_ms", 0.0) for counts in before["versions"].values())
    life = {name: before.get(name) for name in ("started_at", "ended_at", "job", "count")}
    return [*before.get("earlier_spans", ()), {**life, "busy_ms": busy_ms}]


def updated(body: Mapping[str, Any], wish: Wish) -> tuple[Loose, str]:
    """The body with the wished version as champion, or as canary beside it; and what that means."""
    if wish.canary is None:
        return _with_champion(body, wish.model), f"{wish.model} serves all traffic"
    if wish.model == body["champion"]:
        note = f"{wish.model} is the champion already: it needs no canary and serves all traffic"
        return _with_champion(body, wish.model), note
    same = body["canary"] == wish.model
    if same and (body["share"], body["rollback_if"]) == (wish.canary, wish.rollback_if):
        return dict(body), f"{wish.model} is the canary already"
    new = _next(
        body,
        canary=wish.model,
        share=wish.canary,
        rollback_if=wish.rollback_if,
        # The salt stays while the canary does: a key that is in it at 5 % is in it at 20 %.
        salt=body["salt"] if same else secrets.token_hex(8),
        rolled_back=None,
        verdict=None,
    )
    if body["champion"] is None:
        return new, NO_CHAMPION
    return new, f"{wish.model} gets {show_share(wish.canary)} of the keys, {body['champion']} the others"


def promoted(body: Mapping[str, Any]) -> Loose:
    """The canary takes all traffic; without one, the champion that has it keeps it.

    Conflict when the canary lost its traffic, or when there is nothing to promote.
    """
    told = body["rolled_back"]
    if body["canary"] is None and told:
        raise Conflict(
            f"{told['model']} was rolled back by {told['by']}: {told['reason']}",
            "start it again, or a better version: `%deploy start NAME --model M --canary 5%`",
        )
    if not (model := body["canary"] or body["champion"]):
        raise Conflict("there is no canary to promote", "start one: `%deploy start NAME --model M --canary 5%`")
    return _with_champion(body, model)


def rolled_back(body: Mapping[str, Any]) -> tuple[Loose, str, str]:
    """The canary off, or the champion before this one back; with the version that loses its traffic, and the words.

    Conflict when there is nothing to go back to.
    """
    canary, champion, earlier = body["canary"], body["champion"], body["earlier"]
    if canary is not None and champion is not None:
        told = {"model": canary, "reason": "ordered", "at": time.time(), "by": "rollback"}
        note = f"{canary} is off; {champion} serves all traffic"
        return _next(body, canary=None, share=0.0, judged=None, rolled_back=told), canary, note
    if not earlier:
        raise Conflict("there is no version to go back to", "start another: `%deploy start NAME --model M`")
    gone = canary or champion
    told = {"model": gone, "reason": "ordered", "at": time.time(), "by": "rollback"}
    new = _next(body, champion=earlier[-1], earlier=earlier[:-1], canary=None, share=0.0, rolled_back=told)
    return new, gone, f"{earlier[-1]} serves all traffic again, {gone} none"


def _with_champion(body: Mapping[str, Any], model: str) -> Loose:
    champion, earlier = body["champion"], body["earlier"]
    if champion not in (None, model):
        earlier = [*earlier, champion][-20:]
    if champion == model and body["canary"] is None and not body["rolled_back"] and body["generation"]:
        return dict(body)
    alone = {"canary": None, "share": 0.0, "rollback_if": "", "judged": None, "verdict": None}
    return _next(body, champion=model, earlier=earlier, rolled_back=None, **alone)


def _next(body: Mapping[str, Any], **changes: Any) -> Loose:
    return {**body, "problem": None, **changes, "generation": body["generation"] + 1}
