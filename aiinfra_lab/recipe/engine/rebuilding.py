"""Completes an executed notebook from the journal of its step, whose process was killed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import nbformat
from nbformat import NotebookNode

from ...errors import Unavailable
from ...files import remove_aside, take_lock, until
from ...kernels.kept import end_host, is_hosted
from ...leftovers import IN_MEMORY, remove_temporary
from ...secrets import Redactor, known_secrets
from .. import holding
from ..archives import FACTS, OWNER, journal_of
from ..base import OutcomeState
from .archive import AFTER, OWN, Archive, saved_at
from .client import CellRaised, KernelDied
from .replaying import (
    LEFT_OUT,
    RecordedClient,
    RecordedKernel,
    Recording,
    RecoveredSecrets,
    is_executed,
    recorded,
)
from .running import error_text
from .step_journal import (
    BEGUN,
    JOURNALS,
    MARK,
    JournalFacts,
    JournalMark,
    Named,
    check_of,
)

_REBUILDER = "rebuilder"  # in the journal's folder: locked while somebody reads it
_PATIENCE_S, _ENDS_S = 60.0, 10.0
_ASKED_S = 1.0  # somebody who only asks holds it for a moment
_REDACTED = "[secret "  # as a redactor has it
_FACTS = ("input_path", "output_path", "parameters")


def rebuild(archive: Path) -> bool:
    """Complete it, and remove the journal; False where nothing is to be completed, or its process lives.

    Of several at once one does it, and the others wait. Unavailable while its kernel does not end; LabError where it
    cannot be written, OSError where it cannot be read: the journal stays.
    """
    folder = journal_of(archive)
    with _alone(folder) as is_ours:
        if not is_ours:
            return False
        try:
            facts = msgspec.json.decode((folder / FACTS).read_bytes(), type=JournalFacts)
        except (FileNotFoundError, msgspec.MsgspecError):  # the machine went away before any of it was on the disk
            remove_aside(folder)
            return False
        is_here, kept = facts.place == str(folder), Path(os.path.normpath(folder / facts.kept))
        is_held = holding.find(kept) is not None
        if not is_held and not facts.client:
            _await_end(kept / "host", is_here=is_here)
        made = None if is_held or _is_over(archive) else _rendered(archive, folder, kept, facts)
        if made is not None:
            saved_at(archive)(made)
        if is_here:
            if not (is_held or facts.client or kept.is_relative_to(folder)):
                holding.end(kept)
            _forget(facts)
        remove_aside(folder)
        return made is not None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether this process is the one that takes it in."""
    with contextlib.ExitStack() as stack:
        for name, patience_s in ((_REBUILDER, _PATIENCE_S), (OWNER, _ASKED_S)):
            try:
                lock = take_lock(folder / name, patience_s)
            except FileNotFoundError:  # another one has
                lock = None
            if lock is None:
                yield False
                return
            stack.enter_context(lock)
        yield folder.is_dir()


def _await_end(host: Path, *, is_here: bool) -> None:
    """Until its core has ended, it writes down what the kernel sends."""
    if is_here:
        end_host(host)
    late = Unavailable("the kernel of a step whose run vanished has not ended yet", "look again in a moment")
    until(lambda: not is_hosted(host), late, within_s=_ENDS_S)


def _forget(facts: JournalFacts) -> None:
    if (in_memory := Path(facts.secrets).parent).parent == IN_MEMORY:
        remove_temporary(in_memory)


def _read(archive: Path) -> NotebookNode | None:
    """None where it is gone, or no whole notebook. OSError where that cannot be seen now."""
    try:
        found: NotebookNode = nbformat.read(archive, as_version=4)  # type: ignore[no-untyped-call]
    except FileNotFoundError:
        return None
    except (OSError, MemoryError):
        raise
    except Exception:  # noqa: BLE001  # of what else may lie there
        return None
    return found


def _is_over(archive: Path) -> bool:
    found = _read(archive)
    return found is not None and found.metadata.get(OWN, {}).get("state", "running") != "running"


