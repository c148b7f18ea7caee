"""The notebooks as people meet them: alone, in order, by nbval and by papermill. No cell may raise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from aiinfra_lab import audit, data, jobs, lab, models
from aiinfra_lab.store import open_store
from tests.benchmarks._doors import open_to_others
from tests.conftest import PATIENCE_S

FIRST = "07-drift"
STEPS = ("02-data", "03-features", "04-train", "05-models", "06-deploy")
COST = "08-cost"
RECIPE = "09-recipe"
RETRAINING = ("21-challenger", "22-rollout")
YOUR_MODEL = "10-your-model"
OTHER_MODELS = ("11-digits-as-images", "12-text-classifier")
# What a result may hold, so that it stays readable in a file that is reopened or converted (and no widget does).
MIME_TYPES = {"text/plain", "text/html", "image/png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new workspace from the example, shared by the tests of this file: an input is prepared once."""
    return tmp_path_factory.mktemp("flights")


@pytest.fixture
def example(folder: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(folder))
    monkeypatch.chdir(folder)
    lab.start(folder, from_="example:flights")
    return folder


def pytest_of(notebook: Path) -> subprocess.CompletedProcess[str]:
    words = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *words, f"--rootdir={notebook.parent}", str(notebook)]
    return subprocess.run(command, capture_output=True, text=True, cwd=notebook.parent, check=False)


def passes_alone(example: Path, name: str) -> None:
    done = pytest_of(example / "notebooks" / f"{name}.ipynb")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    stop_endpoint()
    assert_proved()
    assert open_to_others(example) == []


def test_the_last_step_finds_nothing_there_and_prepares_small_inputs(example):
    """By running the steps before it."""
    passes_alone(example, FIRST)


