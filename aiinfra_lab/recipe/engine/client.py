"""nbclient's client, which executes cell after cell into an archive."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from ...errors import Failed, LabError
from ...host.sent import each_by_itself, sent_as_text
from ...kernels.hosted import HostedKernelClient, HostedKernelManager
from .. import opened
from ..base import Failure
from .archive import Archive
from .attached import AttachedKernel, SessionKernelManager, variables_code
from .held import KernelHold, greeting, with_widgets
from .secrecy import CleanMessages, KnownSecrets, Secrets, clean_output
from .streams import StreamJoiner

ENDS: dict[type[Exception], Failure] = {CellTimeoutError: "timeout", DeadKernelError: "killed"}
"""How a cell ends that neither comes to its end nor raises."""

# How long a cell may take to heed the interrupt before its kernel is killed: enough to leave a `with` or a commit.
INTERRUPT_TIMEOUT_S = 20.0
# Within which the outputs of a cell that has ended come: on a busy machine nbclient's four seconds are soon over.
IOPUB_TIMEOUT_S = 60
_MAX_OUTPUT_CHARS = 8000
# Between two looks for a stop request: each costs a read of the store.
_LOOK_S = 0.3
_SAVE_LOOK_S = 0.25
# Between two interrupts: a library may swallow the first one.
_INTERRUPT_AGAIN_S = 2.0


KernelDied = DeadKernelError


class OutOfMemory(KernelDied):
    """The kernel was killed since it, or the machine, had no more memory."""


class StopRequested(Exception):
    """Somebody asked for the end before this cell began."""


class ArchiveClient(NotebookClient):
    """Executes the archive's notebook. report, project: as `opened.watch`; none is watched without a report.
    on_output: called with each output that a cell gets. secrets: what is taken out of all of them. attached: the
    kernel of a session, where it is no kernel of its own; on_attached: called with what Jupyter names this client."""

    def __init__(
        self,
        archive: Archive,
        secrets: KnownSecrets,
        *,
        report: str = "",
        project: str = "",
        on_output: Callable[[Any], None] | None = None,
        hold: KernelHold | None = None,
        attached: AttachedKernel | None = None,
        on_attached: Callable[[str], object] = lambda _: None,
        **options: Any,
    ) -> None:
        super().__init__(archive.notebook, iopub_timeout=IOPUB_TIMEOUT_S, on_cell_error=self._clean_error, **options)
        self.archive, self._secrets = archive, secrets
        archive.redactor = secrets.redactor
        self._messages = CleanMessages(secrets.redactor)
        self._cell: Any = None
        self._streams = StreamJoiner()
        archive.before_save = self._streams.flush
        self.at = -1
        self.in_a_cell = self._is_over = False
        self._report, self._project, self._on_output = report, project, on_output
        self._hold, self._attached, self._on_attached = hold, attached, on_attached
        self._count = 0  # of the cells that have run

    def run(self, stop_requested: Callable[[], int], **kernel: Any) -> None:
        """Start a kernel with these options, and execute every cell.

        CellRaised, StopRequested when a stop was asked for before a cell, and what nbclient raises when the kernel dies
        or does not start. LabError where it is to be held, and that cannot be written.
        """
        self.reset_execution_trackers()
        work = self._run(stop_requested, kernel)
        # In a loop of its own: nbclient's synchronous calls would share that of the context, which several threads
        # may have in common.
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with asyncio.Runner() as runner:
                runner.run(work)
        else:  # papermill in a notebook
            with ThreadPoolExecutor(1) as pool:
                pool.submit(asyncio.run, work).result()

    async def _run(self, stop_requested: Callable[[], int], kernel: Mapping[str, Any]) -> None:
        saving = asyncio.create_task(self._save_while_silent())
        try:
            await self._run_cells(stop_requested, kernel)
        finally:
            saving.cancel()

    async def _save_while_silent(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_LOOK_S)
            self.archive.save_when_due()

    async def _run_cells(self, stop_requested: Callable[[], int], kernel: Mapping[str, Any]) -> None:
        # Not `async_setup_kernel`, which takes the signals of this process for itself.
        self.km = self.create_kernel_manager()
        if self._hold:
            self._hold.begin()
        # Both clean up after themselves where they fail.
        await self.async_start_new_kernel(**kernel)
        if isinstance(self.km, SessionKernelManager):
            await self.km.begin()
            self._on_attached(self.km.session.session)
        await self.async_start_new_kernel_client()
        try:
            assert self.kc is not None
            known = self.kc.info if isinstance(self.kc, HostedKernelClient) else None
            info = known or await self.async_wait_for_reply(self.kc.kernel_info())
            self.nb.metadata["language_info"] = info["content"]["language_info"] if info else {}
            await self._watch(kernel)
            await self._run_from(self._hold.first if self._hold else 0, stop_requested)
        finally:
            await self._async_cleanup_kernel()

    async def _run_from(self, first: int, stop_requested: Callable[[], int]) -> None:
        """Run that cell and those behind it."""
        widgets = self.nb.metadata.get("widgets", {})
        try:
            for at, cell in enumerate(self.nb.cells):
                if at < first:
                    continue
                self.at = at
                if stop_requested():
                    raise StopRequested
                await self._run_cell(cell)
                self._see_others(cell)
                if self._is_over:
                    break
        except CellRaised as failed:
            if not stop_requested():
                await self._hold_kernel(self.nb.cells[failed.at])
            raise
        finally:
            self.set_widgets_metadata()
            if first:
                with_widgets(widgets, self.nb)

    async def _hold_kernel(self, cell: Any) -> None:
        """Where it is to be held after that cell has failed. What is let go of is no kernel of ours to be ended."""
        hold, manager = self._hold, self.km
        if hold is None or not hold.seconds or not isinstance(manager, HostedKernelManager):
            return
        self.set_widgets_metadata()
        # Before it is let go of: a run that is killed in between leaves a kernel that nobody knows, and one that is
        # killed thereafter no journal of what this one has put out.
        self.archive.save()
        hold.save_notebook()
        if await manager.hold(hold.seconds):
            hold.keep(cell, manager.session.key)

    async def _run_cell(self, cell: Any) -> None:
        self.archive.begin_cell(cell)
        self._cell = cell
        self.in_a_cell = cell.cell_type == "code"
        problem: BaseException | None = None
        try:
            await self.async_execute_cell(cell, self.at)
        except CellExecutionError as caught:
            problem = caught
            if not is_exit(caught):
                raise CellRaised(self.at, caught) from None
            self._is_over = True
        except asyncio.CancelledError:
            problem = KeyboardInterrupt()  # which the loop raises at its end
            raise
        except BaseException as caught:
            problem = caught
            raise
        finally:
            self.in_a_cell = False
            self._learn()
            for message in self._messages.flush():  # of a cell that did not come to its end
                self._process(message, cell, self.at)
            self.archive.end_cell(cell, None if problem is None or is_exit(problem) else problem)

    def _see_others(self, cell: Any) -> None:
        """Failed where somebody else has run code in the session meanwhile, which changes what this cell saw."""
        count = cell.get("execution_count")
        if self._attached is None or count is None:
            return
        self._count, expected = count, self._count + 1
        if count != expected:
            uri = self._attached.kernel.uri
            fix = "run the step again, and leave the session alone meanwhile"
            raise Failed(f"somebody else ran code in {uri} while this step did", fix)

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """See nbclient. What a long cell has put out so far is kept, whatever happens to this process."""
        self._learn()
        self.archive.after = msg["header"]["msg_id"]
        output = None
        for message in self._messages.clean(msg):
            output = self._process(message, cell, cell_index)
        return output

    def _process(self, message: Any, cell: Any, cell_index: int) -> Any:
        output = super().process_message(message, cell, cell_index)
        if cell is not self._cell:  # of a cell before, as an update of what that displays
            return output
        self._streams.take(cell.outputs)
        self.archive.save_if_cheap()
        if output and self._on_output:
            self._on_output(output)
        return output

    def _learn(self) -> None:
        """The kernel reports a secret before it can put it out; but it may have done so while that was none."""
        if not self._secrets.learn():
            return
        redactor = self.archive.redactor = self._secrets.redactor
        self._messages.use(redactor)
        self._streams.flush(redactor.clean)
        for output in (output for cell in self.nb.cells for output in cell.get("outputs", ())):
            clean_output(redactor, output)

    def _clean_error(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        """What the kernel answers becomes the exception, and with it the run's record."""
        self._learn()
        content = execute_reply["content"]
        content.update(self._secrets.redactor.clean_value(dict(content)))

    async def _watch(self, kernel: Mapping[str, Any]) -> None:
        """Have a Python kernel report what it opens and which secrets it resolves."""
        if self.nb.metadata["language_info"].get("name") == "python":
            await self._execute(*self._own_code(kernel))

    def _own_code(self, kernel: Mapping[str, Any]) -> Iterator[str]:
        """What is executed before the first cell, each in one line."""
        if self._attached is not None:
            own = {name: value for name, value in kernel["env"].items() if name.startswith("AIINFRA_")}
            yield variables_code({**own, **self._attached.env})
            if not self._attached.sees_files:
                return  # the pipe for secrets and the list of opened files are files of this machine
        if self._hold and self._hold.key:
            yield greeting({name: value for name, value in kernel["env"].items() if name.startswith("AIINFRA_")})
        if isinstance(self._secrets, Secrets):
            yield self._secrets.watching()
        if self._report:
            yield sent_as_text(opened, f"watch({self._report!r}, {self._project!r})")

    async def _execute(self, *lines: str) -> None:
        """Each of them, whatever becomes of those before, in one request: each takes longer than what it executes."""
        assert self.kc is not None
        if lines:
            code = each_by_itself(lines)
            await self.async_wait_for_reply(self.kc.execute(code, silent=True, store_history=False))


