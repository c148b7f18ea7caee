"""Every face of the language on every store: Python, magic, command line, completion, REST and what runs as a job."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from aiinfra_lab import data, gpu, jobs, kernels, lab
from aiinfra_lab.completion import complete
from aiinfra_lab.store import open_store
from tests.browser.serving import Served, serve
from tests.conftest import until
from tests.postgres import BIN, needs_postgres, postgres, server

__all__ = ["postgres", "server"]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
def where(request: pytest.FixtureRequest, workspace: Path) -> Iterator[Path]:
    """A workspace on that store; on PostgreSQL nothing may lie in a file of SQLite's."""
    settings = ""
    if request.param == "postgres":
        assert BIN is not None
        url = request.getfixturevalue("server")
        settings = f'[store]\nurl = "{url}"\nschema = "faces_{abs(hash(workspace))}"\n'
    (workspace / "aiinfra.toml").write_text(settings)
    lab.start()
    yield workspace
    assert (workspace / ".aiinfra" / "store.sqlite").exists() == (request.param == "sqlite")


@pytest.fixture
def panel(where: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A Jupyter server whose root is the workspace."""
    served = serve("jupyter_server", tmp_path_factory.mktemp("server"), where)
    yield served
    served.stop()


def cli(*words: str) -> object:
    command = [sys.executable, "-m", "aiinfra_lab.cli", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def magic(line: str) -> object:
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "aiinfra_lab")
    noun, _, rest = line.partition(" ")
    return shell.run_line_magic(noun, rest)


def listed(panel: Served) -> dict[str, str]:
    status, answer, _ = panel.call("GET", "/aiinfra/items?since=0")
    assert status == 200, answer
    return {item["uri"]: item["state"] for item in answer["items"]}


def test_a_session_is_seen_and_ended_through_every_face(panel: Served) -> None:
    started = gpu.start("trainer", for_="10m")
    assert magic("gpu show trainer").state == started.state == "running"
    assert [item["uri"] for item in cli("gpu", "ls")["items"]] == ["gpu:trainer"]
    assert complete("gpu", "show ") == ["trainer"]
    assert listed(panel) == {"gpu:trainer": "running"}
    assert lab.show().lives == ("gpu:trainer (running)",)
    seen: list[object] = []
    assert kernels.execute("gpu:trainer", "print(6 * 7)", seen.append)["status"] == "ok"
    assert "42" in str(seen)
    status, answer, _ = panel.call("POST", "/aiinfra/gpu/stop", {"args": ["trainer"]})
    assert (status, len(answer["stopping"])) == (200, 1)
    until(lambda: gpu.show("trainer").state.startswith("ended"))
    until(lambda: listed(panel)["gpu:trainer"].startswith("ended"))


def test_a_verb_called_over_rest_leaves_what_every_face_sees(panel: Served, where: Path) -> None:
    pd.DataFrame({"id": [1, 2]}).to_csv(where / "trips.csv", index=False)
    status, answer, _ = panel.call("POST", "/aiinfra/data/add", {"args": ["trips", str(where / "trips.csv")]})
    assert status == 202, answer
    done = jobs.wait(answer["job"], timeout_s=120)
    assert done.state == "done", jobs.log(done.id)
    assert [thing["uri"] for thing in cli("lab", "ls")["items"]] == ["data:trips@1"]
    assert magic("data show trips").rows == data.get("trips").rows == 2
    assert complete("data", "show ") == ["trips", "trips@1"]


def test_the_log_is_proved_and_lineage_is_walked(where: Path) -> None:
    first = data.add("trips", pd.DataFrame({"id": [1, 2]}))
    data.add("again", first)
    assert lab.check(audit=True, report=True).findings
    assert any("data:trips@1" in line for line in lab.log("data:again").came_from)
    assert [logged.event.verb for logged in open_store().events(last=1)] == ["data add"]
