"""The six steps of a pipeline in a recipe, and the rollback that runs when watching fails."""

import dataclasses
import json
import os
import subprocess

import pytest
import yaml

from aiinfra_lab.deploy import Endpoint
from aiinfra_lab.recipe.exports import FORMS
from aiinfra_lab.recipe.exports.stages import endpoints, newest_served, rollback_lines, stages

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
