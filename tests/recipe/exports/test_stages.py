"""The six steps of a pipeline in a recipe, and the rollback that runs when watching fails."""

import dataclasses
import json
import os
import re
import subprocess

import pytest
import yaml

from aiinfra_lab.deploy import Endpoint
from aiinfra_lab.recipe.exports import FORMS
from aiinfra_lab.recipe.exports.stages import endpoints, newest_served, rollback_lines, stages, starts

from .test_contract import PLAIN, facts_of, recipe_of, step_of

# A command that shows an endpoint as it is now, and notes what else it is asked for.
STUB = """#!/bin/sh
case "$1 $2" in
    "deploy show") cat now.json ;;
    *) echo "$@" >> asked ;;
esac
"""


def names(*steps):
    return [(stage.name, [step.name for step in stage.steps]) for stage in stages(recipe_of("r", "R", *steps))]


def test_a_step_belongs_to_a_stage_by_what_it_makes():
    assert [(stage.name, [step.name for step in stage.steps]) for stage in stages(PLAIN)] == [
        ("train", ["data"]),
        ("register", ["train"]),
        ("canary", ["deploy"]),
        ("monitor", ["drift"]),
    ]
    assert endpoints(PLAIN) == ["delay"]


def test_a_recipe_without_models_or_endpoints_has_one_stage():
    assert names(step_of("a"), step_of("b")) == [("train", ["a", "b"])]
    assert names(step_of("a", outputs={"e": "deploy:e"})) == [("canary", ["a"])]


def test_its_jobs_wait_for_each_other_and_ask_for_approval():
    text = next(iter(FORMS["github"].render(PLAIN, facts_of()).files.values()))
    jobs = yaml.safe_load(text)["jobs"]
    assert [*jobs] == ["check", "train", "register", "canary", "monitor", "promote", "rollback"]
    assert {name: job.get("environment") for name, job in jobs.items()} == {
        "check": None, "train": "flights", "register": "flights", "canary": "flights-canary",
        "monitor": "flights", "promote": "flights-promotion", "rollback": "flights",
    }  # fmt: skip
    assert yaml.safe_load(text)["permissions"] == {}
    assert all(job["permissions"] == {"contents": "read"} and job["timeout-minutes"] for job in jobs.values())
    assert "secrets." not in str(jobs["check"])
    assert "needs.monitor.result == 'failure'" in jobs["rollback"]["if"]


def test_a_time_of_the_recipe_is_the_time_of_its_job():
    assert stages(PLAIN)[0].minutes == round(2 * (1800 + 60) / 60) + 5 + 1
    argo = yaml.safe_load(next(iter(FORMS["argo"].render(PLAIN, facts_of()).files.values())))
    limits = [each.get("activeDeadlineSeconds") for each in argo["spec"]["workflowSpec"]["templates"]]
    assert limits == [None, 3720, None, None, None]
    assert "timedelta(seconds=3720)" in next(iter(FORMS["airflow"].render(PLAIN, facts_of()).files.values()))


@pytest.fixture
def shell(tmp_path):
    (tmp_path / "aiinfra").write_text(STUB)
    (tmp_path / "aiinfra").chmod(0o755)

    def run(line: str, now: dict[str, str | None] | None, **variables: str) -> str:
        (tmp_path / "now.json").write_text(json.dumps(now) if now else "")
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **variables}
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", line], cwd=tmp_path, check=False, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        asked = tmp_path / "asked"
        return done.stdout + (asked.read_text() if asked.exists() else "")

    return run


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ({"champion": "models:delay@7", "canary": "models:delay@8"}, "models:delay@8\n"),
        ({"champion": "models:delay@7", "canary": None}, "models:delay@7\n"),
        ({"champion": None, "canary": None}, "\n"),
        (None, "\n"),
    ],
)
def test_what_an_endpoint_was_given_last_is_read_from_its_json(shell, now, found):
    assert {"champion", "canary"} <= {field.name for field in dataclasses.fields(Endpoint)}
    assert shell(f"echo {newest_served('delay')}", now) == found


OLD, NEW = "models:delay@7", "models:delay@8"


@pytest.mark.parametrize(
    ("before", "served", "now", "is_asked"),
    [
        (OLD, NEW, {"champion": OLD, "canary": NEW}, True),
        (OLD, NEW, {"champion": NEW, "canary": None}, True),  # it was promoted in between
        (OLD, NEW, {"champion": OLD, "canary": None}, False),  # its own rule was faster
        (OLD, OLD, {"champion": OLD, "canary": None}, False),  # nothing new was deployed
        ("", "", {"champion": OLD, "canary": None}, False),  # the canary stage said nothing
        (OLD, NEW, None, False),  # it is gone
    ],
)
def test_only_what_the_canary_stage_brought_is_rolled_back(shell, before, served, now, is_asked):
    [line] = rollback_lines(PLAIN)
    assert shell(line, now, BEFORE_0=before, SERVED_0=served) == ("deploy rollback delay\n" if is_asked else "")


