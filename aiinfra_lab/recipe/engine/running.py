"""One notebook, from its file to its archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from traitlets.config import Config

from ... import jobs
from ...errors import LabError, NotFound
from ...host.spec import LOG
from ...kernels.hosted import HostedKernelManager
from ...kernels.specs import USUAL, fix_of_missing
from ...leftovers import temporary
from ...modes import users_umask
from .. import holding
from ..archives import journal_of
from ..base import Failure, NotebookTask, Outcome, OutcomeState
from ..notebook import read_notebook
from ..watching import REPORT
from .archive import Archive, cell_at_the_end, cell_number, saved_at
from .attached import Attach, AttachedKernel, manager_of
from .client import (
    ENDS,
    ArchiveClient,
    CellRaised,
    KernelDied,
    OutOfMemory,
    StopRequested,
    interrupting,
    kernel_environment,
    process_output,
)
from .held import KernelHold
from .injected import inject
from .memory import MemoryWatch
from .secrecy import Secrets, secrets_of
from .step_journal import StepJournal

_REMOVE_HELD = f'test ! -e "$1/{holding.FACTS}" || rm -rf "$1"'


def execute(
    task: NotebookTask,
    stop_requested: Callable[[], int],
    attach: Attach | None = None,
) -> Outcome:
    """Execute a task to its end; see `Executor`.

    stop_requested: 0, or how urgently its end is asked for: 1 by an interrupt, 2 at once. attach: has the session in
    whose kernel it is executed, instead of one of its own
    """
    notebook, archive = task.notebook, task.archive
    content = _content_of(notebook, is_own=attach is None)
    inject(content, task.parameters, notebook)
    facts = {"input_path": str(notebook), "output_path": str(archive), "parameters": dict(task.parameters)}
    made = Archive(content, saved_at(archive), facts)
    hold = KernelHold(task.hold, content) if task.hold else None
    outcome, journal = Outcome("failed"), None
    try:
        journal = _begun(made, archive, hold)
        # As JupyterLab does it, the notebook's folder is the kernel's, so that the same relative paths work.
        with attach() if attach else nullcontext() as attached:
            run_into(
                made,
                notebook.parent,
                task.env,
                stop_requested,
                memory_bytes=task.memory_bytes,
                hold=hold,
                attached=attached,
                journal=journal,
            )
        outcome = Outcome("done")
    except CellRaised as failed:
        error = error_text(failed.name, failed.value)
        outcome = Outcome(_state(stop_requested), error, cell_number(content, failed.at))
        made.point_to(failed.at, error)
    except StopRequested:
        outcome = Outcome("stopped")
    except OutOfMemory as problem:
        outcome = Outcome(_state(stop_requested, "oom"), str(problem), cell_at_the_end(content))
    except LabError:
        if not stop_requested():  # else a core that was ended while it began
            raise
        outcome = Outcome("stopped")
    except Exception as problem:  # noqa: BLE001  # as no kernel that starts, or an output that no notebook may hold
        how = ENDS.get(type(problem), "failed")
        error = error_text(type(problem).__name__, str(problem).strip().partition("\n")[0])
        outcome = Outcome(_state(stop_requested, how), error, cell_at_the_end(content))
    finally:
        try:
            made.end(outcome.state, outcome.error if outcome.state == "oom" else "")
            if journal:
                journal.remove()
        finally:
            if hold:
                hold.close(is_needed=journal_of(archive).is_dir())
            if journal:
                journal.close()
    outcome = replace(outcome, is_clean=True)
    return replace(outcome, held_until=hold.until, went_on=bool(hold.key)) if hold else outcome


def _content_of(notebook: Path, *, is_own: bool) -> Any:
    """What is executed. NotFound where that is to be in a kernel of its own, and the one that it names is not here."""
    read_notebook(notebook)  # for its errors
    content = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    kernel = _kernel_of(content)
    if is_own and (fix := fix_of_missing(kernel)):
        raise NotFound(f"there is no kernel {kernel}, which {notebook.name} names", fix)
    return content


def _kernel_of(notebook: Any) -> str:
    return str(notebook.metadata.get("kernelspec", {}).get("name") or USUAL)


def _begun(made: Archive, archive: Path, hold: KernelHold | None) -> StepJournal:
    """The journal of an execution that begins, and so does its archive."""
    if hold is None:
        made.begin()
        return StepJournal(archive)
    made.begin(hold.first)
    hold.mark_edited()
    return StepJournal(archive, hold.folder, hold.received + 1)


def run_into(
    archive: Archive,
    folder: Path,
    env: Mapping[str, str],
    stop_requested: Callable[[], int],
    *,
    memory_bytes: int | None = None,
    hold: KernelHold | None = None,
    attached: AttachedKernel | None = None,
    journal: StepJournal | None = None,
    **options: Any,
) -> None:
    """Execute the archive's notebook in a kernel of its own, in that folder.

    The exceptions of `ArchiveClient.run`; OutOfMemory for a kernel that died for that. memory_bytes: what the
    notebook's processes may take together. hold: how its kernel is held when a cell fails. attached: the kernel of a
    session, in which it is executed instead. journal: has what it takes to complete the archive where this process is
    killed. options: the client's own, and nbclient's
    """
    # Sockets in a folder of our own: no port can clash with another run's, and nobody else can connect.
    # What outlives the run is no part of the job that it may be, which would end it.
    environment = kernel_environment(env, jobs.OWN if hold else ())
    in_memory = journal.secrets if journal else None
    with temporary() as sockets, secrets_of(environment, sockets, in_memory) as (variables, secrets):
        kept = journal.kept if journal else sockets / "kept"
        own = {"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}
        client = ArchiveClient(
            archive,
            secrets,
            report=env.get(REPORT, ""),
            project=env.get("AIINFRA_PROJECT", ""),
            hold=hold,
            attached=attached,
            **({"on_attached": partial(journal.attach, attached.kernel.folder)} if journal and attached else {}),
            kernel_manager_class=manager_of(attached) if attached else _in(kept, hold),
            resources={"metadata": {"path": str(folder)}},
            config=Config(HostedKernelManager=own),
            **{"kernel_name": _kernel_of(archive.notebook), "startup_timeout": 60, **options},
        )
        output = kept / "host" / LOG
        memory = MemoryWatch(client, memory_bytes)
        with (
            process_output(output, stop_requested, secrets),
            interrupting(client, stop_requested),
            memory.watching(),
            _flushing(journal, archive, secrets),
        ):
            try:
                client.run(stop_requested, env=variables, umask=users_umask())
            except KernelDied as problem:
                if why := memory.why_killed():
                    raise OutOfMemory(why) from problem
                raise


def _flushing(journal: StepJournal | None, archive: Archive, secrets: Secrets) -> AbstractContextManager[None]:
    return journal.flushing(lambda: archive.after, lambda: secrets.known) if journal else nullcontext()


def _state(stop_requested: Callable[[], int], how: Failure = "failed") -> OutcomeState:
    """How a notebook ended that did not come to its end."""
    return "stopped" if stop_requested() else how


def error_text(name: str, value: str) -> str:
    """What a notebook shows of an error in one line."""
    return f"{name}: {value}" if value else name


def _in(place: Path, hold: KernelHold | None) -> type[HostedKernelManager]:
    """The kernel manager whose kernel is kept in that folder, and may be held there."""

    class Manager(HostedKernelManager):
        folder = place
        held_key, held_received = (hold.key, hold.received) if hold else (b"", 0)
        # Of one that is held nothing stays; of a run that was killed what it has sent is for its archive.
        at_end = ("sh", "-c", _REMOVE_HELD, "sh", str(place)) if hold else ()

    return Manager
