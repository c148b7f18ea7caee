"""jupyter-scheduler as it is installed, in a real Jupyter server: its jobs run on our engine, by its REST interface."""

import contextlib
import json
import os
import platform
import signal
import sqlite3
import time
import urllib.error
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab import recipe as recipes
from tests.conftest import PATIENCE_S, until
from tests.jupyter_server import Server, serving
from tests.slow.environments import ROOT, packages_of

pytestmark = pytest.mark.slow
SCHEDULER = "aiinfra_lab.recipe.jupyter_scheduler.LabScheduler"
SECRET = "s3cret-of-this-test"
TWO = """
[parameters]
word = "1"
[steps.make]
notebook = "make.ipynb"
parameters = { word = "${params.word}" }
[steps.use]
notebook = "use.ipynb"
after = ["make"]
"""
OVER = ("COMPLETED", "FAILED", "STOPPED")


class NotebookJobs:
    """The jobs of a server, by the calls of JupyterLab's form."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder

    def write(self, name: str, *cells: str, kernel: str = "python3") -> str:
        """A notebook whose first cell declares its parameters; its path as the server has it."""
        first, *others = cells
        made = [new_code_cell(first, metadata={"tags": ["parameters"]}), *map(new_code_cell, others)]
        spec = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}} if kernel else {}
        path = self.folder / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(cells=made, metadata=spec), path)
        return f"notebooks/{name}.ipynb"

    def asked(self, path: str, **more: Any) -> dict[str, Any]:
        usual = {"name": Path(path).stem, "runtime_environment_name": "python", "output_formats": ["ipynb", "html"]}
        return {"input_uri": path, **usual, **more}

    def create(self, path: str, **more: Any) -> str:
        return str(self.server.call("POST", "/scheduler/jobs", self.asked(path, **more))["job_id"])

    def define(self, path: str, **more: Any) -> str:
        asked = self.asked(path, **more)
        return str(self.server.call("POST", "/scheduler/job_definitions", asked)["job_definition_id"])

    def show(self, job: str) -> dict[str, Any]:
        return dict(self.server.call("GET", f"/scheduler/jobs/{job}"))

    def of_definition(self, definition: str) -> list[dict[str, Any]]:
        return list(self.server.call("GET", f"/scheduler/jobs?job_definition_id={definition}")["jobs"])

    def ended(self, job: str) -> dict[str, Any]:
        until(lambda: self.show(job)["status"] in OVER, most_s=2 * PATIENCE_S)
        return self.show(job)

    def run(self, path: str, **more: Any) -> dict[str, Any]:
        return self.ended(self.create(path, **more))

    def begun(self, job: str, file: str = "begun") -> int:
        """The process whose number a cell has written down."""
        place = self.folder / file
        until(lambda: place.exists() and place.read_text(), most_s=2 * PATIENCE_S)
        found = int(place.read_text())
        place.unlink()
        return found

    def stop(self, job: str) -> None:
        self.server.call("PATCH", f"/scheduler/jobs/{job}", {"status": "STOPPED"})

    def output(self, job: str, kind: str = "ipynb") -> Path:
        """The file that JupyterLab opens after a click on it."""
        self.server.call("GET", f"/scheduler/jobs/{job}/download_files")
        found = until(lambda: self.show(job)["downloaded"] and self.show(job)["job_files"])
        return self.folder / next(each["file_path"] for each in found if each["file_format"] == kind)

    def refused(self, path: str, way: str = "create", **more: Any) -> str:
        """Why it was not taken."""
        place = {"create": "/scheduler/jobs", "define": "/scheduler/job_definitions"}[way]
        return self.wrong("POST", place, self.asked(path, **more))

    def wrong(self, method: str, place: str, asked: object) -> str:
        """Why a call was not taken."""
        with pytest.raises(urllib.error.HTTPError) as raised:
            self.server.call(method, place, asked)
        return str(json.loads(raised.value.read())["message"])


@contextlib.contextmanager
def scheduling(folder: Path) -> Iterator[NotebookJobs]:
    """A server with the package in it; its database is kept in the folder, for the next one."""
    try:
        packages = packages_of("scheduler")
    except AssertionError as problem:
        pytest.skip(f"packages cannot be had here: {problem}")
    home = folder / "jupyter" / "data"
    home.mkdir(parents=True, exist_ok=True)
    options = [
        "--ServerApp.jpserver_extensions={'jupyter_scheduler': True}",
        f"--SchedulerApp.scheduler_class={SCHEDULER}",
        f"--SchedulerApp.db_url=sqlite:///{home / 'scheduler.sqlite'}",
        "--LabTaskRunner.poll_interval=1",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(packages), str(ROOT)]))
        patch.setenv("MY_API_KEY", SECRET)
        with serving(folder, *options) as server:
            yield NotebookJobs(server, folder)


@pytest.fixture(scope="module")
def jobs(module_workspace) -> Iterator[NotebookJobs]:
    (module_workspace / "aiinfra.toml").write_text('[alerts]\nto = ["file:alerts.jsonl"]\n')
    with scheduling(module_workspace) as found:
        yield found


def alerts(folder: Path) -> list[tuple[str, str, str]]:
    path = folder / "alerts.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(one["kind"], one["subject"], one["what"]) for one in found]


def text_of(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", ()))


def states(notebook: Path) -> list[str]:
    cells = nbformat.read(notebook, as_version=4).cells
    return [cell.metadata["aiinfra"]["state"] for cell in cells if "aiinfra" in cell.metadata]


def test_a_notebook_runs_with_its_parameters_as_it_declares_them(jobs):
    path = jobs.write("ok", 'months: int = 1\nword: str = "a"', "print(months + 1, word)", kernel="")
    done = jobs.run(path, parameters={"months": "3", "word": '"02139"'})
    assert (done["status"], done["status_message"]) == ("COMPLETED", None)
    assert done["start_time"] <= done["end_time"]
    made = jobs.output(done["job_id"])
    assert text_of(made) == "4 02139\n"
    assert states(made) == ["done", "done", "done"]
    assert "02139" in jobs.output(done["job_id"], "html").read_text()


def test_without_a_cell_of_parameters_values_are_what_they_read_as(jobs):
    path = jobs.write("plain", "pass", "print(sorted(rows), word)")
    content = nbformat.read(jobs.folder / path, as_version=4)
    content.cells[0].metadata.pop("tags")
    nbformat.write(content, jobs.folder / path)
    done = jobs.run(path, parameters={"rows": "[3, 1]", "word": "two words"}, output_formats=["ipynb"])
    assert text_of(jobs.output(done["job_id"])) == "[1, 3] two words\n"


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"months": "many"}, "months must be of type int"),
        ({"moths": "3"}, "no parameter 'moths'"),
        ({"months": "3", "import os; x": "1"}, "cannot be the name of a parameter"),
    ],
)
@pytest.mark.parametrize("way", ["create", "define"])
def test_what_a_notebook_cannot_take_is_refused_before_a_kernel(jobs, parameters, why, way):
    path = jobs.write("strict", "months: int = 1")
    assert why in jobs.refused(path, way, parameters=parameters)


def test_a_file_that_is_no_notebook_is_refused(jobs):
    (jobs.folder / "broken.ipynb").write_text("{")
    assert "broken.ipynb cannot be read as a notebook" in jobs.refused("broken.ipynb")
    assert "does not exist" in jobs.refused("missing.ipynb")


def test_a_cell_that_raises_fails_the_job_with_its_error_and_people_hear_of_it(jobs):
    path = jobs.write("fails", "x: int = 0", "print('before')", "1 / x", "print('never')")
    failed = jobs.run(path)
    assert failed["status"] == "FAILED"
    assert failed["status_message"].startswith("cell [3] failed: ZeroDivisionError: division by zero")
    assert failed["end_time"]
    made = jobs.output(failed["job_id"])
    assert states(made) == ["done", "done", "failed", "not_run"]
    assert "ZeroDivisionError" in jobs.output(failed["job_id"], "html").read_text()
    until(lambda: ("failed", "notebook-job:fails", "fails.ipynb failed") in alerts(jobs.folder))
    assert jobs.run(path, parameters={"x": "1"})["status"] == "COMPLETED"
    until(lambda: ("recovered", "notebook-job:fails", "it runs to its end again") in alerts(jobs.folder))


def test_a_kernel_that_is_killed_is_no_success(jobs):
    path = jobs.write("killed", "x: int = 0", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "print(1)")
    failed = jobs.run(path)
    assert failed["status"] == "FAILED"
    assert "was killed" in failed["status_message"]
    assert states(jobs.output(failed["job_id"])) == ["done", "killed", "not_run"]


def test_secrets_reach_neither_outputs_nor_the_message(jobs):
    path = jobs.write(
        "leaks", "x: int = 0", "import os\nkey = os.environ['MY_API_KEY']\nprint(key)\nraise OSError(key)"
    )
    failed = jobs.run(path)
    assert "[secret MY_API_KEY]" in failed["status_message"]
    assert SECRET not in json.dumps(failed)
    for kind in ("ipynb", "html"):
        assert SECRET not in jobs.output(failed["job_id"], kind).read_text()


SLEEPS = """
import os, pathlib, subprocess, time
child = subprocess.Popen(["sleep", "600"])
pathlib.Path(os.environ["AIINFRA_WORKSPACE"], "begun").write_text(str(child.pid))
time.sleep(600)
"""


def test_a_job_that_is_stopped_ends_with_all_that_it_started(jobs):
    job = jobs.create(jobs.write("sleeps", "x: int = 0", SLEEPS, "print('never')"))
    child = jobs.begun(job)
    jobs.stop(job)
    stopped = jobs.ended(job)
    assert (stopped["status"], stopped["status_message"].splitlines()[0]) == ("STOPPED", "stopped while it ran")
    assert not psutil.pid_exists(child)
    assert states(jobs.output(job)) == ["done", "stopped", "not_run"]
    assert not [each for each in alerts(jobs.folder) if each[1] == "notebook-job:sleeps"]


@pytest.mark.parametrize("after_s", [0.0, 1.5])
def test_a_job_that_is_stopped_before_it_has_begun_is_stopped(jobs, after_s):
    path = jobs.write("early", "x: int = 0", "import time\ntime.sleep(600)")
    job = jobs.create(path)
    assert jobs.show(job)["status"] in ("CREATED", "IN_PROGRESS")
    time.sleep(after_s)
    jobs.stop(job)
    assert jobs.ended(job)["status"] == "STOPPED"


def test_a_job_that_is_deleted_ends_at_once(jobs):
    stubborn = SLEEPS.replace("time.sleep(600)", "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
                              "while True: time.sleep(1)")  # fmt: skip
    job = jobs.create(jobs.write("stubborn", "x: int = 0", stubborn))
    child = jobs.begun(job)
    jobs.server.call("DELETE", f"/scheduler/jobs/{job}")
    until(lambda: not psutil.pid_exists(child))
    assert job not in [each["job_id"] for each in jobs.server.call("GET", "/scheduler/jobs")["jobs"]]


def is_spawned(process: psutil.Process) -> bool:
    """Whether it is a job's, and lives."""
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return False


