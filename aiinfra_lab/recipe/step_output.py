"""What a run, or a step of one, has put out, read from executed notebooks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import files
from ..errors import Conflict, LabError, NotFound, did_you_mean
from ..resolve import resolve
from ..secrets import redactor
from ..show import Card, Part, Quote, Result, mark_of
from ..units import counted
from ..uris import Uri
from . import archives, history
from .history import KIND
from .record import RunRecord, StepRecord
from .recorded import RecordedRun

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MOST_LINES = 2000


@dataclass(frozen=True)
class StepOutput(Result):
    """The output of one step. text: of all its cells, each behind a line that names it. archive: its executed
    notebook. is_edited: whether that is another file now than when the run ended. into: where a copy of it was written.
    """

    kind = "Step output"

    uri: str
    step: str
    state: str
    text: str
    archive: str
    is_edited: bool = False
    into: str = ""

    def card(self) -> Card:
        """The end of it, and where all of it is."""
        shown: list[Part] = [self.shown(_MOST_LINES)] if self.text else []
        return Card(
            kind=self.kind,
            uri=self.uri,
            lead=f"**{self.step}** of {self.uri}: {self.state}{'' if self.text else ', and nothing was put out'}.",
            facts=[("executed notebook", self.into or self.archive)] if self.archive else [],
            parts=shown,
            notes=["**The executed notebook was edited after the run**: this is not what the step put out."]
            if self.is_edited
            else [],
            next=[f"Next: `%recipe show {Uri.parse(self.uri).label}`"],
        )

    def shown(self, most_lines: int) -> Quote:
        """At most so many lines of it, the last ones."""
        lines = self.text.splitlines()
        cut = f"…\n{chr(10).join(lines[-most_lines:])}" if len(lines) > most_lines else self.text
        return Quote(cut, label=self.step)


@dataclass(frozen=True)
class RunOutput(Result):
    """The output of all steps of a run, in its order. lacking: of which steps there is none to be read, and why."""

    kind = "Run output"

    uri: str
    state: str
    steps: tuple[StepOutput, ...]
    lacking: tuple[str, ...] = ()

    def card(self) -> Card:
        """The end of each."""
        with_text = [step for step in self.steps if step.text]
        edited = [step.step for step in self.steps if step.is_edited]
        notes = [f"**Edited after the run**: the executed notebooks of {', '.join(edited)}."] if edited else []
        return Card(
            kind=self.kind,
            uri=self.uri,
            state=mark_of(self.state),
            lead=f"**{len(with_text)} of {counted(len(self.steps), 'step')}** put something out."
            if with_text
            else "**Nothing was put out.**",
            parts=[step.shown(_MOST_LINES // len(with_text) + 1) for step in with_text],
            notes=[*notes, *self.lacking],
            next=[f"Next: `%recipe show {Uri.parse(self.uri).label}`"],
        )


def run_output(uri: Uri) -> RunOutput:
    """Of a run, NAME@N. NotFound when there is no such run."""
    run = _looked_at(uri)
    found, lacking = list[StepOutput](), list[str]()
    for step in run.record.steps:
        try:
            found.append(_output(run.record, step.name))
        except LabError as problem:
            lacking.append(f"**{step.name}**: {problem.what}; {problem.fix}")
    return RunOutput(run.record.uri, run.state, tuple(found), tuple(lacking))


def step_output(label: str, step: str) -> StepOutput:
    """Of a recipe's newest run, or of NAME@N. NotFound when there is no such run or step, or its notebook is gone."""
    return _output(_looked_at(Uri.parse(label, KIND)).record, step)


def _looked_at(uri: Uri) -> history.ObservedRun:
    # Not as it was looked at before: another process may have completed its executed notebooks since.
    (run,) = history.observe([RecordedRun(resolve(uri, RunRecord), skip_unreadable=True)])
    return run


def _output(run: RecordedRun, step: str) -> StepOutput:
    found = run.step(step)
    if found is not None and found.state == "cannot be read":
        found = history.recorded_run(run.name).step(step)  # says why
    if found is None:
        raise NotFound(f"{run.uri} has no step {step!r}", did_you_mean(step, [one.name for one in run.steps]))
    archive = archives.path_of(found.archive)
    if found.archive and found.state != "running" and archives.journal_of(archive).is_dir():
        found = history.note_archives(run, {step: archives.close_lost(archive)}).step(step) or found
    text = redactor().clean(_text(run.uri, found))
    edited = found.archive_sha256 not in ("", archives.digest_of(archive))
    return StepOutput(run.uri, step, found.state, text, str(archive) if found.archive else "", edited)


def executed(label: str, step: str) -> tuple[StepOutput, str]:
    """The same, and its executed notebook without what is known to be secret; NotFound also where it has none.

    Where the run was killed it has what was put out until then.
    """
    found = step_output(label, step)
    if not found.archive or not Path(found.archive).is_file():
        raise NotFound(f"{step} has no executed notebook in {found.uri}: {found.state}", f"`%recipe show {label}`")
    return found, redactor().clean(Path(found.archive).read_text("utf-8"))


def written(label: str, step: str, into: Path) -> StepOutput:
    """Write that into a file. Conflict where another file is there."""
    found, text = executed(label, step)
    if into.exists() and into.read_bytes() != text.encode():
        raise Conflict(f"{into} is there already, and is another file", "name a new one with --into")
    files.write(into, text, mode=0o666, fix="name a file that you may write with --into")
    return replace(found, into=str(into))


def _text(run: str, step: StepRecord) -> str:
    if not step.archive or step.state in ("waiting", "blocked", "not run"):
        return ""
    again = f"run it once more: `%recipe run {Uri.parse(run).name} --force`"
    try:
        notebook = json.loads(archives.path_of(step.archive).read_text("utf-8"))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    except FileNotFoundError:
        if step.state == "running" or (step.state == "lost" and not step.archive_sha256):
            return ""  # it has just begun, or had when its run was killed
        raise NotFound(f"the executed notebook of {step.name} in {run} is gone", again) from None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise NotFound(f"{step.archive} cannot be read: {problem}", again) from None
    found = [(cell.get("execution_count") or " ", "".join(map(_of_output, cell["outputs"]))) for cell in cells]
    return "".join(f"[{count}]\n{text.removesuffix(chr(10))}\n" for count, text in found if text)


def _of_output(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return _joined(output["text"])
    if output["output_type"] == "error":
        return _COLOUR.sub("", "\n".join(output["traceback"])) + "\n"
    text = _joined(output["data"].get("text/plain", ""))
    return text + "\n" if text else ""


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
