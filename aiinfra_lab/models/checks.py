"""Judging a version: its files, its answers, its numbers, and where it came from. Nothing here changes anything."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import msgspec

from ..audit import upstream
from ..errors import NotFound, UsageProblem, did_you_mean
from ..resolve import resolve, resolve_any
from ..store import Record, open_store
from ..train.metrics import HIGHER, LOWER, is_held_out, is_lower_better, words
from ..train.record import TrainingRun
from ..units import apart, counted, difference, rounded
from ..uris import Uri
from . import artifact, comparison, policies, record
from .findings import Compared
from .policies import Policy
from .record import CheckVerdict, ModelFinding, ModelVersion

if TYPE_CHECKING:
    from ..train.paired import Incomparable, PairedComparison, PairedMetric

Pair: TypeAlias = Union["PairedComparison", "Incomparable"]

# ONNX Runtime's kernels add up in another order on another CPU: a float32 of that example may differ so much.
TOLERANCE = 1e-5


def refuse_unlogged(name: str, policy: Policy, measured: Collection[str] = ()) -> None:
    """UsageProblem where a bound names a metric that no run of the model ever logged. measured: some that one did."""
    unknown = [one for one in policy.requirements if one.term.metric not in measured]
    if not unknown:
        return
    # Of a model that was only ever trained elsewhere there is no run that could: it cannot be told, see `_metrics`.
    versions = record.versions(name)
    if versions and all(one.body.source for one in versions) and not open_store().list(TrainingRun, name=name):
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
    version: Record[ModelVersion],
    stored: Policy,
    champion: int | None,
    called: str = "champion",
    pair: Pair | None = None,
) -> Iterator[ModelFinding]:
    """Every finding about a version, one after the other.

    stored: what is stored of the model's policy; what the settings require counts as well. champion: the version to
    compare with. called: what that is, where nothing holds the alias any more. pair: what `on_same_rows` gave
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
    yield from _metrics(version, policy, stored, against, pair)
    yield from _champion(version, policy, stored, against, called, pair)


def on_same_rows(version: Record[ModelVersion], champion: int | None) -> Pair | None:
    """The version and the champion on the same held out rows, or why that cannot be; None without another version."""
    other = _against(version, champion)
    return None if other is None else comparison.on_same_rows(version, other)


def compared(
    version: Record[ModelVersion], champion: int | None, policy: Policy, called: str, pair: Pair | None = None
) -> Compared | None:
    """What both measured, on the same rows where that could be had; None without another version of the same task.

    called, pair: see `judge`.
    """
    other = _against(version, champion)
    if other is None:
        return None
    if _other_tasks(pair):
        return None
    ours, theirs = version.body.metrics, other.body.metrics
    if found := _same_rows(pair):
        one = _decides(policy, found)
        ours, theirs = ({each.name: getattr(each, side) for each in found.metrics} for side in ("ours", "theirs"))
        is_unclear = _state(one, policy.allowed) == "cannot tell"
        higher = not is_lower_better(one.name)
        return Compared(other.uri, called, one.name, higher, ours, theirs, found.rows, is_unclear)
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
    version: Record[ModelVersion],
    policy: Policy,
    stored: Policy,
    champion: Record[ModelVersion] | None,
    pair: Pair | None = None,
) -> Iterator[ModelFinding]:
    metrics = version.body.metrics
    if version.body.source and not metrics:
        # Nobody asks for what was measured somewhere else, unless the policy does.
        for requirement in policy.requirements:
            fix = f"require it no more: {_loosening(version, stored, champion, pair)}"
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
            ways = _loosening(version, stored, champion, pair)
            fix = f"train again with run.log({metric}=…), or require it no more: {ways}"
            yield ModelFinding(asked, "cannot tell", detail, fix)
            continue
        measured, _ = apart(metrics[metric], bound.threshold)
        if bound.holds(metrics[metric]):
            yield ModelFinding(asked, "good", f"it is {measured}")
        else:
            fix = f"train it better, or lower what is required: {_loosening(version, stored, champion, pair)}"
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
    pair: Pair | None = None,
) -> Iterator[ModelFinding]:
    if champion is None:
        return
    what = f"{called} {champion.name}"
    if found := _same_rows(pair):
        ways = _loosening(version, stored, champion, pair)
        yield _judged_on_same_rows(what, called, _decides(policy, found), found, policy.allowed, ways)
        return
    compared = _behind(version, champion, policy, pair)
    # Not "good": that no comparison is possible must not let a version pass in place of a better champion.
    if compared is None:
        yield _incomparable(what, pair, version)
        return
    metric, behind = compared
    # Measures on different rows are still the best there is to compare: the finding names it, and people judge.
    rows = "" if version.body.rows == champion.body.rows else ", on rows of its own"
    own, other = apart(version.body.metrics[metric], champion.body.metrics[metric])
    detail = f"{metric} is {own}, the {called}'s is {other}{rows}"
    if behind <= policy.allowed:
        yield ModelFinding(what, "good", detail)
    else:
        fix = f"train it better, or allow it: {_loosening(version, stored, champion, pair)}"
        yield ModelFinding(what, "bad", detail, fix)


