"""A store of another package keeps the contract, needs only what is exported, and carries a workspace's verbs."""

import ast
import contextlib
import importlib
from pathlib import Path

import pytest

from aiinfra_lab import audit, data, lab, providers, store
from aiinfra_lab.config import settings
from aiinfra_lab.store import Event, open_store
from aiinfra_lab.testing.data import folder
from aiinfra_lab.testing.store import (
    AwayStoreContract,
    EventIndexContract,
    HeadCopierContract,
    HeadKeeperContract,
    NameIndexContract,
    SealedContract,
    StoreContract,
)

PACKAGE = Path(__file__).parents[1] / "fakes" / "memory_store"


@pytest.fixture
def memory(workspace, monkeypatch):
    """The package is installed, and the workspace's settings choose its store."""
    monkeypatch.syspath_prepend(PACKAGE)
    importlib.invalidate_caches()
    monkeypatch.setenv("AIINFRA_STORE_PROVIDER", "memory")


class TestMemory(
    StoreContract,
    HeadKeeperContract,
    HeadCopierContract,
    EventIndexContract,
    NameIndexContract,
    SealedContract,
    AwayStoreContract,
):
    @pytest.fixture
    def store(self, memory):
        return providers.make("store", "memory")

    @pytest.fixture
    def away(self, memory):
        @contextlib.contextmanager
        def cut_off():
            kept = importlib.import_module("memory_store").opened(settings())
            kept.is_away = True
            yield
            kept.is_away = False

        return cut_off

    @pytest.fixture
    def spoiled(self, memory):
        return importlib.import_module("memory_store").opened(settings()).index.pop

    @pytest.fixture
    def edited(self, memory):
        return importlib.import_module("memory_store").opened(settings()).edit

    @pytest.fixture
    def lost(self, memory):
        return importlib.import_module("memory_store").opened(settings()).lose


def test_it_uses_exported_names_only():
    tree = ast.parse((PACKAGE / "memory_store.py").read_text())
    found = {node.module: node.names for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.name for name in found["aiinfra_lab.store"]} <= set(store.__all__)
    assert {module for module in found if module.startswith("aiinfra_lab.store.")} == set()


def test_a_workspace_lives_on_it(memory, workspace, tmp_path):
    lab.start()
    added = data.add("cats", folder(tmp_path / "cats", {"cats.csv": "name\nTom\n"}))
    assert [item.uri for item in data.ls()] == [added.uri]
    assert audit.prove(open_store()).sound
    assert not (workspace / ".aiinfra" / "store.sqlite").exists()


def test_its_head_proves_that_nothing_was_cut_off(memory):
    memory = importlib.import_module("memory_store").opened(settings())
    for number in range(3):
        memory.commit([], Event("data add", f"data:a@{number}"))
    assert audit.prove(open_store()).sound
    memory.log.pop()
    assert not audit.prove(open_store()).sound
