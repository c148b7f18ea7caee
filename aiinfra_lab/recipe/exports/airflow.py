"""A recipe as a DAG of Airflow, 2.10 or 3: a task for each step."""

from __future__ import annotations

import re

from ..base import Recipe, RecipeStep
from .base import ExportFacts, ExportTraits, RecipeFiles, seconds_of
from .stages import starts
from .written import one_line, sealed, slug

TRAITS = ExportTraits(
    is_split=True,
    in_steps=True,
    takes_schedule=True,
    knows_when=True,
    missed="Airflow makes up for the last time that it missed; `airflow backfill create` makes more runs",
    catch_up=("last",),
)
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
{moment}
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
    default_args={{"retries": 0{env}}},
    tags=["aiinfra"],{macros}
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
_THERE = 'cd "${AIINFRA_PROJECT:?}" && export PATH="$AIINFRA_PROJECT/.venv/bin:$PATH" && '
_IS_DUE = "dag_run.run_type in ('scheduled', 'backfill')"
# By hand there may be no interval.
_MOMENT = f"""
ENV = {{
    "RUN_TIME": (
        "{{{{ (data_interval_end if {_IS_DUE}"
        " else dag_run.start_date).astimezone(zone).isoformat() }}}}"
    ),
    "IS_DUE": "{{{{ 'yes' if {_IS_DUE} else '' }}}}",
}}
"""


def render(recipe: Recipe, facts: ExportFacts) -> RecipeFiles:
    """The file of the DAG."""
    name = slug(recipe.name)
    main = f"dags/{name.replace('-', '_')}.py"
    ids = {step.name: f"step_{at}" for at, step in enumerate(recipe.steps, 1)}
    line, begins = facts.schedule, starts(recipe.steps)
    asks = bool(facts.due) or facts.reads_clock
    body = (
        _BODY.format(
            times="datetime, timedelta" if any(map(seconds_of, recipe.steps)) else "datetime",
            there=_text(_THERE),
            moment=_MOMENT if asks else "",
            env=', "env": ENV, "append_env": True' if asks else "",
            macros=f'\n    user_defined_macros={{"zone": ZoneInfo({_text(facts.zone)})}},' if asks else "",
            operator=_BASH.rstrip(),
            dag_id=_text(name),
            title=_text(one_line(recipe.title)),
            schedule=_text(line.text) if line else "None",
            tz=_text(line.tz if line else "UTC"),
            tasks="\n".join(f"    {ids[step.name]} = {_task(recipe, step, facts)}" for step in recipe.steps),
            edges="".join(
                f"    {ids[before]} >> {ids[name]}\n"
                for name, it in begins.items()
                for before in (*it.needs, *it.stops)
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
        ("AIINFRA_PROJECT has to be set where its tasks run, to the project's folder", *_notes(recipe)),
    )


def _notes(recipe: Recipe) -> list[str]:
    stops = {name for start in starts(recipe.steps).values() for name in start.stops}
    names = ", ".join(one_line(step.name) for step in recipe.steps if step.name in stops and step.depends_on)
    note = (
        f"where what {names} needs fails, Airflow leaves out all that is behind {names}, as if that had failed itself"
    )
    return [note] if names else []


def _task(recipe: Recipe, step: RecipeStep, facts: ExportFacts) -> str:
    seconds, command = seconds_of(step), facts.shell(recipe, step, '[ -n "$IS_DUE" ]')
    limit = f"        execution_timeout=timedelta(seconds={seconds:.0f}),\n" if seconds else ""
    return (
        "BashOperator(\n"
        f"        task_id={_text(slug(step.name))},\n"
        f"        bash_command=RUN + {_text(_literal(command))},\n"
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
