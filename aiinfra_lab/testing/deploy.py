"""What every target for endpoints keeps."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from ..deploy import client, desired_state, lifecycle
from ..deploy.base import (
    LIVE,
    Claim,
    Exporter,
    Paced,
    PredictedRow,
    PredictionLog,
    Report,
    Reporting,
    Role,
    Serving,
    ServingOthers,
    Target,
)
from ..deploy.desired_state import ServeRequest
from ..deploy.record import EndpointRecord, VersionCounts
from ..deploy.reports import checked
from ..errors import Conflict, LabError, Unavailable
from ..files import until
from ..providers import Patience
from ..stats.bounds import parse_bounds
from ..store import Record, open_store, update
from ..train.signature import SCORE
from .artifacts import ROW, model_version

WITHIN_S = 30.0
NAME = "delay"

Halved = Callable[..., str]
"""Puts a canary beside the champion; gives the endpoint's URL."""


def endpoint(claim: Claim, model: str, on: str) -> Record[EndpointRecord]:
    """The record of the endpoint `delay` that serves a version, committed with what its claim brings.

    on: the name of its target; `local` is our own server, which is not asked for what it writes by itself
    """
    body, _ = desired_state.fresh(None, ServeRequest(model))
    placed = Record.new(NAME, body).with_(on=on, job=claim.id, port=claim.port, log_dir=claim.log_dir)
    return open_store().commit([*claim.records, placed])[-1]


def change(record: Record[EndpointRecord], target: Target, request: ServeRequest) -> Record[EndpointRecord]:
    """The record with another desired state, committed and applied."""
    # With retries: what serves may write what it counted at the same moment.
    now = update(open_store(), EndpointRecord, record.name, lambda body: desired_state.updated(body, request)[0])
    target.apply(now.body.job, now.body.desired)
    return now


def served(target: Target, claim: str, generation: int, within_s: float = WITHIN_S) -> Serving:
    """What it serves once it serves that generation. within_s: when the target does not say how long it takes."""

    def reached() -> Serving | None:
        now = target.serving(claim)
        return now if now.generation >= generation else None

    patience = Patience.of(target, "ready", within_s)
    return until(reached, Unavailable(f"{claim} never served {generation}", "look at its output"), **patience._asdict())


def answering(url: str, row: Mapping[str, object], requests: int = 60) -> Counter[str]:
    """Version → how many requests it answered, each with a key of its own."""
    answers = [client.ask(url, "/predict", {"rows": [row], "key": str(key)}) for key in range(requests)]
    assert all(status == 200 for status, _ in answers)
    return Counter(str(answer["model"]) for _, answer in answers)


def sent(url: str, row: Mapping[str, object], requests: int = 40) -> None:
    """Send so many requests, each with a key of its own, whatever becomes of them."""
    for key in range(requests):
        client.ask(url, "/predict", {"rows": [row], "key": str(key)})


def answering_key(url: str, row: Mapping[str, object], key: str, requests: int = 5) -> set[str]:
    """The versions that answered so many requests with that key."""
    return {client.ask(url, "/predict", {"rows": [row], "key": key})[1]["model"] for _ in range(requests)}


