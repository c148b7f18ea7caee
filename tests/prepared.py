"""A project in which every verb has something to work on, made by the verbs themselves."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_code_cell, new_notebook
from traitlets.config import Config

from aiinfra_lab import data, features, models, train
from aiinfra_lab.store import open_store

from .conftest import FOLDERS, end_survivors, stop_jobs
from .train.conftest import CODE, flights

VIEWS = """
import polars as pl
from aiinfra_lab.features import view

columns = ["carrier", "origin", "temp", "hour"]

@view(entity="origin", timestamp="sched_dep", ttl="365d")
def warmth(flights: pl.LazyFrame) -> pl.LazyFrame:
    return flights.select("origin", "sched_dep", warmth="temp")
"""
RECIPE = """title = "Flights once more"

[parameters]
months = "2013-01"
epochs = 3

[steps.data]
notebook = "data.ipynb"
parameters = { months = "${params.months}", epochs = "${params.epochs}" }
out = { flights = "data:flights" }
[schedule]
cron = "0 3 * * *"
"""
CELLS = (
    'months: str = "2013-01"\nepochs: int = 1',
    "from aiinfra_lab import data\n\ndata.add('flights', data.get('flights'))",
)
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def make(home: Path, empty_mlflow: Path | None = None) -> None:
    """Files, a recipe, data, features, two runs, and two versions of a model, of which the first is the champion.

    The workspace is the current one already. empty_mlflow: MLflow's database, which MLflow makes itself without.
    """
    (home / "flights.csv").write_text(flights().to_csv(index=False))
    (home / "train.py").write_text(CODE)
    (home / "views.py").write_text(VIEWS)
    for folder in ("recipes", "notebooks"):
        (home / folder).mkdir()
    (home / "recipes" / "flight-delays.toml").write_text(RECIPE)
    cells = [new_code_cell(source) for source in CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), home / "notebooks" / "data.ipynb")
    if empty_mlflow is not None:
        (home / ".aiinfra" / "mlflow").mkdir(parents=True)
        shutil.copy(empty_mlflow, home / ".aiinfra" / "mlflow")
    for table in (flights(), flights(seed=1)):
        data.add("flights", table)
    features.add("delay", data="data:flights@1", timestamp="sched_dep", label="late", id_="flight_id", code=VIEWS)
    rows = features.get("delay", rows="data:flights@1").uri
    for epochs in ("3", "1"):
        run = train.run("delay", rows=rows, code=CODE, params={"epochs": epochs, "lr": "0.01"})
        models.add("delay", run=run)
    models.check("delay@1", require="auc > 0.6")
    models.promote("delay@1")
    open_store().close()


@contextlib.contextmanager
def project(home: Path, empty_mlflow: Path | None = None) -> Iterator[Path]:
    """Such a project, in its own folder, as the current one; its jobs are ended afterwards."""
    (home / "aiinfra.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIINFRA_WORKSPACE", str(home))
        for name, folder in FOLDERS.items():
            (home / ".others" / folder).mkdir(parents=True)
            patch.setenv(name, str(home / ".others" / folder))
        patch.chdir(home)
        make(home, empty_mlflow)
        try:
            yield home
        finally:
            stop_jobs(home)
            assert end_survivors(home) == []


@contextlib.contextmanager
def notebook() -> Iterator[InteractiveShell]:
    """A shell of its own with the extension loaded."""
    InteractiveShell.clear_instance()
    # Its history would be a database in a folder that is gone when this process ends.
    shell = InteractiveShell.instance(config=Config(HistoryManager=Config(enabled=False)))
    shell.run_line_magic("load_ext", "aiinfra_lab")
    try:
        yield shell
    finally:
        shell.run_line_magic("unload_ext", "aiinfra_lab")
        InteractiveShell.clear_instance()
