"""The side panel of a workspace whose store is a PostgreSQL: the same rows, details and Stop."""

import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Playwright, expect

from aiinfra_lab import jobs
from aiinfra_lab.store import open_store
from aiinfra_lab.train import history
from aiinfra_lab.train.record import folder
from tests import records
from tests.browser.lab import Lab, end_all, started
from tests.browser.panel import opener, row
from tests.browser.things import leave
from tests.conftest import end_supervisor
from tests.postgres import Server, needs_postgres, postgres

pytest.importorskip("psycopg")
pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_postgres]  # a server, Lab and a browser of their own
__all__ = ["postgres"]

SLEEP = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(600)"]


@pytest.fixture
def shared_lab(
    playwright: Playwright,
    postgres: Server,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("root")
    (root / "aiinfra.toml").write_text(f'[store]\nurl = "{postgres.url}"')
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(root))
    with started(playwright, tmp_path_factory.mktemp("lab"), root) as running:
        yield running
        end_all()
        end_supervisor(root)
        open_store().close()


def test_rows_details_a_curve_and_stop_on_postgresql(shared_lab: Lab, postgres: Server) -> None:
    job = jobs.start("gpu:theirs", SLEEP)
    folder("delay@1").mkdir(parents=True)
    log = history.MetricLog(folder("delay@1") / history.FILE)
    for step, loss in enumerate((0.9, 0.5, 0.4)):
        log.add(step, {"loss": loss})
    log.close()
    records.run("delay@1", state="done", started_at=job.started_at, ended_at=job.started_at, metrics={"loss": 0.4})
    with shared_lab.page() as page:
        panel = shared_lab.panel(page)
        expect(panel.get_by_role("status")).to_contain_text("1 live")
        opener(panel, "delay@1").press("Enter")
        expect(row(panel, "delay@1").get_by_role("img", name="loss went from 0.9 to 0.4")).to_be_visible()
        opener(panel, "theirs").press("Enter")
        expect(row(panel, "theirs").locator(".aiinfra-Log")).to_have_text("begun")
        postgres.restart()
        panel.get_by_role("button", name="Stop session theirs").press("Enter")
        leave(page)
        expect(panel.get_by_role("list", name="Recently ended")).to_contain_text("theirs")
        expect(panel.locator(".aiinfra-Panel-trouble")).to_be_empty()
    assert jobs.poll(job.id).state == "stopped"