class _Endpoints:
    """What the suites of a target and of what it may be able to do besides start from: see `DeployTargetContract`."""

    patience_s = WITHIN_S
    on = "target"

    def serves(self, target: Target, record: Record[EndpointRecord]) -> Serving:
        """What it serves once it serves what the record asks for."""
        return served(target, record.body.job, record.body.generation, self.patience_s)

    def stop(self, target: Target, claim: str) -> None:
        """End it, in the time that it may take."""
        target.stop(claim, Patience.of(target, "ended", self.patience_s).within_s)

    @pytest.fixture
    def versions(self, target: Target) -> tuple[str, str]:
        """URIs of two model versions in the workspace of the target."""
        return model_version("delay@1", 0.0), model_version("delay@2", 1.0)

    @pytest.fixture
    def row(self) -> dict[str, object]:
        """A row that both of them take."""
        return dict(ROW)

    @pytest.fixture
    def bad(self, target: Target) -> str:
        """The URI of a version that has no number for any row."""
        return model_version("delay@3", math.nan)

    @pytest.fixture
    def claim(self, target: Target, versions: tuple[str, str]) -> Claim:
        """A claim of an endpoint that is committed, and not yet applied."""
        return target.claim(NAME, None)

    @pytest.fixture
    def started(self, target: Target, claim: Claim, versions: tuple[str, str]) -> Record[EndpointRecord]:
        """An endpoint that serves the first version."""
        record = endpoint(claim, versions[0], self.on)
        target.apply(claim.id, record.body.desired)
        self.serves(target, record)
        return record

    @pytest.fixture
    def halved(self, target: Target, started: Record[EndpointRecord], versions: tuple[str, str]) -> Halved:
        """The same with the second version as a canary that gets half of the keys; under a rule, if that is given."""

        def halve(rule: str = "", canary: str = "") -> str:
            request = ServeRequest(canary or versions[1], 0.5, parse_bounds(rule) if rule else None)
            record = change(started, target, request)
            return self.serves(target, record).url

        return halve


class DeployTargetContract(_Endpoints):
    """A provider's test inherits this and gives the fixture `target`, the provider's object in a workspace of its own.

    The models that it is to serve are made here; they take milliseconds.

    patience_s bounds every wait for which the target does not say by itself how long it takes, see `Paced`. on: the
    target's name as a provider.
    """

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
        assert all(isinstance(item[SCORE], float) for item in found)

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
        url = self.serves(target, record).url
        assert answering(url, row, 5) == {versions[1]: 5}

    def test_a_canary_gets_its_share_of_the_keys(
        self, halved: Halved, versions: tuple[str, str], row: dict[str, object]
    ) -> None:
        found = answering(halved(), row)
        assert min(found[uri] for uri in versions) > 5  # of 60: less often than once in a thousand million runs

    def test_a_key_gets_the_same_version_again_and_again(self, halved: Halved, row: dict[str, object]) -> None:
        url = halved()
        # 12 keys, since of one alone all five would come to one version by chance once in 16 times.
        assert [len(answering_key(url, row, str(key))) for key in range(12)] == [1] * 12

    def test_what_lives_is_observed_and_what_was_stopped_too(
        self, target: Target, started: Record[EndpointRecord]
    ) -> None:
        claim = started.body.job
        assert target.observe([claim, "nothing"])[claim].word == "running"
        url = target.serving(claim).url
        self.stop(target, claim)
        assert target.observe([claim])[claim].word == "stopped"
        assert target.serving(claim).generation == 0
        with pytest.raises(Unavailable):
            client.ask(url, "/predict", {"rows": []})

    def test_it_may_be_stopped_twice(self, target: Target, started: Record[EndpointRecord]) -> None:
        self.stop(target, started.body.job)
        self.stop(target, started.body.job)
        assert target.observe([started.body.job])[started.body.job].word == "stopped"

    def test_a_stop_that_does_not_wait_ends_it_soon(self, target: Target, started: Record[EndpointRecord]) -> None:
        claim = started.body.job
        target.stop(claim, 0)
        late = Unavailable(f"{claim} goes on", "look at its output")
        within_s = Patience.of(target, "ended", self.patience_s).within_s
        until(lambda: target.observe([claim])[claim].word not in LIVE, late, within_s=within_s)

    def test_what_was_never_claimed_is_lost_and_silent(self, target: Target, versions: tuple[str, str]) -> None:
        assert target.observe(["nothing"])["nothing"].word == "lost"
        assert target.serving("nothing") == Serving()
        assert target.output("nothing", 10) == ""
        self.stop(target, "nothing")

    def test_a_claim_that_was_not_applied_is_forgotten_by_a_stop(self, target: Target, claim: Claim) -> None:
        target.stop(claim.id, 0)
        assert target.observe([claim.id])[claim.id].word == "lost"

    def test_a_port_is_kept_or_refused(self, target: Target, versions: tuple[str, str]) -> None:
        with contextlib.suppress(LabError):
            assert target.claim(NAME, 47_321).port == 47_321


