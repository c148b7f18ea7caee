"""AI infrastructure from a notebook: one small language over the best tools of the field.

`from aiinfra_lab import gpu, data, …` gives the nouns; `%load_ext aiinfra_lab` gives their magics. Importing this
package loads neither of them.
"""

from __future__ import annotations

__version__ = "0.1.0"
# For type checkers, which cannot read the table of nouns; a test holds the two together.
__all__ = ["cost", "data", "deploy", "drift", "features", "gpu", "lab", "models", "recipe", "train"]

TYPE_CHECKING = False  # what `typing` has takes longer to import than to ask the pool for a process
if TYPE_CHECKING:
    from typing import Any

    from . import cost, data, deploy, drift, features, gpu, lab, models, recipe, train


def __getattr__(name: str) -> Any:
    if name in __all__:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def load_ipython_extension(ipython: Any) -> None:
    """`%load_ext aiinfra_lab`: register the nouns as magics, and their completion."""
    from .jupyter.magics import load

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """`%unload_ext aiinfra_lab`: take both away again."""
    from .jupyter.magics import unload

    unload(ipython)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "aiinfra-lab"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "aiinfra_lab.jupyter.server"}]
