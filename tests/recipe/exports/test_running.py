"""Exports that run here: DVC and Airflow go through a recipe of two steps, and its records say what ran."""

import os
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from aiinfra_lab import data
from aiinfra_lab import recipe as recipes
from tests.slow.environments import ROOT, python_of

pytestmark = pytest.mark.slow

MAKE = 'import pathlib\npathlib.Path("made.csv").write_text(f"a\\n{word}\\n")\ndata.add("made", "made.csv")'
TWO = """
[parameters]
word = "1"
[steps.make]
notebook = "make.ipynb"
parameters = { word = "${params.word}" }
out = { made = "data:made" }
[steps.use]
notebook = "use.ipynb"
in = { made = "make.made" }
"""


@pytest.fixture
def two(notebook, recipe, workspace) -> Path:
    notebook("make", 'word: str = "x"', "from aiinfra_lab import data", MAKE)
    notebook("use", 'made: str = "x"', "assert made.startswith('data:made@'), made")
    recipe("two", TWO)
    return workspace


def environment(project: Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "AIINFRA_PROJECT": str(project), **more}


def ran(name: str = "two") -> list[tuple[str, str]]:
    """(step, state) of each run, oldest first."""
    runs = [recipes.show(run.uri) for run in recipes.log(name)]
    return [(step, each["state"]) for run in reversed(runs) for step, each in run.steps.items()]


def ok(*command: str, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_dvc_runs_each_stage_once_and_then_only_what_changed(two, recipe):
    recipes.export("two", to="dvc", into=".")
    env = environment(two)

    def repro() -> str:
        return ok(sys.executable, "-m", "dvc", "repro", "dvc/two/dvc.yaml", cwd=two, env=env)

    ok("git", "init", "-q", cwd=two, env=env)
    if not (two / ".dvc").exists():
        ok(sys.executable, "-m", "dvc", "init", "-q", cwd=two, env=env)
    repro()
    assert ran() == [("make", "done"), ("use", "done")]
    assert "Running stage" not in repro()
    assert len(ran()) == 2
    recipe("two", TWO.replace('word = "1"', 'word = "2"'))
    recipes.export("two", to="dvc", into=".", check=True)  # a value is no part of it
    repro()
    assert ran()[2:] == [("make", "done"), ("use", "done")]
    assert data.show("made").uri == "data:made@2"
    assert not ok("git", "status", "--porcelain", "dvc/two/made", cwd=two, env=env).strip()


def test_dvc_hands_over_hostile_values_as_they_are(two):
    word = 'it\'s ${x} $(id) "q"'
    recipes.export("two", to="dvc", into=".", param={"word": word})
    env = environment(two)
    ok("git", "init", "-q", cwd=two, env=env)
    if not (two / ".dvc").exists():
        ok(sys.executable, "-m", "dvc", "init", "-q", cwd=two, env=env)
    ok(sys.executable, "-m", "dvc", "repro", "dvc/two/dvc.yaml:make", cwd=two, env=env)
    [run] = recipes.log("two")
    assert recipes.show(run.uri).steps["make"]["values"]["word"] == word


def test_airflow_runs_a_task_for_each_step(two, tmp_path):
    word = 'it\'s {{ ds }} $(id) "q" a.sh'
    recipes.export("two", to="airflow", into=".", cron="0 3 * * *", tz="Europe/Berlin", param={"word": word})
    airflow = str(Path(python_of("airflow")).with_name("airflow"))
    home = {"AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__DAGS_FOLDER": str(two / "dags")}
    env = environment(two, AIRFLOW__CORE__LOAD_EXAMPLES="False", **home)
    ok(airflow, "db", "migrate", cwd=two, env=env)
    assert "No data found" in ok(airflow, "dags", "list-import-errors", cwd=two, env=env)
    ok(airflow, "dags", "test", "two", cwd=two, env=env)
    assert ran() == [("make", "done"), ("use", "done")]
    assert recipes.show(f"two@{len(ran()) - 1}").steps["make"]["values"]["word"] == word


DAILY = """
[parameters]
day = "${run.date}"
[steps.bad]
notebook = "bad.ipynb"
parameters = { day = "${params.day}" }
[steps.good]
notebook = "good.ipynb"
parameters = { day = "${params.day}" }
[schedule]
cron = "0 3 * * *"
tz = "Pacific/Kiritimati"
parameters = { day = "scheduled" }
"""


def test_airflow_goes_on_behind_a_failure_with_the_day_of_its_run(notebook, recipe, workspace, tmp_path):
    notebook("bad", 'day: str = "x"', "1 / 0")
    notebook("good", 'day: str = "x"')
    recipe("daily", DAILY)
    recipes.export("daily", to="airflow", into=".")
    airflow = str(Path(python_of("airflow")).with_name("airflow"))
    home = {"AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__DAGS_FOLDER": str(workspace / "dags")}
    env = environment(workspace, AIRFLOW__CORE__LOAD_EXAMPLES="False", **home)
    ok(airflow, "db", "migrate", cwd=workspace, env=env)
    zone = ZoneInfo("Pacific/Kiritimati")
    days = {datetime.now(zone).date().isoformat()}
    subprocess.run([airflow, "dags", "test", "daily"], cwd=workspace, env=env, check=False, capture_output=True)
    days.add(datetime.now(zone).date().isoformat())
    assert sorted(ran("daily")) == [("bad", "failed"), ("good", "done")]
    for run in recipes.log("daily"):
        assert all(step["values"]["day"] in days for step in recipes.show(run.uri).steps.values())


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_line_of_a_crontab_runs_in_a_shell(two, shell):
    text = recipes.export("two", to="cron", cron="* * * * *", param={"word": "50%"}).text
    line = text.splitlines()[-1].removeprefix("* * * * * ").replace("\\%", "%")
    ok(shell, "-c", f"PROJECT={shlex.quote(str(two))}; {line}", cwd=Path("/"), env=environment(two))
    assert ran() == [("make", "done"), ("use", "done")]
