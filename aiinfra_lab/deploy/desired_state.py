"""What a request changes about what an endpoint is to serve: pure functions on its record, with a note for the user."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from msgspec.structs import replace

from ..errors import Conflict, Failed, LabError, UsageProblem
from ..rules import Rule
from ..units import show_share
from .record import BY_ENDPOINT, Arm, DesiredState, EndpointRecord, EndpointSpan, Rollback

NO_CHAMPION = "there is no champion yet: the canary serves 100 %, and there is nothing to roll back to"
WITHOUT_IT = "cannot be served, and the others serve without it"
_EARLIER_KEPT = 20


@dataclass(frozen=True)
class ServeRequest:
    """A version to be served; `canary` is its share of the keys, None when it shall get all traffic.

    steps: shares that follow by themselves, each after bake_s at least. candidate: its share of the keys when it is to
    be compared for as long as somebody wishes; 0 takes them away. shadow: another version that is to answer nobody;
    empty for none, None for the one that there is. grpc: whether it shall speak gRPC too; None as it does. name: the
    endpoint's, for fixes.
    """

    model: str
    canary: float | None = None
    rollback_if: Rule | None = None
    steps: tuple[float, ...] = ()
    bake_s: float = 0.0
    candidate: float | None = None
    shadow: str | None = None
    grpc: bool | None = None
    name: str = "NAME"

    def __post_init__(self) -> None:
        if self.canary == 0:
            raise UsageProblem("a canary with no traffic shows nothing", "give --canary a share, e.g. 5%")
        if self.rollback_if and self.canary is None:
            raise UsageProblem("--rollback-if judges a canary, and there is none", "add --canary 5%")
        if self.steps and self.canary is None:
            raise UsageProblem("--steps say how a canary's share grows, and there is none", "add --canary 5%")
        if self.candidate is not None and self.canary is not None:
            raise UsageProblem("a version is a canary or a candidate, not both", "leave --canary or --candidate out")
        if self.candidate is not None and self.candidate >= 1:
            raise UsageProblem("a candidate is compared with a champion, which gets nothing", "give it less than 100%")
        if self.shadow and self.shadow == self.model:
            raise UsageProblem(f"{self.model} cannot be its own shadow", "name another version after --shadow")
        if list(self.steps) != sorted(set(self.steps)):
            raise UsageProblem("--steps go up, each share once", "write --steps 5%,25%,100%")

    @property
    def following(self) -> tuple[float, ...]:
        """The steps beyond the share that the canary begins with."""
        return tuple(share for share in self.steps if share > (self.canary or 0.0))


def fresh(before: EndpointRecord | None, request: ServeRequest) -> tuple[EndpointRecord, str]:
    """The record of an endpoint that starts; it remembers the champion that served when it was last stopped."""
    known = before or EndpointRecord()
    champion, earlier = known.champion, known.earlier
    # A champion that never came to serve is none: nothing could go back to it.
    if known.problem_generation == known.generation or (known.versions and champion not in known.versions):
        champion, earlier = next(reversed(earlier), None), earlier[:-1]
    new = EndpointRecord(
        champion=champion,
        earlier=earlier,
        # Counted on over starts: nobody who waits for a new one takes an earlier start's for it.
        generation=known.generation,
        started_at=time.time(),
        earlier_spans=_spans_until_now(before),
        days=known.days,
        grpc_port=known.grpc_port,
    )
    return updated(new, request)


def _spans_until_now(before: EndpointRecord | None) -> tuple[EndpointSpan, ...]:
    """What earlier starts of this name took and did. One that was killed has no end but its job's."""
    if before is None:
        return ()
    span = EndpointSpan(before.started_at, before.ended_at, before.job, before.count, before.busy_ms)
    return (*before.earlier_spans, span)


def updated(body: EndpointRecord, request: ServeRequest) -> tuple[EndpointRecord, str]:
    """The record with the requested version as champion, or as what else it asks for beside it; and what that means."""
    new, note = _with_candidate(body, request) if request.candidate is not None else _with_traffic(body, request)
    new, note = _with_shadow(body, new, note, request.shadow) if request.shadow is not None else (new, note)
    if request.grpc is None or request.grpc == (new.grpc_port is not None):
        return new, note
    # A generation of its own: by that those who serve hear of it, and those who wait.
    new = new if new.generation != body.generation else _next(new)
    speaks = "speaks gRPC too" if request.grpc else "speaks gRPC no more"
    return replace(new, grpc_port=0 if request.grpc else None, grpc_url=""), f"{note}; it {speaks}"