def test_a_job_whose_process_vanishes_is_not_left_as_running(jobs):
    # What a cell puts out is in the file within half a second.
    late = f"import time\ntime.sleep(1)\nprint(flush=True)\ntime.sleep(1)\n{SLEEPS}"
    job = jobs.create(jobs.write("vanishes", "x: int = 0", late), output_formats=["ipynb"])
    child = jobs.begun(job)
    [process] = filter(is_spawned, psutil.Process(jobs.server.process.pid).children())
    os.kill(process.pid, signal.SIGKILL)
    lost = jobs.ended(job)
    assert (lost["status"], lost["status_message"][:20]) == ("FAILED", "its process vanished")
    until(lambda: not psutil.pid_exists(child))
    assert states(jobs.output(job)) == ["done", "killed"]
    until(lambda: ("failed", "notebook-job:vanishes", "its process vanished") in alerts(jobs.folder))


def test_whether_a_job_of_another_machine_goes_on_is_not_known(jobs):
    path = jobs.write("far", "x: int = 0")
    far, before = (jobs.run(path, output_formats=[])["job_id"] for _ in range(2))
    with contextlib.closing(sqlite3.connect(jobs.folder / "jupyter" / "data" / "scheduler.sqlite")) as database:
        for job, place in ((far, "another-machine boot pid"), (before, f"{platform.node()} boot-before pid")):
            kept = json.dumps({"aiinfra_place": place})
            change = "update jobs set status = 'IN_PROGRESS', runtime_environment_parameters = ? where job_id = ?"
            database.execute(change, (kept, job))
        database.commit()
    assert jobs.show(far)["status"] == "IN_PROGRESS"
    assert jobs.ended(before)["status"] == "FAILED"
    with pytest.raises(urllib.error.HTTPError) as raised:
        jobs.stop(far)
    assert "it runs on another-machine" in json.loads(raised.value.read())["message"]
    assert jobs.show(far)["status"] == "IN_PROGRESS"


