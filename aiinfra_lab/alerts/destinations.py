"""Where alerts go: `[alerts] to = ["webhook:ALERT_URL", "smtp:team@example.org", …]`, each `SINK:ADDRESS`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..config import Settings, settings
from ..errors import LabError, UsageProblem, did_you_mean
from ..providers import make, names
from ..uris import split_scheme
from .base import AddressCheck

CONTRACT = "alerts.sink"
SETTING = "alerts.to"
# The comma before the next `SINK:`; those between addresses of one sink stay.
_BETWEEN = re.compile(r"\s*,\s*(?=[a-z][a-z0-9._-]*:)")


@dataclass(frozen=True, slots=True)
class Destination:
    """One sink, and whom it is to reach; `str()` of it is as it is written, and holds no secret."""

    sink: str
    address: str

    def __str__(self) -> str:
        return f"{self.sink}:{self.address}"


def destinations(to: Sequence[str] | None = None, where: Settings | None = None) -> list[Destination]:
    """Those that `to` names, or `alerts.to` without it; each once. LabError for one that cannot be sent to."""
    where = where or settings()
    found = dict.fromkeys(parse(text, at, where) for at, text in enumerate(entries(to, where), 1))
    for each in found:
        make(CONTRACT, each.sink, where)  # with what else is set for it
    return list(found)


def usable(to: Sequence[str] | None, where: Settings) -> tuple[list[Destination], list[LabError]]:
    """Those, also of a sink that cannot be made now, since it may be later; and what is wrong with the others."""
    found: dict[Destination, None] = {}
    wrong: list[LabError] = []
    for at, text in enumerate(entries(to, where), 1):
        try:
            found.setdefault(parse(text, at, where))
        except LabError as problem:
            wrong.append(problem)
    return list(found), wrong


def entries(to: Sequence[str] | None, where: Settings) -> list[str]:
    """As they are written: a list in a file, one text with commas in a variable."""
    if to is not None and not isinstance(to, str):
        return [str(each).strip() for each in to]
    text = where.get("alerts.to", "") if to is None else to
    setting = where.values.get(SETTING)
    if to is None and setting and isinstance(setting.value, list):
        return [str(each).strip() for each in setting.value]
    return list(_texts(text))


def parse(text: str, at: int, where: Settings) -> Destination:
    """The destination of the entry of that number. UsageProblem, which repeats nothing that may be a secret."""
    sink, address = split_scheme(text)
    # People put the URL itself there, which is a secret.
    if address is None or "://" in text:
        why = "holds a URL, which may be a secret" if "://" in text else "has no colon"
        raise UsageProblem(
            f"entry {at} of {SETTING} {why}",
            'put the URL into a variable, `export ALERT_URL=…`, and write "webhook:ALERT_URL"',
        )
    if sink not in names(CONTRACT):
        raise UsageProblem(f"entry {at} of {SETTING} is for no sink", did_you_mean(sink, names(CONTRACT)))
    _check(sink, address.strip(), where)
    return Destination(sink, address.strip())


def _check(sink: str, address: str, where: Settings) -> None:
    """What the sink itself has against the address."""
    provider = None
    with contextlib.suppress(LabError):
        provider = make(CONTRACT, sink, where, is_to_work=False)
    if isinstance(provider, AddressCheck):
        provider.check(address)


def _texts(text: str) -> Iterator[str]:
    yield from (each.strip() for each in _BETWEEN.split(text) if each.strip())
