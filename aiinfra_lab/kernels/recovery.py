"""What a kept kernel has put out, read again from the journal: for a page that was reloaded, a notebook that was shut.

Nobody has to be connected for an output to be written down, so what a browser has missed is here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import NotFound, UsageProblem
from ..files import writing
from ..host import journal
from ..host.frames import MessageChannel, unpack
from ..host.kernel import DELIMITER
from ..host.spec import HostState
from .kept import KeptKernel

Output = dict[str, Any]
"""One output as Jupyter's messages have it: `msg_type`, `content`, `metadata`."""

OUTPUTS = ("stream", "display_data", "update_display_data", "execute_result", "clear_output", "error")


@dataclass(slots=True)
class Execution:
    """Code that somebody has run, and what came of it as far as it is kept.

    id: of the request's message. count: the kernel's number for it. at: when it began, in epoch seconds of the host.
    messages: its outputs, as whole messages. is_over: whether the kernel was done with it, or has ended. lost: how the
    kernel has ended in the middle of it, empty while it has not.
    """

    id: str
    code: str
    count: int
    at: float
    messages: list[dict[str, Any]] = field(default_factory=list)
    is_over: bool = False
    lost: str = ""

    @property
    def outputs(self) -> Iterator[Output]:
        """Its outputs in order."""
        for each in self.messages:
            yield {"msg_type": each["msg_type"], "content": each["content"], "metadata": each["metadata"]}


def executions(kernel: KeptKernel) -> list[Execution]:
    """What has been run in the kernel, the oldest first, as far as the journal reaches back."""
    found: dict[str, Execution] = {}
    state = HostState()
    for at, message in _published(kernel):
        if isinstance(message, HostState):
            if message.incarnation != state.incarnation or message.crashed != state.crashed:
                _lose(found.values(), message)
            state = message
            continue
        parent = message["parent_header"].get("msg_id", "")
        kind, content = message["msg_type"], message["content"]
        if kind == "execute_input":
            found[parent] = Execution(parent, content["code"], content["execution_count"], at)
        elif (running := found.get(parent)) is not None:
            if kind in OUTPUTS:
                running.messages.append(message)
            elif kind == "status" and content["execution_state"] == "idle":
                running.is_over = True
    return list(found.values())


def _lose(running: Iterable[Execution], state: HostState) -> None:
    """The kernel of what runs has ended, and another one may have taken its place."""
    how = state.crash if state.crashed == state.incarnation else "its kernel was restarted"
    for each in running:
        if not each.is_over:
            each.is_over, each.lost = True, how


def newest(kernel: KeptKernel) -> Execution | None:
    """What was run last, or runs now."""
    found = executions(kernel)
    return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a notebook's cells. running: how many are not over yet. unchanged: how many were left as they are,
    since another kernel has run them, or this one again."""

    written: int
    running: int
    unchanged: int


def restore(kernel: KeptKernel, path: Path) -> Restored:
    """Write the outputs of the kernel's code into the cells of a notebook that hold that code, and lack them.

    NotFound and UsageProblem when the file is no notebook; Denied when it may not be written.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except FileNotFoundError:
        raise NotFound(f"there is no notebook {path}", "name one that is there, e.g. --into notebook.ipynb") from None
    except (nbformat.reader.NotJSONError, nbformat.validator.NotebookValidationError, UnicodeDecodeError):
        raise UsageProblem(f"{path} is no notebook", "name a file that JupyterLab opens as one") from None
    written = running = unchanged = 0
    for cell, execution in _matched(notebook.cells, executions(kernel)):
        outputs = _outputs(execution)
        if cell.outputs == outputs and cell.execution_count == execution.count:
            continue
        if cell.outputs and cell.execution_count not in (None, execution.count):
            unchanged += 1
            continue
        cell.outputs, cell.execution_count = outputs, execution.count
        written += 1
        running += not execution.is_over
    if written:
        with writing(path) as aside:
            nbformat.write(notebook, aside)  # type: ignore[no-untyped-call]
    return Restored(written, running, unchanged)


def _matched(cells: Iterable[Any], ran: Sequence[Execution]) -> Iterator[tuple[Any, Execution]]:
    """Each code cell with the last run of its code; of several cells with one code each its own, in their order."""
    by_code: dict[str, list[Execution]] = defaultdict(list)
    for execution in ran:
        by_code[execution.code].append(execution)
    same: dict[str, list[Any]] = defaultdict(list)
    for cell in cells:
        if cell.cell_type == "code" and cell.source in by_code:
            same[cell.source].append(cell)
    for code, having in same.items():
        yield from zip(having, by_code[code][-len(having) :], strict=False)


def _outputs(execution: Execution) -> list[Any]:
    """The outputs as a notebook keeps them: streams joined, cleared and updated as it happened."""
    import nbformat
    from nbclient import NotebookClient

    cell = nbformat.v4.new_code_cell()  # type: ignore[no-untyped-call]
    client = NotebookClient(nbformat.v4.new_notebook(cells=[cell]))  # type: ignore[no-untyped-call]
    client.reset_execution_trackers()
    client.clear_before_next_output = False  # as it does itself before it executes a cell
    for message in execution.messages:
        client.process_message(message, cell, 0)
    return _joined(cell.outputs)


def _joined(outputs: Iterable[Any]) -> list[Any]:
    """Text of one stream in one output, as JupyterLab writes it."""
    joined: list[Any] = []
    for output in outputs:
        before = joined[-1] if joined else None
        if before is not None and output.output_type == "stream" and before.get("name") == output.name:
            before.text += output.text
        else:
            joined.append(output)
    return joined


def messages(kernel: KeptKernel, channel: MessageChannel, request: str) -> Iterator[dict[str, Any]]:
    """What the kernel has sent by a channel about the request of that id, as far as it is kept."""
    for _, message in _sent(kernel, channel):
        if message["parent_header"].get("msg_id") == request:
            yield message


def _published(kernel: KeptKernel) -> Iterator[tuple[float, dict[str, Any] | HostState]]:
    """What the kernel has published, and in between what its host core has reported of it."""
    for entry in journal.read(kernel.folder / "received"):
        message = unpack(entry.payload)
        if message.channel == MessageChannel.STATE:
            yield message.at, HostState.load(message.parts[0])
        elif message.channel == MessageChannel.IOPUB and (found := message_of(message.parts)) is not None:
            yield message.at, found


def _sent(kernel: KeptKernel, channel: MessageChannel) -> Iterator[tuple[float, dict[str, Any]]]:
    """What the kernel has sent by a channel, with when; what cannot be read is left out."""
    for entry in journal.read(kernel.folder / "received"):
        message = unpack(entry.payload)
        if message.channel == channel and (found := message_of(message.parts)) is not None:
            yield message.at, found


def message_of(parts: Sequence[bytes]) -> dict[str, Any] | None:
    """What a kernel has sent, as Jupyter's clients have it; None where these parts are none of its messages."""
    try:
        at = parts.index(DELIMITER)
        header, parent, metadata, content = map(json.loads, parts[at + 2 : at + 6])
    except ValueError:
        return None
    return {
        "header": header,
        "parent_header": parent,
        "metadata": metadata,
        "content": content,
        "msg_type": header["msg_type"],
        "msg_id": header["msg_id"],
        "buffers": list(parts[at + 6 :]),
    }
