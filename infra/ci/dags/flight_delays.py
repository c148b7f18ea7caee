# A DAG of Airflow: recipe flight-delays, Will my flight be late?
# Written by `aiinfra recipe export flight-delays --to airflow --cron '0 3 * * *'`
# Change the recipe and write it anew.
#
# Where its tasks run, the variable AIINFRA_PROJECT is the project's folder, with its environment in .venv. The
# workspace is kept there, or where AIINFRA_WORKSPACE says.
# sha256 of the lines without this one: 194bf9da6916b9e17d670a4957c4f271e87a1d5de877481dcf9c568a5c08a2ac
from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

try:
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:  # Airflow 2
    from airflow.operators.bash import BashOperator

RUN = 'cd "${AIINFRA_PROJECT:?}" && export PATH="$AIINFRA_PROJECT/.venv/bin:$PATH" && '

with DAG(
    dag_id="flight-delays",
    description="Will my flight be late?",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")),
    catchup=False,
    # Of one recipe one run goes on at a time, and of a run one step.
    max_active_runs=1,
    max_active_tasks=1,
    # A step is repeated by the recipe, as its `retries` says.
    default_args={"retries": 0},
    tags=["aiinfra"],
):
    step_1 = BashOperator(
        task_id="data",
        bash_command=RUN + "aiinfra recipe run flight-delays --only data",
    )
    step_2 = BashOperator(
        task_id="features",
        bash_command=RUN + "aiinfra recipe run flight-delays --only features",
    )
    step_3 = BashOperator(
        task_id="train",
        bash_command=RUN + "aiinfra recipe run flight-delays --only train",
    )
    step_4 = BashOperator(
        task_id="models",
        bash_command=RUN + "aiinfra recipe run flight-delays --only models",
    )
    step_5 = BashOperator(
        task_id="deploy",
        bash_command=RUN + "aiinfra recipe run flight-delays --only deploy",
    )
    step_6 = BashOperator(
        task_id="drift",
        bash_command=RUN + "aiinfra recipe run flight-delays --only drift",
    )
    step_1 >> step_2
    step_1 >> step_3
    step_2 >> step_3
    step_3 >> step_4
    step_4 >> step_5
    step_1 >> step_5
    step_2 >> step_5
    step_5 >> step_6
    step_1 >> step_6
    step_2 >> step_6