def _judged_on_same_rows(
    what: str, called: str, one: PairedMetric, found: PairedComparison, allowed: float, ways: str
) -> ModelFinding:
    from ..train import paired_card

    own, other = apart(one.ours, one.theirs)
    range_ = paired_card.interval(one)
    detail = f"{one.name} is {own}, the {called}'s is {other}, on the same {found.rows:,} held out rows"
    detail = "; ".join([f"{detail} (difference {range_}, 95 %)", *(note.rstrip(".") for note in found.notes)])
    match _state(one, allowed):
        case "good":
            return ModelFinding(what, "good", detail)
        case "bad":
            return ModelFinding(what, "bad", detail, f"train it better, or allow it: {ways}")
    more = "hold out more rows, so that chance explains less"
    return ModelFinding(what, "cannot tell", f"{detail}: chance may explain it", f"{more}, or allow it: {ways}")


def _incomparable(what: str, pair: Pair | None, version: Record[ModelVersion]) -> ModelFinding:
    from ..train.paired import Incomparable

    if other := _other_tasks(pair):
        run = version.body.run
        made = f": `%models add NAME --run {run}`" if Uri.is_one(run) else ""
        fix = f"a model that predicts something else is another model: add it under a name of its own{made}"
        return ModelFinding(what, "cannot tell", f"neither can be better than the other: {other.what}", fix)
    fix = "log the same one, e.g. run.log(auc=…)"
    if isinstance(pair, Incomparable):
        detail = f"the two were measured by nothing in common, and not on the same rows: {pair.what}"
        return ModelFinding(what, "cannot tell", detail, f"{pair.fix}; or {fix}")
    return ModelFinding(what, "cannot tell", "the two runs share no measure of quality", fix)


def _other_tasks(pair: Pair | None) -> Incomparable | None:
    """Why the two cannot be compared by any measure, where that is since they do not predict the same."""
    from ..train.paired import Incomparable

    return pair if isinstance(pair, Incomparable) and pair.other_tasks else None


def _same_rows(pair: Pair | None) -> PairedComparison | None:
    """The comparison on the same rows, where there is one with a metric in it."""
    return None if pair is None or isinstance(pair, Exception) or not pair.metrics else pair


def _decides(policy: Policy, found: PairedComparison) -> PairedMetric:
    """The metric to judge by: the policy's measure, or the same as it on the held out rows, else the best known one."""
    by_name = {one.name: one for one in found.metrics}
    alike = [name for name in by_name if words(name) & words(policy.measure) & {*HIGHER, *LOWER}]
    measure = policy.measure if policy.measure in by_name else next(iter(alike), "")
    asked = msgspec.structs.replace(policy, measure=measure)
    chosen = _measure(asked, {name: one.ours for name, one in by_name.items()})
    return by_name[chosen[0]] if chosen else found.metrics[0]


def _state(one: PairedMetric, allowed: float) -> CheckVerdict:
    """Worse by more than is allowed is bad where chance does not explain it, and cannot be told where it may."""
    if one.worse_by <= allowed:
        return "good"
    return "cannot tell" if one.least_worse is None or one.least_worse <= allowed else "bad"


def _behind(
    version: Record[ModelVersion], champion: Record[ModelVersion], policy: Policy, pair: Pair | None = None
) -> tuple[str, float] | None:
    """The measure that the two are compared by, and by how much the version is worse; None without such a measure,
    and where they do not predict the same: an accuracy of other classes is another accuracy.
    """
    if _other_tasks(pair):
        return None
    if found := _same_rows(pair):
        one = _decides(policy, found)
        return one.name, one.worse_by
    ours, theirs = version.body.metrics, champion.body.metrics
    compared = _measure(policy, {key: value for key, value in ours.items() if key in theirs})
    if compared is None:
        return None
    metric, higher = compared
    better, worse = (theirs, ours) if higher else (ours, theirs)
    return metric, difference(better[metric], worse[metric])


def _loosening(
    version: Record[ModelVersion], stored: Policy, champion: Record[ModelVersion] | None, pair: Pair | None = None
) -> str:
    """What lets a version pass that the policy refuses: all of it at once, for a command replaces what another did."""
    metrics = version.body.metrics
    # By which measure two versions are compared may depend on the bounds: it is that of the policy as it will be.
    then = policies.in_force(policies.lowered(stored, metrics))
    compared = _behind(version, champion, then, pair) if champion else None
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
