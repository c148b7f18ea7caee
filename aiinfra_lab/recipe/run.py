"""Running a recipe: step after step, each outcome recorded as it happens, dependents of a failure left alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import jobs
from ..config import settings
from ..errors import Conflict, LabError
from ..store import Event, Record, Store, add_version, open_store
from .base import Executor, Recipe, Step, Value
from .declaration import resolve
from .plan import KIND, NOT_RUN, earlier, made, notebook_digest, stand, step_key
from .stopping import stop_requests

Shown = Callable[[dict[str, Any]], None]
Stop = Callable[[], bool]


class Run:
    """One run of a recipe, `recipe:NAME@N`, from its record to its last step."""

    def __init__(
        self, recipe: Recipe, given: Mapping[str, Value], executor: Executor, *, keep: bool, force: bool
    ) -> None:
        self.recipe = recipe
        self.given = dict(given)
        self.executor = executor
        self.keep = keep
        self.force = force
        self.store: Store = open_store()
        self.record = self._begin()
        self._show: Shown = lambda body: None
        self.outputs: dict[str, str] = {}
        self.keys: dict[str, str] = {}

    @property
    def uri(self) -> str:
        return f"{KIND}:{self.record.name}"

    @property
    def folder(self) -> Path:
        """Where the executed notebooks are kept."""
        return settings().home / "recipe" / self.record.name

    def go(self, show: Shown) -> dict[str, Any]:
        """Run every step that must; returns the record's body, and shows it whenever a step's state changes.

        Ctrl-C ends the run and records it as stopped.
        """
        self._show = show
        show(self.record.body)
        with jobs.here(self.uri) as job, stop_requests(job) as stop:
            try:
                for step in self.recipe.steps:
                    self._step(step, stop)
                state = self._state()
            except KeyboardInterrupt:
                self._mark_rest("stopped")
                state = "stopped"
            except BaseException:
                self._mark_rest("failed")  # the record must not say that it still runs
                self._end("failed")
                raise
            self._end(state)
            job.ended = state  # type: ignore[assignment]
        show(self.record.body)
        body: dict[str, Any] = self.record.body
        return body

    def _begin(self) -> Record:
        """Commit the intent under the next free number.

        Conflict while another run of the recipe goes on: each takes what is newest, and would take the other's.
        """
        if going := jobs.ls(f"{KIND}:{self.recipe.name}", live=True):
            raise Conflict(f"{going[0].subject} is running", f"wait for it, or `%recipe stop {self.recipe.name}`")
        body = {
            "state": "running",
            "started_at": time.time(),
            "parameters": self.given,
            "steps": {step.name: {"state": "waiting", "outputs": {}} for step in self.recipe.steps},
            "order": [[step.name, list(step.outputs)] for step in self.recipe.steps],
        }
        told = {"parameters": self.given}
        return add_version(
            self.store, KIND, self.recipe.name, body, lambda uri: Event("recipe start", uri, detail=told)
        )

    def _step(self, step: Step, stop: Stop) -> None:
        broken = [name for name in step.needs if self._of(name)["state"] not in ("done", "skipped")]
        if stop():
            self._write(step, state=NOT_RUN)
        elif broken:
            self._write(step, state="blocked", error=f"{', '.join(broken)} did not succeed")
        else:
            self._run_or_skip(step, stop)

    def _run_or_skip(self, step: Step, stop: Stop) -> None:
        values = resolve(self.recipe, step, self.given, self.outputs)
        key = self.keys[step.name] = step_key(step, values, self.keys)
        found = None if self.force else earlier(self.store, self.recipe.name, step.name, key, alive=self.keep)
        if found is not None:
            self._take(step, found["outputs"])
            self._write(step, state="skipped", key=key, outputs=found["outputs"], archive=found["archive"], seconds=0.0)
            return
        self._revive(step, stop)
        self._execute(step, stop, values, key)

    def _revive(self, step: Step, stop: Stop) -> None:
        """A step that was skipped although what it started lives no more must run after all, if this one needs it."""
        for needed in (item for item in self.recipe.steps if item.name in step.needs):
            if self._of(needed.name)["state"] == "skipped" and not self._stand(needed):
                values = resolve(self.recipe, needed, self.given, self.outputs)
                self._revive(needed, stop)
                self._execute(needed, stop, values, self.keys[needed.name])

    def _stand(self, step: Step) -> bool:
        return stand(self.store, self._of(step.name)["outputs"], alive=True)

    def _execute(self, step: Step, stop: Stop, values: Mapping[str, Value], key: str) -> None:
        archive = self.folder / f"{step.name}.ipynb"
        began = time.time()
        self._write(step, state="running", key=key, values=dict(values), archive=str(archive), began_at=began)
        context = {"AIINFRA_CONTEXT": f"{self.uri}/{step.name}", **_place()}
        try:
            outcome = self.executor.run(step.notebook, values, archive, context, stop)
            outputs = made(self.store, step) if outcome.state == "done" else {}
            state, error = outcome.state, outcome.error
        except LabError as problem:
            outputs, state, error = {}, "failed", str(problem)
        self._take(step, outputs)
        self._write(step, state=state, error=error, outputs=outputs, seconds=time.time() - began)
        self.store.commit([], self._event(step, values, state, outputs))

    def _event(self, step: Step, values: Mapping[str, Value], state: str, outputs: Mapping[str, str]) -> Event:
        used = [self.outputs[source] for source in step.inputs.values()]
        detail = {"state": state, "values": dict(values), "notebook": step.notebook.name}
        detail["notebook_sha256"] = notebook_digest(step.notebook)
        return Event(
            "recipe run", f"{self.uri}", tuple(used), (self.uri, *outputs.values()), {"step": step.name, **detail}
        )

    def _take(self, step: Step, outputs: Mapping[str, str]) -> None:
        self.outputs.update({f"{step.name}.{name}": outputs[name] for name in step.outputs if name in outputs})

    def _of(self, step: str) -> dict[str, Any]:
        found: dict[str, Any] = self.record.body["steps"][step]
        return found

    def _write(self, step: Step, **changes: Any) -> None:
        steps = {**self.record.body["steps"], step.name: {**self._of(step.name), **changes}}
        self.record = self.store.commit([self.record.with_(steps=steps)])[0]
        self._show(self.record.body)

    def _mark_rest(self, state: str) -> None:
        """Write how the step that was running ended; those that did not begin will not."""
        ends = {"running": state, "waiting": NOT_RUN}
        for step in self.recipe.steps:
            if end := ends.get(self._of(step.name)["state"]):
                self._write(step, state=end)

    def _state(self) -> str:
        states = {step["state"] for step in self.record.body["steps"].values()}
        if "failed" in states:
            return "failed"
        return "stopped" if states & {"stopped", NOT_RUN} else "done"

    def _end(self, state: str) -> None:
        if not self.keep:
            self._end_what_lives()
        self._finish(state)

    def _end_what_lives(self) -> None:
        """End what this run's notebooks started and still lives; somebody else's is none of its business."""
        for job in jobs.ls(live=True):
            if job.supervised and job.context.startswith(f"{self.uri}/"):
                with contextlib.suppress(LabError):  # one that does not end must not keep the others alive
                    jobs.cancel(job.id)
                    jobs.wait(job.id, timeout_s=30)

    def _finish(self, state: str) -> None:
        finished = self.record.with_(state=state, ended_at=time.time())
        outputs = tuple(self.outputs.values())
        event = Event("recipe end", self.uri, outputs=(self.uri,), detail={"state": state, "made": list(outputs)})
        self.record = self.store.commit([finished], event)[0]


def _place() -> dict[str, str]:
    where = settings()
    return {"AIINFRA_WORKSPACE": str(where.workspace), "AIINFRA_PROJECT": str(where.project)}
