"""A recipe as a workflow of GitHub Actions: a job for each stage, approval by environments, rollback."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ...errors import UsageProblem
from ..base import Recipe
from ..schedule.calendar import Calendar
from .base import ExportFacts, ExportTraits, RecipeFiles
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
from .written import one_line, sealed, slug, yaml_text

TRAITS = ExportTraits(
    is_split=True,
    in_steps=True,
    takes_schedule=True,
    missed="GitHub makes up for no time that it missed; a job waits for its runner for a day",
    catch_up=("last", "none"),
)
# Commits of the tags in actions/checkout (2026-07-16) and astral-sh/setup-uv (2026-07-21).
_ACTIONS = {
    "actions/checkout@d23441a48e516b6c34aea4fa41551a30e30af803": "v6.1.0",
    "astral-sh/setup-uv@c771a70e6277c0a99b617c7a806ffedaca235ff9": "v9.0.0",
}
_CHECKOUT, _SETUP_UV = _ACTIONS
_READY = "install"
_PYTHON = "3.11"
_HOSTED = "ubuntu-latest"
_RUNNER = "${{ vars.AIINFRA_RUNNER || 'aiinfra' }}"
_KEPT = ': "${AIINFRA_WORKSPACE:?set the variable AIINFRA_WORKSPACE to a folder that your runners keep}"'
_IS_DUE = '[ "$GITHUB_EVENT_NAME" = schedule ]'
_NOT_OF_PULL_REQUEST = "github.event_name != 'pull_request'"


def render(recipe: Recipe, facts: ExportFacts) -> RecipeFiles:
    """The workflow. UsageProblem for a time zone: GitHub's schedules are in UTC."""
    name = slug(recipe.name)
    main = f".github/workflows/{name}.yml"
    document = {
        "name": _literal(one_line(recipe.name)),
        "on": _triggers(recipe, facts, main),
        "permissions": {},
        "concurrency": {
            "group": f"recipe-{name}-${{{{ github.event_name == 'pull_request' && github.ref || 'run' }}}}",
            "cancel-in-progress": f"${{{{ {_NOT_OF_PULL_REQUEST.replace('!=', '==')} }}}}",
        },
        "env": {"AIINFRA_PROJECT": "${{ github.workspace }}"},
        "jobs": _jobs(recipe, facts, name),
    }
    text = yaml_text(document).replace("\n'on':\n", "\non:\n", 1)
    for action, version in _ACTIONS.items():
        text = re.sub(rf"^(\s*(?:- )?uses: {re.escape(action)})$", rf"\1 # {version}", text, flags=re.MULTILINE)
    return RecipeFiles(
        {main: sealed(recipe, facts, "A workflow of GitHub Actions", text, _comments(recipe, name))},
        main,
        f"commit it with the recipe; `gh workflow run {name}.yml` runs it at once",
        (
            "its jobs need a runner of your own that keeps the workspace: the file's head says what is to be set",
            *stage_notes(recipe),
        ),
    )


def _comments(recipe: Recipe, name: str) -> list[str]:
    approvals = [f"  environments {name}-canary and {name}-promotion: who has to approve what"]
    return [
        "",
        "To be set in the repository's settings:",
        "  variable AIINFRA_RUNNER: the label of your runners, `aiinfra` where it is not set. They keep the workspace",
        "    from job to job, and endpoints of this machine live there.",
        "  variable AIINFRA_WORKSPACE: the workspace's folder there, outside of what a runner cleans.",
        f"  environment {name}, and those below: its secret AIINFRA_STORE_URL is the PostgreSQL database with the",
        "    records, where several machines share them.",
        *(approvals if endpoints(recipe) else []),
        "Pull requests are checked on a machine of GitHub's, without secrets, and run nothing.",
    ]