def test_a_packaged_folder_comes_along_and_what_is_made_in_it_comes_back(jobs):
    path = jobs.write("reads", "x: int = 0", "open('made.txt', 'w').write(open('data.csv').read() + '!')")
    (jobs.folder / "notebooks" / "data.csv").write_text("a,b")
    done = jobs.run(path, package_input_folder=True)
    assert done["status"] == "COMPLETED"
    assert {"data.csv", "made.txt"} <= set(done["packaged_files"])
    made = jobs.output(done["job_id"]).with_name("made.txt")
    assert until(lambda: made.exists() and made.read_text()) == "a,b!"


@pytest.fixture
def two(jobs) -> str:
    jobs.write("make", 'word: str = "x"', "print('made', word)")
    (jobs.folder / "recipes").mkdir(exist_ok=True)
    (jobs.folder / "recipes" / "two.toml").write_text(TWO + '[alert]\nto = ["file:alerts.jsonl"]\n')
    return jobs.write("use", "x: int = 0", "import pathlib\nassert pathlib.Path('go').exists()", "print('used')")


def test_a_tag_runs_the_recipe_with_its_steps_in_order(jobs, two):
    (jobs.folder / "notebooks" / "go").touch()
    done = jobs.run(two, tags=["recipe:two"], parameters={"word": "hello"})
    assert done["status"] == "COMPLETED", done["status_message"]
    run = recipes.show(recipes.log("two").items[0].uri)
    assert run.state == "done"
    assert run.steps["make"]["values"] == {"word": "hello"}
    made = nbformat.read(jobs.output(done["job_id"]), as_version=4)
    nbformat.validate(made)
    assert [cell.source for cell in made.cells if cell.source.startswith("#") and cell.cell_type == "markdown"] == [
        f"# {run.uri}: done", "## make: done", "## use: done",
    ]  # fmt: skip
    assert text_of(jobs.output(done["job_id"])) == "made hello\nused\n"
    assert "made hello" in jobs.output(done["job_id"], "html").read_text()


