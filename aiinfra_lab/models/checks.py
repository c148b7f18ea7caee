"""Judging a version: its files, its answers, its numbers, and where it came from. Nothing here changes anything."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from ..audit import upstream
from ..errors import NotFound, UsageProblem, did_you_mean
from ..resolve import resolve, resolve_any
from ..store import Record, open_store
from ..train.metrics import HIGHER, LOWER, is_held_out, is_lower_better, words
from ..train.record import TrainingRun
from ..units import apart, counted, difference, rounded
from ..uris import Uri
from . import artifact, policies, record
from .findings import Compared
from .policies import Policy
from .record import CheckVerdict, ModelFinding, ModelVersion

# ONNX Runtime's kernels add up in another order on another CPU: a float32 of that example may differ so much.
TOLERANCE = 1e-5


def refuse_unlogged(name: str, policy: Policy, measured: Collection[str] = ()) -> None:
    """UsageProblem where a bound names a metric that no run of the model ever logged. measured: some that one did."""
    unknown = [one for one in policy.requirements if one.term.metric not in measured]
    if not unknown:
        return
    logged = _logged(name)
    for bound in unknown:
        metric = bound.term.metric
        if metric not in logged:
            fix = did_you_mean(metric, logged, f"run.log({metric}=…) in the training code logs it")
            raise UsageProblem(f"no run of {name} ever logged {metric!r} ({bound.source})", fix)


def _logged(name: str) -> set[str]:
    """Every metric that a run behind a version of that model logged, or a run of one of their names."""
    versions = record.versions(name, removed=True)
    names = {name, *(Uri.parse(one.body.run).name for one in versions if Uri.is_one(one.body.run))}
    runs = [run for each in sorted(names) for run in open_store().list(TrainingRun, name=each)]
    measured = [*(one.body.metrics for one in versions), *(run.body.metrics for run in runs)]
    return {metric for metrics in measured for metric in metrics}


def judge(
    version: Record[ModelVersion], stored: Policy, champion: int | None, called: str = "champion"
) -> Iterator[ModelFinding]:
    """Every finding about a version, one after the other.

    stored: what is stored of the model's policy; what the settings require counts as well. champion: the version to
    compare with. called: what that is, where nothing holds the alias any more
    """
    policy, folder = policies.in_force(stored), record.folder(version.name)
    against = _against(version, champion)
    off = artifact.differences(folder, version.body.files)
    if off:
        # What changed files answer is no evidence about the version: no further look.
        yield ModelFinding("files", "bad", "; ".join(off), artifact.added_again(version))
        return
    yield ModelFinding("files", "good", f"{counted(len(version.body.files), 'file')} as recorded")
    yield _example(version, folder)
    yield _origin(version) if version.body.source else _data(version)
    yield from _metrics(version, policy, stored, against)
    yield from _champion(version, policy, stored, against, called)


def compared(version: Record[ModelVersion], champion: int | None, policy: Policy, called: str) -> Compared | None:
    """What both runs measured; None without another version to compare with. called: see `judge`."""
    other = _against(version, champion)
    if other is None:
        return None
    ours, theirs = version.body.metrics, other.body.metrics
    measure, higher = _measure(policy, {key: value for key, value in ours.items() if key in theirs}) or ("", True)
    return Compared(other.uri, called, measure, higher, ours, theirs)


def verdict(findings: list[ModelFinding]) -> CheckVerdict:
    """The worst of all: bad, else cannot tell, else good."""
    states = {finding.state for finding in findings}
    return "bad" if "bad" in states else "cannot tell" if "cannot tell" in states else "good"


def data_behind(rows: str) -> list[str]:
    """The data versions that a run's rows were made from, nearest first, each once."""
    chain = dict.fromkeys((rows, *(step.used for step in upstream(open_store(), rows))))
    return [uri for uri in chain if Uri.is_one(uri) and Uri.parse(uri).noun == "data"]


