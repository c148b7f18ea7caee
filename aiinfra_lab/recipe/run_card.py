"""How a run of a recipe looks: while it runs, and when it is over."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..show import (
    Card,
    Cell,
    Dim,
    NotebookName,
    Number,
    Part,
    Plots,
    Progress,
    Quote,
    StateMark,
    Table,
    graph,
    mark_of,
    moment,
)
from ..units import counted, show_duration, show_usd
from ..uris import Uri
from . import holding
from .base import ENDED_EARLY, FAILED, FAILURES, is_file
from .history import KIND
from .parameters import as_text
from .record import NO_FILE

if TYPE_CHECKING:
    from .results import RunStep

_MOST_STEPS, _MOST_NAMES, _MOST_LOOKS = 40, 5, 2
_MOST_LINES, _MOST_LETTERS = 12, 1500
_MOST_REASONS, _MOST_OF_A_REASON = 3, 160
_FIX = "\n  fix: "


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a run's own record does not hold.

    needs: step → the steps that it comes after, as the recipe says now. usual_s: step → how long it mostly takes.
    parameters: what the run was given. begun_by: its schedule or what happened, where no person began it.
    usd_per_hour: the price of this machine, on which its steps run; 0 where none is set.
    """

    needs: Mapping[str, Sequence[str]]
    usual_s: Mapping[str, float]
    parameters: Mapping[str, Any]
    begun_by: str = ""
    usd_per_hour: float = 0.0


def run_card(
    uri: str,
    state: str,
    title: str,
    started_at: float,
    duration_s: float | None,
    steps: Mapping[str, RunStep],
    context: RunContext,
    archive: str,
    *,
    run_error: str = "",
    budget_usd: float | None = None,
    spent_usd: float | None = None,
) -> Card:
    """The card of a run. run_error: why it failed, where that is no step's. spent_usd: None while it goes on."""
    is_over = state not in ("running", "stopping")
    took = time.time() - started_at if duration_s is None else duration_s
    spent = took / 3600 * context.usd_per_hour if spent_usd is None else spent_usd
    broken = next(
        (name for name, step in steps.items() if step["state"] == state and state in (*FAILURES, "lost")), None
    )
    error, _, fix = (run_error or (steps[broken]["error"] if broken else "")).partition(_FIX)
    return Card(
        kind="Recipe run",
        uri=uri,
        state=mark_of(state, uri),
        when=_when(started_at, took, is_over=is_over),
        lead=_lead(state, steps, broken, error) if is_over else "",
        advice=fix.strip().rstrip(".") + "." if fix else "",
        progress=None if is_over else _progress(steps, context),
        facts=[
            ("recipe", title),
            *_given(context),
            *_budget(spent, budget_usd),
            *(_archives(archive, steps) if is_over else ()),
        ],
        parts=[*_graph(steps, context), _steps(steps, context, broken, took), *_quoted(error)],
        notes=[note for name, step in steps.items() for note in _of_files(name, step)],
        next=_next(uri, state, steps, context),
    )  # fmt: skip


def _when(started_at: float, took: float, *, is_over: bool) -> str:
    return f"{'' if is_over else 'since '}{moment(started_at)}, {show_duration(took)}"


def _lead(state: str, steps: Mapping[str, RunStep], broken: str | None, error: str) -> str:
    count = Counter(step["state"] for step in steps.values())
    if state in FAILURES and broken:
        said = _first_line(error) or "it says no more"
        return f"**Step {broken} {FAILED[state]}{_in_cell(steps[broken])}:** {said}{'' if said[-1] in '.!?:' else '.'}"
    if state in FAILURES and error:
        return f"**It {FAILED[state]}:** {error}."
    if state == "lost":
        at = f" while step {broken} ran" if broken else ""
        return f"**Its process vanished{at}**: it was killed, or its machine went away."
    if state in ENDED_EARLY:
        at = next((f" in step {name}" for name, step in steps.items() if step["state"] == state), "")
        return f"**It was {state}{at}**."
    if count["skipped"] == len(steps) and steps:
        return f"**Nothing had changed:** {'all ' * (len(steps) > 1)}{counted(len(steps), 'step')} skipped."
    if unread := count["cannot be read"]:
        return f"**It is done**, but {counted(unread, 'step')} cannot be read."
    skipped = f" {counted(count['skipped'], 'step')} of them had not changed." if count["skipped"] else ""
    return f"**{'All ' * (len(steps) > 1)}{counted(len(steps), 'step')} done.**{skipped}"


