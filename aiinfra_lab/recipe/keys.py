"""The keys of a recipe's file, each with what it means: for help, for completion and for its JSON schema."""

from __future__ import annotations

from ..help import Terms
from .schedule.declared import KEYS as SCHEDULE_KEYS
from .schedule.triggers import KEYS as TRIGGER_KEYS

RECIPE_KEYS = {
    "title": "what the recipe is called in lists",
    "parameters": "name = default: what `-p name=value` changes; ${run.date} is the day for which it runs",
    "small": "name = value: parameters with which a missing input is made when a notebook is opened alone",
    "budget": 'what the time of a run on this machine may cost, e.g. "5 USD"; then it is ended, and has failed',
    "alert": "a table [alert]: of what people hear, and where",
    "trigger": "a table [trigger]: what it runs for whenever that happens, once `%recipe start` was said",
    "schedule": "a table [schedule]: when it runs by itself, once `%recipe start` was said",
    "steps": "a table [steps.NAME] for each notebook, in any order",
}
ALERT_KEYS = {
    "on": "any of failed, recovered, late and over budget; all where it is left out",
    "to": "as [alerts] to in aiinfra.toml, which holds where it is left out",
}
STEP_KEYS = {
    "notebook": "its file in the project's folder `notebooks`",
    "parameters": (
        'name = value for its cell tagged `parameters`; "${params.months}" is a parameter of the recipe, '
        '"${steps.STEP.out.NAME}" what a step made'
    ),
    "in": (
        'name = "step.output", also as "${steps.STEP.out.NAME}", "data:NAME", or a path, folder or glob of the '
        "project, in which ${params.NAME} may stand"
    ),
    "out": 'name = "noun:NAME" of a thing that it makes, or the path of a file or folder that it writes',
    "on": '"gpu:NAME": in that session, or in the next free one of that pool; or the name of another executor',
    "matrix": (
        "name = [values]: it runs once for each combination, with them as its parameters or as ${matrix.name}; "
        "what takes its output gets a list of all"
    ),
    "after": "a list of steps that must have run before",
    "timeout": 'how long one attempt may take, e.g. "30m"; then it is interrupted, and killed 5 s later',
    "retries": "how often it is executed again after it failed, at most 10",
    "expect": 'output = a rule on its metrics, e.g. "auc > 0.7", of data "rows > 0"; else the step has failed',
    "on_failure": (
        "skip (where it is left out) the steps that need it; or stop: no further step begins; "
        'or "hold 15m": skip, and its kernel is held so long for `recipe run NAME@N --resume`'
    ),
    "cache": '"never": it runs each time, changed or not, e.g. since it asks a service',
    "memory": 'what its processes may take together while it runs, e.g. "4GiB"; then they are killed',
}
MOST_RETRIES = 10
MOST_COMBINATIONS = 256
LONGEST_STEP_NAME = 63
STEP_NAME = f"[A-Za-z0-9][A-Za-z0-9_-]{{0,{LONGEST_STEP_NAME - 1}}}"


def keys_help() -> Terms:
    """The keys of a recipe's file and of its steps, each with what it means."""
    steps = {f"[steps.NAME] {key}": meaning for key, meaning in STEP_KEYS.items()}
    alert = {f"[alert] {key}": meaning for key, meaning in ALERT_KEYS.items()}
    schedule = {f"[schedule] {key}": meaning for key, meaning in SCHEDULE_KEYS.items()}
    trigger = {f"[trigger] {key}": meaning for key, meaning in TRIGGER_KEYS.items()}
    return Terms("key", {**RECIPE_KEYS, **alert, **schedule, **trigger, **steps}, "recipes/NAME.toml has")
