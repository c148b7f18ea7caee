"""Secrets: a setting names one, most often a variable of the environment, and never holds it itself."""

from __future__ import annotations

from ..errors import Missing, NotFound, UsageProblem
from ..secrets import is_reference, resolve


def check_variable(name: str, setting: str) -> None:
    """UsageProblem, without what it is instead, unless the setting names a secret.

    What a person puts here by mistake is a URL or a password, and may not be repeated to him.
    """
    if not is_reference(name):
        raise UsageProblem(
            f"{setting} has to name a variable of the environment, in capitals, and does not",
            "put the secret into a variable, e.g. `export ALERT_SECRET=…`, and write ALERT_SECRET there",
        )


def value_of(name: str, setting: str) -> str:
    """The secret that the setting names. Missing when the variable is not set; see `secrets.resolve`."""
    check_variable(name, setting)
    try:
        return resolve(name)
    except (Missing, NotFound) as problem:
        raise Missing(f"{problem.what}, which {setting} names", problem.fix) from None
