"""This folder as one text of Python, which makes it a package of a Python that has nothing of ours."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

NAME = "aiinfra_values"
# Each after those that it imports.
_MODULES = (
    "problems",
    "form",
    "memory",
    "needs",
    "plain",
    "arrays",
    "tables",
    "packing",
    "sent",
    "unpacking",
    "cell",
    "namespace",
    "__init__",
)


def source() -> str:
    """What is run first over there: `import aiinfra_values` works from then on. It may be run again."""
    return f"""
def _aiinfra_values(name, texts, digest):
    import sys, types
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = []
    for part, text in texts.items():
        whole = name if part == "__init__" else name + "." + part
        module = package if whole == name else types.ModuleType(whole)
        sys.modules[whole] = module
        module.__package__ = name
        exec(compile(text, "<" + whole + ">", "exec"), vars(module))
        setattr(package, part, module)
    package.DIGEST = digest
_aiinfra_values({NAME!r}, {_texts()!r}, {digest()!r})
del _aiinfra_values
"""


def digest() -> str:
    """`aiinfra_values.DIGEST` where this very text was run."""
    return hashlib.sha256(repr(_texts()).encode()).hexdigest()[:16]


@functools.cache
def _texts() -> dict[str, str]:
    return {name: (Path(__file__).parent / f"{name}.py").read_text("utf-8") for name in _MODULES}