@pytest.mark.slow  # two load tests of ten seconds
def test_what_ten_million_requests_a_day_would_cost_is_forecast_under_papermill(example, tmp_path):
    cells = executed(COST, tmp_path)
    texts = [output["data"]["text/plain"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]
    forecasts = [text for text in texts if text.startswith("Forecast deploy:delay")]
    assert len(forecasts) == 3
    assert "10,000,000 requests a day, p95 within 50 ms: about " in forecasts[0]
    assert "load test of deploy:delay at " in " ".join(forecasts[0].split())
    assert re.match(r"Forecast deploy:delay  (✓ within budget|▲ over budget)", forecasts[2])
    pages = [
        output["data"]["text/html"]
        for cell in cells
        for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    ]
    assert max(map(without_pictures, pages)) <= 8_000


# After the costs, which are those of the recipe's own model: a step that is run by hand makes a newer champion.
@pytest.mark.slow  # half a minute each; the first test of this file runs what they have, with small inputs
@pytest.mark.parametrize("name", STEPS)
def test_a_step_passes_alone(example, name):
    passes_alone(example, name)


@pytest.mark.slow  # a month of retraining each; more are run under papermill below
@pytest.mark.parametrize("name", RETRAINING)
def test_a_notebook_of_retraining_passes_alone(example, name):
    passes_alone(example, name)


@pytest.mark.slow  # two minutes of two cores; one month of them is run by the tests of the recipe
def test_months_of_retraining_run_under_papermill_and_leave_nothing_running(example, tmp_path):
    cells = executed(RECIPE, tmp_path, "-p", "months", "2013-03..04")
    texts = [output["data"]["text/plain"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]
    heads = [text.partition("\n")[0] for text in texts]
    table = data.get("retraining").df()
    assert {"2013-03", "2013-04"} <= {*table["month"]}
    assert {*table["decision"]} <= {"promoted", "no better", "rolled back", "cannot tell"}
    assert [head for head in heads if re.match(r"Recipe run recipe:held@\d+  ✕ failed", head)]
    assert [text for text in texts if "ran: it goes on in the kernel that was held" in " ".join(text.split())]
    assert heads[-1].startswith("Endpoint deploy:delay  ■ stopped")
    assert not (example / "recipes" / "held.toml").exists()
    # The keeper of schedules looks once more, sees that none is open, and ends.
    assert {job.subject for job in jobs.ls(live=True)} <= {"lab:schedules"}


@pytest.mark.slow  # a budget of a minute and a half that is waited for
def test_sessions_are_rented_cut_taken_and_ended_under_papermill(example, tmp_path):
    cells = executed("01-gpu", tmp_path)
    texts = ["".join(output.get("text", output.get("data", {}).get("text/plain", "")) for output in cell["outputs"])
             for cell in cells if cell.cell_type == "code"]  # fmt: skip
    cut = next(text for text in texts if "line 0" in text)
    assert re.findall(r"line (\d+)", cut) == [str(number) for number in range(10)]
    assert next(text for text in texts if "False" in text)  # the next machine has nothing of the one that was taken
    trained = next(text for text in texts if "goes on from its checkpoint after step" in text)
    assert re.search(r"train:line@2 goes on .*Training run train:line@2  ✓ done", trained, re.DOTALL)
    assert [text for text in texts if text.startswith("Training run train:line@1  ✕ killed")]
    assert [text for text in texts if re.match(r"Pool gpu:sweep  ● running .*\n.*1 session: 0 at work, 1 free", text)]
    assert [text for text in texts if "Check gpu:check  ✓ nothing is left over" in text]
    ended = "Ended because its budget of 0.020 USD was spent"
    assert [text for text in texts if ended in " ".join(text.split())]


@pytest.mark.slow  # the digits and the texts are imported, learned, served and drift: a minute of a core each
@pytest.mark.parametrize("name", OTHER_MODELS)
def test_a_model_of_no_table_runs_under_papermill_and_drifts_only_on_other_rows(example, tmp_path, name):
    outputs = [output for cell in executed(name, tmp_path) for output in cell.get("outputs", ())]
    heads = [output["data"]["text/plain"].partition("\n")[0] for output in outputs if "data" in output]
    verdicts = [re.search(r"(no )?drift(?= ·)", head)[0] for head in heads if head.startswith("Drift check")]
    assert verdicts == ["no drift", "drift"]


def test_a_model_of_another_library_is_served_in_five_cells(example, tmp_path):
    cells = [cell for cell in executed(YOUR_MODEL, tmp_path) if cell.cell_type == "code"]
    _, trained, added, checked, served, drifted = (
        [output["data"]["text/plain"] for output in cell["outputs"] if "data" in output] for cell in cells
    )
    assert trained == []
    assert [text for text in added if text.startswith("Model version models:diabetes@1 ")]
    assert checked[-1].startswith("Model check models:diabetes@1  ✓ passed")
    assert "original" in served[-1]
    assert re.match(r"Drift check drift:diabetes@1  ▲ drift ·.*\n.* Most of all s6", drifted[-1])
    assert models.get("diabetes").source.startswith(str(example / "notebooks" / "diabetes.ubj"))


def test_the_tour_runs_under_papermill_and_its_results_are_static(example, tmp_path):
    outputs = [output for cell in executed("00-tour", tmp_path) for output in cell.get("outputs", ())]
    assert [output.text for output in outputs if output.output_type == "stream"] == []
    sizes = [
        without_pictures(output["data"]["text/html"]) for output in outputs if "text/html" in output.get("data", {})
    ]
    assert len(sizes) > 8
    assert max(sizes) <= 8_000
    assert_proved()


def executed(name: str, folder: Path, *more: str) -> list[nbformat.NotebookNode]:
    """The cells of a notebook that papermill ran in the workspace, none of which raised; their outputs are static."""
    out = folder / f"{name}.ipynb"
    command = [sys.executable, "-m", "papermill", f"notebooks/{name}.ipynb", str(out), "--cwd", "notebooks"]
    done = subprocess.run([*command, *more, "--no-progress-bar"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    cells: list[nbformat.NotebookNode] = nbformat.read(out, 4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert {kind for output in outputs for kind in output.get("data", {})} <= MIME_TYPES
    return cells


def assert_proved() -> None:
    """Nouns have written by now, and each record that is to come with an event did."""
    proof = audit.prove(open_store())
    assert (proof.sound, proof.events > 1) == (True, True), proof.why


def without_pictures(html: str) -> int:
    return len(re.sub(r'src="data:[^"]+"', "", html))


def stop_endpoint() -> None:
    for job in jobs.ls(live=True):
        if job.supervised:
            jobs.cancel(job.id)
            jobs.wait(job.id, PATIENCE_S)


@pytest.fixture(autouse=True)
def nothing_left(example, request):
    yield
    stop_endpoint()
    assert os.environ["AIINFRA_WORKSPACE"] == str(example)
