"""Two trained runs, made once by the verbs; every test gets a workspace of its own with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aiinfra_lab import models, train
from aiinfra_lab.store import open_store

from ..train.conftest import CODE, empty_mlflow, ledger, made_rows

__all__ = ["empty_mlflow", "ledger"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Path:
    """A workspace with train:delay@1, of three epochs, and train:delay@2, which learned for one only."""
    home = tmp_path_factory.mktemp("trained")
    (home / "aiinfra.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIINFRA_WORKSPACE", str(home))
        rows = made_rows(home, empty_mlflow)
        train.run("delay", rows=rows, code=CODE, params={"epochs": "3"})
        train.run("delay", rows=rows, code=CODE, params={"epochs": "1"}, seed=1)
        open_store().close()
    return home


@pytest.fixture
def run(workspace: Path, trained: Path) -> train.Run:
    """train:delay@1."""
    shutil.copytree(trained, workspace, dirs_exist_ok=True)
    return train.show("delay@1")


@pytest.fixture
def another(run: train.Run) -> train.Run:
    """train:delay@2."""
    return train.show("delay@2")


@pytest.fixture
def rows(run: train.Run) -> str:
    """The rows that both were trained on."""
    return run.rows


@pytest.fixture
def model(run: train.Run) -> models.Model:
    """models:delay@1."""
    return models.add("delay", run=run)
