"""The kept kernel: a Jupyter kernel that one process, the keeper, holds for as long as its owner wants it.

Notebooks, JupyterLab and verbs attach to it and detach again; the namespace stays. A noun whose things are kept kernels
runs `keeper.run` in a process of its own; Jupyter enters through the provisioner.
"""

from .base import Lease, Loss, MachineSource, Owner, Place, Standing
from .cells import CellFailed, CellInterrupted
from .client import MachineLost, await_turn, execute, follow, renew, republish, send_control
from .kept import KeptKernel, KernelState, StartStep
from .link import end_core
from .reach import ByteStream, CommandReach, Reach
from .recovery import Output, Restored, restore
from .specs import kernel_argv, sweep, sweep_launcher

__all__ = [
    "ByteStream", "CellFailed", "CellInterrupted", "CommandReach", "KeptKernel", "KernelState", "Lease", "Loss",
    "MachineLost", "MachineSource", "Output", "Owner", "Place", "Reach", "Restored", "Standing", "StartStep",
    "await_turn", "end_core", "execute", "follow", "kernel_argv", "renew", "republish", "restore", "send_control",
    "sweep", "sweep_launcher",
]  # fmt: skip
