"""The cloud's own client: what a vendor ships. This one is in memory, so that the template runs; delete it.

It knows neither processes nor files of yours. An instance has an id, tags, and a moment at which it is deleted.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

BOOT_S = 0.2
STOP_S = 0.1
PRICES_USD = {"cpu-small": 0.04, "gpu-a10g": 1.1, "gpu-a100": 3.9}

_numbers = itertools.count(1)


@dataclass
class Instance:
    """A rented machine. Moments are epoch seconds; delete_at: None when nothing ends it."""

    model: str
    tags: Mapping[str, str]
    delete_at: float | None
    id: str = field(default_factory=lambda: f"i-{next(_numbers):06d}")
    created_at: float = field(default_factory=time.time)

    @property
    def deleted_at(self) -> float | None:
        """When it was deleted; None while it is there."""
        is_over = self.delete_at is not None and time.time() >= self.delete_at + STOP_S
        return self.delete_at + STOP_S if self.delete_at is not None and is_over else None

    @property
    def phase(self) -> str:
        """BOOTING, RUNNING, DELETING or DELETED."""
        if self.deleted_at is not None:
            return "DELETED"
        if self.delete_at is not None and time.time() >= self.delete_at:
            return "DELETING"
        return "BOOTING" if time.time() < self.created_at + BOOT_S else "RUNNING"


class Cloud:
    """The vendor's API, with all that anybody of this account has rented."""

    def __init__(self) -> None:
        self._instances: dict[str, Instance] = {}

    def create(self, model: str, tags: Mapping[str, str], delete_at: float | None) -> Instance:
        """Rent one; it boots for a while."""
        made = Instance(model, tags, delete_at)
        self._instances[made.id] = made
        return made

    def find(self, id: str) -> Instance | None:
        """The instance of that id, also after it was deleted."""
        return self._instances.get(id)

    def tagged(self, key: str, value: str) -> Iterator[Instance]:
        """All with that tag, deleted ones too."""
        return (each for each in self._instances.values() if each.tags.get(key) == value)

    def delete_at(self, id: str, moment: float | None) -> None:
        """Delete it then, or never. KeyError when it never was."""
        self._instances[id].delete_at = moment


ACCOUNT = Cloud()
"""A vendor's client signs in; here all of a process share one account."""
