"""The kept kernel: a Jupyter kernel that an owner process, the keeper, holds for as long as its session lives.

Notebooks, JupyterLab and verbs attach to it and let go of it again; the namespace stays. The keeper and the provisioner
are entered through their own modules: `python -m aiinfra_lab.kernels.keeper` and Jupyter's entry point.
"""

from .client import Output, execute, republish, tell
from .place import Place, State
from .specs import sweep

__all__ = ["Output", "Place", "State", "execute", "republish", "sweep", "tell"]
