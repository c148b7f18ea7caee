"""docs/recipe.schema.json, for editors: `python -m aiinfra_lab.recipe.json_schema > docs/recipe.schema.json`.

It is of draft 7, which editors of TOML know (as "Even Better TOML", by a first line `#:schema PATH`). What a notebook
or another file decides, such as the names of parameters, only `recipe check` knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import ALERTS, HOLD, NEVER, ON_FAILURE
from .keys import ALERT_KEYS, MOST_RETRIES, RECIPE_KEYS, STEP_KEYS, STEP_NAME
from .schedule.deciding import CATCH_UP, OVERLAP
from .schedule.declared import KEYS as SCHEDULE_KEYS
from .schedule.triggers import KEYS as TRIGGER_KEYS

Keys = Mapping[str, Mapping[str, Any]]

_TEXT: Mapping[str, Any] = {"type": "string"}
_TEXTS: Mapping[str, Any] = {"type": "array", "items": _TEXT}
_NAMED_TEXTS: Mapping[str, Any] = {"type": "object", "additionalProperties": _TEXT}
_VALUES: Mapping[str, Any] = {"type": "object"}
# `90` would be seconds in Python; in a file nobody sees what it means.
_DURATION: Mapping[str, Any] = {"type": "string", "pattern": "[A-Za-z]\\s*$"}

_BUDGET: Mapping[str, Any] = {
    "type": ["string", "number"],
    "exclusiveMinimum": 0,
    "pattern": "^\\s*[$]?\\s*[0-9]*[.]?[0-9]+\\s*([Uu][Ss][Dd]|[Dd]ollars?)?\\s*$",
}

_STEP: Keys = {
    "notebook": _TEXT,
    "parameters": _VALUES,
    "in": _NAMED_TEXTS,
    "out": _NAMED_TEXTS,
    "on": _TEXT,
    "matrix": {
        "type": "object",
        "additionalProperties": {
            "anyOf": [
                {"type": "array", "minItems": 1, "uniqueItems": True},
                {"type": "string", "pattern": "^[$][{]params[.][A-Za-z_][A-Za-z0-9_]*[}]$"},
            ]
        },
    },
    "after": _TEXTS,
    "timeout": _DURATION,
    "retries": {"type": "integer", "minimum": 0, "maximum": MOST_RETRIES},
    "expect": _NAMED_TEXTS,
    "on_failure": {"type": "string", "pattern": f"^({'|'.join(ON_FAILURE)}|{HOLD} .*[A-Za-z]\\s*)$"},
    "cache": {"enum": [NEVER]},
    "memory": {"type": "string", "pattern": "^\\s*[0-9]+([.][0-9]+)?\\s*[KkMmGgTt][Ii]?[Bb]\\s*$"},
}
_ALERT: Keys = {"on": {"type": "array", "items": {"enum": list(ALERTS)}}, "to": _TEXTS}
_SCHEDULE: Keys = {
    "cron": _TEXT,
    "tz": _TEXT,
    "catch_up": {"enum": list(CATCH_UP)},
    "overlap": {"enum": list(OVERLAP)},
    "parameters": _VALUES,
}
_TRIGGER: Keys = {"on": {**_TEXTS, "minItems": 1}, "every": _DURATION}


def schema() -> dict[str, Any]:
    """What a recipe's file may hold, every key with what it means."""
    steps = {
        "type": "object",
        "minProperties": 1,
        "patternProperties": {f"^{STEP_NAME}$": _table(_STEP, STEP_KEYS, "notebook")},
        "additionalProperties": False,
    }
    recipe: Keys = {
        "title": _TEXT,
        "parameters": _VALUES,
        "small": _VALUES,
        "budget": _BUDGET,
        "alert": _table(_ALERT, ALERT_KEYS),
        "trigger": _table(_TRIGGER, TRIGGER_KEYS, "on"),
        "schedule": _table(_SCHEDULE, SCHEDULE_KEYS, "cron"),
        "steps": steps,
    }
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "A recipe: recipes/NAME.toml"}
    return {**head, **_table(recipe, RECIPE_KEYS, "steps")}


def _table(keys: Keys, meanings: Mapping[str, str], *required: str) -> dict[str, Any]:
    """A table with these keys and no others; KeyError where one of them has no meaning, or no type."""
    properties = {key: {**keys[key], "description": meaning} for key, meaning in meanings.items()}
    found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


if __name__ == "__main__":
    import json
    import sys

    sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
