"""What an annotation of a parameter can say besides its type, and a parameter that is a secret.

Both are for notebooks: `from aiinfra_lab.recipe import Range, Secret`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any

from ...errors import NotFound, UsageProblem

_RESOLVER = "aiinfra_lab.secrets"
# As a variable of the environment, or `STORE:PLACE`.
_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,99}|(?:keyring|file|[a-z]+-[a-z]+):[^\s].{0,200}")


@dataclass(frozen=True, slots=True)
class Range:
    """`Annotated[float, Range(1e-5, 1)]`: a number or a date from `low` to `high`, both included; either may be left
    out."""

    low: Any = None
    high: Any = None


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A secret by its name, as a parameter: `token: Secret = Secret("HF_TOKEN")`.

    The value is read where the notebook runs, when `.value` is asked for, and is never part of the object: neither the
    notebook nor any record of a run has more than the name.
    """

    name: str

    def __post_init__(self) -> None:
        if not self.name:
            raise UsageProblem("a secret has a name", 'write Secret("HF_TOKEN"), with the name of yours')

    @property
    def value(self) -> str:
        """What it is here and now. NotFound where there is none of that name."""
        return _resolved(self.name)

    def __repr__(self) -> str:
        return f'Secret("{self.name}")'


def is_secret_name(text: str) -> bool:
    """Whether that can be the name of a secret; what looks otherwise may be a secret itself."""
    return bool(_NAME.fullmatch(text)) and "://" not in text and "@" not in text


def _resolved(name: str) -> str:
    # The one place that knows where secrets are kept; without it they are in the environment alone.
    if importlib.util.find_spec(_RESOLVER) is not None:
        return str(importlib.import_module(_RESOLVER).resolve(name))
    if name not in os.environ:
        fix = f"set the environment variable {name} before Jupyter or the recipe starts"
        raise NotFound(f"there is no secret {name}", fix)
    return os.environ[name]
