"""Whether an accelerator is the one that was asked for: the one matcher, for price tables and for machines."""

from __future__ import annotations


def fits(wanted: str, offered: str) -> bool:
    """Whether `offered` is what `wanted` asks for: every part of the wanted name, joined by `-`, is part of it.

    A100 is any A100, A100-80GB only the larger one, a100-sxm4 one of that form; and A10 is no A10G.
    """
    return set(wanted.lower().split("-")) <= set(offered.lower().split("-"))
