"""How runs are shown: their numbers, their curves, and what differs between two."""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..show import (
    MAX_ROWS,
    Card,
    Cell,
    Dim,
    Figure,
    Fold,
    Number,
    Picture,
    Plots,
    Progress,
    Quote,
    Strong,
    Table,
    TableColumn,
    drawing,
    mark_of,
    sentence,
    shown,
)
from ..units import apart, counted, show_difference, show_duration
from ..uris import Uri
from .best import Best, ComparedMetric, RunCurves, best_of_run
from .history import Curve, Point, averaged, latest
from .metrics import Epochs, count_epochs, epochs_of, is_held_out, is_loss, is_lower_better, is_of_the_end
from .plain import no_promise

if TYPE_CHECKING:
    from .results import Run, RunComparison, RunLog

KIND = "Training run"
MOST_PLOTS = 6
_MOST_FIGURES = 5
_DIGEST = 64
_MOST_NAMES = 5
_SPARK_POINTS = 42  # one for two pixels
_ARROWS = {True: " ↓", False: " ↑", None: ""}


def frame(
    uri: str,
    points: Sequence[Point],
    params: Mapping[str, object],
    started_at: float,
    on: str = "",
    checkpoint: int | None = None,
) -> Card:
    """A run while it goes on: how far it is, where its numbers stand, and the curves so far.

    on: its session. checkpoint: the epoch of the last one, counted from 0, where it keeps one of each.
    """
    epochs = count_epochs(points, epochs_of(params), is_over=False, checkpoint=checkpoint)
    stop = f"`%train stop {Uri.parse(uri).label}`"
    return Card(
        kind=KIND,
        uri=uri,
        state=mark_of("running"),
        when=f"frame of {time.strftime('%H:%M:%S')}",
        progress=_progress(points, epochs, max(0.0, time.time() - started_at)),
        figures=_figures(latest(points), None),
        parts=[Plots(plots(points, epochs))],
        next=[
            f"It goes on in {on} when this kernel is interrupted. Stop in the side panel ends it, or {stop}"
            if on
            else f"Interrupt the kernel or press Stop in the side panel to end it: {stop}"
        ],
    )


def run_card(run: Run, advice: str) -> Card:
    """A run as it is: what came of it, its curves, and how to go on."""
    points, label = run.points(), Uri.parse(run.uri).label
    is_live = run.state in ("starting", "running", "stopping")
    epochs = count_epochs(points, epochs_of(run.params), is_over=not is_live)
    best = best_of_run(points, epochs)
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
        "checkpoint",
    )
    facts = [(name, shown(name, value)) for name, value in run.params.items()]
    facts += run.facts(
        *left_out, "tracked_as", "machine", "path", "metrics_from", "model", "table", "is_timeless", "stored", "notes"
    )
    facts += _columns(run)
    ended = f" · ended {shown('_at', run.started_at + run.duration_s)}" if not is_live else ""
    return Card(
        kind=KIND,
        uri=run.uri,
        state=mark_of(run.state),
        when=f"{show_duration(run.duration_s)}{ended}",
        lead=_lead(run, best),
        advice=advice,
        facts=[*facts, *_held_out(run), *_checkpoint(run), ("code", run.code_digest[:12])],
        figures=_figures(run.metrics, best),
        parts=[Plots(plots(points, epochs))],
        notes=[
            *_hidden(run.metrics),
            *filter(None, (about_metrics(run.metrics_from), _unsaved(run), *run.notes, _promise(run))),
        ],
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
        lead=_compared(found, ours, theirs, sum(what != "code" for what, *_ in differs)),
        parts=[
            *_on_same_rows(found, ours, theirs),
            Table(("metric", Number(theirs), Number(ours), "difference"), list(_metric_rows(found.metrics)),
                  "As each run measured it" if found.paired else ""),
            Plots(_overlaid(found.curves)),
            Table(("what", theirs, ours), [(what, before, Strong(after)) for what, before, after in differs],
                  "What differs"),
            *([Fold("the code that differs", Quote(found.code))] if found.code else []),
        ],
        notes=[*_about_pair(found), *_about_compared(found.metrics)],
    )  # fmt: skip


