"""A database that restarts in the middle of a run ends no run."""

import threading
import time

import pytest

from aiinfra_lab import train
from aiinfra_lab.store import open_store
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