class ReportingContract(_Endpoints):
    """For a target that counts by version: a provider's test inherits this too, with the fixture `target`."""

    def report(self, target: Target, claim: str) -> Report | None:
        """What it reports now."""
        assert isinstance(target, Reporting)
        return checked(target.report(claim), type(target).__name__)

    def test_what_was_answered_is_counted_by_version(
        self,
        target: Target,
        started: Record[EndpointRecord],
        halved: Halved,
        versions: tuple[str, str],
        row: dict[str, object],
    ) -> None:
        sent = answering(halved(), row, 20)

        def counted() -> bool:
            report = self.report(target, started.body.job)
            found = {uri: counts.requests for uri, counts in report.versions.items()} if report else {}
            return {uri: found.get(uri, 0) for uri in versions} == {uri: sent[uri] for uri in versions}

        until(counted, Unavailable("it never counted what was sent", "look at its output"), within_s=self.patience_s)

    def test_rows_are_counted_and_not_only_requests(
        self, target: Target, started: Record[EndpointRecord], versions: tuple[str, str], row: dict[str, object]
    ) -> None:
        client.predict(target.serving(started.body.job).url, [dict(row) for _ in range(3)])

        def counted() -> bool:
            report = self.report(target, started.body.job)
            return report is not None and versions[0] in report.versions and report.versions[versions[0]].rows == 3

        until(counted, Unavailable("it never counted three rows", "look at its output"), within_s=self.patience_s)

    def test_latencies_are_counted_of_all_requests_or_stated_with_who_measured_them(
        self, target: Target, started: Record[EndpointRecord], versions: tuple[str, str], row: dict[str, object]
    ) -> None:
        answering(target.serving(started.body.job).url, row, 5)

        def counted() -> VersionCounts | None:
            report = self.report(target, started.body.job)
            found = report.versions.get(versions[0]) if report else None
            return found if found and found.requests == 5 else None

        never = Unavailable("it never counted what was sent", "look at its output")
        found = until(counted, never, within_s=self.patience_s)
        assert found.latency is None or not found.buckets, "it states latencies and counts them too"
        assert not found.buckets or sum(found.buckets.values()) == found.requests
        assert found.latency is None or found.latency.measured_by

    def test_the_share_that_a_canary_really_gets_is_reported(
        self, target: Target, started: Record[EndpointRecord], halved: Halved
    ) -> None:
        before = self.report(target, started.body.job)
        halved()
        after = self.report(target, started.body.job)
        assert (before and before.canary_share, after and after.canary_share) == (0.0, 0.5)

    def test_a_canary_that_breaks_its_rule_loses_its_traffic(
        self,
        target: Target,
        started: Record[EndpointRecord],
        halved: Halved,
        versions: tuple[str, str],
        bad: str,
        row: dict[str, object],
    ) -> None:
        url = halved("errors > 1%", bad)

        def rolled_back() -> bool:
            sent(url, row)
            report = self.report(target, started.body.job)
            return report is not None and report.canary_share == 0

        until(rolled_back, Unavailable("it keeps a bad canary", "look at its output"), within_s=self.patience_s)
        assert answering(url, row, 20) == {versions[0]: 20}

    @pytest.fixture
    def rolled_back(self, target: Target, halved: Halved, bad: str, row: dict[str, object]) -> Record[EndpointRecord]:
        """An endpoint whose canary has lost its traffic, as whoever observes it writes that down."""
        url = halved("errors > 1%", bad)

        def seen() -> Record[EndpointRecord] | None:
            sent(url, row)
            [(record, _)] = lifecycle.observe_all([lifecycle.find(NAME)], target)
            return record if record.body.rolled_back else None

        return until(
            seen, Unavailable("nobody learns of its rollback", "look at its reports"), within_s=self.patience_s
        )

    def test_a_rollback_by_the_rule_gets_into_the_record(
        self, rolled_back: Record[EndpointRecord], versions: tuple[str, str], bad: str
    ) -> None:
        body = rolled_back.body
        assert body.rolled_back
        assert (body.champion, body.canary) == (versions[0], None)
        assert (body.rolled_back.model, body.rolled_back.by) == (bad, "rule")

    def test_a_verdict_on_an_earlier_canary_is_not_reported_as_one_on_the_next(
        self, target: Target, rolled_back: Record[EndpointRecord], versions: tuple[str, str]
    ) -> None:
        record = change(rolled_back, target, ServeRequest(versions[1], 0.5, parse_bounds("p95_ms > 60000")))
        generation = self.serves(target, record).generation

        def is_current() -> bool:
            report = self.report(target, record.body.job)
            if report is None or report.generation != generation:
                return False
            # Nothing was sent since it began, so that no verdict can be its own.
            assert report.verdict is None or report.verdict.state != "breach"
            return True

        until(
            is_current,
            Unavailable(f"it never reports on {generation}", "look at its reports"),
            within_s=self.patience_s,
        )

    def test_what_has_ended_or_never_was_reports_nothing(self, target: Target, started: Record[EndpointRecord]) -> None:
        self.stop(target, started.body.job)
        assert self.report(target, started.body.job) is None
        assert self.report(target, "nothing") is None


