"""Secrets: a setting names the variable of the environment that holds one, and never holds it itself."""

from __future__ import annotations

import os
import re

from ..errors import Missing, UsageProblem

# Capitals only: what a person puts here by mistake is a URL or a password, and may not be repeated to him.
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def check_variable(name: str, setting: str) -> None:
    """UsageProblem, without what it is instead, unless the setting names a variable."""
    if not _NAME.fullmatch(name):
        raise UsageProblem(
            f"{setting} has to name a variable of the environment, in capitals, and does not",
            "put the secret into a variable, e.g. `export ALERT_SECRET=…`, and write ALERT_SECRET there",
        )


def value_of(name: str, setting: str) -> str:
    """What the variable holds that the setting names. Missing when it is not set."""
    check_variable(name, setting)
    if value := os.environ.get(name, "").strip():
        return value
    raise Missing(f"the environment has no {name}, which {setting} names", f"set it where this runs: `export {name}=…`")
