"""What every target for endpoints keeps."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping

import pytest

from ..deploy import client, desired_state
from ..deploy.base import LIVE, Claim, Serving, Target
from ..deploy.desired_state import ServeRequest
from ..deploy.record import EndpointRecord
from ..errors import LabError, Unavailable
from ..files import until
from ..store import Record, open_store

MOST_S = 30.0
NAME = "delay"


def endpoint(claim: Claim, model: str) -> Record[EndpointRecord]:
    """The record of the endpoint `delay` that serves a version, committed with what its claim brings."""
    body, _ = desired_state.fresh(None, ServeRequest(model))
    placed = Record.new(NAME, body).with_(job=claim.id, port=claim.port, log_dir=claim.log_dir)
    return open_store().commit([*claim.records, placed])[-1]


def change(record: Record[EndpointRecord], target: Target, request: ServeRequest) -> Record[EndpointRecord]:
    """The record with another desired state, committed and applied."""
    now = open_store().get(EndpointRecord, record.name)
    assert now is not None
    now = open_store().commit([now.of(desired_state.updated(now.body, request)[0])])[0]
    target.apply(now.body.job, now.body.desired)
    return now


def served(target: Target, claim: str, generation: int) -> Serving:
    """What it serves once it serves that generation."""

    def reached() -> Serving | None:
        now = target.serving(claim)
        return now if now.generation >= generation else None

    return until(reached, Unavailable(f"{claim} never served {generation}", "look at its output"), within_s=MOST_S)


def answering(url: str, row: Mapping[str, object], requests: int = 60) -> Counter[str]:
    """Version → how many requests it answered, each with a key of its own."""
    answers = [client.ask(url, "/predict", {"rows": [row], "key": str(key)}) for key in range(requests)]
    assert all(status == 200 for status, _ in answers)
    return Counter(str(answer["model"]) for _, answer in answers)


def answering_key(url: str, row: Mapping[str, object], key: str, requests: int = 5) -> set[str]:
    """The versions that answered so many requests with that key."""
    return {client.ask(url, "/predict", {"rows": [row], "key": key})[1]["model"] for _ in range(requests)}


class DeployTargetContract:
    """A provider's test inherits this and gives three fixtures, in a workspace of its own.

    target: the provider's object. versions: URIs of two model versions. row: a row that both of them take.
    """

    @pytest.fixture
    def claim(self, target: Target, versions: tuple[str, str]) -> Claim:
        """A claim of an endpoint that is committed, and not yet applied."""
        return target.claim(NAME, None)

    @pytest.fixture
    def started(self, target: Target, claim: Claim, versions: tuple[str, str]) -> Record[EndpointRecord]:
        """An endpoint that serves the first version."""
        record = endpoint(claim, versions[0])
        target.apply(claim.id, record.body.desired)
        served(target, claim.id, 1)
        return record

    def test_a_claim_commits_nothing_and_starts_nothing(self, target: Target, claim: Claim) -> None:
        assert open_store().get(EndpointRecord, NAME) is None
        assert all(record.rev == 0 or record.kind != EndpointRecord.kind for record in claim.records)
        assert target.observe([claim.id])[claim.id].word == "lost"
        assert target.serving(claim.id).generation == 0

    def test_claims_differ(self, target: Target, claim: Claim) -> None:
        assert target.claim(NAME, None).id != claim.id

    def test_what_is_applied_is_served_at_the_url_that_it_reports(
        self, target: Target, started: Record[EndpointRecord], versions: tuple[str, str], row: dict[str, object]
    ) -> None:
        now = target.serving(started.body.job)
        assert (now.generation, now.problem) == (1, "")
        assert answering(now.url, row, 5) == {versions[0]: 5}

    def test_predictions_come_in_the_order_of_the_rows(
        self, target: Target, started: Record[EndpointRecord], row: dict[str, object]
    ) -> None:
        rows = [{**row, "row_id": name} for name in ("a", "b", "c")]
        found = client.predict(target.serving(started.body.job).url, rows)
        assert [item["row_id"] for item in found] == ["a", "b", "c"]
        assert all(isinstance(item["score"], float) for item in found)

    def test_a_request_that_is_refused_is_answered_with_what_is_wrong(
        self, target: Target, started: Record[EndpointRecord]
    ) -> None:
        status, answer = client.ask(target.serving(started.body.job).url, "/predict", {"rows": "none"})
        assert 400 <= status < 500
        assert answer["error"]["what"]

    def test_applied_twice_changes_nothing(self, target: Target, started: Record[EndpointRecord]) -> None:
        before = target.serving(started.body.job)
        target.apply(started.body.job, started.body.desired)
        assert target.serving(started.body.job) == before

    def test_a_change_is_served_by_its_generation(
        self,
        target: Target,
        started: Record[EndpointRecord],
        versions: tuple[str, str],
        row: dict[str, object],
    ) -> None:
        record = change(started, target, ServeRequest(versions[1]))
        url = served(target, record.body.job, record.body.generation).url
        assert answering(url, row, 5) == {versions[1]: 5}

    def test_a_canary_gets_its_share_of_the_keys(
        self,
        target: Target,
        started: Record[EndpointRecord],
        versions: tuple[str, str],
        row: dict[str, object],
    ) -> None:
        record = change(started, target, ServeRequest(versions[1], 0.5))
        url = served(target, record.body.job, record.body.generation).url
        found = answering(url, row)
        assert min(found[uri] for uri in versions) > 5  # of 60: less often than once in a thousand million runs

    def test_a_key_gets_the_same_version_again_and_again(
        self,
        target: Target,
        started: Record[EndpointRecord],
        versions: tuple[str, str],
        row: dict[str, object],
    ) -> None:
        record = change(started, target, ServeRequest(versions[1], 0.5))
        url = served(target, record.body.job, record.body.generation).url
        # 12 keys, since of one alone all five would come to one version by chance once in 16 times.
        assert [len(answering_key(url, row, str(key))) for key in range(12)] == [1] * 12

    def test_what_lives_is_observed_and_what_was_stopped_too(
        self, target: Target, started: Record[EndpointRecord]
    ) -> None:
        claim = started.body.job
        assert target.observe([claim, "nothing"])[claim].word == "running"
        url = target.serving(claim).url
        target.stop(claim, MOST_S)
        assert target.observe([claim])[claim].word == "stopped"
        assert target.serving(claim).generation == 0
        with pytest.raises(Unavailable):
            client.ask(url, "/predict", {"rows": []})

    def test_it_may_be_stopped_twice(self, target: Target, started: Record[EndpointRecord]) -> None:
        target.stop(started.body.job, MOST_S)
        target.stop(started.body.job, MOST_S)
        assert target.observe([started.body.job])[started.body.job].word == "stopped"

    def test_a_stop_that_does_not_wait_ends_it_soon(self, target: Target, started: Record[EndpointRecord]) -> None:
        claim = started.body.job
        target.stop(claim, 0)
        late = Unavailable(f"{claim} goes on", "look at its output")
        until(lambda: target.observe([claim])[claim].word not in LIVE, late, within_s=MOST_S)

    def test_what_was_never_claimed_is_lost_and_silent(self, target: Target, versions: tuple[str, str]) -> None:
        assert target.observe(["nothing"])["nothing"].word == "lost"
        assert target.serving("nothing") == Serving()
        assert target.output("nothing", 10) == ""
        target.stop("nothing", MOST_S)

    def test_a_claim_that_was_not_applied_is_forgotten_by_a_stop(self, target: Target, claim: Claim) -> None:
        target.stop(claim.id, 0)
        assert target.observe([claim.id])[claim.id].word == "lost"

    def test_a_port_is_kept_or_refused(self, target: Target, versions: tuple[str, str]) -> None:
        with contextlib.suppress(LabError):
            assert target.claim(NAME, 47_321).port == 47_321
