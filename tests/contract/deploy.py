"""What every place for endpoints keeps. A provider's test inherits this and gives the fixtures `place`, its object,
and `commit`, which commits records together with an endpoint `delay` that serves `models:delay@1`."""

import os
import signal
import time

import pytest

from aiinfra_lab.deploy import client, lifecycle
from aiinfra_lab.deploy.base import Place
from aiinfra_lab.store import open_store

MOST_S = 60.0


def ready(name="delay"):
    """Wait until the endpoint answers that it is ready."""
    until = time.monotonic() + MOST_S
    while not (client.readiness(lifecycle.find(name).body["url"]) or {}).get("ready"):
        assert time.monotonic() < until, "it never became ready"
        time.sleep(0.02)


class DeployContract:
    @pytest.fixture
    def claimed(self, place: Place, commit) -> str:
        """A claim that was committed and not started."""
        claim, records = place.claim("delay")
        commit(claim, records)
        return claim

    @pytest.fixture
    def started(self, place: Place, claimed: str) -> str:
        """A claim whose process serves."""
        place.start(claimed)
        ready()
        return claimed

    def test_a_claim_commits_nothing_and_starts_nothing(self, place: Place):
        claim, records = place.claim("delay")
        assert open_store().changed() == []
        assert place.observe(claim).word == "lost"
        assert all(record.rev == 0 for record in records)

    def test_claims_differ(self, place: Place):
        assert place.claim("delay")[0] != place.claim("delay")[0]

    def test_what_was_started_lives_until_it_is_stopped(self, place: Place, started: str):
        assert place.observe(started).word == "running"
        place.stop(started, MOST_S)
        assert not place.observe(started).live
        assert client.readiness(lifecycle.find("delay").body["url"]) is None

    def test_it_may_be_started_and_stopped_twice(self, place: Place, started: str):
        url = lifecycle.find("delay").body["url"]
        place.start(started)
        assert client.readiness(url)["ready"]
        place.stop(started, MOST_S)
        place.stop(started, MOST_S)
        assert place.observe(started).word == "stopped"

    def test_what_was_never_claimed_is_lost_and_silent(self, place: Place):
        assert place.observe("nothing").word == "lost"
        assert place.output("nothing", 10) == ""
        place.stop("nothing", MOST_S)
        place.forget("nothing")

    def test_a_claim_that_was_not_committed_can_be_forgotten(self, place: Place):
        claim, _ = place.claim("delay")
        place.forget(claim)
        assert place.observe(claim).word == "lost"

    def test_a_committed_claim_is_not_forgotten(self, place: Place, started: str):
        place.forget(started)
        assert place.observe(started).live

    def test_a_process_that_dies_is_started_again_and_says_so(self, place: Place, started: str):
        os.kill(self.pid(started), signal.SIGKILL)
        until = time.monotonic() + MOST_S
        while place.observe(started).restarts == 0:
            assert time.monotonic() < until
            time.sleep(0.02)
        ready()
        assert place.observe(started).live

    def pid(self, claim: str) -> int:
        """The process that serves; a provider elsewhere overrides it, or the test that needs it."""
        raise AssertionError("this place says no pid")
