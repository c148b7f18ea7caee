"""An online store of another package, which has neither a repository nor files: it keeps what every such store must."""

import importlib
from pathlib import Path

import pytest

from aiinfra_lab import features, providers
from aiinfra_lab.errors import NotFound
from aiinfra_lab.features.base import OnlineStore
from aiinfra_lab.features.record import FeatureSetVersion
from aiinfra_lab.resolve import resolve
from aiinfra_lab.testing.features import OnlineStoreContract

from .conftest import CELL, after, put, small_tables

PACKAGE = Path(__file__).parents[1] / "fakes" / "remote_features"
KEY = "place=north,line=red"


@pytest.fixture(autouse=True)
def cache(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is installed, and the workspace's settings choose its store."""
    monkeypatch.syspath_prepend(PACKAGE)
    importlib.invalidate_caches()
    monkeypatch.setenv("AIINFRA_FEATURES_STORE", "cache")


class TestCache(OnlineStoreContract):
    @pytest.fixture
    def store(self) -> OnlineStore:
        return providers.make("features.store")


def test_it_is_the_one_that_the_verbs_use(lateness, workspace):
    assert providers.chosen("features.store") == "cache"
    assert not (workspace / ".aiinfra/features/feast").exists()


def test_a_set_is_added_listed_shown_and_asked(lateness, trips):
    assert features.get("lateness", online=KEY).values == ("red", "north", 21.5, 10.0)
    assert features.get("lateness", rows=trips).rows == 4
    assert features.show("lateness") == features.ls()[0] == lateness
    assert lateness.online_as_of == after(5).isoformat()


def test_online_and_history_are_proven_to_agree(lateness):
    assert features.check("lateness").state == "good"


def test_newer_data_takes_the_place_of_older(lateness, tmp_path):
    tables = small_tables()
    tables["weather"] = tables["weather"].with_columns(temp=tables["weather"]["temp"] + 1)
    found = features.get("lateness", online=KEY, data=put("trips", tables, tmp_path / "newer"))
    assert (found.values[2], features.show("lateness").data) == (22.5, "data:trips@2")


def test_versions_are_compared_and_their_log_is_read(lateness, trips):
    features.add("lateness", data=trips, code=CELL.replace("3h", "2h"), timestamp="asked_at", label="late", id_="trip")
    assert features.diff("lateness@1", "lateness@2").changed == (("weather_now: ttl_s", "10800.0", "7200.0"),)
    assert [verb for _, _, verb, _ in features.log("lateness").events] == ["features add", "features add"]


def test_what_the_store_lost_is_loaded_again(lateness):
    providers.make("features.store").forget(resolve("lateness", FeatureSetVersion).body)
    assert features.get("lateness", online=KEY).values == ("red", "north", 21.5, 10.0)


def test_a_removed_version_is_gone_from_the_store(lateness):
    spec = resolve("lateness", FeatureSetVersion).body
    assert features.rm("lateness").uri == lateness.uri
    with pytest.raises(NotFound):
        providers.make("features.store").read(spec, {"place": ["north"], "line": ["red"]})
