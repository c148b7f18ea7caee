"""`python -m aiinfra_lab.pool [show|stop|start|install]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..files import is_locked, make_folder, write_json
from . import asking, match, wanted

_BEGINS_S = 60.0


def main(words: list[str]) -> int:
    """Show what the pool is, end it, start it, or write the kernelspec whose kernels it forks; the exit code."""
    word = words[0] if words else "show"
    if word == "show":
        _write(json.dumps(asking.order("show")) if asking.order("show") else "there is no pool")
    elif word == "stop":
        _write("it ends" if _ended() else "there is no pool")
    elif word == "start":
        asking.start(wanted.preload())
        _write("it answers" if asking.wait_ready(_BEGINS_S) else f"it does not answer: see {asking.folder_of_log()}")
    elif word == "install":
        _write(f"wrote {install()}")
    else:
        _write("usage: python -m aiinfra_lab.pool [show|start|stop|install]")
        return 64
    return 0


def _ended() -> bool:
    """Whether a pool is asked to end; one that still imports answers when it has done that."""
    place = match.folder()
    is_there = match.is_private(place) and is_locked(Path(place, asking.HOLD))
    return bool(asking.order("end") or (is_there and asking.wait_ready(_BEGINS_S) and asking.order("end")))


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def install() -> Path:
    """Write the kernelspec `lab-python` for this user: Python of this environment, out of the pool."""
    from jupyter_core.paths import jupyter_data_dir

    place = Path(jupyter_data_dir(), "kernels", "lab-python")
    make_folder(place)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python (warm)",
        "language": "python",
        "metadata": {"debugger": True, "kernel_provisioner": {"provisioner_name": "lab-warm"}},
    }
    write_json(place / "kernel.json", spec)
    return place / "kernel.json"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
