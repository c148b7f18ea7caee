"""Judging a version: its files, its answers, its numbers, and where it came from. Nothing here changes anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from pathlib import Path

from .. import rules
from ..audit import upstream
from ..errors import NotFound
from ..resolve import resolve, resolve_any
from ..rules import Rule, Term
from ..store import Record, open_store
from ..uris import Uri
from . import artifact, record
from .record import CheckVerdict, LastCheck, ModelVersion

# ONNX Runtime's kernels add up in another order on another CPU: a float32 score of that example may differ so much.
TOLERANCE = 1e-5

# Which way is better, for the measures whose name has it.
HIGHER = ("auc", "accuracy", "precision", "recall", "f1", "r2", "average_precision")
LOWER = ("loss", "brier", "error", "rmse", "mae", "mse")
_ONLY_AND: tuple[rules.Connective, ...] = ("and",)


@dataclass(frozen=True)
class ModelFinding:
    """One thing that was looked at. `fix` says what to do when it is not good."""

    what: str
    state: CheckVerdict
    detail: str
    fix: str = ""


def required(text: str | None) -> Rule | None:
    """Read `auc > 0.7 and loss < 0.5`; None where nothing is required. UsageProblem for anything else, also for ""."""
    # No `or`: a version that fails one of two bounds would pass, and the finding could not name what it lacks.
    return None if text is None else rules.parse(text, connectives=_ONLY_AND)


def dropped(before: LastCheck | None, now: LastCheck) -> list[str]:
    """What the check before asked for and this one does not, as it would be written."""
    if before is None:
        return []
    asked = now.require.terms if now.require else ()
    missing = [term for term in (before.require.terms if before.require else ()) if not _covered(term, asked)]
    flags = [f"--require '{' and '.join(f'{term}' for term in missing)}'"] if missing else []
    return flags + ([f"--margin {before.margin:g}"] if now.margin > before.margin else [])


def _covered(term: Term, by: Sequence[Term]) -> bool:
    return any(other.covers(term) for other in by)


def again(name: str, checked: LastCheck) -> str:
    """The command that checks that version by the same bounds."""
    flags = [f"--require '{checked.require}'"] if checked.require else []
    flags += [f"--margin {checked.margin:g}"] if checked.margin else []
    return f"`%models check {' '.join([name, *flags])}`"


def judge(version: Record[ModelVersion], rule: Rule | None, margin: float) -> Iterator[ModelFinding]:
    """Every finding about a version, one after the other."""
    terms = rule.terms if rule else ()
    folder = record.folder(version.name)
    off = artifact.differences(folder, version.body.files)
    if off:
        # What changed files answer is no evidence about the version: no further look.
        again = f"add the model again: `%models add {version.base} --run {version.body.run}`"
        yield ModelFinding("files", "bad", "; ".join(off), again)
        return
    yield ModelFinding("files", "good", f"{len(version.body.files)} files are as they were recorded")
    yield _example(folder)
    yield _data(version)
    yield from _metrics(version, terms)
    yield from _champion(version, terms, margin)


def verdict(findings: list[ModelFinding]) -> CheckVerdict:
    """The worst of all: bad, else cannot tell, else good."""
    states = {finding.state for finding in findings}
    return "bad" if "bad" in states else "cannot tell" if "cannot tell" in states else "good"


def data_behind(rows: str) -> list[str]:
    """The data versions that a run's rows were made from, nearest first, each once."""
    chain = dict.fromkeys((rows, *(step.used for step in upstream(open_store(), rows))))
    return [uri for uri in chain if Uri.is_one(uri) and Uri.parse(uri).noun == "data"]