def _in_cell(step: RunStep) -> str:
    return "" if step["cell"] is None else f" in cell {step['cell']}"


def _progress(steps: Mapping[str, RunStep], context: RunContext) -> Progress:
    done = sum(step["state"] in ("done", "skipped") for step in steps.values())
    text = f"**{done}** of {counted(len(steps), 'step')}"
    open_ = {name: step for name, step in steps.items() if step["state"] in ("waiting", "running")}
    # An estimate only where every step that is to come has run before.
    if open_ and all(name in context.usual_s for name in open_):
        left = sum(max(0.0, context.usual_s[name] - _ran(step)) for name, step in open_.items())
        text += f" · at most about **{show_duration(left)}** left" if left >= 1 else ""
    return Progress(done, max(1, len(steps)), text)


def _ran(step: RunStep) -> float:
    if step["seconds"] is not None:
        return step["seconds"]
    return time.time() - step["began_at"] if step["began_at"] and step["state"] == "running" else 0.0


def _given(context: RunContext) -> list[tuple[str, str]]:
    begun = [("begun by", context.begun_by)] if context.begun_by else []
    return [*begun, *((name, str(value)) for name, value in context.parameters.items())]


def _budget(spent_usd: float, budget_usd: float | None) -> list[tuple[str, str]]:
    return [("budget", f"{show_usd(spent_usd)} of {show_usd(budget_usd)} spent")] if budget_usd is not None else []


def _archives(archive: str, steps: Mapping[str, RunStep]) -> list[tuple[str, str]]:
    """Where the executed notebooks are: those of the run, or of the earlier ones that its steps were skipped as in."""
    folders = [archive] if archive else dict.fromkeys(str(one) for step in steps.values() if (one := archived(step)))
    return [("executed notebooks", folder) for folder in folders]


def archived(step: RunStep) -> Path | None:
    """The folder of the run that executed the step's notebook: an earlier one's for a step that was skipped."""
    return Path(step["archive"]).parent if step["archive"] else None


def _has_notebook(step: RunStep) -> bool:
    return bool(step["archive"]) and Path(step["archive"]).is_file()


def _mark(step: RunStep) -> StateMark:
    return mark_of(step["state"])


def _graph(steps: Mapping[str, RunStep], context: RunContext) -> list[Part]:
    edges = [(before, name) for name in steps for before in context.needs.get(name, ())]
    if len(steps) < 2 or not edges:
        return []
    nodes = [graph.Node(name, name, _detail(name, step, steps, context), _mark(step)) for name, step in steps.items()]
    alt = ", ".join(f"{name} {_mark(step).word}" for name, step in steps.items())
    return [Plots([graph.draw(nodes, edges, alt=alt)])]


def _detail(name: str, step: RunStep, steps: Mapping[str, RunStep], context: RunContext) -> str:
    """The second line of a step's box: 14 letters, which is what a narrow one has room for."""
    match step["state"]:
        case "skipped":
            return "skipped: same"
        case "waiting":
            waits = len(_open(name, steps, context))
            return f"after {counted(waits, 'step')}" if waits else "is next"
        case "failed" if step["cell"] is not None:
            return f"cell {step['cell']} failed"
        case "done" | "running":
            return show_duration(_ran(step))
        case _:
            return _UNRUN.get(step["state"], _mark(step).word)


_UNRUN = {"blocked": "source failed", "not run": "run had ended"}


def _open(name: str, steps: Mapping[str, RunStep], context: RunContext) -> list[str]:
    """The steps that it still waits for: those it needs, or whatever runs before it."""
    needed = [one for one in context.needs.get(name, ()) if one in steps and steps[one]["state"] in _OPEN]
    return needed or [one for one, step in steps.items() if step["state"] == "running"]


_OPEN = ("waiting", "running")


