"""How runs are shown: their numbers, their curves, and what differs between two."""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..show import (
    MAX_ROWS,
    Card,
    Cell,
    Column,
    Figure,
    Fold,
    Number,
    Picture,
    Plots,
    Progress,
    Quote,
    Strong,
    Table,
    drawing,
    mark_of,
    sentence,
    shown,
)
from ..units import apart, show_duration
from ..uris import Uri
from .history import Curve, Point, averaged, latest

if TYPE_CHECKING:
    from .results import Run, RunComparison, RunLog

KIND = "Training run"
MOST_PLOTS = 6
_MOST_FIGURES = 5
_DIGEST = 64
_SPARK_POINTS = 42  # one for two pixels
_ARROWS = {True: " ↓", False: " ↑", None: ""}
# What is known to be better when it is lower, or higher; of any other metric nobody can say which is the best value.
_LOWER = ("loss", "error", "rmse", "mse", "mae", "brier", "perplexity", "nll")
_HIGHER = ("auc", "accuracy", "acc", "f1", "precision", "recall", "r2", "ap", "map", "bleu")
_HELD_OUT = ("val", "valid", "validation", "holdout", "heldout", "test", "eval", "dev")


class Best(NamedTuple):
    """The best value of the metric that says most of a run. at: which of its measurements it was, counted from 1.

    unit: what they were, `epoch` or `measurement`.
    """

    name: str
    value: float
    at: int
    of: int
    unit: str


def frame(uri: str, points: Sequence[Point], params: Mapping[str, object], started_at: float) -> Card:
    """A run while it goes on: how far it is, where its numbers stand, and the curves so far."""
    return Card(
        kind=KIND,
        uri=uri,
        state=mark_of("running"),
        when=f"frame of {time.strftime('%H:%M:%S')}",
        progress=_progress(points, params, max(0.0, time.time() - started_at)),
        figures=_figures(latest(points), None),
        parts=[Plots(plots(points, epochs_of(params)))],
        next=[f"Interrupt the kernel or press Stop in the side panel to end it: `%train stop {Uri.parse(uri).label}`"],
    )


def run_card(run: Run, how_to_resume: str) -> Card:
    """A run as it is: what came of it, its curves, and how to go on."""
    points, label = run.points(), Uri.parse(run.uri).label
    best = _best(points, epochs_of(run.params))
    is_live = run.state in ("starting", "running", "stopping")
    left_out = (
        "uri",
        "state",
        "metrics",
        "params",
        "started_at",
        "duration_s",
        "code_digest",
        "rows_digest",
        "problem",
    )
    facts = [(name, shown(name, value)) for name, value in run.params.items()]
    facts += run.facts(*left_out, "tracked_as", "machine", "path", "metrics_from", "model")
    ended = f" · ended {shown('_at', run.started_at + run.duration_s)}" if not is_live else ""
    return Card(
        kind=KIND,
        uri=run.uri,
        state=mark_of(run.state),
        when=f"{show_duration(run.duration_s)}{ended}",
        lead=_lead(run, best),
        advice=how_to_resume,
        facts=[*facts, ("code", run.code_digest[:12])],
        figures=_figures(run.metrics, best),
        parts=[Plots(plots(points, epochs_of(run.params)))],
        notes=[note for note in (about_metrics(run.metrics_from), _unsaved(run)) if note],
        next=_next(run, label),
    )


def log_card(log: RunLog) -> Card:
    """What a run printed and measured."""
    texts = (("printed", "\n".join(log.lines)), ("measured", "\n".join(log.measured)))
    parts = [Fold(name, Quote(text), is_open=name == "printed") for name, text in texts if text]
    lead = "" if parts else "It printed and measured nothing."
    return Card(kind="Log of a run", uri=log.uri, state=mark_of(log.state), lead=lead, parts=parts)


