"""Another package's providers for data, installed for a test."""

import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fakes" / "remote_data"


@pytest.fixture
def remote_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is installed: its module can be imported, and its metadata names its providers."""
    monkeypatch.syspath_prepend(PACKAGE)
    importlib.invalidate_caches()


@pytest.fixture
def objects(remote_data: None, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace that keeps content in that package's object store."""
    monkeypatch.setenv("AIINFRA_DATA_VERSIONS", "objects")
    return workspace