def _with_shadow(body: EndpointRecord, new: EndpointRecord, note: str, shadow: str) -> tuple[EndpointRecord, str]:
    """What is asked for already, with that version as its shadow; empty for none."""
    others = tuple(arm for arm in new.others if arm.role != "shadow" and arm.model != shadow)
    if shadow in (new.champion, new.canary):
        raise UsageProblem(f"{shadow} answers requests itself", "name another version after --shadow")
    others = (*others, *([Arm(shadow, "shadow", 1.0)] if shadow else []))
    if others == new.others:
        return new, note
    new = replace(new if new.generation != body.generation else _next(new), others=others)
    return new, f"{note}; {shadow or 'nobody'} shadows it"


def _with_candidate(body: EndpointRecord, request: ServeRequest) -> tuple[EndpointRecord, str]:
    model, share = request.model, request.candidate or 0.0
    if body.champion is None or model == body.champion:
        other = "another version" if body.champion else "a champion"
        raise UsageProblem(
            f"a candidate is compared with a champion, and {body.champion or 'there is none'}",
            f"start {other} first: `%deploy start {request.name} --model models:NAME`",
        )
    if model == body.canary:
        raise UsageProblem(f"{model} is the canary", f"take it off first: `%deploy rollback {request.name}`")
    others = tuple(arm for arm in body.others if arm.model != model)
    if not share and others == body.others:
        raise UsageProblem(f"{model} is no candidate", "give --candidate a share, e.g. 20%")
    arms = (Arm(model, "candidate", share),) if share else ()
    new = replace(body, others=(*others, *arms))
    if new == body:
        return body, f"{model} is a candidate already"
    # The keys stay where they are: a canary's are at the other end, and grow towards these.
    new = replace(_admitted(_next(new)), salt=new.salt or secrets.token_hex(8))
    return new, f"{model} gets {show_share(share)} of the keys" if share else f"{model} gets no traffic any more"


def _admitted(body: EndpointRecord) -> EndpointRecord:
    """UsageProblem when canary and candidates would leave the champion nothing."""
    most = max((body.share, *(share for share in body.steps if share < 1))) if body.canary else 0.0
    candidates = sum(arm.share for arm in body.others if arm.role == "candidate")
    if candidates and most + candidates >= 1:
        raise UsageProblem(
            f"the canary with up to {show_share(most)} and candidates with {show_share(candidates)} leave the champion "
            "nothing",
            "give them less: together under 100 %",
        )
    return body


def _with_traffic(body: EndpointRecord, request: ServeRequest) -> tuple[EndpointRecord, str]:
    model = request.model
    if request.canary is None:
        return _with_champion(body, model), f"{model} serves all traffic"
    if model == body.champion:
        note = f"{model} is the champion already: it needs no canary and serves all traffic"
        return _with_champion(body, model), note
    is_same = body.canary == model
    asked = (request.canary, request.rollback_if, request.following, request.bake_s)
    if is_same and (body.share, body.rollback_if, body.steps, body.bake_s) == asked:
        return body, f"{model} is the canary already"
    new = replace(
        _next(body),
        canary=model,
        share=request.canary,
        rollback_if=request.rollback_if,
        steps=request.following,
        bake_s=request.bake_s,
        step_at=time.time(),
        # The salt stays while the canary does: a key that is in it at 5 % is in it at 20 %.
        salt=body.salt if is_same or _has_candidates(body) else secrets.token_hex(8),
        rolled_back=None,  # a version that is tried again starts without a past
        verdict=None,
        others=_without(body.others, model),
    )
    _admitted(new)
    if body.champion is None:
        return new, NO_CHAMPION
    return new, f"{model} gets {show_share(request.canary)} of the keys, {body.champion} the others"


def promoted(body: EndpointRecord, name: str) -> EndpointRecord:
    """The canary takes all traffic; without one, the champion that has it keeps it. name: the endpoint's, for the fix.

    Conflict when the canary lost its traffic, or when there is nothing to promote.
    """
    if body.canary is None and body.rolled_back:
        raise Conflict(
            str(body.rolled_back),
            f"start it again, or a better version: `%deploy start {name} --model {body.rolled_back.model} --canary 5%`",
        )
    if not (model := body.canary or body.champion):
        raise Conflict(
            "there is no canary to promote", f"start one: `%deploy start {name} --model models:NAME --canary 5%`"
        )
    return _with_champion(body, model)


def stepped(body: EndpointRecord) -> EndpointRecord:
    """The canary gets its next share; as the champion, when that is all."""
    share, *others = body.steps
    if share >= 1:
        return _with_champion(body, str(body.canary))
    return replace(_next(body), share=share, steps=tuple(others), step_at=time.time(), verdict=None)


def can_go_back(body: EndpointRecord) -> bool:
    """Whether another version would serve when the canary, or else the champion, no longer does."""
    return bool(body.earlier) or None not in (body.canary, body.champion)


