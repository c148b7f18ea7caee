"""A registry of another package: the shipped suite, and every verb with it."""

import pytest

from aiinfra_lab import models, providers, train
from aiinfra_lab.models import sync
from aiinfra_lab.testing.models import RegistryContract


class TestShelf(RegistryContract):
    @pytest.fixture
    def registry(self, workspace, ledger):
        return providers.make("models.registry")


def test_every_verb_works_with_it(run, another, ledger):
    for made in (models.add("delay", run=run), models.add("delay", run=another)):
        models.check(made, margin=1)
        models.promote(made)
    assert models.rollback("delay").uri == "models:delay@1"
    assert models.diff("delay@2", "delay@champion").changes
    models.rm("delay@2")
    registry = providers.make("models.registry")
    assert registry.versions("delay") == {"models:delay@1"}
    assert registry.aliases("delay") == {"champion": "models:delay@1"}
    assert [item.uri for item in models.ls()] == [models.get("delay").uri]
    assert list(sync.disagreements()) == []


def test_a_registry_that_needs_the_run_says_so_where_another_server_tracks_it(rows, ledger, monkeypatch):
    monkeypatch.setenv("AIINFRA_MODELS_REGISTRY", "mlflow")
    run = train.run("delay", rows=rows, code=SAVED)
    made = models.add("delay", run=run)
    assert "choose a registry that goes with it" in made.said
    assert (models.show(made).uri, models.ls()[0].uri) == (made.uri, made.uri)
    assert "choose a registry that goes with it" in sync.reconcile()[0]


SAVED = """
import torch

class First(torch.nn.Module):
    def forward(self, numbers, codes):
        return numbers[:, 0]

run.log(loss=1)
run.save(First())
"""
