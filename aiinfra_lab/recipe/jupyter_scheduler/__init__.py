"""jupyter-scheduler's jobs ("Create Notebook Job" in JupyterLab) on our engine, by the package's own interfaces.

    pip install 'aiinfra-lab[scheduler]'
    jupyter lab --SchedulerApp.scheduler_class=aiinfra_lab.recipe.jupyter_scheduler.LabScheduler

Its forms, lists and REST interface stay as they are. A job with the tag `recipe:NAME` runs that recipe of the project,
with the job's parameters; every other one runs its notebook.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """`LabScheduler`, whose package need not be there for the rest."""
    if name == "LabScheduler":
        from .scheduler import LabScheduler

        return LabScheduler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