def _example(version: Record[ModelVersion], folder: Path) -> ModelFinding:
    """Whether the example still gives the answers that were given when the model was saved."""
    from ..train.saved_model import SavedModel
    from ..train.signature import difference as difference_of

    saved = SavedModel(folder)
    again = artifact.added_again(version) if version.body.source else "train and add the model again"
    try:
        example = saved.example
        found = saved.answers(example.rows)
    except Exception as problem:  # noqa: BLE001  # the runtime's exceptions share no base class, and a file is foreign
        first = str(problem).partition("\n")[0]
        return ModelFinding("example", "bad", f"the example does not run: {first[:200]}", again)
    if not found or len(found) != len(example.answers):
        given, recorded = len(found), len(example.answers)
        detail = f"{given} answers for {recorded} recorded ones"
        return ModelFinding("example", "bad", detail, again)
    off = difference_of(example.answers, found)
    # `not … <=`, since NaN compares false with everything.
    if not off <= TOLERANCE:
        how = f"are off by {off:.2g}" if math.isfinite(off) else "are others than were recorded"
        return ModelFinding("example", "bad", f"the answers {how}", "train and add it again on this machine")
    return ModelFinding("example", "good", f"{counted(len(found), 'row', 'give')} the answers that were recorded")


def _origin(version: Record[ModelVersion]) -> ModelFinding:
    """Where a model came from that was trained somewhere else; what it learned from is not ours to check."""
    return ModelFinding("source", "good", f"{version.body.source}; what it learned from is not recorded here")


def _data(version: Record[ModelVersion]) -> ModelFinding:
    """Whether the data that it learned from is known, still there, and the same."""
    rows = version.body.rows
    behind = data_behind(rows)
    if not behind:
        return ModelFinding(
            "data", "cannot tell", f"no data version stands behind {rows}", "train on rows made from `%data get`"
        )
    for uri in (rows, *behind):
        try:
            known = resolve_any(uri)
        except NotFound:
            return ModelFinding("data", "bad", f"{uri} is gone", "add that data again, and train on it")
        # Not every kind of rows keeps a digest: where none is, that they are there is all that can be checked.
        if uri == rows and getattr(known.body, "digest", version.body.rows_digest) != version.body.rows_digest:
            return ModelFinding(
                "data", "bad", f"{uri} is not what the model learned from", "train again on what is there now"
            )
    return ModelFinding("data", "good", ", ".join(behind))


def _metrics(
    version: Record[ModelVersion], policy: Policy, stored: Policy, champion: Record[ModelVersion] | None
) -> Iterator[ModelFinding]:
    metrics = version.body.metrics
    if version.body.source and not metrics:
        # Nobody asks for what was measured somewhere else, unless the policy does.
        for requirement in policy.requirements:
            fix = f"require it no more: {_loosening(version, stored, champion)}"
            yield ModelFinding(str(requirement.term), "cannot tell", "it was measured somewhere else", fix)
        return
    if not metrics:
        yield ModelFinding(
            "metrics", "cannot tell", "its run measured nothing", "log some: run.log(auc=…) on a hold-out"
        )
        return
    for requirement in policy.requirements:
        bound, metric = requirement.term, requirement.term.metric
        asked = str(bound)
        if metric not in metrics:
            detail = f"its run has no {metric}, only {', '.join(metrics)}"
            fix = (
                f"train again with run.log({metric}=…), or require it no more: {_loosening(version, stored, champion)}"
            )
            yield ModelFinding(asked, "cannot tell", detail, fix)
            continue
        measured, _ = apart(metrics[metric], bound.threshold)
        if bound.holds(metrics[metric]):
            yield ModelFinding(asked, "good", f"it is {measured}")
        else:
            fix = f"train it better, or lower what is required: {_loosening(version, stored, champion)}"
            yield ModelFinding(asked, "bad", f"it is {measured}", fix)


def _against(version: Record[ModelVersion], holder: int | None) -> Record[ModelVersion] | None:
    """The champion, where that is another version."""
    return None if holder in (None, version.version) else resolve(Uri.parse(version.uri).at(holder), ModelVersion)


