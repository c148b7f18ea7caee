"""A recipe's own schedule is what is exported."""

import ast
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import jinja2
import pytest
import yaml

from aiinfra_lab import recipe as recipes
from aiinfra_lab.errors import UsageProblem

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


FORMS = ["airflow", "argo", "cron", "github", "gitlab", "systemd"]


def export(to, **options):
    image = {"image": "registry/x:1"} if to == "argo" else {}
    done = recipes.export("own", to=to, **image, **options)
    return "\n".join([done.text, *done.notes]).replace("\\", "").replace("$$", "$").replace("%%", "%")


@pytest.fixture
def daily(notebook, recipe):
    notebook("a", "day: str = ''\nn: int = 1")
    recipe("own", DAILY)


@pytest.mark.parametrize("to", FORMS)
def test_its_parameters_are_given_each_run(daily, to):
    text = export(to)
    assert """-p 'day=of '"${RUN_TIME%T*}" -p n=7""" in text
    assert ("${run.date} and ${run.time}" in text) == (to != "airflow")
    assert "-p n=7" in export(to, cron="0 4 * * *")
    given = export(to, param={"day": "2026-03-01"})
    assert ("date -I" in given, "2026-03-01" in given, "n=7" in given) == (False, True, True)


@pytest.mark.parametrize("to", FORMS)
def test_they_are_given_those_runs_alone_that_it_begins_or_a_note_says_so(daily, to):
    text = export(to)
    by_hand = "given the schedule's parameters, too" in text
    asks = "else set --; fi && aiinfra" in text
    assert (by_hand, asks) == {"cron": (False, False), "argo": (True, False), "systemd": (True, False)}.get(
        to, (False, True)
    )


@pytest.mark.parametrize("to", ["airflow", "argo", "github", "gitlab"])
def test_the_moment_is_the_same_for_all_steps(notebook, recipe, to):
    notebook("a", "day: str = ''\nn: int = 1")
    text = DAILY.replace('day = ""', 'day = "of ${run.date}, $${x}"').partition("[schedule]")[0]
    recipe("own", text + text.partition("n = 1\n")[2].replace("steps.a", "steps.b"))
    found = export(to)
    assert found.replace("''", "'").count("""-p 'day=of '"${RUN_TIME%T*}"', ${x}'""") == 2
    moments = {"argo": "creationTimestamp.s", "airflow": "data_interval_end", "github": "date -Iseconds",
               "gitlab": "CI_PIPELINE_CREATED_AT"}  # fmt: skip
    assert found.count(moments[to]) == (2 if to == "argo" else 1)


def lines_of(to: str) -> list[str]:
    text = recipes.export("own", to=to).text
    if to == "airflow":
        words = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.keyword)]
        return [ast.literal_eval(word.value.right) for word in words if word.arg == "bash_command"]
    jobs = yaml.safe_load(text)
    return (
        jobs["own-train"]["script"]
        if to == "gitlab"
        else [each.get("run", "") for each in jobs["jobs"]["train"]["steps"]]
    )


@pytest.mark.parametrize(
    ("to", "known_by"),
    [
        ("airflow", {"IS_DUE": "yes"}),
        ("github", {"GITHUB_EVENT_NAME": "schedule"}),
        ("gitlab", {"CI_PIPELINE_SOURCE": "schedule"}),
    ],
)
def test_a_shell_knows_what_began_the_run(daily, recipe, to, known_by):
    recipe("own", DAILY.replace("n = 1", 'n = 1\nat = "${run.time}"', 1))
    (line,) = [line for line in lines_of(to) if "aiinfra recipe run" in line]
    for env in (known_by, dict.fromkeys(known_by, "push" if to != "airflow" else "")):
        given = {**env, "RUN_TIME": "2026-03-02T00:30:00+01:00", "PATH": os.environ["PATH"]}
        script = f"aiinfra() {{ printf '%s\\n' \"$@\"; }}; {line}"
        done = subprocess.run(["bash", "-ec", script], env=given, check=True, capture_output=True, text=True).stdout
        due = ["-p", "day=of 2026-03-02", "-p", "n=7"] if env is known_by else []
        at = ["-p", "at=2026-03-02T00:30:00+01:00"]
        assert done.splitlines() == ["recipe", "run", "own", "--only", "a", *at, *due]


@pytest.mark.parametrize(
    ("cron", "tz", "meant"),
    [
        ("30 3 * * *", "Asia/Kolkata", 'now `--cron "0 22 * * *"`'),
        ("0 7 * * *", "Asia/Tokyo", 'now `--cron "0 22 * * *"`'),
        ("0 7 * * mon", "Asia/Tokyo", 'e.g. `--cron "0 3 * * *"`'),
    ],
)
def test_one_time_a_day_is_known_in_utc(notebook, recipe, cron, tz, meant):
    notebook("a", "")
    recipe("own", OWN.replace("@daily", cron).replace("Europe/Berlin", tz))
    with pytest.raises(UsageProblem) as problem:
        recipes.export("own", to="github")
    assert problem.value.fix == f"add --cron with those times in UTC, {meant}, without --tz"


