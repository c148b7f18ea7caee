"""Packages of somebody else, as they lie where Python finds them."""

import importlib
import sys
from pathlib import Path

import pytest

MOON = """
class Moon:
    def __init__(self, where): ...
    def offers(self): ...
    def create(self, plan): ...
    def status(self, handle): ...
    def renew(self, handle, deadline_at): ...
    def terminate(self, handle): ...
    def list_owned(self): ...
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, *entries: str, package: str = "somebody") -> None:
    """A module, and the metadata that names its providers."""
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[aiinfra_lab.providers]\n" + "\n".join(entries) + "\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, package, raising=False)
    importlib.invalidate_caches()