# What each step needs, and which of them stops all that comes after it.
CASES = {
    "independent": ({"a": (), "b": ()}, ""),
    "one of two": ({"a": (), "b": (), "c": ("a",), "d": ("b", "c"), "e": ("b",)}, ""),
    "stop": ({"a": (), "b": (), "c": ("a",)}, "b"),
    "stop that is left out": ({"a": (), "b": ("a",), "c": ()}, "b"),
    "chain": ({"a": (), "b": ("a",), "c": ("b",)}, ""),
}


def as_the_recipe_has_it(needs, stop, bad):
    """The steps that succeed."""
    done: list[str] = []
    for name, before in needs.items():
        if name != bad and set(before) <= set(done):
            done.append(name)
        elif name == bad == stop and set(before) <= set(done):
            break
    return done


def of_gitlab(recipe, bad, tmp_path):
    (script,) = [job["script"] for name, job in document_of("gitlab", recipe).items() if name.endswith("-train")]
    stub = f'aiinfra() {{ case "$5" in "{bad}") return 3 ;; *) echo "$5" >> done ;; esac; }}\n'
    (tmp_path / "done").write_text("")
    lines = stub + "\n".join(script)
    code = subprocess.run(["bash", "-eo", "pipefail", "-c", lines], cwd=tmp_path, check=False).returncode
    assert code == (3 if bad else 0)
    return (tmp_path / "done").read_text().split()


def of_github(recipe, bad, _):
    outcomes: dict[str, str] = {}
    done = []
    steps = document_of("github", recipe)["jobs"]["train"]["steps"]
    for step in steps:
        name = step.get("name", "").removeprefix("Step ")
        condition = step.get("if", "${{ all_well }}")[3:-2].replace("&&", "and").replace("!cancelled()", "True")
        condition = re.sub(r"steps\.(\w+)\.outcome", r"outcomes['\1']", condition)
        runs = eval(condition, {"outcomes": outcomes, "all_well": "failure" not in outcomes.values()})
        outcomes[step.get("id", name)] = "skipped" if not runs else "failure" if name == bad else "success"
        if step.get("name", "").startswith("Step ") and runs and name != bad:
            done.append(name)
    return done


def of_argo(recipe, bad, _):
    (dag,) = [each["dag"] for each in document_of("argo", recipe)["spec"]["workflowSpec"]["templates"] if "dag" in each]
    assert dag["failFast"] is False
    states: dict[str, str] = {}
    for task in dag["tasks"]:
        condition = task.get("depends", "True").replace("&&", "and").replace("||", "or")
        runs = eval(re.sub(r"(\w+)\.(\w+)", r"(states['\1'] == '\2')", condition), {"states": states})
        states[task["name"]] = "Omitted" if not runs else "Failed" if task["name"] == bad else "Succeeded"
    return [name for name, state in states.items() if state == "Succeeded"]


def of_airflow(recipe, bad, _):
    text = next(iter(FORMS["airflow"].render(recipe, facts_of()).files.values()))
    names = {f"step_{at}": step.name for at, step in enumerate(recipe.steps, 1)}
    before = [(names[one], names[other]) for one, other in re.findall(r"(step_\d+) >> (step_\d+)", text)]
    done: list[str] = []
    for name in names.values():
        if name != bad and all(one in done for one, other in before if other == name):
            done.append(name)
    return done


def document_of(form, recipe):
    return yaml.safe_load(next(iter(FORMS[form].render(recipe, facts_of()).files.values())))


@pytest.mark.parametrize("run", [of_airflow, of_argo, of_github, of_gitlab])
@pytest.mark.parametrize("case", CASES)
def test_the_same_steps_run_behind_a_failure_as_in_a_run_of_the_recipe(run, case, tmp_path):
    needs, stop = CASES[case]
    steps = [step_of(name, *before, on_failure="stop" if name == stop else "skip") for name, before in needs.items()]
    recipe = recipe_of("r", "R", *steps)
    for bad in ("", *needs):
        wanted = as_the_recipe_has_it(needs, stop, bad)
        if (run, case, bad) == (of_airflow, "stop that is left out", "a"):
            # Airflow cannot tell a task that failed from one that was left out: a note says so.
            assert any("leaves out all that is behind b" in note for note in notes("airflow", recipe))
            wanted = []
        assert run(recipe, bad, tmp_path) == wanted


def notes(form, recipe):
    return FORMS[form].render(recipe, facts_of()).notes


def test_a_note_says_that_a_stage_waits_for_all_of_the_one_before():
    wide = recipe_of("r", "R", step_of("a"), step_of("b", "a", outputs={"m": "models:m"}), step_of("c"))
    assert "dvc repro -k " in FORMS["dvc"].render(wide, facts_of()).use
    assert "-k" not in FORMS["dvc"].render(PLAIN, facts_of()).use
    for form in ("github", "gitlab"):
        assert any("a stage begins where all" in note for note in notes(form, wide))
        assert not any("a stage begins where all" in note for note in notes(form, PLAIN))


def test_what_all_before_it_must_succeed_for_has_no_condition():
    begins = starts([step_of("a"), step_of("b", "a"), step_of("c", "a"), step_of("d", "b", "c")])
    assert {name: begin.is_plain for name, begin in begins.items()} == {"a": True, "b": True, "c": False, "d": True}