def _example(folder: Path) -> ModelFinding:
    """Whether the example still gives the scores that torch gave when the model was saved."""
    import numpy as np

    from ..features.contract import Columns
    from ..train.export import scores

    example = json.loads((folder / "example.json").read_text("utf-8"))
    wanted = np.array(example["scores"], np.float32)
    try:
        encoded = Columns.from_json((folder / "columns.json").read_text("utf-8")).encode(example["rows"])
        found = scores(folder / "model.onnx", *encoded)
    except Exception as problem:  # noqa: BLE001  # the runtime's exceptions share no base class, and a file is foreign
        first = str(problem).partition("\n")[0]
        return ModelFinding(
            "example", "bad", f"the example does not run: {first[:200]}", "train and add the model again"
        )
    if len(wanted) == 0 or found.shape != wanted.shape:
        return ModelFinding(
            "example", "bad", f"{len(found)} scores for {len(wanted)} recorded ones", "add the model again"
        )
    off = float(np.abs(found - wanted).max())
    # `not … <=`, since NaN compares false with everything.
    if not off <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        return ModelFinding(
            "example", "bad", f"the scores are off by {off:.2g}", "train and add it again on this machine"
        )
    return ModelFinding("example", "good", f"{len(found)} rows give the scores that were recorded")


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


def _metrics(version: Record[ModelVersion], terms: Sequence[Term]) -> Iterator[ModelFinding]:
    metrics = version.body.metrics
    if not metrics:
        yield ModelFinding(
            "metrics", "cannot tell", "its run measured nothing", "log some: run.log(auc=…) on a hold-out"
        )
        return
    for bound in terms:
        asked = str(bound)
        if bound.metric not in metrics:
            known = ", ".join(metrics)
            yield ModelFinding(
                asked, "cannot tell", f"its run has no {bound.metric}, only {known}", "require one of those"
            )
        elif bound.holds(metrics[bound.metric]):
            yield ModelFinding(asked, "good", f"it is {metrics[bound.metric]:.4g}")
        else:
            yield ModelFinding(
                asked, "bad", f"it is {metrics[bound.metric]:.4g}", "train it better, or lower what is required"
            )


def _champion(version: Record[ModelVersion], terms: Sequence[Term], margin: float) -> Iterator[ModelFinding]:
    holder = record.aliases(version.base).get("champion")
    if holder is None or holder == version.version:
        return
    champion = resolve(Uri.parse(version.uri).at(holder), ModelVersion)
    what = f"champion {champion.name}"
    ours, theirs = version.body.metrics, champion.body.metrics
    compared = _measure(terms, {key: value for key, value in ours.items() if key in theirs})
    # Not "good": that no comparison is possible must not let a version pass in place of a better champion.
    if compared is None:
        yield ModelFinding(
            what, "cannot tell", "the two runs share no measure of quality", "log the same one, e.g. run.log(auc=…)"
        )
        return
    metric, higher = compared
    gain = (ours[metric] - theirs[metric]) * (1 if higher else -1)
    # Measures on different rows are still the best there is to compare: the finding names it, and people judge.
    rows = "" if version.body.rows == champion.body.rows else ", on rows of its own"
    detail = f"{metric} is {ours[metric]:.4g}, the champion's is {theirs[metric]:.4g}{rows}"
    if gain >= -margin:
        yield ModelFinding(what, "good", detail)
    else:
        yield ModelFinding(what, "bad", detail, f"train it better, or allow it with --margin {_rounded_up(-gain)}")


def _rounded_up(number: float) -> Decimal:
    """With two digits, and never below the number: a margin that is too small by rounding would not help."""
    return Context(prec=2, rounding=ROUND_CEILING).create_decimal_from_float(number)


def _measure(terms: Sequence[Term], shared: Mapping[str, float]) -> tuple[str, bool] | None:
    """The measure to compare by: what was required first, else the best known one that both have."""
    # What somebody asked for by name is what they care about, whatever else was measured.
    for bound in terms:
        if bound.metric in shared:
            return bound.metric, bound.wants_more
    for names, higher in ((HIGHER, True), (LOWER, False)):
        for name in names:
            for metric in shared:
                if metric == name or (name == "loss" and metric.endswith("_loss")):
                    return metric, higher
    return None
