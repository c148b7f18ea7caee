"""Which secrets this process knows: those that were resolved here, of the environment, and of the settings.

Who runs a notebook has to know what is resolved in its kernel: the kernel writes it into a pipe of theirs.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from ..errors import LabError, Unavailable
from ..uris import split_scheme
from .in_kernel import report
from .names import URL_PASSWORD, is_secret, is_secret_variable
from .redactor import Redactor

REPORT = "AIINFRA_RESOLVED"
"""The variable of a kernel that names the pipe for what is resolved in it."""

_resolved: dict[str, str] = {}
_lock = threading.Lock()


def note(name: str, value: str) -> None:
    """A secret has come to be known by that name; whoever runs this as a notebook hears of it before it goes on."""
    with _lock:
        is_known = _resolved.get(name) == value
        _resolved[name] = value
    if not is_known and (pipe := os.environ.get(REPORT)):
        try:
            report(pipe, name, value)
        except TimeoutError:
            raise Unavailable(
                "the run of this notebook takes no more secrets now", "resolve it in the next cell"
            ) from None


def report_again() -> None:
    """Whoever runs this as a notebook from now on hears of all that were resolved in it."""
    with _lock:
        found = dict(_resolved)
        _resolved.clear()
    for name, value in found.items():
        note(name, value)


def known_secrets(environment: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """(name, value) of each, by name; environment: instead of this process's."""
    env = os.environ if environment is None else environment
    with _lock:
        found = [(name, value) for name, value in sorted(_resolved.items()) if is_secret(value)]
    also, public, urls = named_secrets()
    for name in sorted(env.keys() - public):
        if (name in also or is_secret_variable(name)) and is_secret(value := env[name].strip()):
            found.append((name, value))
        if "://" in env[name]:
            urls[name] = env[name]
    for name, url in urls.items():
        found += ((name, password[1]) for password in URL_PASSWORD.finditer(url) if is_secret(password[1]))
    return found


def redactor(environment: Mapping[str, str] | None = None) -> Redactor:
    """One that knows all of these."""
    return _made(tuple(known_secrets(environment)))


@lru_cache(maxsize=8)
def _made(secrets: tuple[tuple[str, str], ...]) -> Redactor:
    return Redactor(secrets)


def named_secrets() -> tuple[set[str], set[str], dict[str, str]]:
    """What the settings say: the variables that are secret, those that are not, and URLs that may hold a password."""
    from ..config import settings  # it reads much that this must not wait for

    with contextlib.suppress(LabError, OSError):
        where = settings()
        mine = [where.get("secrets.names", ""), where.get("alerts.to", "")]
        mine += [where.get("alerts.webhook_secret", ""), where.get("alerts.smtp_password", "")]
        urls = {"store.url": where.get("store.url", "")}
        return set(_variables(mine)), set(_variables([where.get("secrets.public", "")])), urls
    return set(), set(), {}


def _variables(texts: Iterable[str]) -> Iterator[str]:
    """`A, webhook:B` names two variables."""
    for each in ",".join(texts).split(","):
        sink, variable = split_scheme(each)
        yield (variable or sink).strip()