def _triggers(recipe: Recipe, facts: ExportFacts, main: str) -> dict[str, Any]:
    notebooks = sorted({facts.in_project(step.notebook) for step in recipe.steps})
    modules = sorted({module for found in facts.modules.values() for module in found})
    paths = [_pattern(each) for each in (facts.in_project(recipe.path), *notebooks, *modules, main)]
    on: dict[str, Any] = {"push": {"branches": ["main"], "paths": paths}}
    if not has_outside_data(recipe, facts):
        on["pull_request"] = {"paths": paths}
    if facts.schedule:
        if facts.schedule.tz != "UTC":
            what = f"GitHub's schedules are in UTC, and {facts.schedule.text!r} is in {facts.schedule.tz}"
            fix = f"add --cron with those times in UTC, {_in_utc(facts.schedule.text, facts.schedule.tz)}, without --tz"
            raise UsageProblem(what, fix)
        on["schedule"] = [{"cron": facts.schedule.text}]
    return {**on, "workflow_dispatch": None}


def _in_utc(cron: str, tz: str) -> str:
    """How those times are given in UTC: an example, but for one time a day, which is known."""
    due = Calendar(cron, tz).next() if re.fullmatch(r"\d+ \d+ \* \* \*", cron) else None
    if due is None:
        return 'e.g. `--cron "0 3 * * *"`'
    at = datetime.fromtimestamp(due, UTC)
    return f'now `--cron "{at.minute} {at.hour} * * *"`'


def _jobs(recipe: Recipe, facts: ExportFacts, name: str) -> dict[str, Any]:
    is_hosted = not has_outside_data(recipe, facts)
    check = [_step("Check the recipe", facts.check(recipe, _IS_DUE))]
    jobs: dict[str, Any] = {
        "check": _job("Code commit", facts, check, environment="" if is_hosted else name, is_hosted=is_hosted),
    }
    if facts.reads_clock:
        # Once for all jobs, which may wait for approval.
        note = f'{facts.clock()}\necho "run_time=$RUN_TIME" >> "$GITHUB_OUTPUT"'
        jobs["check"]["steps"].insert(0, {"id": "begin", **_step("When the run begins", note)})
        if facts.check_reads_clock:
            jobs["check"]["steps"][-1]["env"] = {"RUN_TIME": "${{ steps.begin.outputs.run_time }}"}
        jobs["check"]["outputs"] = {"run_time": "${{ steps.begin.outputs.run_time }}"}
    before = "check"
    for stage in stages(recipe):
        jobs[stage.name] = _stage_job(stage, recipe, facts, name, before)
        before = stage.name
    if names := endpoints(recipe):
        promote = [_step(f"Promote {each}", f"aiinfra deploy promote {shlex.quote(each)}") for each in names]
        jobs["promote"] = _job("Promotion", facts, promote, needs=[before], environment=f"{name}-promotion")
        if before != "canary":
            jobs["rollback"] = _rollback(recipe, facts, name, before)
    return jobs


def _stage_job(stage: Stage, recipe: Recipe, facts: ExportFacts, name: str, before: str) -> dict[str, Any]:
    needs = list(dict.fromkeys(["check", before])) if facts.reads_clock else [before]
    steps = _recipe_steps(stage, recipe, facts)
    if stage.name != "canary":
        job = _job(stage.title, facts, steps, minutes=stage.minutes, needs=needs, environment=name)
        return _with_moment(job, facts)
    names = list(enumerate(endpoints(recipe)))
    outputs = {variable(moment, at): f"${{{{ steps.{moment}.outputs.{variable(moment, at)} }}}}"
               for at, _ in names for moment in ("before", "served")}  # fmt: skip
    noted = {moment: [f'echo {variable(moment, at)}={newest_served(each)} >> "$GITHUB_OUTPUT"' for at, each in names]
             for moment in ("before", "served")}  # fmt: skip
    steps = [
        {"id": "before", **_step("What serves now", "\n".join(noted["before"]))},
        *steps,
        {"id": "served", **_step("What serves then", "\n".join(noted["served"]))},
    ]
    job = _job(stage.title, facts, steps, minutes=stage.minutes, needs=needs, environment=f"{name}-canary")
    return {**_with_moment(job, facts), "outputs": outputs}


def _with_moment(job: dict[str, Any], facts: ExportFacts) -> dict[str, Any]:
    moment = {"RUN_TIME": "${{ needs.check.outputs.run_time }}"} if facts.reads_clock else {}
    return {**job, "env": {**job["env"], **moment}}


