"""A session's entry in JupyterLab's launcher: a kernelspec in the user's Jupyter folder that names our provisioner."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from ..files import write_json
from .place import Place


def spec_name(place: Place) -> str:
    """What the kernel is called: `aiinfra-NAME`, or with a suffix while another workspace's session has that name."""
    plain = f"aiinfra-{place.name}"
    other = _place_of(_folder(plain))
    if other is None or other.folder == place.folder or not other.alive():
        return plain
    return f"{plain}-{hashlib.sha256(str(place.folder).encode()).hexdigest()[:6]}"


def write_spec(place: Place, shown_as: str) -> str:
    """Put the session into the launcher, and return the kernel's name; may be repeated."""
    name = spec_name(place)
    spec: dict[str, Any] = {
        # Nothing is started by this: the provisioner attaches. Jupyter wants an argv, and this one says what it is.
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": shown_as,
        "language": "python",
        "interrupt_mode": "signal",
        "metadata": {
            "debugger": True,
            "kernel_provisioner": {
                "provisioner_name": "aiinfra",
                "config": {"session": place.name, "workspace": str(_workspace(place))},
            },
        },
    }
    write_json(_folder(name) / "kernel.json", spec)
    return name


def remove_spec(place: Place) -> None:
    """Take the session out of the launcher. Entries of others stay; one that is gone is fine."""
    kernels = _folder("x").parent
    for folder in kernels.glob(f"aiinfra-{place.name}*"):
        found = _place_of(folder)
        if found is not None and found.folder == place.folder:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(place: Place) -> None:
    """Clear away what a keeper left that was killed; nothing while one lives."""
    if not place.alive():
        remove_spec(place)
        place.close_sockets()


def _folder(name: str) -> Path:
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "kernels" / name


def _workspace(place: Place) -> Path:
    return place.folder.parents[2]


def _place_of(folder: Path) -> Place | None:
    """The place that a kernelspec of ours attaches to; None for anything else."""
    try:
        provisioner = json.loads((folder / "kernel.json").read_text())["metadata"]["kernel_provisioner"]
        if provisioner["provisioner_name"] != "aiinfra":
            return None
        config = provisioner["config"]
        return Place.of(config["session"], Path(config["workspace"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
