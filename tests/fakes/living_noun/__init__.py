"""A noun that exists for tests only: its things live and have no versions; each is a job that sleeps."""

from __future__ import annotations

from typing import ClassVar

from aiinfra_lab import jobs, nouns
from aiinfra_lab.store import Body, Record, open_store


class Service(Body, frozen=True, kw_only=True):
    """A thing that lives."""

    kind: ClassVar[str] = "service"


def start(name: str) -> None:
    """Bring it to life, from a process that does not know the noun yet."""
    nouns.TABLE["service"] = "living_noun"
    if open_store().get(Service, name) is None:
        open_store().commit([Record.new(name, Service())])
    jobs.start(f"service:{name}", ["sleep", "60"])
