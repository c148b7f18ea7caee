"""Modules of ours whose text a kernel executes: it may be of an environment without us."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


def sent_as_text(module: ModuleType, call: str) -> str:
    """The line of code that executes a module, and that call in it, and leaves nothing of it in the notebook."""
    text = Path(str(module.__file__)).read_text("utf-8")
    return f"exec({text + call!r}, {{'__name__': {module.__name__!r}}})"


def each_by_itself(lines: Iterable[str]) -> str:
    """The code that executes each of these lines, whatever becomes of those before."""
    return "\n".join(f"try:\n    {line}\nexcept Exception:\n    pass" for line in lines)
