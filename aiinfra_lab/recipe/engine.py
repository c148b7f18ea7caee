"""Papermill with an archive that is whole and right at every moment. Imported only when a notebook is to be run.

Papermill 2.7 marks every cell as completed when the kernel dies or a cell times out, and writes the archive in place,
so that a kill can leave it empty. `AtomicNotebookManager` corrects both. What the kernel's process itself writes, such
as complaints about being interrupted, reaches nobody, unless the process died: then it is all there is.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import NoSuchKernel
from traitlets.config import Config

from ..errors import LabError
from ..files import writing
from ..host.spec import LOG
from ..kernels.hosted import HostedKernelManager
from ..leftovers import temporary
from ..modes import users_umask
from . import opened
from .base import Outcome, OutcomeState, Value
from .watching import REPORT


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Import what does without that module, too, as if it were not there."""
    found = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if found is not None:
            sys.modules[module] = found


# jsonschema knows a format of addresses by it, which no notebook has: its grammar takes a third of all these imports.
with _without("rfc3987_syntax"):
    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
    from papermill.exceptions import PapermillExecutionError

# How long a cell may take to heed the interrupt before its kernel is killed: enough to leave a `with` or a commit.
INTERRUPT_TIMEOUT_S = 20.0
_ENGINE = "aiinfra"
_MAX_OUTPUT_CHARS = 8000
# Between two looks for a stop request: each costs a read of the store.
_LOOK_S = 0.3
# Between two interrupts: a library may swallow the first one.
_INTERRUPT_AGAIN_S = 2.0


class StopRequested(Exception):
    """Somebody asked for the end before this cell began."""


