"""A recipe as a DAG of Airflow, 2.10 or 3: a task for each step."""

from __future__ import annotations

import re

from ..base import Recipe, RecipeStep
from .base import ExportFacts, RecipeFiles, seconds_of
from .written import one_line, sealed, slug

_BODY = """\
from __future__ import annotations

from datetime import {times}
from zoneinfo import ZoneInfo

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG
{operator}

RUN = {there}

with DAG(
    dag_id={dag_id},
    description={title},
    schedule={schedule},
    start_date=datetime(2026, 1, 1, tzinfo=ZoneInfo({tz})),
    catchup=False,
    # Of one recipe one run goes on at a time, and of a run one step.
    max_active_runs=1,
    max_active_tasks=1,
    # A step is repeated by the recipe, as its `retries` says.
    default_args={{"retries": 0}},
    tags=["aiinfra"],
):
{tasks}
{edges}"""

_BASH = """
try:
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:  # Airflow 2
    from airflow.operators.bash import BashOperator
"""
# By the shell of the task: the file is read by others, too, who need not know the folder.
_THERE = 'cd "${AIINFRA_PROJECT:?}" && PATH="$AIINFRA_PROJECT/.venv/bin:$PATH" '


def render(recipe: Recipe, facts: ExportFacts) -> RecipeFiles:
    """The file of the DAG."""
    name = slug(recipe.name)
    main = f"dags/{name.replace('-', '_')}.py"
    ids = {step.name: f"step_{at}" for at, step in enumerate(recipe.steps, 1)}
    line = facts.schedule
    body = (
        _BODY.format(
            times="datetime, timedelta" if any(map(seconds_of, recipe.steps)) else "datetime",
            there=_text(_THERE),
            operator=_BASH.rstrip(),
            dag_id=_text(name),
            title=_text(one_line(recipe.title)),
            schedule=_text(line.text) if line else "None",
            tz=_text(line.tz if line else "UTC"),
            tasks="\n".join(f"    {ids[step.name]} = {_task(recipe, step, facts)}" for step in recipe.steps),
            edges="".join(
                f"    {ids[before]} >> {ids[step.name]}\n" for step in recipe.steps for before in step.depends_on
            ),
        ).rstrip()
        + "\n"
    )
    comments = [
        "",
        "Where its tasks run, the variable AIINFRA_PROJECT is the project's folder, with its environment in .venv. The",
        "workspace is kept there, or where AIINFRA_WORKSPACE says.",
    ]
    return RecipeFiles(
        {main: sealed(recipe, facts, "A DAG of Airflow", body, comments)},
        main,
        f"put it into Airflow's folder of DAGs; `airflow dags test {name}` runs it at once",
        ("AIINFRA_PROJECT has to be set where its tasks run, to the project's folder",),
    )


def _task(recipe: Recipe, step: RecipeStep, facts: ExportFacts) -> str:
    seconds = seconds_of(step)
    limit = f"        execution_timeout=timedelta(seconds={seconds:.0f}),\n" if seconds else ""
    return (
        "BashOperator(\n"
        f"        task_id={_text(slug(step.name))},\n"
        f"        bash_command=RUN + {_text(_literal(facts.shell(recipe, step)))},\n"
        f"{limit}"
        "    )"
    )


def _literal(command: str) -> str:
    """A command in which nothing is a template of Jinja's, nor the name of a file with one."""
    plain = re.sub(r"\{(?=[{%#])", "{{ '{' }}", command)
    return f"{plain} " if plain.endswith((".sh", ".bash")) else plain


def _text(text: str) -> str:
    """A text in Python, as ruff writes it."""
    shown = repr(text)
    return shown if '"' in shown or "\\" in shown else f'"{shown[1:-1]}"'
