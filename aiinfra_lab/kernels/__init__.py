"""The kept kernel: a Jupyter kernel that an owner process, the keeper, holds for as long as its session lives.

Notebooks, JupyterLab and verbs attach to it and let go of it again; the namespace stays. The keeper and the provisioner
are entered through their own modules: `kernels.keeper.keep`, in a job of its own, and Jupyter's entry point.
"""

from .client import Output, execute, republish, send_control_message
from .kept import KeeperState, KeptKernel
from .specs import sweep

__all__ = ["KeeperState", "KeptKernel", "Output", "execute", "republish", "send_control_message", "sweep"]
