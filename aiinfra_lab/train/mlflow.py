"""Runs in MLflow: one MLflow run per run of ours, in an experiment of the run's name. Also opens MLflow's client.

Embedded, MLflow is a SQLite file in the workspace; `train.tracking_uri` in the settings names a server instead.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..config import Settings, opt_out, settings
from ..errors import NotFound, Unavailable
from ..files import make_folder
from ..modes import OWNER_ONLY
from ..uris import Uri
from .base import Ending, Intent, Tracked
from .history import Point

_KILLED = "lab.killed"
_BATCH = 1000  # MLflow's own limit for one call
_STATES = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "killed": "KILLED"}
_NAMES = {"FINISHED": "done", "FAILED": "failed", "KILLED": "stopped", "RUNNING": "running", "SCHEDULED": "running"}


def tracking_uri() -> str:
    """Where MLflow keeps what it knows."""
    home = settings().home / "mlflow"
    uri = settings().get("train.tracking_uri", "")
    if not uri:
        make_folder(home)
        # SQLite gives what it makes beside it the same modes.
        (home / "mlflow.db").touch(OWNER_ONLY)
    return uri or f"sqlite:///{home / 'mlflow.db'}"


@contextlib.contextmanager
def client() -> Iterator[Any]:
    """MLflow's client, silent; its errors become Unavailable, and NotFound for what it does not have."""
    opt_out()  # before the import, which reads the switches
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # MLflow logs migrations and warnings into the cell; what goes wrong is raised.
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    uri = tracking_uri()
    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri)
    except (MlflowException, SQLAlchemyError) as problem:
        reason = str(problem).partition("\n")[0][:300]
        if isinstance(problem, MlflowException) and problem.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFound(f"MLflow does not have it: {reason}", "`%lab start` sends it what it missed") from problem
        raise Unavailable(
            f"MLflow at {uri} cannot be used: {reason}", "see whether it is damaged, full or down"
        ) from problem
    finally:
        logger.setLevel(level)


class Tracking:
    """MLflow's tracking API. See `Tracker` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def begin(self, intent: Intent) -> str:
        name = Uri.parse(intent.uri).name
        with client() as mlflow:
            experiment = _experiment(mlflow, name)
            known = mlflow.search_runs([experiment], f"tags.`lab.uri` = '{intent.uri}'", max_results=1)
            # With its tags in one call: after a crash the search above finds the run, and no second one is made.
            run = known[0] if known else _create(mlflow, experiment, intent)
            if not run.inputs.dataset_inputs:  # the last that is written: without it a crash came between
                _describe(mlflow, run.info.run_id, intent)
            return str(run.info.run_id)

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        # MLflow's key of a point is all of this, time included: what is sent twice is there once.
        metrics = [Metric(point.name, point.value, _milliseconds(point.at), point.step) for point in points]
        with client() as mlflow:
            for start in range(0, len(metrics), _BATCH):
                mlflow.log_batch(run_id, metrics=metrics[start : start + _BATCH])

    def end(self, run_id: str, ending: Ending, at: float | None = None) -> None:
        with client() as mlflow:
            # MLflow has one state for stopped and killed: a tag tells them apart.
            if ending == "killed":
                mlflow.set_tag(run_id, _KILLED, "true")
            elif _KILLED in mlflow.get_run(run_id).data.tags:
                mlflow.delete_tag(run_id, _KILLED)
            mlflow.set_terminated(run_id, _STATES[ending], _milliseconds(time.time() if at is None else at))

    def read(self, run_id: str) -> Tracked | None:
        try:
            with client() as mlflow:
                run = mlflow.get_run(run_id)
                points = sum(len(mlflow.get_metric_history(run_id, name)) for name in run.data.metrics)
        except NotFound:
            return None
        is_killed = run.info.status == _STATES["killed"] and _KILLED in run.data.tags
        state = "killed" if is_killed else _NAMES[run.info.status]
        return Tracked(state, dict(run.data.params), dict(run.data.tags), dict(run.data.metrics), points)

    def known(self, run_ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        with client() as mlflow:
            experiments = [each.experiment_id for each in _every(mlflow.search_experiments)]
            for start in range(0, len(run_ids), _BATCH):
                wanted = ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + _BATCH])
                # MLflow leaves out runs that somebody deleted: they count as lost, and are sent again.
                runs = _every(mlflow.search_runs, experiments, f"attributes.run_id IN ({wanted})", max_results=_BATCH)
                found |= {str(run.info.run_id) for run in runs}
        return found

    def look(self) -> str:
        return f"mlflow ui --host 127.0.0.1 --backend-store-uri {tracking_uri()}"


def own_run(mlflow: Any, name: str, uri: str) -> Any:
    """The run that holds the artifacts of something without a run of ours; made when there is none yet."""
    experiment = _experiment(mlflow, name)
    known = mlflow.search_runs([experiment], f"tags.`lab.uri` = '{uri}'", max_results=1)
    if known:
        return known[0]
    run = mlflow.create_run(experiment, tags={"lab.uri": uri}, run_name=Uri.parse(uri).label)
    mlflow.set_terminated(run.info.run_id)
    return run


def _experiment(mlflow: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    known = mlflow.get_experiment_by_name(name)
    if known is not None:
        return str(known.experiment_id)
    # A server keeps artifacts where it was set up to; embedded, MLflow would take the current folder.
    own_server = settings().get("train.tracking_uri", "")
    artifacts = None if own_server else (settings().home / "mlflow" / "artifacts").as_uri()
    try:
        return str(mlflow.create_experiment(name, artifact_location=artifacts))
    except MlflowException:
        known = mlflow.get_experiment_by_name(name)  # another process was faster
        if known is None:
            raise
        return str(known.experiment_id)


def _create(mlflow: Any, experiment: str, intent: Intent) -> Any:
    tags = {**intent.tags, "lab.uri": intent.uri, "lab.data.uri": intent.rows, "lab.data.digest": intent.digest}
    began = None if intent.started_at is None else _milliseconds(intent.started_at)
    return mlflow.create_run(experiment, start_time=began, tags=tags, run_name=Uri.parse(intent.uri).label)


def _every(search: Callable[..., Any], *given: object, **options: object) -> Iterator[Any]:
    """What MLflow finds, from all pages: a server may make them shorter than it is asked to."""
    token: str | None = None
    while token != "":
        page = search(*given, **options, page_token=token)
        yield from page
        token = page.token or ""


def _milliseconds(at: float) -> int:
    return int(at * 1000)


def _describe(mlflow: Any, run_id: str, intent: Intent) -> None:
    """Parameters, and the rows as MLflow's data set with our digest: MLflow's own covers only the first rows."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    # The lengths are MLflow's limits: cut off here rather than refused there.
    mlflow.log_batch(run_id, params=[Param(key, value[:6000]) for key, value in intent.params.items()])
    data = Dataset(name=intent.rows[:500], digest=intent.digest[:36], source_type="aiinfra_lab", source=intent.rows)
    mlflow.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
