"""What an alert is, and the contract of what brings it to people (`alerts.sink`)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args, runtime_checkable

from ..errors import Denied, UsageProblem, did_you_mean
from ..secrets import redactor
from ..store import canonical

AlertKind = Literal["failed", "late", "recovered", "over budget", "drift"]

_LATEST = 1e11
_LONGEST = 500
_LONGEST_FACT = 200
_MOST_FACTS = 20


@dataclass(frozen=True, slots=True)
class Alert:
    """Something about a thing that people should hear of, whether or not they look.

    subject: the URI of the thing that has the trouble and recovers, e.g. `recipe:nightly`; which run it was is a
    fact. what: one sentence, the same each time for the same trouble, since it is what doubles are known by: figures
    that change are facts. fix: the command that helps. at: epoch seconds. link: where more stands.
    Every text becomes one line without control characters and secrets, and long ones are cut.
    """

    kind: AlertKind
    subject: str
    what: str
    fix: str = ""
    at: float = field(default_factory=time.time)
    facts: Mapping[str, str] = field(default_factory=dict)
    link: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(AlertKind):
            raise UsageProblem(f"{self.kind!r} is no kind of alert", did_you_mean(self.kind, get_args(AlertKind)))
        if not 0 <= self.at < _LATEST:
            raise UsageProblem(f"an alert cannot be at {self.at}", "give epoch seconds, as time.time() has them")
        for name in ("subject", "what", "fix", "link"):
            object.__setattr__(self, name, _line(getattr(self, name), _LONGEST))
        facts = {_line(name, _LONGEST_FACT): _line(value, _LONGEST_FACT) for name, value in self.facts.items()}
        object.__setattr__(self, "facts", dict(list(facts.items())[:_MOST_FACTS]))

    @property
    def id(self) -> str:
        """The same for the same alert, however often it is sent: by it a receiver can drop doubles."""
        return hashlib.sha256(canonical([self.subject, self.kind, self.what, self.at]).encode()).hexdigest()[:16]


class Sink(Protocol):
    """Brings alerts to people: the part before the colon of `[alerts] to = ["NAME:ADDRESS"]`."""

    def send(self, alert: Alert, address: str) -> None:
        """Bring an alert to what the address names; return once the receiver has taken it, at the latest after 60 s.

        May be called again with the same alert, and then sends it again, with the same `alert.id`; also by several
        threads at once. Unavailable when nobody took it after a bounded number of attempts: it is worth a later try
        (Missing: the variable that the address names is not set). Denied when the receiver refuses it, `PartlySent`
        when only some of those whom the address names do. UsageProblem for an address that names nothing. No error
        holds a secret, nor does its cause or a log.
        """


@runtime_checkable
class AddressCheck(Protocol):
    """What a sink can do besides: see that an address can be none of its own before anything is written down.

    For sinks whose addresses are names of variables: people put the secret itself there.
    """

    def check(self, address: str) -> None:
        """UsageProblem, which does not repeat it, when it is no address; asks nobody and reads no variable."""


class PartlySent(Denied):
    """Some of those whom an address names have the alert. remaining: the address of the others."""

    def __init__(self, what: str, fix: str, remaining: str) -> None:
        super().__init__(what, fix)
        self.remaining = remaining


def _line(text: object, longest: int) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in redactor().clean(str(text)))
    line = " ".join(printable.split())
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"