def test_where_times_are_in_utc_those_of_the_recipes_own_zone_are_to_be_given_so(notebook, recipe):
    notebook("a", "")
    recipe("own", OWN)
    with pytest.raises(UsageProblem) as problem:
        recipes.export("own", to="github")
    assert problem.value.what == "GitHub's schedules are in UTC, and '0 0 * * *' is in Europe/Berlin"
    there = [f'add --cron with those times in UTC, now `--cron "0 {hour} * * *"`, without --tz' for hour in (22, 23)]
    assert problem.value.fix in there
    assert "cron: 0 3 * * *" in recipes.export("own", to="github", cron="0 3 * * *").text


def test_airflow_knows_for_when_a_run_is(daily, recipe):
    recipe("own", DAILY.replace('"0 3 * * *"', '"0 3 * * *"\ntz = "Europe/Berlin"'))
    tree = ast.parse(recipes.export("own", to="airflow").text)
    (env,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "ENV"
    ]
    began = datetime(2026, 3, 5, 12, tzinfo=UTC)

    def filled(run_type: str, **more: datetime) -> list[str]:
        run = SimpleNamespace(run_type=run_type, start_date=began)
        context = {"dag_run": run, "zone": ZoneInfo("Europe/Berlin"), **more}
        return [jinja2.Template(env[name]).render(context) for name in ("RUN_TIME", "IS_DUE")]

    due = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    assert filled("scheduled", data_interval_end=due) == ["2026-03-02T00:30:00+01:00", "yes"]
    assert filled("backfill", data_interval_end=due) == ["2026-03-02T00:30:00+01:00", "yes"]
    assert filled("manual") == ["2026-03-05T13:00:00+01:00", ""]


@pytest.mark.parametrize("to", ["container", "cron", "systemd"])
def test_a_run_of_the_whole_recipe_fills_its_own_parameters(notebook, recipe, to):
    notebook("a", "day: str = ''\nn: int = 1")
    recipe("own", DAILY.replace('day = ""', 'day = "${run.date}"').partition("[schedule]")[0])
    assert "RUN_TIME" not in export(to, **({} if to == "container" else {"cron": "0 3 * * *"}))


def test_dvc_asks_the_recipe_of_a_step_that_gets_the_day(notebook, recipe):
    notebook("a", "day: str = ''\nn: int = 1")
    recipe("own", DAILY.replace('day = ""', 'day = "${run.date}"'))
    assert "always_changed: true" in export("dvc")
    assert "each of its stages" in export("dvc")
    assert "always_changed" not in export("dvc", param={"day": "2026-03-01"})


@pytest.mark.parametrize(
    ("to", "catch_up", "note"),
    [
        ("airflow", "all", "airflow backfill create"), ("airflow", "last", ""), ("airflow", "none", "the last time"),
        ("argo", "all", "no older than an hour"), ("argo", "none", ""), ("cron", "last", "no time"),
        ("cron", "none", ""), ("github", "all", "no time"), ("gitlab", "all", "no time"), ("gitlab", "last", ""),
        ("systemd", "all", "by one run"), ("systemd", "none", ""),
    ],
)  # fmt: skip
def test_a_note_says_where_what_was_missed_is_not_made_up_for_as_the_recipe_has_it(daily, recipe, to, catch_up, note):
    recipe("own", DAILY.replace('* * *"', f'* * *"\ncatch_up = "{catch_up}"'))
    assert ("catch_up = " in export(to)) == bool(note)
    assert note in export(to)
    assert "catch_up = " not in export("dvc")


def test_what_was_missed_is_not_made_up_for_where_the_recipe_has_it_so(daily, recipe):
    recipe("own", DAILY.replace('* * *"', '* * *"\ncatch_up = "none"'))
    assert "startingDeadlineSeconds" not in export("argo")
    into = recipes.export("own", to="systemd", into=".").files[1]
    assert "Persistent=false" in Path(into).read_text()
    recipe("own", DAILY)
    recipes.export("own", to="systemd", into=".")
    assert "Persistent=true" in Path(into).read_text()
    assert "startingDeadlineSeconds: 3600" in export("argo")


def test_a_shell_makes_of_it_what_the_parameter_is(notebook, recipe):
    notebook("a", "day: str = ''\nn: int = 1")
    recipe("own", DAILY.replace('"0 3 * * *"', '"0 3 * * *"\ntz = "Pacific/Kiritimati"').replace("= 7", "= 7 "))
    (line,) = [line for line in _text("own").splitlines() if line.startswith("0 3")]
    command = line.partition("&& ")[2].replace("\\%", "%").replace("aiinfra", "printf '%s\\n'")
    words = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout
    day = datetime.now(ZoneInfo("Pacific/Kiritimati")).date().isoformat()
    assert words.splitlines() == ["recipe", "run", "own", "-p", f"day=of {day}", "-p", "n=7"]


def _text(name: str, **options: str) -> str:
    return str(recipes.export(name, to="cron", **options).text)
