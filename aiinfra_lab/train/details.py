"""What a run shows of itself in a list and to whoever looks closer, out of its record and its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .. import logs
from ..nouns import LOG_LINES, Details, Fact
from ..show import moment
from ..units import show_duration
from . import history, record, rendering
from .metrics import count_epochs, epochs_of
from .observing import ObservedTraining

_MOST_PARAMS = 8


def figure(run: ObservedTraining) -> str:
    """The loss as it stands, or the first thing that it measures, while it goes on."""
    found = _now(run) if run.is_live else {}
    name = next((name for name in found if "loss" in name), next(iter(found), ""))
    return f"{name} {found[name][1]:.3g}" if name else ""


def facts(run: ObservedTraining) -> tuple[str, ...]:
    """What else its line says, while it goes on."""
    if not run.is_live:
        return ()
    step = max((step for step, _ in _now(run).values()), default=None)
    within = f"on {run.record.body.on}" if run.record.body.on else ""
    return tuple(filter(None, ("" if step is None else f"step {step + 1:,}", within)))


def details(run: ObservedTraining) -> Details:
    """All that it left, with its curve."""
    body, folder = run.record.body, record.folder(run.record.name)
    points = history.read(folder / history.FILE)
    drawn = rendering.plots(points, count_epochs(points, epochs_of(body.params), is_over=not run.is_live))
    printed = logs.tail(folder / "output.txt", 16_384).decode("utf-8", "replace").splitlines()
    problem = body.problem.what if run.state != "killed" else "its process vanished without a word"
    return Details(
        facts=tuple(_facts(run, history.latest(points) if run.is_live else body.metrics)),
        problem=problem,
        fix=body.problem.fix,
        picture=drawn[0].svg if drawn else "",
        picture_alt=drawn[0].alt if drawn else "",
        log="\n".join([*printed, *body.trace.splitlines()][-LOG_LINES:]),
    )


def _facts(run: ObservedTraining, metrics: Mapping[str, float]) -> Iterator[Fact]:
    body = run.record.body
    yield from (Fact(name, f"{value:.4g}") for name, value in metrics.items())
    yield Fact("took" if run.ended_at else "runs for", show_duration(run.duration_s))
    if body.rows:
        yield Fact("rows", body.rows)
    for name, value in list(body.params.items())[:_MOST_PARAMS]:
        yield Fact(name, str(value))
    if body.on:
        yield Fact("session", body.on)
    if body.resumed_from:
        yield Fact("resumed", body.resumed_from)
    if not run.is_live and body.ended_at:
        yield Fact("ended", moment(body.ended_at))


def _now(run: ObservedTraining) -> Mapping[str, tuple[int, float]]:
    """Each metric's last step and value, out of the end of its file: it is looked at every two seconds."""
    return history.newest(record.folder(run.record.name) / history.FILE)
