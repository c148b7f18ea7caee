"""A recipe as a pipeline of GitLab CI: a job for each stage, `when: manual` before canary and promotion."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from ..base import Recipe
from .base import ExportFacts, ExportTraits, RecipeFiles
from .container import IMAGE, UV
from .stages import (
    Stage,
    endpoints,
    has_outside_data,
    is_chain,
    newest_served,
    rollback_lines,
    stage_notes,
    stages,
    starts,
    variable,
)
from .written import sealed, slug, yaml_text

TRAITS = ExportTraits(
    is_split=True,
    in_steps=True,
    takes_schedule=True,
    missed="GitLab makes up for no time that it missed; a job waits for its runner",
    catch_up=("last", "none"),
)
_ON_PUSH = {"if": '$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH'}
_IS_DUE = '[ "$CI_PIPELINE_SOURCE" = schedule ]'
_BY_HAND = {"if": '$CI_PIPELINE_SOURCE == "web" || $CI_PIPELINE_SOURCE == "schedule"'}
_OF_MERGE_REQUEST = {"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'}
_NOTED = "served.env"
_ACTIVATE = ("uv venv --allow-existing --python 3.11", '. "$CI_PROJECT_DIR/.venv/bin/activate"')


def render(recipe: Recipe, facts: ExportFacts) -> RecipeFiles:
    """The file to include. GitLab keeps schedules outside of it: a note says which is to be made."""
    name = slug(recipe.name)
    main = f".gitlab/ci/{name}.yml"
    jobs = _jobs(recipe, facts, name)
    document = {
        "workflow": {"rules": [_OF_MERGE_REQUEST, _ON_PUSH, _BY_HAND]},
        "stages": list(dict.fromkeys(job["stage"] for job in jobs.values())),
        f".{name}": _base(facts),
        **jobs,
    }
    line = facts.schedule
    when = (
        f'its schedule is made in GitLab, Build > Pipeline schedules: "{line.text}", {line.tz}'
        if line
        else "GitLab keeps schedules outside of the file: Build > Pipeline schedules"
    )
    comments = [
        "",
        f"In `.gitlab-ci.yml`: `include: [{{local: {main}}}]`. To be set in the project's CI/CD settings:",
        "  variable AIINFRA_WORKSPACE: the workspace's folder on your runners with the tag `aiinfra` and the executor",
        "    `shell`: they keep it from job to job, and endpoints of this machine live there.",
        "  variable AIINFRA_STORE_URL, masked and protected: the PostgreSQL database, where machines share one.",
        "  protected environments: who may start what is `when: manual`.",
        f"  {when}.",
    ]
    return RecipeFiles(
        {main: sealed(recipe, facts, "A pipeline of GitLab CI", yaml_text(document), comments)},
        main,
        f"`include` it in .gitlab-ci.yml: `include: [{{local: {main}}}]`",
        (
            when,
            "its jobs need a runner of your own that keeps the workspace: the file's head says what is to be set",
            *stage_notes(recipe),
        ),
    )


def _base(facts: ExportFacts) -> dict[str, Any]:
    return {
        "interruptible": False,
        "variables": {"AIINFRA_PROJECT": "$CI_PROJECT_DIR", "UV_CACHE_DIR": "$CI_PROJECT_DIR/.uv-cache"},
        "cache": {"key": "uv", "paths": [".uv-cache"]},
        "before_script": [
            ': "${AIINFRA_WORKSPACE:?set the variable AIINFRA_WORKSPACE to a folder that your runners keep}"',
            *_prepared(facts, reads_clock=facts.reads_clock),
        ],
    }


def _prepared(facts: ExportFacts, *, reads_clock: bool) -> list[str]:
    clock = [facts.clock('"$CI_PIPELINE_CREATED_AT"')] if reads_clock else []
    return [*_ACTIVATE, *facts.install, *clock]


def _jobs(recipe: Recipe, facts: ExportFacts, name: str) -> dict[str, Any]:
    check = _job(name, "check", [facts.check(recipe, _IS_DUE)])
    if not has_outside_data(recipe, facts):
        # Of a merge request nothing runs but this, and not where the workspace is.
        del check["tags"]
        check |= {
            "rules": [_OF_MERGE_REQUEST, _ON_PUSH, _BY_HAND],
            "image": IMAGE,
            "before_script": [f"pip install --quiet uv=={UV}", *_prepared(facts, reads_clock=facts.check_reads_clock)],
        }
    jobs = {f"{name}-check": check}
    before = f"{name}-check"
    for stage in stages(recipe):
        job = _stage_job(stage, recipe, facts, name)
        jobs[f"{name}-{stage.name}"] = {**job, "needs": [before]}
        before = f"{name}-{stage.name}"
    if names := endpoints(recipe):
        promote = [f"aiinfra deploy promote {shlex.quote(each)}" for each in names]
        jobs[f"{name}-promote"] = {
            **_job(name, "promote", promote, is_manual=True),
            "needs": [before],
            "environment": {"name": f"{name}/promotion"},
        }
        if not before.endswith("-canary"):
            needs = [{"job": f"{name}-canary", "artifacts": True}, before]
            rules = [{**rule, "when": "on_failure"} for rule in (_ON_PUSH, _BY_HAND)]
            job = _job(name, "rollback", rollback_lines(recipe))
            jobs[f"{name}-rollback"] = {**job, "needs": needs, "rules": rules}
    return jobs


def _stage_job(stage: Stage, recipe: Recipe, facts: ExportFacts, name: str) -> dict[str, Any]:
    script = _script(stage, recipe, facts)
    if stage.name != "canary":
        return _job(name, stage.name, script, minutes=stage.minutes)
    names = list(enumerate(endpoints(recipe)))
    noted = {moment: [f"echo {variable(moment, at)}={newest_served(each)} >> {_NOTED}" for at, each in names]
             for moment in ("BEFORE", "SERVED")}  # fmt: skip
    script = [*noted["BEFORE"], *script, *noted["SERVED"]]
    return {
        **_job(name, stage.name, script, minutes=stage.minutes, is_manual=True),
        "environment": {"name": f"{name}/canary"},
        "artifacts": {"reports": {"dotenv": _NOTED}, "expire_in": "1 week"},
    }


def _script(stage: Stage, recipe: Recipe, facts: ExportFacts) -> list[str]:
    """A line for each step, of one shell that ends where one fails. Where the recipe goes on behind a failure its line
    keeps that, and the last ends the job with it."""
    lines = [facts.shell(recipe, step, _IS_DUE) for step in stage.steps]
    if is_chain(stage.steps):
        return lines
    ids = {step.name: f"done_{at}" for at, step in enumerate(stage.steps, 1)}
    script = [" ".join(f"{each}=" for each in (*ids.values(), "failed"))]
    for line, step, start in zip(lines, stage.steps, starts(stage.steps).values(), strict=True):
        done = f"{ids[step.name]}=yes"
        run = f"{line}; {done}" if step.on_failure == "stop" else f'{{ {line}; }} && {done} || failed="${{failed:-$?}}"'
        needs = " && ".join(f'[ -n "${ids[each]}" ]' for each in start.needs)
        script.append(f"if {needs}; then {run}; fi" if needs else run)
    return [*script, '(exit "${failed:-0}")']


def _job(name: str, stage: str, script: Sequence[str], *, minutes: int = 30, is_manual: bool = False) -> dict[str, Any]:
    # Until somebody has answered, what comes after it waits.
    manual = {"when": "manual", "allow_failure": False} if is_manual else {}
    return {
        "extends": f".{name}",
        "stage": stage,
        "timeout": f"{minutes} minutes",
        "tags": ["aiinfra"],
        "resource_group": f"recipe-{name}",
        "rules": [{**rule, **manual} for rule in (_ON_PUSH, _BY_HAND)],
        "script": list(script),
    }
