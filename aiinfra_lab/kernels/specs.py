"""A kept kernel's entry in JupyterLab's launcher: a kernelspec in the user's Jupyter folder, for our provisioner."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from ..errors import LabError
from ..files import make_private_folder, write_json
from ..modes import OWNER_ONLY, tighten
from .kept import KeptKernel

USUAL = "python3"
"""The kernel of this Python, which a notebook has that names none."""


def kernel_argv(python: str) -> tuple[str, ...]:
    """The command of a kernel that is kept. Its history is in memory, and ends with it: as a file it would be shared by
    all kernels of a home, which lock one another out where that is on a network, and stay on a machine of others."""
    return (python, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--HistoryManager.hist_file=:memory:")


def spec_name(kernel: KeptKernel) -> str:
    """What Jupyter calls it: `aiinfra-NAME`, or with a suffix while another workspace's kernel has that name."""
    plain = f"aiinfra-{kernel.name}"
    other = _kernel_of(_folder(plain))
    if other is None or other.folder == kernel.folder or not other.is_alive():
        return plain
    return f"{plain}-{hashlib.sha256(str(kernel.folder).encode()).hexdigest()[:6]}"


def write_spec(kernel: KeptKernel, display_name: str) -> str:
    """Put the kernel into the launcher, and return its name there; may be repeated."""
    name = spec_name(kernel)
    spec: dict[str, Any] = {
        # Nothing is started by this: the provisioner attaches. Jupyter wants an argv, and this one says what it is.
        "argv": list(kernel_argv(sys.executable)),
        "display_name": display_name,
        "language": "python",
        # As a message it would reach the kernel also when a notebook is closed; the provisioner tells the two apart.
        "interrupt_mode": "signal",
        "metadata": {
            "debugger": True,
            "kernel_provisioner": {
                "provisioner_name": "aiinfra",
                "config": {"uri": str(kernel.uri), "workspace": str(kernel.workspace)},
            },
        },
    }
    # Who could write there would have Jupyter run whatever he likes as this user.
    make_private_folder(_folder(name))
    tighten(_folder(name))
    write_json(_folder(name) / "kernel.json", spec, mode=OWNER_ONLY)
    return name


def remove_spec(kernel: KeptKernel) -> None:
    """Take the kernel out of the launcher. Entries of others stay; one that is gone is fine."""
    kernels = _folder("x").parent
    for folder in kernels.glob(f"aiinfra-{kernel.name}*"):
        found = _kernel_of(folder)
        if found is not None and found.folder == kernel.folder:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(kernel: KeptKernel) -> None:
    """Clear away what a keeper left that was killed; nothing while one lives, or where that may not be written."""
    if kernel.is_alive():
        return
    # Held meanwhile: a keeper that begins now would else lose what it has just written. It waits, as `hold` does.
    held = kernel.hold if kernel.folder.is_dir() else contextlib.nullcontext
    with contextlib.suppress(OSError, LabError), held():
        remove_spec(kernel)
        kernel.close_sockets()


def sweep_launcher(workspace: Path) -> None:
    """Clear away the launcher's entries of that workspace whose keepers were killed.

    Those of others stay: in a home that machines share they may live elsewhere, which cannot be told from here.
    """
    for kernel in filter(None, map(_kernel_of, _folder("x").parent.glob("aiinfra-*"))):
        if kernel.workspace == workspace:
            sweep(kernel)


def fix_of_missing(name: str) -> str:
    """What helps where no kernel of that name is installed here; empty where one is, and for that of this Python."""
    if name in ("", USUAL, "python"):  # jupyter_client takes the last one for that of its Python
        return ""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel  # here, since few notebooks name another

    specs = KernelSpecManager()
    try:
        specs.get_kernel_spec(name)
    except NoSuchKernel:
        return f"installed: {', '.join(sorted(specs.find_kernel_specs()))}; choose one in JupyterLab, or install it"
    return ""


def _folder(name: str) -> Path:
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "kernels" / name


def _kernel_of(folder: Path) -> KeptKernel | None:
    """The kernel that a kernelspec of ours attaches to; None for anything else."""
    try:
        provisioner = json.loads((folder / "kernel.json").read_text())["metadata"]["kernel_provisioner"]
        if provisioner["provisioner_name"] != "aiinfra":
            return None
        config = provisioner["config"]
        return KeptKernel.of(config["uri"], Path(config["workspace"]))
    except (OSError, ValueError, KeyError, TypeError, LabError):  # not ours, or no entry that this version reads
        return None
