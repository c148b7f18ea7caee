"""A session's entry in JupyterLab's launcher: a kernelspec in the user's Jupyter folder that names our provisioner."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from ..files import write_json
from .kept import KeptKernel


def spec_name(kept: KeptKernel) -> str:
    """What the kernel is called: `aiinfra-NAME`, or with a suffix while another workspace's session has that name."""
    plain = f"aiinfra-{kept.name}"
    other = _kept_by(_folder(plain))
    if other is None or other.folder == kept.folder or not other.alive():
        return plain
    return f"{plain}-{hashlib.sha256(str(kept.folder).encode()).hexdigest()[:6]}"


def write_spec(kept: KeptKernel, shown_as: str) -> str:
    """Put the session into the launcher, and return the kernel's name; may be repeated."""
    name = spec_name(kept)
    spec: dict[str, Any] = {
        # Nothing is started by this: the provisioner attaches. Jupyter wants an argv, and this one says what it is.
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": shown_as,
        "language": "python",
        # With "message" Jupyter would itself send the interrupt that precedes every shutdown, past `send_signal`.
        "interrupt_mode": "signal",
        "metadata": {
            "debugger": True,
            "kernel_provisioner": {
                "provisioner_name": "aiinfra",
                "config": {"session": kept.name, "workspace": str(_workspace(kept))},
            },
        },
    }
    write_json(_folder(name) / "kernel.json", spec)
    return name


def remove_spec(kept: KeptKernel) -> None:
    """Take the session out of the launcher. Entries of others stay; one that is gone is fine."""
    kernels = _folder("x").parent
    for folder in kernels.glob(f"aiinfra-{kept.name}*"):
        found = _kept_by(folder)
        if found is not None and found.folder == kept.folder:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(kept: KeptKernel) -> None:
    """Clear away what a keeper left that was killed; nothing while one lives."""
    if not kept.alive():
        remove_spec(kept)
        kept.close_sockets()


def _folder(name: str) -> Path:
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "kernels" / name


def _workspace(kept: KeptKernel) -> Path:
    return kept.folder.parents[2]


def _kept_by(folder: Path) -> KeptKernel | None:
    """The kept kernel that a kernelspec of ours attaches to; None for anything else."""
    try:
        provisioner = json.loads((folder / "kernel.json").read_text())["metadata"]["kernel_provisioner"]
        if provisioner["provisioner_name"] != "aiinfra":
            return None
        config = provisioner["config"]
        return KeptKernel.of(config["session"], Path(config["workspace"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
