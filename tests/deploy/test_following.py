"""What an endpoint's watch does when a version cannot be had: what was loaded beside it goes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from aiinfra_lab.deploy.record import Arm, EndpointRecord
from aiinfra_lab.deploy.server import watch as watching
from aiinfra_lab.deploy.server.counts import Counts
from aiinfra_lab.deploy.server.fronts import Fronts
from aiinfra_lab.deploy.server.predictor import Routes, ServedVersion
from aiinfra_lab.deploy.server.watch import Watch
from aiinfra_lab.deploy.server.workers import VersionFiles
from aiinfra_lab.errors import Failed, StoreUnavailable
from aiinfra_lab.stats.bounds import parse_bounds
from aiinfra_lab.store import Record, open_store

CHAMPION, CANARY = "models:delay@1", "models:delay@2"


class Workers:
    def __init__(self):
        self.is_retired = False
        self.problem = None

    def retire(self):
        self.is_retired = True


class Predictor:
    """Opens versions at once, but for those that cannot be loaded."""

    def __init__(self, folder, broken=()):
        self.loop, self.routes, self.counts = self, Routes(), {}
        self.folder, self.broken, self.opened = folder, broken, []
        self.log = SimpleNamespace(lost=0)

        self.later = None

    def call_soon_threadsafe(self, call, *given):
        if self.later is None or call.__name__ == "_open":
            call(*given)
        else:
            self.later.append((call, given))

    def open(self, uri, folder, digests, forks, opened):
        if uri in self.broken:
            opened(Failed("it does not run", "take another"))
            return
        self.opened.append(ServedVersion(VersionFiles(uri, self.folder, digests), Workers(), Counts()))
        opened(self.opened[-1])


@pytest.fixture
def follow(workspace, artifacts, monkeypatch):
    """Gives `follow(artifact, broken, times)`: the predictor, and what was raised on following champion and canary."""

    def go(artifact, broken=(), times=1):
        monkeypatch.setattr(watching, "artifact", artifact)
        monkeypatch.setattr(watching, "recorded", lambda uri: {})
        predictor = Predictor(artifacts("plain"), broken)
        watch = Watch("delay", open_store(), Fronts(predictor, object()), lambda code: None)
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
        return Path(uri)

    predictor, problems = follow(artifact, times=3)
    assert len(problems) == 3
    assert not predictor.opened


def test_a_version_beside_one_that_cannot_be_loaded_is_not_kept(follow):
    predictor, _ = follow(Path, broken=[CANARY])
    refused, serves = predictor.opened
    assert (refused.workers.is_retired, serves.workers.is_retired) == (True, False)
    assert [(arm.version, arm.role) for arm in predictor.routes.arms] == [(serves, "champion")]


@pytest.fixture
def watch(workspace, artifacts, monkeypatch):
    """The watch of an endpoint that nothing is followed of yet."""
    monkeypatch.setattr(watching, "artifact", Path)
    monkeypatch.setattr(watching, "recorded", lambda uri: {})
    made = Predictor(artifacts("plain"))
    found = Watch("delay", open_store(), Fronts(made, object()), lambda code: None)
    found.predictor = made
    return found


def commit(**fields):
    before = open_store().get(EndpointRecord, "delay")
    body = EndpointRecord(champion=CHAMPION, share=0.5, rollback_if=parse_bounds("errors > 1%"), **fields)
    return open_store().commit([Record(EndpointRecord.kind, "delay", body, before.rev if before else 0)])[0]


def test_a_canary_is_not_judged_by_the_requests_of_the_one_before_it(watch):
    watch._follow(commit(canary=CANARY, salt="s", generation=1))
    judge = watch.predictor.routes.judge
    for key in range(400):
        judge.add(str(key), None, is_canary=key % 2 == 0, failed=key % 2 == 0)
    watch.predictor.later = []  # the event loop has the change a moment later
    another = commit(canary="models:delay@3", salt="t", generation=2)
    watch._follow(another)
    watch._judge()
    watch._write()
    found = open_store().get(EndpointRecord, "delay").body
    assert (found.canary, found.rolled_back, found.verdict.state) == ("models:delay@3", None, "undecided")
    assert (found.judged.of[0], found.judged.requests) == ("models:delay@3", 0)


@pytest.mark.parametrize("role", ["shadow", "candidate"])
def test_an_arm_that_cannot_be_loaded_at_a_start_costs_the_others_nothing(watch, role):
    broken, kept = "models:delay@4", Arm("models:delay@5", "candidate", 0.2)
    watch.predictor.broken = [broken]
    others = (Arm(broken, role, 0.1), kept)
    watch._follow(commit(canary=CANARY, salt="s", steps=(0.8,), generation=3, others=others))
    body = open_store().get(EndpointRecord, "delay").body
    assert (body.champion, body.canary, body.salt, body.steps, body.others) == (CHAMPION, CANARY, "s", (0.8,), (kept,))
    assert (body.rolled_back, "cannot be served, and the others serve without it" in body.problem) == (None, True)
    assert {arm.version.model.uri for arm in watch.predictor.routes.arms} == {CHAMPION, CANARY, kept.model}