def comparison_card(found: RunComparison) -> Card:
    """Two runs: what came of them, side by side, and what was done differently."""
    ours, theirs = (Uri.parse(uri).label if Uri.is_one(uri) else uri for uri in (found.uri, found.other))
    # Metrics stand in a table of their own.
    differs = [(what, *map(_cut, pair)) for what, *pair in found.changes if not what.startswith("metric ")]
    return Card(
        kind=found.kind,
        uri=found.uri,
        when=f"against {found.other}",
        lead=_compared(found, ours, theirs, len(differs)),
        parts=[
            Table(("metric", Number(theirs), Number(ours), "difference"), list(_metric_rows(found.metrics))),
            Plots(_overlaid(found.curves)),
            Table(("what", theirs, ours), [(what, before, Strong(after)) for what, before, after in differs],
                  "What differs"),
            *([Fold("the code that differs", Quote(found.code))] if found.code else []),
        ],
        notes=["**Bold** is the better value. One run each: chance alone may make a small difference."]
        if found.metrics else [],
    )  # fmt: skip


def plots(points: Sequence[Point], epochs: int | None = None) -> list[Picture]:
    """A plot for the losses, which share their axes, and one for each other metric: at most six.

    epochs: how many the run is to have, when that is known; then the axis of a metric that is measured once an epoch
    spans all of them from the start.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(point.name for point in points):
        groups.setdefault("loss" if "loss" in _words(name) else name, []).append(name)
    return [_plot(title, names, points, epochs) for title, names in [*groups.items()][:MOST_PLOTS]]


def curve_column(runs: Sequence[Run]) -> Column:
    """The curve of what says most of each run, small; of as many runs as a list shows."""
    drawn = [_spark(run.points(), epochs_of(run.params)) for run in runs[:MAX_ROWS]]
    names = {name for name, _ in drawn if name}
    title = names.pop() if len(names) == 1 else "curve"
    return Column(title, [*(cell for _, cell in drawn), *[""] * len(runs[MAX_ROWS:])])


def _spark(points: Sequence[Point], epochs: int | None) -> tuple[str, Cell]:
    best = _best(points, epochs)
    name = best.name if best else next((point.name for point in points), "")
    line = averaged([(point.step, point.value) for point in points if point.name == name], _SPARK_POINTS)
    if len(line) < 2:
        return "", ""
    alt = f"{name} from {shown(name, line[0][1])} to {shown(name, line[-1][1])}"
    return f"{name}{_ARROWS[is_lower_better(name)]}", drawing.spark([value for _, value in line], alt=alt)


def about_metrics(measured_by: str) -> str:
    """Whose metrics a run shows, when they are not its own."""
    return measured_by and f"no epoch was left to train: the metrics are those of {measured_by} at its checkpoint"


def code_diff(ours: str, theirs: str, names: tuple[str, str]) -> str:
    """What differs between two codes, as a unified diff."""
    return "\n".join(difflib.unified_diff(ours.splitlines(), theirs.splitlines(), *names, lineterm="", n=1))


def is_lower_better(name: str) -> bool | None:
    """Whether less of the metric is better; None when its name does not say."""
    words = _words(name)
    return True if words & {*_LOWER} else False if words & {*_HIGHER} else None


def _words(name: str) -> set[str]:
    return {*name.lower().replace("-", "_").replace("/", "_").replace(".", "_").replace(" ", "_").split("_")}


def _plot(title: str, names: Sequence[str], points: Sequence[Point], epochs: int | None) -> Picture:
    mine = [point for point in points if point.name in names]
    lines, by_epoch = _lines(names, mine, epochs)
    best = None
    # Of lines that were measured equally often, the held-out one counts: it is last, and carries the star.
    name = next((one for one in names if _words(one) & {*_HELD_OUT}), names[0])
    lower = is_lower_better(name)
    if lower is not None and len(lines[name]) > 1 and (by_epoch or name != names[0] or len(names) == 1):
        best = (min if lower else max)(lines[name], key=lambda point: point[1])
    at = f"{shown(name, best[1])} at {'epoch' if by_epoch else 'step'} {best[0]:g}" if best else ""
    ends = [f"{one} went from {line[0][1]:.4g} to {line[-1][1]:.4g}" for one, line in lines.items()]
    alt = "; ".join([*ends, *([f"best is {at}"] if at else [])])
    ordered = {one: lines[one] for one in sorted(lines, key=lambda one: one == name)}
    return drawing.curves(
        f"{title}{_ARROWS[lower]}", ordered, alt=alt, best=best, at_best=at, x_title="epoch" if by_epoch else "step",
        x_end=epochs if by_epoch else None,
    )  # fmt: skip


def _lines(names: Sequence[str], points: Sequence[Point], epochs: int | None) -> tuple[dict[str, Curve], bool]:
    """The lines of one plot over their common axis, and whether that counts epochs.

    The axis is the steps of what was measured most often: a hold-out's loss, measured once an epoch, stands where its
    epoch ended.
    """
    counts = Counter(point.name for point in points)
    finest = max(names, key=lambda name: counts[name])
    by_epoch = epochs is not None and max(point.step for point in points) < epochs
    lines: dict[str, Curve] = {name: [] for name in names}
    at = 0
    for point in points:
        at = point.step if point.name == finest else at
        lines[point.name].append((at + by_epoch, point.value))
    return {name: averaged(line) for name, line in lines.items() if line}, by_epoch


def epochs_of(params: Mapping[str, object]) -> int | None:
    """How many epochs the run is to have, as far as its parameters say it in the usual word."""
    found = params.get("epochs")
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


def _progress(points: Sequence[Point], params: Mapping[str, object], took_s: float) -> Progress:
    counts = Counter(point.name for point in points)
    epochs = epochs_of(params)
    # What is measured least often is measured once an epoch; before its first time nobody can tell.
    done = min(counts.values(), default=0)
    if epochs is None or done > epochs:
        steps = f"step **{max(counts.values()):,}** · " if counts else ""
        return Progress(0, 1, f"{steps}{show_duration(took_s)}")
    left = f" · about **{show_duration(took_s / done * (epochs - done))}** left" if 0 < done < epochs else ""
    return Progress(done, epochs, f"epoch **{done}** of {epochs} · {show_duration(took_s)}{left}")


def _best(points: Sequence[Point], epochs: int | None) -> Best | None:
    """Of a metric whose direction is known and that was measured twice or more; one on held-out rows comes first.

    The loss of a batch that was learned from says nothing: it is lower for an easier batch.
    """
    counts = Counter(point.name for point in points)
    held_out = [name for name in counts if _words(name) & {*_HELD_OUT}]
    others = [name for name in counts if is_lower_better(name) is False or counts[name] <= (epochs or 0)]
    known = [name for name in (*held_out, *others) if is_lower_better(name) is not None and counts[name] > 1]
    if not known:
        return None
    values = [point.value for point in points if point.name == known[0]]
    value = (min if is_lower_better(known[0]) else max)(values)
    unit = "epoch" if len(values) <= (epochs or 0) else "measurement"
    return Best(known[0], value, values.index(value) + 1, len(values), unit)


def _figures(metrics: Mapping[str, float], best: Best | None) -> list[Figure]:
    found = [Figure(best.name, shown(best.name, best.value), "best")] if best else []
    last = [
        Figure(name, shown(name, value), "last") for name, value in metrics.items() if not best or name != best.name
    ]
    return [*found, *last][:_MOST_FIGURES]


def _lead(run: Run, best: Best | None) -> str:
    match run.state:
        case "done":
            return _of_the_best(run, best)
        case "failed":
            return f"**It failed:** {run.problem.partition(chr(10))[0]}" if run.problem else "**It failed.**"
        case "killed":
            return "**Its process vanished before it had ended.**"
        case "stopped":
            return "**It was stopped.**"
    return ""


def _of_the_best(run: Run, best: Best | None) -> str:
    if best is None:
        measured = ", ".join(f"{name} {shown(name, value)}" for name, value in [*run.metrics.items()][:3])
        return f"**Done:** {measured} at its end." if measured else "**Done.** It measured nothing."
    found = f"**Best at {best.unit} {best.at} of {best.of}:** {best.name} {shown(best.name, best.value)}."
    if best.at == best.of:
        return f"{found} It was still getting better at its end."
    ended = run.metrics.get(best.name)
    return found if ended is None else f"{found} After that it got worse, to {apart(ended, best.value)[0]} at its end."


def _unsaved(run: Run) -> str:
    return (
        "It saved no model: `run.save(model)` in its cell keeps one." if run.state == "done" and not run.model else ""
    )


def _next(run: Run, label: str) -> list[str]:
    if run.state in ("starting", "running", "stopping"):
        return [f"Next: `%train log {label}` · `%train stop {label}`"]
    if run.state != "done" or not run.model:
        return [f"Next: `%train log {label}`"]
    name = Uri.parse(run.uri).name
    return [f"Next: `%models add {name} --run {run.uri}` · `%train diff {label} {name}@champion`"]


def _compared(found: RunComparison, ours: str, theirs: str, differences: int) -> str:
    if found.note:
        return sentence(found.note)
    if not found.changes and not found.code:
        return "Nothing differs."
    judged = [(name, a, b, lower) for name, a, b in found.metrics if (lower := is_lower_better(name)) is not None]
    judged = [one for one in judged if None not in one[1:3] and one[1] != one[2]]
    better = [name for name, a, b, lower in judged if a is not None and b is not None and (b < a) is lower]
    worse = [name for name, *_ in judged if name not in better]
    said = [f"**better in {', '.join(better)}**"] * bool(better) + [f"**worse in {', '.join(worse)}**"] * bool(worse)
    how = f"{ours} is {' and '.join(said)} than {theirs}." if said else f"{ours} and {theirs} measured the same."
    code = "the code and " if found.code else ""
    return f"{how} They differ in {code}{differences} more things." if differences or code else how


def _cut(value: str) -> str:
    """A digest as far as anybody reads it."""
    return value[:12] if len(value) == _DIGEST and value.isalnum() else value


def _metric_rows(metrics: Sequence[tuple[str, float | None, float | None]]) -> Iterator[Sequence[str | Strong]]:
    for name, before, after in metrics:
        if before is None or after is None:
            yield name, shown(name, before), shown(name, after), "measured by one of them alone"
            continue
        texts = apart(before, after)
        lower, difference = is_lower_better(name), after - before
        sign = f"{'↑' if difference > 0 else '↓'} {difference:+.3g}".replace("-", "−") if difference else "= same"
        if lower is None or not difference:
            yield name, *texts, sign
            continue
        is_better = (difference < 0) is lower
        pair = (texts[0], Strong(texts[1])) if is_better else (Strong(texts[0]), texts[1])
        yield name, *pair, f"{sign} {'better' if is_better else 'worse'}"


def _overlaid(runs: Mapping[str, Sequence[Point]]) -> list[Picture]:
    """A plot for each metric that all runs measured twice or more, at most two, with a line for each run."""
    counts = [Counter(point.name for point in points) for points in runs.values()]
    shared = [name for name in (counts[0] if counts else ()) if all(count[name] > 1 for count in counts)]
    shared.sort(key=lambda name: (not _words(name) & {*_HELD_OUT}, counts[0][name]))
    made = []
    for name in shared[:2]:
        lines = {
            run: averaged([(point.step + 1, point.value) for point in points if point.name == name])
            for run, points in runs.items()
        }
        alt = "; ".join(f"{name} of {run} ended at {line[-1][1]:.4g}" for run, line in lines.items())
        title = f"{name}{_ARROWS[is_lower_better(name)]}"
        made.append(drawing.curves(title, lines, alt=alt, x_title="step", is_wide=True))
    return made
