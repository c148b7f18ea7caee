"""A recipe's own schedule is what is exported."""

import subprocess
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from aiinfra_lab import recipe as recipes

OWN = '[steps.a]\nnotebook = "a.ipynb"\n[schedule]\ncron = "@daily"\ntz = "Europe/Berlin"\n'


def test_it_is_exported_unless_another_is_asked_for(notebook, recipe):
    notebook("a", "")
    recipe("own", OWN)
    assert "CRON_TZ=Europe/Berlin" in _text("own") or "0 0 * * *" in _text("own")
    assert "30 4 * * *" in _text("own", cron="30 4 * * *")


def test_what_has_no_schedules_leaves_it_out(notebook, recipe):
    notebook("a", "")
    recipe("own", OWN)
    assert "0 0 * * *" not in str(recipes.export("own", to="dvc").text)


DAILY = """
[parameters]
day = ""
n = 1
[steps.a]
notebook = "a.ipynb"
parameters = { day = "${params.day}", n = "${params.n}" }
[schedule]
cron = "0 3 * * *"
parameters = { day = "of ${run.date}", n = 7 }
"""


@pytest.mark.parametrize("to", ["airflow", "argo", "cron", "github", "gitlab", "systemd"])
def test_its_parameters_are_given_each_run(notebook, recipe, to):
    notebook("a", "day: str = ''\nn: int = 1")
    recipe("own", DAILY)
    image = {"image": "registry/x:1"} if to == "argo" else {}
    done = recipes.export("own", to=to, **image)
    text = done.text.replace("\\", "").replace("$$", "$").replace("%%", "%")
    assert '"$(TZ=UTC date +%F)"' in text
    assert "-p n=7" in text
    assert any("${run.date}" in note for note in done.notes)
    assert "-p n=7" in recipes.export("own", to=to, cron="0 4 * * *", **image).text
    given = recipes.export("own", to=to, param={"day": "2026-03-01"}, **image).text
    assert ("date +" in given, "2026-03-01" in given, "n=7" in given) == (False, True, True)


def test_a_shell_makes_of_it_what_the_parameter_is(notebook, recipe):
    notebook("a", "day: str = ''\nn: int = 1")
    recipe("own", DAILY.replace('"0 3 * * *"', '"0 3 * * *"\ntz = "Pacific/Kiritimati"').replace("= 7", "= 7 "))
    (line,) = [line for line in _text("own").splitlines() if line.startswith("0 3")]
    command = line.partition("aiinfra ")[2].replace("\\%", "%")
    words = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], check=True, capture_output=True, text=True).stdout
    day = datetime.now(ZoneInfo("Pacific/Kiritimati")).date().isoformat()
    assert words.splitlines() == ["recipe", "run", "own", "-p", f"day=of {day}", "-p", "n=7"]


def _text(name: str, **options: str) -> str:
    return str(recipes.export(name, to="cron", **options).text)