class PredictionLogContract(_Endpoints):
    """For a target that logs its predictions: a provider's test inherits this too, with the fixture `target`."""

    def logged(self, target: Target, record: Record[EndpointRecord], rows: int) -> list[PredictedRow]:
        """The newest rows of its log, each of which is one by its type."""
        assert isinstance(target, PredictionLog)
        found = target.predictions(record.body.job, record.body.log_dir, rows)
        return [msgspec.convert(row, PredictedRow) for row in found]

    def predict(self, target: Target, record: Record[EndpointRecord], row: dict[str, object], *ids: str) -> list[float]:
        """The scores of that row under each of these ids, one request each."""
        url = target.serving(record.body.job).url
        return [client.predict(url, [{**row, "row_id": row_id}])[0][SCORE] for row_id in ids]

    def test_what_was_answered_is_logged_newest_first(
        self, target: Target, started: Record[EndpointRecord], row: dict[str, object]
    ) -> None:
        self.predict(target, started, row, "a", "b", "c")
        assert [found["row_id"] for found in self.logged(target, started, 10)] == ["c", "b", "a"]

    def test_no_more_rows_come_than_were_asked_for(
        self, target: Target, started: Record[EndpointRecord], row: dict[str, object]
    ) -> None:
        self.predict(target, started, row, "a", "b", "c")
        assert [found["row_id"] for found in self.logged(target, started, 2)] == ["c", "b"]
        assert self.logged(target, started, 0) == []

    def test_a_row_has_who_answered_what_went_in_and_what_came_out(
        self, target: Target, started: Record[EndpointRecord], versions: tuple[str, str], row: dict[str, object]
    ) -> None:
        [score] = self.predict(target, started, row, "a")
        [found] = self.logged(target, started, 1)
        assert (found["model"], found["arm"], found["outputs"]) == (versions[0], "champion", {SCORE: score})
        assert {name: found["inputs"].get(name) for name in row} == row
        assert found["latency_ms"] >= 0
        assert abs(found["at"] - time.time()) < self.patience_s

    def test_a_row_that_the_canary_answered_says_so(
        self,
        target: Target,
        started: Record[EndpointRecord],
        halved: Halved,
        versions: tuple[str, str],
        row: dict[str, object],
    ) -> None:
        sent = answering(halved(), row, 20)
        found = Counter((one["model"], one["arm"]) for one in self.logged(target, started, 100))
        assert found == {(versions[0], "champion"): sent[versions[0]], (versions[1], "canary"): sent[versions[1]]}

    def test_the_log_of_what_has_ended_can_be_read(
        self, target: Target, started: Record[EndpointRecord], row: dict[str, object]
    ) -> None:
        self.predict(target, started, row, "a")
        self.stop(target, started.body.job)
        assert [found["row_id"] for found in self.logged(target, started, 10)] == ["a"]

    def test_what_was_never_claimed_has_logged_nothing(self, target: Target, tmp_path: Path) -> None:
        assert isinstance(target, PredictionLog)
        assert list(target.predictions("nothing", str(tmp_path / "nothing"), 10)) == []


