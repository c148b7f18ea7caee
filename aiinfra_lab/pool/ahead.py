"""What a kernel and a recipe's run import, and what they would each do anew for the same result: done once, before the
forks. It computes nothing; what depends on environment, folder or project is none of it.
"""

from __future__ import annotations

import importlib
from typing import Any

MODULES = (
    *("ipykernel.kernelapp", "ipykernel.zmqshell", "ipykernel.inprocess", "matplotlib_inline.backend_inline"),
    *("IPython.core.completer", "IPython.core.magics", "jupyter_client.asynchronous", "nbformat.v4"),
    *("aiinfra_lab.host.__main__", "aiinfra_lab.pool.kernel", "aiinfra_lab.cli", "aiinfra_lab.recipe"),
    *("aiinfra_lab.recipe.runner", "aiinfra_lab.recipe.engine.running", "aiinfra_lab.recipe.local"),
    *("IPython.core.completerlib", "IPython.core.debugger", "IPython.extensions.storemagic", "faulthandler"),
    *("tornado.platform.asyncio", "aiinfra_lab.show.text", "ipykernel.kernelspec", "encodings.unicode_escape"),
    *("aiinfra_lab.store.sqlite", "aiinfra_lab.jobs", "aiinfra_lab.show", "psutil", "zmq.asyncio"),
    *("aiinfra_lab.cost", "aiinfra_lab.signal_records", "encodings.utf_8_sig", "IPython.core.oinspect"),
    *("IPython.core.logger", "IPython.utils.wildcard"),
)
_MINORS = (4, 5)  # of notebooks as they are written today: without and with ids of cells


def schemas() -> None:
    """Make the code that validates notebooks: 50 ms for each version of their format."""
    validator: Any = importlib.import_module("nbformat.validator")
    for minor in _MINORS:
        validator.get_validator(4, minor)


def plugins() -> None:
    """Look for what other packages bring: that reads the metadata of each that is installed, and the pool ends when
    they change."""
    importlib.import_module("aiinfra_lab.providers").foreign()  # by name: it stands on top of the core
    importlib.import_module("jupyter_client.provisioning").KernelProvisionerFactory.instance()


def backends() -> None:
    """The same of matplotlib, which looks for those of other packages when it is told which one to draw with."""
    importlib.import_module("matplotlib.backends.registry").backend_registry.list_all()


STEPS = (schemas, plugins, backends)
