"""A database that restarts in the middle of a run ends no run."""

import sys
import threading
import time
from types import SimpleNamespace

import pytest

from aiinfra_lab import jobs, train
from aiinfra_lab.errors import LabError
from aiinfra_lab.jobs import late
from aiinfra_lab.store import open_store
from aiinfra_lab.train import record
from aiinfra_lab.train.record import TrainingRun
from tests.conftest import until
from tests.postgres import needs_postgres, postgres

from .conftest import made_rows

pytest.importorskip("psycopg")
pytestmark = needs_postgres
__all__ = ["postgres"]


@pytest.fixture
def rows(postgres, workspace, empty_mlflow):
    schema = f"s{abs(hash(str(workspace)))}"
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "{postgres.url}"\nschema = "{schema}"')
    yield made_rows(workspace, empty_mlflow)
    open_store().close()


def away(postgres, workspace):
    """Stop the server once the run has measured something, and start it a second later."""

    def act():
        until((workspace / "begun").exists)
        postgres.stop()
        (workspace / "stopped").touch()
        time.sleep(1)
        postgres.start()
        (workspace / "started").touch()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


CODE = """
import time
from pathlib import Path

def during(name):
    while not Path(name).exists():
        run.log(loss=1.0)
        time.sleep(0.05)

run.log(loss=2.0)
Path("begun").touch()
during("stopped")
"""


@pytest.mark.parametrize("then", ["", "rows = run.rows.df()", 'during("started")'])
def test_a_restart_in_the_middle_or_at_the_end_ends_no_run(postgres, workspace, rows, then):
    thread = away(postgres, workspace)
    run = train.run("delay", rows=rows, code=CODE + then)
    thread.join()
    assert (run.state, open_store().get(TrainingRun, "delay@1").body.tracked) == ("done", True)


def test_the_true_end_is_written_once_a_server_that_stayed_away_is_there_again(postgres, workspace, rows, monkeypatch):
    monkeypatch.setattr("aiinfra_lab.store.AWAY_S", 0.1)
    monkeypatch.setattr(late, "EVERY_S", 0.1)
    monkeypatch.setitem(sys.modules, "stopping", SimpleNamespace(stop=postgres.stop))
    try:
        with pytest.raises(LabError):
            train.run("delay", rows=rows, code="import stopping\nrun.log(loss=0.25)\nstopping.stop()")
        ended_by = time.time()
    finally:
        postgres.start()
    until(lambda: record.runs("delay")[0].body.state == "done" and not jobs.find("train:delay@1").live)
    body = record.runs("delay")[0].body
    assert body.ended_at <= ended_by
    assert body.metrics == {"loss": 0.25}
