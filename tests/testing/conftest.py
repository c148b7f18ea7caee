"""A provider that is right, for tests that make it wrong."""

import importlib
from pathlib import Path

import pytest

from aiinfra_lab.config import settings
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.store import Record
from aiinfra_lab.testing.artifacts import model_version
from aiinfra_lab.testing.deploy import endpoint, served

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture
def far(monkeypatch):
    """The package of the foreign target; its services are ended afterwards."""
    monkeypatch.syspath_prepend(FAKES / "far_target")
    module = importlib.import_module("far_target")
    yield module
    for service in module.CLOUD.values():
        if service.is_up:
            service.end()
    module.CLOUD.clear()


@pytest.fixture
def started(far, workspace) -> Record[EndpointRecord]:
    """An endpoint in the cloud that serves the first of two versions."""
    model_version("delay@1", 0.0), model_version("delay@2", 1.0)
    target = far.FarCounting(settings())
    claim = target.claim("delay", None)
    record = endpoint(claim, "models:delay@1", "far_counting")
    target.apply(claim.id, record.body.desired)
    served(target, claim.id, 1)
    return record
