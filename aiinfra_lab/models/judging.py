"""What a check and `models policy` write down: a verdict with its findings, and the policy that it was judged by."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from ..errors import Conflict
from ..files import retry
from ..resolve import resolve
from ..store import Event, Record, open_store
from . import artifact, checks, policies, record
from .policies import Policy
from .record import CHAMPION, LastCheck, ModelAliases, ModelVersion
from .results import ModelPolicy, ModelVerdict, policy_of


def judge(model: object, asked: Policy) -> ModelVerdict:
    """Judge a version by the policy in force and what is asked, and write that down, whatever it is.

    UsageProblem, and nothing is written, for a bound on what no run of the model ever logged.
    """

    def step() -> ModelVerdict:
        version = resolve(model, ModelVersion)
        known = record.of_model(version.base)
        stored = policies.tightened(known.body.policy, _with_earlier(asked, version.body.checked))
        policy = policies.in_force(stored)
        checks.refuse_unlogged(version.base, policy, version.body.metrics)
        policies.refuse_contradiction(version.base, policy, known.body.policy)
        champion = record.champion(known.body, version.base)
        called = "champion" if CHAMPION in known.body.aliases else "last champion"
        pair = checks.on_same_rows(version, champion)
        findings = tuple(checks.judge(version, stored, champion, called, pair))
        checked = LastCheck(
            checks.verdict(list(findings)),
            policy.rule,
            policy.allowed,
            time.time(),
            policy.digest,
            artifact.digest(version.body.files),
            None if champion == version.version else champion,
            findings,
        )
        _write(version.with_(checked=checked), known, stored)
        return ModelVerdict(
            version.uri,
            checked.verdict,
            findings,
            _note(version.base, known.body, policy, asked),
            margin=policy.allowed,
            compared=checks.compared(version, champion, policy, called, pair),
            aliases=record.held(version, known.body.aliases),
        )

    return retry(step, Conflict(f"{model} and its policy change too fast to be checked", "repeat in a moment"))


def replace_policy(name: str, new: Policy, *, keep_bounds: bool, keep_margin: bool) -> ModelPolicy:
    """Store another policy in the place of the one so far, with or without its bounds and its margin."""

    def step() -> ModelPolicy:
        known = record.of_model(name)
        old, policy = known.body.policy or Policy(), new
        if keep_bounds:
            policy = msgspec.structs.replace(policy, requirements=old.requirements, measure=old.measure)
        if keep_margin:
            policy = msgspec.structs.replace(policy, margin=old.margin, margin_source=old.margin_source)
        checks.refuse_unlogged(name, policies.in_force(policy))
        policies.refuse_contradiction(name, policies.in_force(policy), None)
        uri = f"models:{name}"
        event = Event("models policy", uri, (), (), {"before": str(old), "after": str(policy)})
        open_store().commit([known.with_(policy=policy)], event)
        return policy_of(name, policy, f"it was {old} before")

    return retry(step, Conflict(f"the policy of {name} changes too fast", "repeat in a moment"))


def _write(version: Record[ModelVersion], known: Record[ModelAliases], stored: Policy) -> None:
    """The verdict, and the policy where the check made it stricter, as one commit; Conflict when either changed."""
    checked: Any = version.body.checked
    detail = {"verdict": checked.verdict, "require": str(checked.require or ""), "margin": checked.margin}
    event = Event("models check", version.uri, (version.uri,), (), {**detail, "policy": checked.policy})
    records: list[Record[Any]] = [version]
    if stored != known.body.policy:
        records.append(known.with_(policy=stored))
    elif record.of_model(version.base).rev != known.rev:
        # Judged by what was in force, or against who was the champion, when it began: once more.
        raise Conflict(f"models:{version.base} changed while it was checked", "repeat in a moment")
    open_store().commit(records, event)


def _with_earlier(asked: Policy, before: LastCheck | None) -> Policy:
    """What is asked, and what the last check asked for when that was before policies were kept."""
    if before is None or before.policy:
        return asked
    # Its bounds alone: a margin of 0 was that of every check which did not speak of any.
    return policies.joined(asked, policies.stated(before.require, None, "the check before"))


def _note(name: str, known: ModelAliases, policy: Policy, asked: Policy) -> str:
    """What it was judged by beyond what was asked, and that the policy asks for more from now on."""
    notes = []
    if more := policies.beyond(policy, asked):
        notes.append(f"it was also judged by the policy of models:{name}: {more}")
    if policies.in_force(known.policy).digest != policy.digest:
        notes.append(f"from now on models:{name} must satisfy {policy}: `%models policy {name}`")
    return "; ".join(notes)
