"""The fixture `workspace`, for the tests of providers: `from aiinfra_lab.testing.workspace import workspace`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..config import settings
from ..store import has_store, open_store

__all__ = ["workspace"]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace of the test's own without any setting, which is also the current folder."""
    home = tmp_path / "workspace"
    home.mkdir()
    (home / "aiinfra.toml").touch()
    # Whoever runs the tests may have settings in his environment, and they would decide what is tested.
    for name in [name for name in os.environ if name.startswith("AIINFRA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(home)
    yield home
    monkeypatch.chdir(home)  # the test may have moved on
    if has_store(settings()):
        open_store().close()