def _recipe_steps(stage: Stage, recipe: Recipe, facts: ExportFacts) -> list[dict[str, Any]]:
    """Those of a stage, each with the condition by which the recipe would run it."""
    ids = {step.name: f"step_{at}" for at, step in enumerate(stage.steps, 1)}
    first = "before" if stage.name == "canary" else _READY
    steps = []
    for step, start in zip(stage.steps, starts(stage.steps).values(), strict=True):
        needs = [f"steps.{ids[each]}.outcome == 'success'" for each in start.needs]
        stops = [f"steps.{ids[each]}.outcome != 'failure'" for each in start.stops]
        conditions = ["!cancelled()", *(needs or [f"steps.{first}.outcome == 'success'"]), *stops]
        condition = {} if start.is_plain else {"if": f"${{{{ {' && '.join(conditions)} }}}}"}
        run = _step(f"Step {step.name}", facts.shell(recipe, step, _IS_DUE))
        steps.append({**({} if is_chain(stage.steps) else {"id": ids[step.name]}), **condition, **run})
    return steps


def _rollback(recipe: Recipe, facts: ExportFacts, name: str, watched: str) -> dict[str, Any]:
    step = _step("Roll back what still serves", "\n".join(rollback_lines(recipe)))
    names = range(len(endpoints(recipe)))
    step["env"] = {variable(moment.upper(), at): f"${{{{ needs.canary.outputs.{variable(moment, at)} }}}}"
                   for at in names for moment in ("before", "served")}  # fmt: skip
    condition = f"failure() && needs.canary.result == 'success' && needs.{watched}.result == 'failure'"
    return {
        **_job("Rollback", facts, [step], needs=["canary", watched], environment=name),
        "if": f"${{{{ {condition} }}}}",
    }


def _job(
    title: str,
    facts: ExportFacts,
    steps: Sequence[dict[str, Any]],
    *,
    minutes: int = 30,
    needs: Sequence[str] = (),
    environment: str,
    is_hosted: bool = False,
) -> dict[str, Any]:
    ours: dict[str, Any] = {
        # A runner ends at a job's end all that has this variable's value: what a recipe deploys is to live on.
        "env": {
            "AIINFRA_WORKSPACE": "${{ vars.AIINFRA_WORKSPACE }}",
            "AIINFRA_STORE_URL": "${{ secrets.AIINFRA_STORE_URL }}",
            "RUNNER_TRACKING_ID": "",
        }
    }
    return {
        "name": title,
        **({"needs": list(needs), "if": _NOT_OF_PULL_REQUEST} if needs else {}),
        "runs-on": _HOSTED if is_hosted else _RUNNER,
        "timeout-minutes": minutes,
        "permissions": {"contents": "read"},
        **({"environment": environment} if environment else {}),
        **({} if is_hosted else ours),
        "steps": [*_setup(facts, is_hosted=is_hosted), *steps],
    }


def _setup(facts: ExportFacts, *, is_hosted: bool) -> list[dict[str, Any]]:
    return [
        {"uses": _CHECKOUT, "with": {"persist-credentials": False}},
        {
            "uses": _SETUP_UV,
            # On a runner of one's own uv's cache is there anyway; what pull requests wrote is not to be taken there.
            "with": {"python-version": _PYTHON, "activate-environment": True, "enable-cache": is_hosted},
        },
        *([] if is_hosted else [_step("See that the workspace is kept", _KEPT)]),
        {"id": _READY, **_step("Install the project", "\n".join(facts.install))},
    ]


def _step(name: str, run: str) -> dict[str, Any]:
    return {"name": _literal(one_line(name)), "run": _in_quotes(run), "shell": "bash"}


def _literal(text: str) -> str:
    """A text in which nothing is an expression of GitHub's."""
    return text.replace("${{", "${{ '${{' }}")


def _in_quotes(command: str) -> str:
    """The same for a command, where whatever a recipe names stands in single quotes: these end and begin there."""
    return command.replace("${{", "$''{{")


def _pattern(path: str) -> str:
    """A path as a filter that matches it alone."""
    return re.sub(r"([*?+\[\]!\\])", r"\\\1", path)