class CellRaised(Exception):
    """A cell has raised, or the notebook has ended itself other than well. at: which of the notebook's cells."""

    def __init__(self, at: int, problem: CellExecutionError) -> None:
        super().__init__(str(problem))
        self.at, self.name, self.value = at, problem.ename, problem.evalue


def is_exit(problem: BaseException) -> bool:
    """Whether the notebook has ended itself, well: by `exit()` or `sys.exit(0)`."""
    return isinstance(problem, CellExecutionError) and is_exit_of(problem.ename, problem.evalue)


def is_exit_of(name: object, value: object) -> bool:
    """The same, by the name and the value of what the kernel has raised."""
    return name == "SystemExit" and value in ("", "0")


@contextmanager
def process_output(path: Path, stop_requested: Callable[[], int], secrets: Secrets) -> Iterator[None]:
    """What the kernel's process writes past the notebook is shown when it died unasked."""
    try:
        yield
    except RuntimeError:
        if not stop_requested() and path.exists():
            secrets.learn()
            text = secrets.redactor.clean(path.read_text("utf-8", "replace"))  # whole, lest a secret is cut
            sys.stderr.write(text[-_MAX_OUTPUT_CHARS:])
        raise


@contextmanager
def interrupting(client: ArchiveClient, stop_requested: Callable[[], int]) -> Iterator[None]:
    """While a cell runs, pass a stop request on to the kernel as the interrupt that JupyterLab would send.

    A cell that does not heed it ends with its kernel; asked for twice, that ends at once, also while it starts.
    """
    over = threading.Event()

    def watch() -> None:
        asked_at = signalled_at = 0.0
        while not over.wait(_LOOK_S):
            try:
                asked = stop_requested()
            except LabError:
                continue  # the store may be busy: ask again
            # There is no manager before the kernel starts.
            manager = client.km
            if not isinstance(manager, HostedKernelManager | SessionKernelManager):
                continue
            if not asked or not (client.in_a_cell or asked > 1):
                continue
            now = time.monotonic()
            asked_at = asked_at or now
            is_patient = asked == 1 and now - asked_at < INTERRUPT_TIMEOUT_S
            if is_patient and now - signalled_at < _INTERRUPT_AGAIN_S:
                continue
            # And to what its cell started: every kernel has a process group of its own.
            if manager.signal_all(signal.SIGINT if is_patient else signal.SIGKILL):
                signalled_at = now

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def kernel_environment(env: Any, without: Container[str] = ()) -> dict[str, str]:
    """Ours with that. Kernels of this environment come before the user's of the same name, as in JupyterLab."""
    ours = {name: value for name, value in os.environ.items() if name not in without}
    return {**ours, **env, "JUPYTER_PREFER_ENV_PATH": "1"}
