"""How soon each cell of a notebook shows something, in a kernel of its own."""

import json
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_client.manager import start_new_kernel

LIMIT_S = 600.0
_SHOWN = ("stream", "display_data", "execute_result", "error")


class Shown(NamedTuple):
    """A cell: its first line, the seconds until something was seen of it (None: nothing ever), and until its end."""

    line: str
    first_s: float | None
    took_s: float
    error: str


def cells(notebook: Path) -> list[str]:
    """The code of a notebook's cells."""
    return [
        "".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"
    ]


def watch(codes: list[str], folder: Path) -> Iterator[Shown]:
    """Run these in one kernel that is started in that folder."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder))
    try:
        for code in codes:
            yield _run(client, code)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _run(client: Any, code: str) -> Shown:
    began, first, error = time.perf_counter(), None, ""
    request = client.execute(code)
    while True:
        try:
            message = client.get_iopub_msg(timeout=LIMIT_S)
        except queue.Empty:
            raise TimeoutError(f"a cell takes longer than {LIMIT_S:g} s: {code[:80]}") from None
        if message["parent_header"].get("msg_id") != request:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind in _SHOWN and first is None and _is_seen(content):
            first = time.perf_counter() - began
        if kind == "error":
            error = f"{content['ename']}: {content['evalue']}"
        if kind == "status" and content["execution_state"] == "idle":
            line = next((line for line in code.splitlines() if line.strip()), "")
            return Shown(line, first, time.perf_counter() - began, error)


def _is_seen(content: dict[str, Any]) -> bool:
    """Whether there is something to look at: an output may be taken away again by an empty one."""
    return bool(content.get("text") or content.get("ename") or any(content.get("data", {}).values()))