def _steps(steps: Mapping[str, RunStep], context: RunContext, broken: str | None, run_s: float) -> Table:
    """broken: the step of which the card's sentence says why it failed. run_s: for how long the run has gone on."""
    with_usual = any(name in context.usual_s for name in steps)
    usual = [Number("usual")] if with_usual else []
    cost = [Number("cost")] if context.usd_per_hour else []
    rows: list[tuple[Cell, ...]] = [
        (
            NotebookName(name) if _has_notebook(step) else name,
            _mark(step),
            _in_cell(step).strip() if name == broken else _why(name, step, steps, context).replace("`", ""),
            _time(step),
            *_usual(name, context, with_usual),
            *_cost(step, context),
            _made(step),
        )
        for name, step in steps.items()
    ]
    took = sum(map(_ran, steps.values()))
    # Not the sum of theirs: the machine is paid once, however many go on at a time, and between them too.
    at_once = "at once, " if _union_s(steps.values()) < 0.99 * took else ""
    lasted = f"{at_once}in a run of {show_duration(run_s)}" if at_once or cost else ""
    total: list[Cell] = ["all", "", lasted, show_duration(took) if took else Dim("–")]
    if with_usual:
        total.append(show_duration(sum(context.usual_s.get(name, 0.0) for name in steps)))
    if cost:
        total.append(show_usd(run_s / 3600 * context.usd_per_hour))
    titles = ("step", "state", "why", Number("time"), *usual, *cost, "made")
    return Table(titles, rows, total=[*total, ""] if len(steps) > 1 else (), most=_MOST_STEPS)


def _time(step: RunStep) -> Cell:
    return show_duration(_ran(step)) if _is_spent(step) else Dim("–")


def _usual(name: str, context: RunContext, with_usual: bool) -> list[Cell]:
    if not with_usual:
        return []
    return [show_duration(context.usual_s[name]) if name in context.usual_s else Dim("–")]


def _cost(step: RunStep, context: RunContext) -> list[Cell]:
    """What its time costs on this machine; nothing where that has no price."""
    if not context.usd_per_hour:
        return []
    return [show_usd(_ran(step) / 3600 * context.usd_per_hour) if _is_spent(step) else Dim("–")]


def _union_s(steps: Iterable[RunStep]) -> float:
    """The seconds in which at least one of them ran."""
    spans = sorted((each["began_at"], each["began_at"] + _ran(each))
                   for each in steps if each["began_at"] is not None and _is_spent(each))  # fmt: skip
    total, until = 0.0, 0.0
    for start, end in spans:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def _is_spent(step: RunStep) -> bool:
    """Whether its time is known: an earlier version wrote none of a step whose process vanished."""
    state, seconds = step["state"], step["seconds"]
    return state == "running" or (seconds is not None and state not in ("waiting", "skipped", "blocked", "not run"))


def _made(step: RunStep) -> Cell:
    return " ".join(step["outputs"].values()) or Dim("–")


def _why(name: str, step: RunStep, steps: Mapping[str, RunStep], context: RunContext) -> str:
    match step["state"]:
        case "skipped":
            folder = archived(step)
            as_in = f" as in {Uri.parse(folder.name, KIND)}" if folder else ""
            return f"same code, parameters and inputs{as_in}"
        case "waiting":
            return f"for {_few(_open(name, steps, context))}" if _open(name, steps, context) else "it is next"
        case "failed" | "timeout" | "killed" | "oom":
            return f"{_in_cell(step).strip()}: {_first_line(step['error'])}".removeprefix(": ")
        case "not run":
            return _first_line(step["error"]) or "the run ended before it"
        case "done" | "running":
            ran = "ran" if step["state"] == "done" else "runs"
            return f"{ran}: {few_reasons(step['because'])}" if step["because"] else ""
        case _:
            return _first_line(step["error"])


def _of_files(name: str, step: RunStep) -> Iterator[str]:
    """What a step's files had to do with it, in sentences."""
    if step["changed"]:
        yield f"{name}: {_few(step['changed'])} changed while it ran, so it runs again next time."
    if step["state"] == "skipped":
        return  # that is told of the run that ran it
    if step["wrote"]:
        yield f"{name} wrote {_few(step['wrote'])}, which `out` does not name."
    # A module is code, which nobody declares; that it changed is seen all the same.
    files = [one for one in step["opened"] if not one["name"].endswith((".py", ".ipynb")) and one["digest"] != NO_FILE]
    if by_step := [one["name"] for one in files if one["by_step"]]:
        yield f"{name} opened {_few(by_step, step['opened_more'])}, which `in` does not name."
    if meanwhile := [one["name"] for one in files if not one["by_step"]]:
        were = "was" if len(meanwhile) == 1 else "were"
        yield f"While {name} ran, {_few(meanwhile)} {were} opened, which `in` does not name."