def _champion(
    version: Record[ModelVersion],
    policy: Policy,
    stored: Policy,
    champion: Record[ModelVersion] | None,
    called: str = "champion",
) -> Iterator[ModelFinding]:
    if champion is None:
        return
    what = f"{called} {champion.name}"
    compared = _behind(version, champion, policy)
    # Not "good": that no comparison is possible must not let a version pass in place of a better champion.
    if compared is None:
        yield ModelFinding(
            what, "cannot tell", "the two runs share no measure of quality", "log the same one, e.g. run.log(auc=…)"
        )
        return
    metric, behind = compared
    # Measures on different rows are still the best there is to compare: the finding names it, and people judge.
    rows = "" if version.body.rows == champion.body.rows else ", on rows of its own"
    own, other = apart(version.body.metrics[metric], champion.body.metrics[metric])
    detail = f"{metric} is {own}, the {called}'s is {other}{rows}"
    if behind <= policy.allowed:
        yield ModelFinding(what, "good", detail)
    else:
        fix = f"train it better, or allow it: {_loosening(version, stored, champion)}"
        yield ModelFinding(what, "bad", detail, fix)


def _behind(version: Record[ModelVersion], champion: Record[ModelVersion], policy: Policy) -> tuple[str, float] | None:
    """The measure that the two are compared by, and by how much the version is worse; None without such a measure."""
    ours, theirs = version.body.metrics, champion.body.metrics
    compared = _measure(policy, {key: value for key, value in ours.items() if key in theirs})
    if compared is None:
        return None
    metric, higher = compared
    better, worse = (theirs, ours) if higher else (ours, theirs)
    return metric, difference(better[metric], worse[metric])


def _loosening(version: Record[ModelVersion], stored: Policy, champion: Record[ModelVersion] | None) -> str:
    """What lets a version pass that the policy refuses: all of it at once, for a command replaces what another did."""
    metrics = version.body.metrics
    # By which measure two versions are compared may depend on the bounds: it is that of the policy as it will be.
    then = policies.in_force(policies.lowered(stored, metrics))
    compared = _behind(version, champion, then) if champion else None
    margin = rounded(compared[1], up=True) if compared and compared[1] > then.allowed else None
    return f"{policies.loosening(version.base, stored, metrics, margin)}, then `%models check {version.name}`"


def _measure(policy: Policy, shared: Mapping[str, float]) -> tuple[str, bool] | None:
    """The measure to compare by, and whether more of it is better.

    That of the policy, else the best known one that both have, else what is required. A bound that is added later
    changes nothing as long as one of the former is there: it would let pass what was found worse.
    """
    by_sign = {bound.metric: bound.wants_more for bound in reversed(policy.terms)}
    # Of several of one name the plain one first, then one on rows that nothing was learned from.
    ordered = sorted(shared, key=lambda metric: (metric not in (*HIGHER, *LOWER), not is_held_out(metric)))
    known = [metric for name in (*HIGHER, *LOWER) for metric in ordered if name in words(metric)]
    for metric in (policy.measure, *known, *(bound.metric for bound in policy.terms)):
        if metric in shared and (metric in by_sign or metric in known):
            return metric, _wants_more(metric, by_sign)
    return None


def _wants_more(metric: str, by_sign: Mapping[str, bool]) -> bool:
    """By its name where that is known: `loss > 0` does not ask for a high loss."""
    lower = is_lower_better(metric)
    return by_sign[metric] if lower is None else not lower


def satisfied(metrics: Mapping[str, float]) -> list[str]:
    """For each metric whose better side is known, a bound as `--require` takes it that these just keep."""
    known = [name for name in metrics if is_lower_better(name) is not None]
    sides = {name: (">=", math.floor) if _wants_more(name, {}) else ("<=", math.ceil) for name in known}
    return [f"{name} {sign} {round_(metrics[name] * 100) / 100:g}" for name, (sign, round_) in sides.items()]