def _rendered(archive: Path, folder: Path, kept: Path, facts: JournalFacts) -> NotebookNode | None:
    """The notebook as the journal has it; None where the archive has more of it, or that is of another execution."""
    recording, saved = recorded([kept / name for name in JOURNALS], facts.first, facts.client), _read(archive)
    notebook = _read(folder / BEGUN)
    if notebook is None or not _is_of(recording, notebook):
        return None
    after = saved.metadata.get(OWN, {}).get(AFTER) if saved is not None else None
    if saved is not None and not (recording.is_whole and _at(recording, after) >= 0):
        return None  # a session was started again since, or less of the journal than of it was on the disk
    secrets = _recovered(folder, facts)
    shown = recording.without(secrets)
    began = datetime.fromisoformat(notebook.metadata["papermill"]["start_time"])
    kernel = RecordedKernel(shown, began)
    said = {name: value for name, value in notebook.metadata["papermill"].items() if name in _FACTS}
    made = Archive(notebook, lambda _: None, said, now=lambda: kernel.now)
    made.redactor = secrets.redactor
    made.go_on_from(began)
    state, raised = _replayed(RecordedClient(made, secrets, kernel), notebook)
    if saved is not None and _at(recording, after) > _at(recording, secrets.after):
        _take_saved(notebook, saved)
    if raised is not None:
        made.point_to(raised.at, error_text(raised.name, raised.value))
    if state != "done":
        notebook.metadata["papermill"]["exception"] = True
    made.end(state)
    return notebook


def _replayed(client: RecordedClient, notebook: NotebookNode) -> tuple[OutcomeState, CellRaised | None]:
    """Execute what was executed; how that ended, and how a cell raised, if one did."""
    try:
        client.replay(_first(notebook))
    except CellRaised as raised:
        return "failed", raised
    except KernelDied:
        return "killed", None  # the cell says so
    return "done" if client.is_whole else "killed", None


def _recovered(folder: Path, facts: JournalFacts) -> RecoveredSecrets:
    known = known_secrets()
    if (kept := _kept(facts)) is not None:
        return RecoveredSecrets(Redactor([*kept, *known]))
    # The machine was started anew: what is known by now must be what was known then.
    try:
        mark = msgspec.json.decode((folder / MARK).read_bytes(), type=JournalMark)
    except (FileNotFoundError, msgspec.MsgspecError):
        mark = JournalMark("", ())
    checks = {(name, check_of(value, facts.token)) for name, value in known}
    return RecoveredSecrets(Redactor(known), mark.after if checks.issuperset(mark.secrets) else "")


def _kept(facts: JournalFacts) -> list[Named] | None:
    """What the run and its kernel have left in memory; None where that is gone, or not whole."""
    if not facts.secrets:  # there was no room
        return None
    try:
        if Path(facts.secrets).lstat().st_uid != os.getuid():
            return None
        token, *lines = Path(facts.secrets).read_text("utf-8").split("\n")
        return [tuple(json.loads(line)) for line in lines if line] if token == facts.token else None
    except (FileNotFoundError, ValueError):
        return None


def _is_of(recording: Recording, notebook: NotebookNode) -> bool:
    """Whether what it has run is the notebook's code, as far as that can be seen: a secret in it is written nowhere."""
    sources = [cell.source for cell in notebook.cells[_first(notebook) :] if is_executed(cell)]
    pairs = zip(sources, recording.codes, strict=False)
    return all(source == code or _REDACTED in source for source, code in pairs)


def _first(notebook: NotebookNode) -> int:
    """Which of its cells is the first that had not run before, in a kernel that was held."""
    states = [cell.metadata.get(OWN, {}).get("state") for cell in notebook.cells]
    return states.index("not_run") if "not_run" in states else len(states)


def _at(recording: Recording, after: str | None) -> float:
    """How far that message is; negative where it is not there."""
    if after is None:
        return float("inf")
    return next((at for at, each in enumerate(recording.published) if each["msg_id"] == after), -1)


def _take_saved(notebook: NotebookNode, saved: NotebookNode) -> None:
    """Take the outputs of what was saved last: it has more of them that can be shown."""
    for cell, before in zip(notebook.cells, saved.cells, strict=False):
        state = before.metadata.get(OWN, {}).get("state")
        if cell.cell_type != "code" or state in (None, "not_run"):
            continue
        if state == "running":
            note = {"output_type": "stream", "name": "stderr", "text": f"[{LEFT_OUT}]\n"}
            errors = [output for output in cell.outputs if output.output_type == "error"]
            cell.outputs = [*before.outputs, *_outputs([note]), *errors]
        else:
            cell.update(outputs=before.outputs, execution_count=before.execution_count, metadata=before.metadata)


def _outputs(outputs: Sequence[dict[str, Any]]) -> list[NotebookNode]:
    return [nbformat.from_dict(each) for each in outputs]  # type: ignore[no-untyped-call]