def test_a_step_that_fails_fails_the_job_and_alerts_as_the_recipe_says(jobs, two):
    (jobs.folder / "notebooks" / "go").unlink(missing_ok=True)
    failed = jobs.run("recipes/two.toml", output_formats=["ipynb"])
    assert failed["status"] == "FAILED"
    assert "the step use failed: AssertionError" in failed["status_message"]
    assert "recipe:two@" in failed["status_message"]
    assert ("failed", "recipe:two", "the step use failed") in alerts(jobs.folder)
    assert not [each for each in alerts(jobs.folder) if each[1] == "notebook-job:two"]


def test_a_recipe_whose_budget_is_used_up_fails_the_job_with_that(jobs, two):
    path = jobs.folder / "recipes" / "two.toml"
    path.write_text(f'budget = "0.000001 USD"\n{path.read_text()}')
    with (jobs.folder / "aiinfra.toml").open("a") as file:
        file.write("[cost]\nmachine_usd_per_hour = 3600\n")
    failed = jobs.run("recipes/two.toml", output_formats=["ipynb"])
    assert (failed["status"], "the run's budget of 0.0000010 USD is used up" in failed["status_message"]) == (
        "FAILED",
        True,
    )
    assert ("over budget", "recipe:two", "its budget is spent") in alerts(jobs.folder)


