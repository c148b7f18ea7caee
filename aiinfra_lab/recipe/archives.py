"""Executed notebooks whose run is over, without what it takes to execute one."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from ..errors import LabError
from ..files import write

_LOST = "the process of the run vanished while this cell ran: it was killed, or its machine went away"
_ERROR = {"output_type": "error", "ename": "Lost", "evalue": _LOST, "traceback": [_LOST]}


def close_lost(archive: Path) -> None:
    """Say in an executed notebook that the cell failed which ran when its run's process vanished.

    Nothing happens where it is gone, cannot be written, or says so already.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, LabError):
        notebook: dict[str, Any] = json.loads(archive.read_text("utf-8"))
        running = [cell for cell in notebook["cells"] if _state(cell).get("status") == "running"]
        for cell in running:
            _state(cell).update(status="failed", exception=True)
            if cell["cell_type"] == "code":
                cell["outputs"].append(_ERROR)
        if running:
            notebook["metadata"]["papermill"]["exception"] = True
            write(archive, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def _state(cell: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = cell["metadata"].get("papermill", {})
    return found