def _on_same_rows(found: RunComparison, ours: str, theirs: str) -> list[Table]:
    if found.paired is None:
        return []
    from . import paired_card

    return [paired_card.table_of(found.paired, ours, theirs)]


def _about_pair(found: RunComparison) -> list[str]:
    if found.paired is None:
        return [f"They were not compared on the same held out rows: {found.unpaired}."] if found.unpaired else []
    from . import paired_card

    return paired_card.notes_of(found.paired)


def _about_compared(metrics: Sequence[ComparedMetric]) -> list[str]:
    of_batches = [one.name for one in metrics if not one.is_judged]
    batches = f"{', '.join(of_batches)}: the last value, of one batch, which says nothing of the run."
    how = (
        "In the metrics, **bold** is the better value: of what was measured more than once the best of each run, as "
        "`%train show` has it. One run each: chance alone may make a small difference."
    )
    return [*([how] if _shared(metrics) else []), *([batches] if of_batches else [])]


def plots(points: Sequence[Point], epochs: Epochs) -> list[Picture]:
    """A plot for the losses, which share their axes, and one for each other metric: at most six.

    The axis of a metric that is measured once an epoch spans all of them from the start.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(point.name for point in points):
        if is_of_the_end(points, name):
            continue
        groups.setdefault("loss" if is_loss(name) else name, []).append(name)
    return [_plot(title, names, points, epochs) for title, names in [*groups.items()][:MOST_PLOTS]]


def _hidden(metrics: Mapping[str, float]) -> list[str]:
    """What the card has no room for, when that is so."""
    more = [f"{name} {shown(name, value)}" for name, value in [*metrics.items()][_MOST_FIGURES:]]
    return [f"Further metrics, last: {', '.join(more)}."] if more else []


def curve_column(runs: Sequence[Run]) -> TableColumn:
    """The curve of what says most of each run, small; of as many runs as a list shows."""
    drawn = [_spark(run.points()) for run in runs[:MAX_ROWS]]
    names = {name for name, _ in drawn if name}
    title = names.pop() if len(names) == 1 else "curve"
    cells: list[Cell] = [(cell, Dim(name)) if name and title == "curve" else cell for name, cell in drawn]
    return TableColumn(title, [*cells, *[""] * len(runs[MAX_ROWS:])])


def _spark(points: Sequence[Point]) -> tuple[str, Picture | str]:
    best = best_of_run(points, Epochs())
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


def _plot(title: str, names: Sequence[str], points: Sequence[Point], epochs: Epochs) -> Picture:
    mine = [point for point in points if point.name in names]
    lines, by_epoch = _lines(names, mine, epochs)
    best = None
    # Of lines that were measured equally often, the held-out one counts: it is last, and carries the star.
    name = next((one for one in names if is_held_out(one)), names[0])
    lower = is_lower_better(name)
    is_per_epoch = epochs.has(mine[-1].step + 1) if mine else False
    # As for the sentence of the card: of batches that were learned from, the lowest loss says nothing.
    is_judged = is_held_out(name) or lower is False or is_per_epoch
    if lower is not None and len(lines[name]) > 1 and is_judged:
        best = (min if lower else max)(lines[name], key=lambda point: point[1])
    at = f"{shown(name, best[1])} at {'epoch' if by_epoch else 'step'} {best[0]:g}" if best else ""
    ends = [f"{one} went from {line[0][1]:.4g} to {line[-1][1]:.4g}" for one, line in lines.items()]
    which = f"{name} " if len(lines) > 1 else ""
    alt = "; ".join([*ends, *([f"best is {which}{at}"] if at else [])])
    # A noisy line is drawn by its means; one that carries the best keeps each of its points.
    ordered = {
        one: lines[one] if one == name and best else averaged(lines[one])
        for one in sorted(lines, key=lambda one: one == name)
    }
    return drawing.curves(
        f"{title}{_ARROWS[lower]}", ordered, alt=alt, best=best, at_best=at, x_title="epoch" if by_epoch else "step",
        x_end=epochs.wanted if by_epoch else None,
    )  # fmt: skip


def _lines(names: Sequence[str], points: Sequence[Point], epochs: Epochs) -> tuple[dict[str, Curve], bool]:
    """The lines of one plot over their common axis, and whether that counts epochs.

    The axis is the steps of what was measured most often: a hold-out's loss, measured once an epoch, stands where its
    epoch ended.
    """
    counts = Counter(point.name for point in points)
    finest = max(names, key=lambda name: counts[name])
    by_epoch = epochs.has(max(point.step for point in points) + 1)
    lines: dict[str, Curve] = {name: [] for name in names}
    at = 0
    for point in points:
        at = point.step if point.name == finest else at
        lines[point.name].append((at + 1, point.value))
    return {name: line for name, line in lines.items() if line}, by_epoch


def _progress(points: Sequence[Point], epochs: Epochs, took_s: float) -> Progress:
    if epochs.wanted is None or epochs.done is None:
        most = max(Counter(point.name for point in points).values(), default=0)
        reached = f"step **{most:,}**" if most else "nothing is measured yet"
        return Progress(0, 1, f"{reached} · {show_duration(took_s)}")
    left_s = _left_s(points, epochs.by, epochs.wanted - epochs.done)
    left = f" · about **{show_duration(left_s)}** left" if left_s else ""
    text = f"epoch **{epochs.done}** of {epochs.wanted} · {show_duration(took_s)}{left}"
    return Progress(epochs.done, epochs.wanted, text)


def _left_s(points: Sequence[Point], by: str, epochs: int) -> float:
    """How long so many more epochs take, by those that were measured; 0 where that is not known.

    Not by how long the run has taken, of which imports and reading the rows may be the most. by: what was measured
    once in each.
    """
    ended = [point.at for point in points if point.name == by]
    if len(ended) > 1:
        epoch_s = (ended[-1] - ended[0]) / (len(ended) - 1)
    elif ended and len(points) > 1:  # what is measured within an epoch was measured first when it began
        epoch_s = ended[0] - points[0].at
    else:
        return 0.0
    # The one that goes on may take longer than those before, and the others are still to come.
    return max(epochs * epoch_s - (time.time() - ended[-1]), (epochs - 1) * epoch_s, 0.0)


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
            why = run.problem.partition("\n")[0]
            if why.startswith(f"{run.uri} failed "):
                return f"**It failed** {why.removeprefix(f'{run.uri} failed ')}"
            return f"**It failed:** {why}" if why else "**It failed.**"
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
    if ended is None or ended == best.value:
        return found
    return f"{found} After that it got worse, to {apart(ended, best.value)[0]} at its end."


def _checkpoint(run: Run) -> list[tuple[str, str]]:
    return [("checkpoint", str(run.progress))] if run.progress else []


def _unsaved(run: Run) -> str:
    return (
        "It saved no model: `run.save(model)` in its cell keeps one." if run.state == "done" and not run.model else ""
    )


def _held_out(run: Run) -> list[tuple[str, str]]:
    return [("measured on", f"{run.stored.rows:,} held out rows, as served")] if run.stored else []


def _promise(run: Run) -> str:
    return no_promise(run.table, run.is_timeless)


def _columns(run: Run) -> list[tuple[str, str]]:
    """What of plain data was learned from, and to predict what."""
    if run.table is None:
        return []
    out = run.table.left_out
    without = f", without {', '.join(out[:_MOST_NAMES])}{', …' if len(out) > _MOST_NAMES else ''}" if out else ""
    return [
        ("label", ", ".join(run.table.label)),
        ("columns", f"{len(run.table.columns)}{without}"),
        *([("timestamp", run.table.timestamp)] if run.table.timestamp else []),
    ]


def _next(run: Run, label: str) -> list[str]:
    if run.state in ("starting", "running", "stopping"):
        return [f"Next: `%train log {label}` · `%train stop {label}`"]
    if run.state != "done" or not run.model:
        return [f"Next: `%train log {label}`"]
    name = Uri.parse(run.uri).name
    return [f"Next: `%models add {name} --run {run.uri}` · `%train diff {label} {name}@champion`"]


def _compared(found: RunComparison, ours: str, theirs: str, others: int) -> str:
    """The finding. others: how many things differ besides the metrics and the code."""
    if found.note:
        return sentence(found.note)
    if not found.changes and not found.code:
        return "Nothing differs."
    measured = _measured_by(found, ours, theirs)
    if not others:
        return f"{measured} They differ in the code alone." if found.code else measured
    counts = f"the code and {counted(others, 'other thing')}" if found.code else counted(others, "thing")
    return f"{measured} They differ in {counts}."


def _measured_by(found: RunComparison, ours: str, theirs: str) -> str:
    """What is known of which is better: on the same rows, where that could be had."""
    if found.paired is None:
        return _measured(found.metrics, ours, theirs)
    from . import paired_card

    return paired_card.sentence_of(found.paired, ours, theirs)


def _measured(metrics: Sequence[ComparedMetric], ours: str, theirs: str) -> str:
    """What the metrics that both runs have say of them."""
    shared = _shared(metrics)
    moved: dict[str, list[str]] = {}
    for name, before, after, is_judged in shared:
        if before != after:
            lower = is_lower_better(name) if is_judged else None
            word = "" if lower is None else "better in " if (after < before) is lower else "worse in "
            moved.setdefault(word, []).append(name)
    judged = [f"**{word}{', '.join(moved[word])}**" for word in ("better in ", "worse in ") if word in moved]
    if judged:
        return f"{ours} is {' and '.join(judged)} than {theirs}."
    if moved:
        return f"{ours} and {theirs} differ in {', '.join(moved[''])}."
    return f"{ours} and {theirs} {'measured the same' if shared else 'share no metric'}."


def _shared(metrics: Sequence[ComparedMetric]) -> list[tuple[str, float, float, bool]]:
    return [
        (name, before, after, is_judged)
        for name, before, after, is_judged in metrics
        if before is not None and after is not None
    ]


def _cut(value: str) -> str:
    """A digest as far as anybody reads it."""
    return value[:12] if len(value) == _DIGEST and value.isalnum() else value


def _metric_rows(metrics: Sequence[ComparedMetric]) -> Iterator[Sequence[str | Strong]]:
    for name, before, after, is_judged in metrics:
        if before is None or after is None:
            yield name, shown(name, before), shown(name, after), "measured by one of them alone"
            continue
        texts = apart(before, after)
        lower = is_lower_better(name) if is_judged else None
        sign = f"{'↑' if after > before else '↓'} {show_difference(after, before)}" if after != before else "= same"
        if lower is None or after == before:
            yield name, *texts, sign
            continue
        is_better = (after < before) is lower
        pair = (texts[0], Strong(texts[1])) if is_better else (Strong(texts[0]), texts[1])
        yield name, *pair, f"{sign} {'better' if is_better else 'worse'}"


def _overlaid(runs: Mapping[str, RunCurves]) -> list[Picture]:
    """A plot for each metric that all runs measured twice or more, at most two, with a line for each run.

    Its axis counts epochs where that of each run alone does.
    """
    counts = [Counter(point.name for point in run.points) for run in runs.values()]
    shared = [name for name in (counts[0] if counts else ()) if all(count[name] > 1 for count in counts)]
    shared.sort(key=lambda name: (not is_held_out(name), counts[0][name]))
    made = []
    for name in shared[:2]:
        lines = {
            label: [(point.step + 1.0, point.value) for point in run.points if point.name == name]
            for label, run in runs.items()
        }
        by_epoch = all(run.epochs.has(int(lines[label][-1][0])) for label, run in runs.items())
        alt = "; ".join(f"{name} of {label} ended at {line[-1][1]:.4g}" for label, line in lines.items())
        title = f"{name}{_ARROWS[is_lower_better(name)]}"
        drawn = {label: averaged(line) for label, line in lines.items()}
        made.append(drawing.curves(title, drawn, alt=alt, x_title="epoch" if by_epoch else "step", is_wide=True))
    return made
