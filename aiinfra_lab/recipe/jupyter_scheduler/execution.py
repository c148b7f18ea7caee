"""One job, in the process that jupyter-scheduler begins for it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_scheduler.executors import ExecutionManager
from jupyter_scheduler.models import JobFeature, Status
from jupyter_scheduler.orm import Job
from jupyter_scheduler.utils import get_utc_timestamp

from ... import logs, signals
from ...alerts import Alert, AlertKind, deliver_aside
from ...errors import Failed, LabError, StoppedEarly
from ...files import write
from ...secrets import redactor
from ...units import show_duration
from .. import run as run_recipe
from ..base import ENDED_EARLY, FAILED, FAILURES, NotebookTask, Outcome
from ..results import RecipeRun
from .joined import joined
from .request import notebook_values, project_of, recipe_of, recipe_values

FOLDER = "aiinfra_folder"
"""Of a job's `runtime_environment_parameters`: where its file lies, and so its project; a copy of it runs."""

_FEATURES = ("job_name", "parameters", "output_formats", "job_definition", "idempotency_token", "tags", "stop_job",
             "delete_job")  # fmt: skip
_AGAIN = "create it once more"
_LONGEST = 1000  # of what a job's record holds

_log = logging.getLogger(__name__)


def archive_of(staging_paths: Mapping[str, str]) -> Path:
    """Where a job's executed notebook is while it runs, and then, also where nobody has asked for one."""
    asked = staging_paths.get("ipynb")
    return Path(asked) if asked else Path(staging_paths["input"]).with_suffix(".executed.ipynb")


def folder_of(job: Any, root_dir: str) -> Path:
    """Where its file lay; the server's own folder for a job from before it was kept here."""
    return Path((job.runtime_environment_parameters or {}).get(FOLDER, root_dir))


def send_alert(job: Any, root_dir: str, kind: AlertKind, what: str, facts: Mapping[str, str] | None = None) -> None:
    """Send what became of a job to where `[alerts] to` of its workspace names; never raises."""
    with project_of(folder_of(job, root_dir)) as where:
        if where is not None:
            fix = "" if kind == "recovered" else "the job's outputs in JupyterLab's Notebook Jobs show it"
            alert = Alert(kind, f"notebook-job:{job.name}", what, fix, facts={"job": job.job_id, **(facts or {})})
            deliver_aside(alert)  # the server must not wait for a sink


