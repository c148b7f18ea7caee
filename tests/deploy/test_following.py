"""What an endpoint's watch does when a version cannot be had: what was loaded beside it goes."""

from types import SimpleNamespace

import pytest

from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.deploy.server import watch as watching
from aiinfra_lab.deploy.server.counts import Counts
from aiinfra_lab.deploy.server.predictor import Routes, ServedVersion
from aiinfra_lab.deploy.server.watch import Watch
from aiinfra_lab.deploy.server.workers import VersionFiles
from aiinfra_lab.errors import Failed, StoreUnavailable
from aiinfra_lab.store import Record, open_store

CHAMPION, CANARY = "models:delay@1", "models:delay@2"


class Workers:
    def __init__(self):
        self.is_retired = False

    def retire(self):
        self.is_retired = True


class Predictor:
    """Opens versions at once, but for those that cannot be loaded."""

    def __init__(self, folder, broken=()):
        self.loop, self.routes, self.counts = self, Routes(), {}
        self.folder, self.broken, self.opened = folder, broken, []
        self.log = SimpleNamespace(lost=0)

    def call_soon_threadsafe(self, call, *given):
        call(*given)

    def open(self, uri, folder, forks, opened):
        if uri in self.broken:
            opened(Failed("it does not run", "take another"))
            return
        self.opened.append(ServedVersion(VersionFiles(uri, self.folder), Workers(), Counts()))
        opened(self.opened[-1])


@pytest.fixture
def follow(workspace, artifacts, monkeypatch):
    """Gives `follow(artifact, broken, times)`: the predictor, and what was raised on following champion and canary."""

    def go(artifact, broken=(), times=1):
        monkeypatch.setattr(watching, "artifact", artifact)
        predictor = Predictor(artifacts("plain"), broken)
        watch = Watch("delay", open_store(), predictor, None, lambda code: None)
        body = EndpointRecord(champion=CHAMPION, canary=CANARY, share=0.5, salt="s", generation=1)
        [record] = open_store().commit([Record.new("delay", body)])
        problems = []
        for _ in range(times):
            try:
                watch._follow(record)
            except StoreUnavailable as problem:
                problems.append(problem)
        return predictor, problems

    return go


def test_a_store_that_is_away_between_two_versions_has_none_loaded(follow):
    def artifact(uri):
        if uri == CANARY:
            raise StoreUnavailable("the store is away", "wait")
        return uri

    predictor, problems = follow(artifact, times=3)
    assert len(problems) == 3
    assert not predictor.opened


def test_a_version_beside_one_that_cannot_be_loaded_is_not_kept(follow):
    predictor, _ = follow(lambda uri: uri, broken=[CANARY])
    refused, serves = predictor.opened
    assert (refused.workers.is_retired, serves.workers.is_retired) == (True, False)
    assert [(arm.version, arm.role) for arm in predictor.routes.arms] == [(serves, "champion")]