def _few(names: Sequence[str], more: int = 0) -> str:
    left = max(0, len(names) - _MOST_NAMES) + more
    return ", ".join(names[:_MOST_NAMES]) + (f" and {left} more" if left else "")


def few_reasons(reasons: Sequence[str]) -> str:
    """The first of them, each cut to what a cell of a table has room for."""
    shown = [one if len(one) <= _MOST_OF_A_REASON else f"{one[:_MOST_OF_A_REASON]}…" for one in reasons[:_MOST_REASONS]]
    left = len(reasons) - len(shown)
    return "; ".join(shown) + (f"; and {left} more" if left else "")


def _quoted(error: str) -> list[Part]:
    """A single line stands in the sentence already."""
    return [Quote(_cut(error))] if "\n" in error.strip() else []


def _first_line(error: str) -> str:
    return error.strip().partition("\n")[0][:200]


def _cut(error: str) -> str:
    """The error's end, which says most; its fix stands above."""
    lines = error.strip().splitlines()
    text = "\n".join(["…", *lines[-_MOST_LINES:]] if len(lines) > _MOST_LINES else lines)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"


def again(uri: str, parameters: Mapping[str, Any]) -> str:
    """The command that runs the same once more: unchanged steps are skipped."""
    given = "".join(f" -p {shlex.quote(f'{key}={as_text(value)}')}" for key, value in parameters.items())
    return f"`%recipe run {Uri.parse(uri).name}{given}`"


def resume_command(uri: str, steps: Mapping[str, RunStep]) -> str:
    """What goes on at the cell that failed, and until when; empty where no kernel is held."""
    return resume_until(uri, held_until(uri, {name: step["held_until"] for name, step in steps.items()}))


def resume_until(uri: str, until: float) -> str:
    """The same, where that is known."""
    command = f"`%recipe run {Uri.parse(uri).label} --resume`"
    return f"{command} goes on there, in its kernel, until {moment(until)}" if until else ""


def held_until(uri: str, wanted: Mapping[str, float]) -> float:
    """To when a run's kernel is held now; 0 where none is. wanted: step → to when it was to be."""
    held = holding.until(Uri.parse(uri).name) if any(wanted.values()) else {}
    # A kernel may have ended before its time, or be a later run's by now.
    left = (until for name, until in wanted.items() if held.get(name) == until and until > time.time())
    return max(left, default=0.0)


def _next(uri: str, state: str, steps: Mapping[str, RunStep], context: RunContext) -> list[str]:
    label = Uri.parse(uri).label
    if state == "running":
        return [f"`%recipe stop {label}` stops it; what is done by then is skipped next time"]
    if state == "stopping":
        return [f"`%recipe show {label}` says when it has stopped"]
    made = [Uri.parse(thing) for step in steps.values() for thing in step["outputs"].values()
            if not is_file(thing)]  # fmt: skip
    looks = [f"`%{one.noun} show {one.label}`" for one in made[-_MOST_LOOKS:]]
    if state != "done":
        good = sum(step["state"] in ("done", "skipped") for step in steps.values())
        kept = f": {counted(good, 'step')} {'is' if good == 1 else 'are'} done" if good else ""
        # The cell that failed, for those who have no link to it.
        ended = [name for name, step in steps.items() if step["state"] == state and _has_notebook(step)]
        more = [f"`%recipe get {label}/{ended[0]} --into FILE.ipynb`"] if ended else looks[-1:]
        if held := resume_command(uri, steps):
            return [f"Next: correct the notebook; {held}{kept}", *more]
        return [f"Next: {again(uri, context.parameters)} goes on from there{kept}", *more]
    return [f"Next: {looks[0]}", *looks[1:], f"`%lab log {made[-1]}`"] if looks else []