class AtomicNotebookManager(NotebookExecutionManager):  # type: ignore[misc]  # papermill has no types
    """Cell states as they were, and an archive that is whole at every moment."""

    stop_requested: Callable[[], bool] = staticmethod(lambda: False)
    in_a_cell = False

    def save(self, **kwargs: Any) -> None:
        with writing(Path(self.output_path)) as aside:
            nbformat.write(self.nb, aside)  # type: ignore[no-untyped-call]
        # Papermill decides by it whether to save again.
        self.last_save_time = self.now()

    def cell_start(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        if self.stop_requested():
            raise StopRequested
        super().cell_start(cell, cell_index, **kwargs)
        self.in_a_cell = cell.cell_type == "code"

    def cell_complete(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        # The client calls this in a `finally`: what is in flight there did not complete the cell.
        self.in_a_cell = False
        problem = sys.exc_info()[1]
        if problem is not None:
            if cell.metadata.papermill["status"] != self.RUNNING:
                return
            self.cell_exception(cell, cell_index)
            if cell.cell_type == "code":
                cell.outputs.append(nbformat.from_dict(_error_output(problem)))  # type: ignore[no-untyped-call]
        super().cell_complete(cell, cell_index, **kwargs)

    def notebook_complete(self, **kwargs: Any) -> None:
        # Papermill marks whatever is pending here as completed.
        never_ran = [cell for cell in self.nb.cells if cell.metadata.papermill["status"] == self.PENDING]
        super().notebook_complete(**kwargs)
        for cell in never_ran:
            cell.metadata.papermill["status"] = self.PENDING
        self.save()


class WatchedClient(PapermillNotebookClient):  # type: ignore[misc]
    """Papermill's client, with the kernel told to report what files it opens. report, project: as `opened.watch`."""

    def __init__(self, *args: Any, report: str, project: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._report, self._project = report, project

    def papermill_execute_cells(self) -> None:
        is_python = self.nb.metadata.get("kernelspec", {}).get("language", "python") == "python"
        if self._report and is_python:
            # As text, since the kernel may be of an environment without us; and nothing of it is left in the notebook.
            text = Path(opened.__file__).read_text("utf-8")
            call = f"watch({self._report!r}, {self._project!r})"
            code = f"exec({text + call!r}, {{'__name__': {opened.__name__!r}}})"
            self.wait_for_reply(self.kc.execute(code, silent=True, store_history=False))
        super().papermill_execute_cells()


class StoppableEngine(NBClientEngine):  # type: ignore[misc]
    """Papermill's own engine with our manager, an environment for the kernel, and a Stop that reaches a busy cell."""

    @classmethod
    def execute_notebook(
        cls, nb: Any, kernel_name: str, output_path: str, start_timeout: int = 60, **kwargs: Any
    ) -> Any:
        manager = AtomicNotebookManager(nb, output_path=output_path, progress_bar=False)
        manager.stop_requested = kwargs["stop_requested"]
        manager.notebook_start()
        try:
            # Sockets in a folder of our own: no port can clash with another run's, and nobody else can connect.
            with temporary() as sockets:
                own = {"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}
                env = kwargs["kernel_env"]
                client = WatchedClient(
                    manager,
                    report=env.get(REPORT, ""),
                    project=env.get("AIINFRA_PROJECT", ""),
                    kernel_name=kernel_name,
                    startup_timeout=start_timeout,
                    kernel_manager_class=_in(sockets / "kept"),
                    config=Config(HostedKernelManager=own),
                )
                output = sockets / "kept" / "host" / LOG
                with _process_output(output, manager), _interrupting(client, manager):
                    client.execute(env=env, umask=users_umask())
        finally:
            manager.notebook_complete()
        return manager.nb


def execute(
    notebook: Path,
    parameters: Mapping[str, Value],
    archive: Path,
    env: Mapping[str, str],
    stop_requested: Callable[[], bool],
) -> Outcome:
    """Run the file as it is; see `Executor.run`."""
    papermill_engines.register(_ENGINE, StoppableEngine)
    try:
        papermill.execute_notebook(
            str(notebook),
            str(archive),
            parameters=dict(parameters),
            engine_name=_ENGINE,
            progress_bar=False,
            cwd=str(notebook.parent),  # as JupyterLab does, so that the same relative paths work
            # And kernels of this environment come before the user's of the same name, as in JupyterLab too.
            kernel_env={**os.environ, **env, "JUPYTER_PREFER_ENV_PATH": "1"},
            stop_requested=stop_requested,
        )
    except PapermillExecutionError as problem:
        return Outcome(_state(stop_requested), _error_text(problem.ename, problem.evalue), problem.exec_count)
    except StopRequested:
        return Outcome("stopped")
    except (CellTimeoutError, DeadKernelError, RuntimeError, NoSuchKernel, ValueError) as problem:
        # The last three: no kernel came up, there is none of that name, the notebook names none.
        return Outcome(_state(stop_requested), _error_text(type(problem).__name__, str(problem)))
    return Outcome("done")


def _state(stop_requested: Callable[[], bool]) -> OutcomeState:
    """How a notebook ended that did not come to its end."""
    return "stopped" if stop_requested() else "failed"


def _error_text(name: str, value: str) -> str:
    return f"{name}: {value}" if value else name


def _error_output(problem: BaseException) -> dict[str, Any]:
    """The output that a notebook shows for an exception that the kernel could not report itself."""
    text = str(problem).strip() or "it ended without a message"
    return {"output_type": "error", "ename": type(problem).__name__, "evalue": text, "traceback": [text]}


def _in(place: Path) -> type[HostedKernelManager]:
    """The kernel manager whose kernel is kept in that folder."""

    class Manager(HostedKernelManager):
        folder = place

    return Manager


@contextmanager
def _process_output(path: Path, manager: AtomicNotebookManager) -> Iterator[None]:
    """What the kernel's process writes past the notebook is shown when it died unasked."""
    try:
        yield
    except RuntimeError:
        if not manager.stop_requested() and path.exists():
            sys.stderr.write(path.read_text("utf-8", "replace")[-_MAX_OUTPUT_CHARS:])
        raise


@contextmanager
def _interrupting(client: Any, manager: AtomicNotebookManager) -> Iterator[None]:
    """While a cell runs, pass a stop request on to the kernel as the interrupt that JupyterLab would send.

    A cell that does not heed it ends with its kernel.
    """
    over = threading.Event()

    def watch() -> None:
        asked_at = 0.0
        while not over.wait(_LOOK_S):
            try:
                asked = manager.in_a_cell and manager.stop_requested()
            except LabError:
                continue  # the store may be busy: ask again
            if not asked or client.km is None:  # there is none before the kernel has started
                continue
            asked_at = asked_at or time.monotonic()
            patient = time.monotonic() - asked_at < INTERRUPT_TIMEOUT_S
            # And to what its cell started: every kernel has a process group of its own.
            if client.km.signal_all(signal.SIGINT if patient else signal.SIGKILL):
                over.wait(min(_INTERRUPT_AGAIN_S, INTERRUPT_TIMEOUT_S))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
