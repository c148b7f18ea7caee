"""The names of accelerators: which of them are what somebody asked for. The only place that compares two."""

from __future__ import annotations

import re

_SEPARATORS = re.compile(r"[-_\s]+")


def fits(wanted: str, offered: str) -> bool:
    """Whether an accelerator is what was asked for: it has every part of the name that was given, in any order.

    A part is compared whole: A10 is not A10G, and H100 not GH100.

    >>> fits("a100", "A100-SXM4-80GB"), fits("A100-80GB", "A100-SXM4-80GB"), fits("A10", "A10G")
    (True, True, False)
    """
    parts = _parts(wanted)
    return bool(parts) and parts <= _parts(offered)


def _parts(name: str) -> set[str]:
    return set(filter(None, _SEPARATORS.split(name.lower())))