class ServingOthersContract(_Endpoints):
    """For a target that serves candidates, or a shadow: a provider's test inherits this too, with the same fixture."""

    def test_a_candidate_gets_its_share_and_a_key_stays(
        self, target: Target, started: Record[EndpointRecord], versions: tuple[str, str], row: dict[str, object]
    ) -> None:
        if not self._serves(target, "candidate"):
            return
        url = self.serves(target, change(started, target, ServeRequest(versions[1], candidate=0.5))).url
        found = answering(url, row)
        assert min(found[uri] for uri in versions) > 5
        assert [len(answering_key(url, row, str(key))) for key in range(12)] == [1] * 12

    def test_a_shadow_answers_nobody(
        self, target: Target, started: Record[EndpointRecord], versions: tuple[str, str], row: dict[str, object]
    ) -> None:
        if not self._serves(target, "shadow"):
            return
        url = self.serves(target, change(started, target, ServeRequest(versions[0], shadow=versions[1]))).url
        assert answering(url, row, 20) == {versions[0]: 20}
        if isinstance(target, PredictionLog):
            self._is_logged(target, started, versions[1])

    def _serves(self, target: Target, role: Role) -> bool:
        # What it does not serve, no verb asks it for.
        assert isinstance(target, ServingOthers)
        assert {*target.other_roles()} <= {"candidate", "shadow"}
        return role in target.other_roles()

    def _is_logged(self, target: PredictionLog, record: Record[EndpointRecord], shadow: str) -> None:
        def logged() -> bool:
            rows = target.predictions(record.body.job, record.body.log_dir, 100)
            return Counter(row["arm"] for row in rows if row["model"] == shadow) == {"shadow": 20}

        until(logged, Unavailable("what the shadow was asked is not logged", "look"), within_s=self.patience_s)


class PacedTargetContract(_Endpoints):
    """For a target that says how long it takes: a provider's test inherits this too, with the same fixture."""

    def test_an_endpoint_serves_and_is_over_within_the_times_that_are_stated(
        self, target: Target, claim: Claim, versions: tuple[str, str]
    ) -> None:
        assert isinstance(target, Paced)
        record, begun = endpoint(claim, versions[0], self.on), time.monotonic()
        target.apply(claim.id, record.body.desired)
        self.serves(target, record)
        assert time.monotonic() - begun <= target.ready_within_s() < math.inf
        assert 0 < target.ended_within_s() < math.inf
        target.stop(claim.id, target.ended_within_s())
        assert target.observe([claim.id])[claim.id].word not in LIVE


class ExporterContract:
    """A provider's test inherits this and gives the fixtures `exporter`, and `folder`, the files of a version."""

    def test_a_project_has_the_version_and_its_name(self, exporter: Exporter, folder: Path, tmp_path: Path) -> None:
        exporter.write("late", "models:delay@3", folder, tmp_path / "out")
        texts = [path.read_text("utf-8", "replace") for path in (tmp_path / "out").rglob("*") if path.is_file()]
        assert any("models:delay@3" in text for text in texts)
        assert not any("aiinfra_lab" in text for text in texts)

    def test_an_empty_folder_is_taken(self, exporter: Exporter, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        exporter.write("late", "models:delay@3", folder, tmp_path / "out")
        assert any((tmp_path / "out").iterdir())

    def test_what_is_there_stays_as_it_is(self, exporter: Exporter, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")
        with pytest.raises(Conflict):
            exporter.write("late", "models:delay@3", folder, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]

    def test_a_version_that_cannot_be_read_leaves_nothing(self, exporter: Exporter, tmp_path: Path) -> None:
        (tmp_path / "none").mkdir()
        with pytest.raises((LabError, OSError)):
            exporter.write("late", "models:delay@3", tmp_path / "none", tmp_path / "out")
        assert not (tmp_path / "out").exists()
