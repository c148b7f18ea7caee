"""How soon each cell of a notebook shows something, in a kernel of its own."""

import json
import queue
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jupyter_client.manager import start_new_kernel

from tests.browser.lab import end_all
from tests.browser.serving import ROOT

LIMIT_S = 600.0
_SHOWN = ("stream", "display_data", "execute_result", "error")


class Shown(NamedTuple):
    """A cell: its first line, the seconds until something was seen of it (None: nothing ever), and until its end."""

    line: str
    first_s: float | None
    took_s: float
    error: str


def tour() -> list[str]:
    """The code of the tour's cells."""
    book = json.loads((ROOT / "notebooks/00-tour.ipynb").read_text("utf-8"))
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


@contextmanager
def workspace() -> Iterator[Path]:
    """An empty workspace for a kernel; what lives in it ends with the block."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIINFRA_WORKSPACE", folder)
        Path(folder, "aiinfra.toml").touch()
        try:
            yield Path(folder)
        finally:
            end_all()


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