def test_a_recipe_that_is_stopped_has_its_run_stopped(jobs, two):
    jobs.write("make", 'word: str = "x"', SLEEPS)
    job = jobs.create(two, tags=["recipe:two"])
    child = jobs.begun(job)
    jobs.stop(job)
    assert jobs.ended(job)["status"] == "STOPPED"
    assert not psutil.pid_exists(child)
    assert recipes.log("two").items[0].state == "interrupted"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"tags": ["recipe:tow"]}, "there is no recipe 'tow'"),
        ({"tags": ["recipe:two", "recipe:other"]}, "a job runs one recipe"),
        ({"tags": ["recipe:two"], "parameters": {"wrod": "x"}}, "has no parameter 'wrod'"),
    ],
)
def test_a_recipe_that_could_not_run_is_refused(jobs, two, more, why):
    assert why in jobs.refused(two, **more)


def test_a_definition_runs_when_it_is_due_until_it_is_paused(jobs):
    path = jobs.write("nightly", "x: int = 0", "print('ran')")
    zone = "Asia/Kolkata"
    now = datetime.now(ZoneInfo(zone))
    definition = jobs.define(path, schedule="* * * * *", timezone=zone)
    [ran] = until(lambda: jobs.of_definition(definition), most_s=2 * PATIENCE_S)
    assert ran["create_time"] / 1000 >= now.timestamp()
    assert time.localtime(ran["create_time"] / 1000).tm_sec <= 30
    assert jobs.ended(ran["job_id"])["status"] == "COMPLETED"
    place = f"/scheduler/job_definitions/{definition}"
    jobs.server.call("PATCH", place, {"active": False})
    assert jobs.server.call("GET", place)["active"] is False
    known = len(jobs.of_definition(definition))
    by_hand = jobs.server.call("POST", f"{place}/jobs", {"parameters": {"x": "2"}})["job_id"]
    assert jobs.ended(by_hand)["status"] == "COMPLETED"
    with contextlib.suppress(AssertionError):
        until(lambda: len(jobs.of_definition(definition)) > known + 1, most_s=65)
    assert len(jobs.of_definition(definition)) == known + 1
    jobs.server.call("DELETE", place)
    assert jobs.of_definition(definition) == []


def test_what_a_scheduled_job_cannot_take_any_more_is_its_failure(jobs, two):
    definition = jobs.define(two, tags=["recipe:two"], parameters={"word": "x"}, schedule="0 0 1 1 *", timezone="UTC")
    (jobs.folder / "recipes" / "two.toml").write_text(
        TWO.replace('word = "1"', 'other = "1"').replace("params.word", "params.other")
    )
    job = jobs.server.call("POST", f"/scheduler/job_definitions/{definition}/jobs", {})["job_id"]
    failed = jobs.ended(job)
    assert failed["status"] == "FAILED"
    assert "has no parameter 'word'" in failed["status_message"]
    until(lambda: ("failed", "notebook-job:use", "use.ipynb failed") in alerts(jobs.folder))


