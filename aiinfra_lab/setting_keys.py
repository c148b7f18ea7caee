"""The settings that there are: each noun's, the store's, those of jobs, alerts and secrets, those that choose
providers, and their own.

A key that nobody reads is a mistake that would otherwise show as a wrong price or a log that is gone.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import lru_cache

from . import nouns
from .errors import UsageProblem, did_you_mean

# Sections that belong to no noun → key → what it sets.
OTHERS: dict[str, dict[str, str]] = {
    "alerts": {
        "to": "where alerts go, e.g. webhook:ALERT_URL, slack:SLACK_URL, smtp:team@example.org, file:alerts.jsonl",
        "repeat": "after how long the same trouble is sent again, 6h when it is not set",
        "timeout_s": "how long one attempt to reach a sink may take, in seconds",
        "webhook_secret": "the variable of the environment whose secret signs what webhook: posts",
        "smtp_host": "the mail server, this machine when it is not set",
        "smtp_port": "its port",
        "smtp_security": "starttls, ssl or none",
        "smtp_user": "who logs in there; nobody when it is not set",
        "smtp_password": "the variable of the environment with the password for it",
        "smtp_from": "the sender of the mail",
        "file_mib": "how large a file of alerts may become, in MiB, before it is put aside",
    },
    "store": {
        "url": "the PostgreSQL database that holds the records, instead of SQLite in the workspace",
        "heads": "a folder for copies of heads of audit logs, outside of the workspace",
        "schema": "the schema in that database, `aiinfra` when it is not set",
    },
    "secrets": {
        "names": "more variables of the environment that hold secrets, whatever they are called",
        "public": "variables that hold none although their names end in KEY, TOKEN and the like",
    },
    "kernels": {
        "pool": "auto, on or off: whether recipes run in a warm pool; AIINFRA_POOL has the last word",
        "preload": "the packages that a pool imports when it begins, e.g. numpy, torch; the usual ones when not set",
    },
    "jobs": {
        "log_mib": "how large the log of one job may become, in MiB",
        "log_days": "for how many days the logs of jobs that have ended are kept",
        "log_gib": "how much those logs may take together, in GiB",
    },
}

# Key → the function here that reads it wherever it is used; of those that refuse some values.
_READERS = {
    "alerts.to": ("alerts.destinations", "destinations"),
    "alerts.repeat": ("alerts.delivery", "repeat_s"),
    "alerts.timeout_s": ("alerts.connecting", "timeout_s"),
    "cost.machine_usd_per_hour": ("cost.prices", "machine_usd_per_hour"),
    "cost.prices": ("cost.prices", "table"),
    "cost.compare": ("cost.unit_cost", "compared_with"),
    "models.require": ("models.policies", "standing"),
    "models.margin": ("models.policies", "standing"),
    "deploy.freeze": ("deploy.freeze", "frozen_until"),
    "jobs.log_mib": ("jobs", "log_bytes"),
    "recipe.at_once": ("recipe.room", "at_once"),
}


def sections() -> tuple[str, ...]:
    """The sections that `aiinfra.toml` may have."""
    return (*nouns.TABLE, *OTHERS)


def check(key: str, source: str) -> None:
    """UsageProblem for a setting `section.name` that nothing reads. source: the file or variable that sets it."""
    section, _, name = key.partition(".")
    if name in known(section) or _is_a_providers_own(section, name):
        return
    raise UsageProblem(f"{source} sets {key}, which is no setting", did_you_mean(name, known(section)))


def read(key: str) -> None:
    """Read a setting as the verbs do that use it; LabError where it cannot be used. Nothing where any value can."""
    if key in _READERS:
        module, function = _READERS[key]
        getattr(importlib.import_module(f".{module}", __package__), function)()


@lru_cache(maxsize=32)
def known(section: str) -> Mapping[str, str]:
    """The names of a section's settings, each with what it sets."""
    return {**declared(section), **_choices(section)}


def declared(section: str) -> Mapping[str, str]:
    """The same without those that choose providers."""
    return OTHERS[section] if section in OTHERS else nouns.find(section).settings


def _choices(section: str) -> dict[str, str]:
    """The settings that choose providers; `store` alone is a contract without a name of its own."""
    from .providers import CONTRACTS  # it reads settings, too

    contracts = {name: contract for name, contract in CONTRACTS.items() if name.partition(".")[0] == section}
    found = {name.partition(".")[2] or "provider": f"the provider of {name}" for name in contracts}
    former = {contract.former.partition(".")[2]: name for name, contract in contracts.items() if contract.former}
    return {**{old: f"an older name of {name}" for old, name in former.items()}, **found}


def _is_a_providers_own(section: str, name: str) -> bool:
    """Whether it begins with the name of a provider in that section: what those read, only they know."""
    from .providers import CONTRACTS, names

    contracts = [contract for contract in CONTRACTS if contract.partition(".")[0] == section]
    return any(name.startswith(f"{_as_key(provider)}_") for contract in contracts for provider in names(contract))


def _as_key(provider: str) -> str:
    return provider.replace("-", "_").replace(".", "_")