class LabExecutionManager(ExecutionManager):  # type: ignore[misc]  # it ships no types
    """Runs a job's notebook, or its recipe; see `ExecutionManager` of jupyter-scheduler for the contract.

    The kernel, the states of cells, the outputs without secrets and the end of all processes are those of a recipe's
    step. SIGTERM is the request to stop: the cell is interrupted, and the job says itself that it was stopped.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._asked: list[int] = []
        self._outcome = Outcome("failed")
        self._is_alerted = False

    def process(self) -> None:
        """See `ExecutionManager`; what is pressed in the server's terminal is for the server."""
        os.setsid()
        logs.configure()
        with signals.taken(self._asked.append, is_final=True):
            super().process()

    def execute(self) -> None:
        """Run it. StoppedEarly when it was stopped, another LabError when it has not come to its end."""
        with project_of(folder_of(self.model, self.root_dir)) as where:
            name = recipe_of(self.model.input_filename, self.model.tags)
            if self._asked:
                raise StoppedEarly("stopped before it began", _AGAIN)
            if name:
                self._run_recipe(name)
            else:
                places = {"AIINFRA_WORKSPACE": where.workspace, "AIINFRA_PROJECT": where.project} if where else {}
                self._run_notebook({name: str(place) for name, place in places.items()})

    def _run_notebook(self, env: Mapping[str, str]) -> None:
        from ..engine import execute

        source, archive = Path(self.staging_paths["input"]), archive_of(self.staging_paths)
        task = NotebookTask(source, archive, notebook_values(source, self.model.parameters), env)
        try:
            self._outcome = outcome = execute(task, lambda: min(2, len(self._asked)))
        finally:
            self._write_outputs(archive)
        if outcome.state == "stopped":
            raise StoppedEarly("stopped while it ran", _AGAIN)
        if outcome.state != "done":
            cell = "the notebook" if outcome.cell is None else f"cell [{outcome.cell}]"
            raise Failed(f"{cell} {FAILED[outcome.state]}: {outcome.error}", "its output shows where")

    def _run_recipe(self, name: str) -> None:
        from ..engine.archive import saved_at

        try:
            with signals.taken():  # a request that comes before the run takes them itself
                done = run_recipe(name, param=recipe_values(self.model.parameters), report=True)
        except KeyboardInterrupt:
            raise StoppedEarly("stopped before it began", _AGAIN) from None
        assert isinstance(done, RecipeRun)
        self._is_alerted = True  # by the run, as `[alert]` of its recipe has it
        archive = archive_of(self.staging_paths)
        saved_at(archive)(joined(done))
        self._write_outputs(archive)
        if done.state in ENDED_EARLY:
            raise StoppedEarly(f"{done.uri} was {done.state}", f"aiinfra recipe show {done.uri}")
        if done.error:
            raise Failed(f"{done.uri}: {done.error.partition(chr(10))[0]}", f"aiinfra recipe show {done.uri}")
        for step, each in done.steps.items():
            if each["state"] in FAILURES:
                what = f"{done.uri}: the step {step} {FAILED[each['state']]}: {each['error']}"
                raise Failed(what, f"aiinfra recipe show {done.uri}")
        if done.state != "done":
            raise Failed(f"{done.uri}: {done.state}", f"aiinfra recipe show {done.uri}")

    def _write_outputs(self, archive: Path) -> None:
        """The other formats of what was executed, and the names of files that it has made beside."""
        if archive.exists() and (formats := [each for each in self.model.output_formats if each != "ipynb"]):
            from nbconvert import get_exporter

            notebook = nbformat.read(archive, as_version=4)  # type: ignore[no-untyped-call]
            for each in formats:
                exporter: Any = get_exporter(each)  # type: ignore[no-untyped-call]
                text, _ = exporter().from_notebook_node(notebook)
                write(Path(self.staging_paths[each]), text)
        if self.model.package_input_folder:
            own = {archive, *map(Path, self.staging_paths.values())}
            found = (path for path in archive.parent.rglob("*") if path.is_file() and path not in own)
            names = (path.relative_to(archive.parent) for path in found)
            self._update(packaged_files=sorted(str(name) for name in names if "__pycache__" not in name.parts))

    def on_complete(self) -> None:
        """See `ExecutionManager`."""
        self._update(status=Status.COMPLETED, end_time=get_utc_timestamp())
        self._alert("recovered", "it runs to its end again")

    def on_failure(self, e: Exception) -> None:
        """See `ExecutionManager`. What was stopped has not failed, and nobody is alerted of it."""
        is_ours = isinstance(e, LabError)
        if not is_ours:
            _log.error("a job ended by a mistake", exc_info=e)
        message = redactor().clean(str(e) if is_ours else f"{type(e).__name__}: {e}")[:_LONGEST]
        status = Status.STOPPED if isinstance(e, StoppedEarly) else Status.FAILED
        self._update(status=status, status_message=message, end_time=get_utc_timestamp())
        if status == Status.FAILED and not self._is_alerted:
            how = FAILED.get(self._outcome.state, "failed")
            self._alert("failed", f"{self.model.input_filename} {how}")

    def _alert(self, kind: AlertKind, what: str) -> None:
        # Not its error: that may hold what the readers of a channel may not see.
        took_s = max(0.0, time.time() - self.model.create_time / 1000)
        facts = {"took": show_duration(took_s), "executed notebook": str(archive_of(self.staging_paths))}
        if self._outcome.cell is not None:
            facts["cell"] = str(self._outcome.cell)
        send_alert(self.model, self.root_dir, kind, what, facts)

    def _update(self, **values: Any) -> None:
        with self.db_session() as session:
            session.query(Job).filter(Job.job_id == self.job_id).update(values)
            session.commit()

    @staticmethod
    def supported_features(_class: object = None) -> dict[Any, bool]:
        """See `ExecutionManager`, which is called by its class, with it."""
        return {feature: feature.value in _FEATURES for feature in JobFeature}

    @staticmethod
    def validate(*_class_and_path: object) -> bool:
        """See `ExecutionManager`. A notebook without a kernelspec means python3; `LabScheduler` looks at the rest."""
        return True
