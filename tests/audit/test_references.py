import pytest

from aiinfra_lab.audit.references import refuse_referenced
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import Conflict
from aiinfra_lab.store import open_store
from tests import records

from .test_lineage import CHAIN


@pytest.fixture
def served(workspace) -> dict:
    """deploy:delay serves models:delay@1, which was made of data:flights@1 by way of features and a run."""
    for event in CHAIN:
        open_store().commit([], event)
    records.endpoint("delay", champion="models:delay@1", canary=None, stopped_at=None)


@pytest.mark.parametrize("uri", ["models:delay@1", "train:delay@1", "features:delay@1", "data:flights@1"])
def test_what_a_served_version_was_made_of_is_needed(served, uri):
    with pytest.raises(Conflict, match=f"deploy:delay serves models:delay@1.*{uri.partition('@')[0]}|{uri}") as problem:
        refuse_referenced(open_store(), uri)
    assert problem.value.fix == "stop it first: `%deploy stop delay`"


def test_nobody_needs_what_nothing_was_made_of(served):
    refuse_referenced(open_store(), "data:other@1")


def test_what_a_stopped_endpoint_served_may_go(served):
    record = open_store().get(EndpointRecord, "delay")
    open_store().commit([record.with_(stopped_at=1.0)])
    refuse_referenced(open_store(), "data:flights@1")


def test_what_an_alias_points_at_is_needed(workspace):
    records.aliases("delay", champion=2)
    with pytest.raises(Conflict, match="models:delay@champion is models:delay@2"):
        refuse_referenced(open_store(), "models:delay@2")
    refuse_referenced(open_store(), "models:delay@1")