def test_what_a_definition_is_changed_to_or_run_with_is_checked_as_it_was(jobs, two):
    path = jobs.write("kept", "x: int = 0", "print(x)")
    place = f"/scheduler/job_definitions/{jobs.define(path, schedule='0 0 1 1 *', timezone='UTC')}"
    jobs.write("kept", "y: str = ''")  # its jobs run what it was
    for method, more, asked, why in (
        ("POST", "/jobs", {"parameters": {"x": "many"}}, "x must be of type int"),
        ("PATCH", "", {"parameters": {"y": "1"}}, "no parameter 'y'"),
        ("PATCH", "", {"tags": ["recipe:"]}, "names no recipe"),
        ("PATCH", "", {"tags": ["recipe:two"], "parameters": {"x": "1"}}, "has no parameter 'x'"),
        ("PATCH", "", {"input_uri": path, "parameters": {"x": "1"}}, "no parameter 'x'"),
        ("PATCH", "", {"output_formats": ["pdf"]}, "there is no output as pdf"),
        ("PATCH", "", {"schedule": ""}, "is no line of cron"),
    ):
        assert why in jobs.wrong(method, f"{place}{more}", asked)
    jobs.server.call("PATCH", place, {"parameters": {"x": "3"}, "runtime_environment_parameters": {"mine": "a"}})
    kept = jobs.server.call("GET", place)
    assert kept["parameters"] == {"x": "3"}
    folder = str(jobs.folder / "notebooks")
    assert kept["runtime_environment_parameters"] == {"mine": "a", "aiinfra_folder": folder}
    assert jobs.ended(jobs.server.call("POST", f"{place}/jobs", {})["job_id"])["status"] == "COMPLETED"


def test_a_definition_gets_its_schedule_later(jobs):
    place = f"/scheduler/job_definitions/{jobs.define(jobs.write('later', 'x: int = 0'))}"
    jobs.server.call("PATCH", place, {"schedule": "0 0 1 1 *", "timezone": "UTC"})
    jobs.server.call("PATCH", place, {"active": False})
    assert jobs.server.call("GET", place)["schedule"] == "0 0 1 1 *"


@pytest.mark.parametrize("way", ["create", "define"])
@pytest.mark.parametrize("name", ["../../taken.ipynb", "/{folder}/taken.ipynb", "taken/", ".."])
def test_a_name_that_leaves_the_folder_of_its_job_is_refused(jobs, name, way):
    path, name = jobs.write("prints", "x: int = 0"), name.format(folder=jobs.folder)
    assert f"{name!r} is no name of a file" in jobs.refused(path, way, input_filename=name)
    assert not (jobs.folder / "taken.ipynb").exists()


@pytest.mark.parametrize("way", ["create", "define"])
def test_an_output_that_the_form_does_not_offer_is_refused(jobs, way):
    path = jobs.write("prints", "x: int = 0")
    assert "there is no output as pdf" in jobs.refused(path, way, output_formats=["html", "pdf"])
    assert jobs.server.call("GET", "/scheduler/jobs")["jobs"] is not None


def test_a_server_that_is_stopped_ends_its_jobs_and_then_itself(workspace):
    ignores = SLEEPS.replace("time.sleep(600)", "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
                             "while True: time.sleep(1)")  # fmt: skip
    with scheduling(workspace) as before:
        made = [before.create(before.write(name, "x: int = 0", code)) for name, code in
                (("sleeps", SLEEPS), ("ignores", ignores.replace("begun", "begun-too")))]  # fmt: skip
        children = [before.begun(job, file) for job, file in zip(made, ("begun", "begun-too"), strict=True)]
        before.server.process.terminate()
        before.server.process.wait(PATIENCE_S)
        assert not any(map(psutil.pid_exists, children))
    with scheduling(workspace) as after:
        assert [after.show(job)["status"] for job in made] == ["STOPPED", "STOPPED"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"schedule": ""}, "is no line of cron"),
        ({"schedule": "61 * * * *"}, "is no line of cron"),
        ({"schedule": "0 0 30 2 *"}, "is no line of cron"),
        ({"schedule": "0 3 * * *", "timezone": "Europe/Berlni"}, "there is no time zone"),
    ],
)
def test_times_that_there_are_not_are_refused_and_leave_no_definition(jobs, more, why):
    path = jobs.write("never", "x: int = 0")
    assert why in jobs.refused(path, "define", **more)
    names = [each["name"] for each in jobs.server.call("GET", "/scheduler/job_definitions")["job_definitions"]]
    assert "never" not in names


def test_the_package_is_asked_for_what_its_form_offers(jobs):
    features = jobs.server.call("GET", "/scheduler/config")["supported_features"]
    assert {name for name, is_there in features.items() if is_there} >= {"stop_job", "tags", "job_definition"}
    assert not features["email_notifications"]