def rolled_back(body: EndpointRecord, otherwise: str) -> tuple[EndpointRecord, str, str]:
    """The canary off, or the champion before this one back; with the version that loses its traffic, and a note.

    Conflict when there is nothing to go back to; otherwise: what helps then.
    """
    canary, champion, earlier = body.canary, body.champion, body.earlier
    if canary is not None and champion is not None:
        return without_canary(body, _requested(canary)), canary, f"{canary} is off; {champion} serves all traffic"
    lost = canary or champion
    if not earlier or lost is None:
        raise Conflict("there is no version to go back to", otherwise)
    back = earlier[-1]
    new = replace(without_canary(body, _requested(lost)), champion=back, earlier=earlier[:-1])
    new = replace(new, others=_without(new.others, back))
    return new, lost, f"{back} serves all traffic again, {lost} none"


def without_canary(body: EndpointRecord, why: Rollback) -> EndpointRecord:
    """All traffic to the champion, and why."""
    return replace(_next(body), canary=None, share=0.0, steps=(), bake_s=0.0, judged=None, rolled_back=why)


def last_good(body: EndpointRecord, failed: str) -> tuple[str, ...]:
    """What may serve in place of a champion that cannot, the last that did first."""
    return tuple(dict.fromkeys(uri for uri in reversed(body.earlier) if uri != failed))


def without_arm(body: EndpointRecord, failed: str, problem: LabError) -> EndpointRecord:
    """The others serve without a canary, candidate or shadow that cannot be served."""
    reason = _reason(failed, problem)
    if failed == body.canary:
        new = without_canary(body, Rollback(failed, reason, time.time(), BY_ENDPOINT))
    else:
        new = replace(_next(body), others=_without(body.others, failed))
    serves = Failed(f"{failed} {WITHOUT_IT}: {reason}", problem.fix)
    return replace(new, problem=str(serves), problem_generation=body.generation)


def _reason(failed: str, problem: LabError) -> str:
    return problem.what.removeprefix(f"{failed} cannot be served: ")


def fallen_back(body: EndpointRecord, model: str, failed: str, problem: LabError) -> EndpointRecord:
    """One of `last_good` serves alone: a canary that was to be compared with another champion would prove nothing."""
    before = body.earlier[::-1]
    reason = _reason(failed, problem)
    serves = Failed(f"{failed} cannot be served, and {model} serves in its place: {reason}", problem.fix)
    earlier = before[before.index(model) + 1 :][::-1]
    return replace(
        without_canary(body, Rollback(failed, reason, time.time(), BY_ENDPOINT)),
        champion=model,
        others=(),
        earlier=earlier,
        problem=str(serves),
        problem_generation=body.generation,
    )


def back_to(body: EndpointRecord, served: DesiredState, problem: str) -> EndpointRecord:
    """What is served already, since the newest generation cannot be; `problem` says why."""
    # The refused change has put the served champion among the earlier ones, and it is none when it stays.
    earlier = body.earlier[:-1] if body.earlier[-1:] == (served.champion,) else body.earlier
    return replace(
        _next(body),
        champion=served.champion,
        canary=served.canary,
        share=served.share,
        salt=served.salt,
        rollback_if=served.rollback_if,
        steps=served.steps,
        bake_s=served.bake_s,
        step_at=served.step_at,
        others=served.others,
        earlier=earlier,
        problem=problem,
        # The refused one, not the one that this makes: by its number those who wait find out why.
        problem_generation=body.generation,
    )


def _requested(model: str) -> Rollback:
    return Rollback(model, "ordered", time.time(), "rollback")


def _with_champion(body: EndpointRecord, model: str) -> EndpointRecord:
    champion, earlier = body.champion, body.earlier
    if champion not in (None, model):
        earlier = (*earlier, str(champion))[-_EARLIER_KEPT:]
    # Generation 0 was never asked to serve: it needs its first, whatever the champion.
    if champion == model and body.canary is None and not body.rolled_back and body.generation:
        return body
    new = replace(_next(body), champion=model, earlier=earlier, rolled_back=None)
    new = replace(new, canary=None, share=0.0, rollback_if=None, judged=None, verdict=None)
    return replace(new, steps=(), bake_s=0.0, others=_without(new.others, model))


def _without(others: tuple[Arm, ...], model: str) -> tuple[Arm, ...]:
    """A version has one role."""
    return tuple(arm for arm in others if arm.model != model)


def _has_candidates(body: EndpointRecord) -> bool:
    """Whether some keys belong to a candidate, by a salt that must stay."""
    return any(arm.role == "candidate" for arm in body.others)


def _next(body: EndpointRecord) -> EndpointRecord:
    """The next generation, of which no problem is known."""
    return replace(body, problem=None, generation=body.generation + 1)
