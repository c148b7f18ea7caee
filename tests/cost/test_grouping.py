"""`cost show --by`, and the cost of 1,000 predictions as it goes from day to day."""

import datetime as dt
import time

import pytest

from aiinfra_lab import cost
from aiinfra_lab.cost import daily
from aiinfra_lab.deploy.record import MOST_DAYS, DayCounts, EndpointRecord, VersionCounts
from aiinfra_lab.errors import NotFound, UsageProblem
from tests.cards import one_line

from .test_cost import HOUR, took

__all__ = ["took"]
TODAY = dt.date.today()  # noqa: DTZ011
TAGS = "team-a: gpu:trainer, train:delay; web: deploy:*"


def at(days_ago: int, hour: float = 2.0) -> float:
    return daily.start_of(TODAY - dt.timedelta(days=days_ago)) + hour * HOUR


@pytest.fixture
def spent(took):
    """Two sessions, two runs in one of them, an endpoint and a pipeline."""
    took("gpu:trainer", at(2), at(2) + 2 * HOUR, usd_per_hour=3.0, on_machine=False)
    took("gpu:trainer", at(1), at(1) + HOUR, usd_per_hour=3.0, on_machine=False)
    took("gpu:other", at(1), at(1) + HOUR, usd_per_hour=5.0, on_machine=False)
    took("train:delay@1", at(2), at(2) + HOUR, within="gpu:trainer")
    took("train:delay@2", at(1), at(1) + HOUR, usd_per_hour=1.0)
    took("deploy:late", at(1), at(1) + 4 * HOUR, usd_per_hour=0.5)
    took("recipe:flights@1", at(3), at(3) + HOUR, usd_per_hour=2.0)
    took("recipe:flights@2", at(2), at(2) + HOUR, usd_per_hour=2.0)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("session", {"gpu:trainer": 9.0, "gpu:other": 5.0}),
        ("run", {"train:delay@1": 3.0, "train:delay@2": 1.0}),
        ("endpoint", {"deploy:late": 2.0}),
        ("recipe", {"recipe:flights": 4.0}),
    ],
)
def test_what_was_spent_by_what_it_was_spent_on(spent, by, groups):
    shown = cost.show(by=by)
    assert {part.uri: part.spent_usd for part in shown.parts} == pytest.approx(groups)
    assert shown.parts[0].spent_usd == max(groups.values())
    assert f"By {by}" in one_line(shown.card())


def test_a_day_pays_a_machine_once_and_its_sum_is_that_of_all(spent):
    shown = cost.show(by="day")
    assert [part.uri for part in shown.parts] == [str(TODAY - dt.timedelta(days=back)) for back in (1, 2, 3)]
    # The run and the endpoint shared this machine for an hour, in which the dearer of them counts.
    assert [part.spent_usd for part in shown.parts] == pytest.approx([3 + 5 + 1 + 3 * 0.5, 6 + 2, 2])
    assert shown.spent_usd == pytest.approx(sum(part.spent_usd for part in shown.parts))


def test_what_lies_before_the_days_is_a_row_of_its_own(took):
    took("gpu:old", at(40), at(40) + HOUR, usd_per_hour=3.0, on_machine=False)
    took("gpu:long", at(daily.MOST_DAYS, 23), at(daily.MOST_DAYS - 1, 1), usd_per_hour=1.0, on_machine=False)
    took("gpu:new", at(1), at(1) + HOUR, usd_per_hour=4.0, on_machine=False)
    shown = cost.show(by="day")
    first = TODAY - dt.timedelta(days=daily.MOST_DAYS - 1)
    names = [str(TODAY - dt.timedelta(days=1)), str(first), f"before {first}"]
    assert [part.uri for part in shown.parts] == names
    assert [part.spent_usd for part in shown.parts] == pytest.approx([4.0, 1.0, 4.0])
    assert shown.spent_usd == pytest.approx(9.0)


def test_one_thing_by_day(spent):
    shown = cost.show("gpu:trainer", by="day")
    assert [part.spent_usd for part in shown.parts] == pytest.approx([3.0, 6.0])
    with pytest.raises(NotFound, match="nothing is known about a cost of gpu:none"):
        cost.show("gpu:none", by="day")


def test_a_tag_sums_up_what_the_settings_name(spent, monkeypatch):
    monkeypatch.setenv("AIINFRA_COST_TAGS", TAGS)
    shown = {part.uri: part.spent_usd for part in cost.show(by="tag").parts}
    # A run within a session is paid by the session, and is in the sum once.
    assert shown == pytest.approx({"team-a": 10.0, "without a tag": 9.0, "web": 2.0})


@pytest.fixture
def in_session(took):
    """Two runs in a session, one after the other, and a third beside the second."""
    took("gpu:s", at(1), at(1) + 4 * HOUR, usd_per_hour=2.0, on_machine=False)
    took("train:d@1", at(1), at(1) + HOUR, within="gpu:s")
    took("train:d@2", at(1) + HOUR, at(1) + 2 * HOUR, within="gpu:s")
    took("train:d@3", at(1) + HOUR, at(1) + 2 * HOUR, within="gpu:s")


@pytest.mark.parametrize(("uri", "by"), [(None, "run"), ("train:d", "run"), ("train:d", "tag"), ("train:d", "day")])
def test_runs_in_a_session_that_is_not_summed_up_itself_cost_what_its_machine_did(in_session, uri, by):
    shown = cost.show(uri, by=by)
    assert shown.spent_usd == pytest.approx(4.0)  # the second and the third shared its machine
    if by == "run":
        assert [part.spent_usd for part in shown.parts] == pytest.approx([2.0, 2.0, 2.0])
    else:
        assert [part.spent_usd for part in shown.parts] == pytest.approx([4.0])


def test_a_session_and_its_runs_are_paid_once(in_session, monkeypatch):
    assert cost.show(by="day").spent_usd == pytest.approx(8.0)
    monkeypatch.setenv("AIINFRA_COST_TAGS", "runs: train:*")
    shown = cost.show(by="tag")
    assert {part.uri: part.spent_usd for part in shown.parts} == pytest.approx({"without a tag": 8.0, "runs": 4.0})
    assert shown.spent_usd == pytest.approx(8.0)
    assert any("a machine that several of them used is paid once" in note for note in shown.notes)


def test_a_run_that_outlived_the_day_of_its_session_adds_nothing_to_a_day(took):
    took("gpu:s", at(2), at(2) + HOUR, usd_per_hour=2.0, on_machine=False)
    took("train:d@1", at(2), at(1), within="gpu:s")
    assert [part.spent_usd for part in cost.show(by="day").parts] == pytest.approx([0.0, 2.0])


def test_the_runs_of_a_session_and_the_sessions_of_runs(in_session):
    assert {part.uri: part.spent_usd for part in cost.show("gpu:s", by="run").parts} == pytest.approx(
        dict.fromkeys(["train:d@1", "train:d@2", "train:d@3"], 2.0)
    )
    assert cost.show("gpu:s", by="run").spent_usd == pytest.approx(4.0)
    assert {part.uri: part.spent_usd for part in cost.show("train:d", by="session").parts} == {"gpu:s": 4.0}


@pytest.mark.parametrize(
    ("uri", "by", "note"),
    [
        ("gpu:s", "recipe", "No recipe is a part of gpu:s."),
        ("train:d", "endpoint", "No endpoint is a part of train:d."),
        (None, "recipe", "No recipe has cost anything."),
    ],
)
def test_what_there_is_none_of_has_cost_nothing(in_session, uri, by, note):
    shown = cost.show(uri, by=by)
    assert (shown.spent_usd, shown.parts) == (0.0, ())
    assert note in one_line(shown.card())
    assert "unknown" not in one_line(shown.card())


def test_several_machines_of_one_start_are_one_thing_of_a_day(took):
    for hour in (1, 2):
        took("gpu:s", at(1, hour), at(1, hour) + HOUR, usd_per_hour=1.0, on_machine=False, of_start="gpu-s-1")
    assert [part.note for part in cost.show(by="day").parts] == ["1 thing"]


@pytest.mark.parametrize("wrong", ["team-a", "team-a:", ": gpu:a", "a: ,"])
def test_tags_that_tag_nothing_are_refused(spent, monkeypatch, wrong):
    monkeypatch.setenv("AIINFRA_COST_TAGS", wrong)
    with pytest.raises(UsageProblem, match="which tags nothing"):
        cost.show(by="tag")


def test_what_there_is_none_of_has_no_groups(workspace):
    shown = cost.show(by="session")
    assert (shown.parts, shown.spent_usd) == ((), 0.0)
    assert shown.card().text()


def test_a_forecast_is_not_summed_up(workspace):
    with pytest.raises(UsageProblem, match="--by sums up what was spent"):
        cost.show(by="day", requests_per_day=1)


# ---- 1,000 predictions by day ----


def days(*rows: int) -> tuple[tuple[str, int], ...]:
    """Rows of the last days, the newest last; today has none yet."""
    return tuple((str(TODAY - dt.timedelta(days=back)), count) for back, count in zip((3, 2, 1), rows, strict=True))


def test_1000_predictions_cost_each_day_what_the_day_cost(took):
    took("deploy:late", at(3, 0), at(2, 12), usd_per_hour=1.0)
    took("deploy:late", at(1, 0), at(0, 0), usd_per_hour=1.0, rows=90, days=days(24_000, 6_000, 48_000))
    shown = cost.show("deploy:late")
    assert [usd for _, usd in shown.trend] == pytest.approx([1.0, 2.0, 0.5])
    text = one_line(shown.card())
    assert f"↓ 75 % since {TODAY - dt.timedelta(days=2)}" in text
    assert "1,000 predictions by day" in text


def test_days_without_predictions_and_prices_that_nobody_knows_have_no_cost_of_1000(took):
    took("deploy:late", at(3, 0), at(0, 0), usd_per_hour=1.0, rows=1, days=days(24_000, 0, 48_000))
    assert len(cost.show("deploy:late").trend) == 2
    took("deploy:far", at(3, 0), at(0, 0), on_machine=False, rows=1, days=days(1, 1, 1))
    assert cost.show("deploy:far").trend == ()


def test_an_endpoint_remembers_what_it_did_on_each_day_over_its_starts(monkeypatch):
    day = iter(["2026-11-01", "2026-11-01", "2026-11-02"])
    monkeypatch.setattr(time, "strftime", lambda _format: next(day))
    body = EndpointRecord()
    for rows, busy_ms in ((10, 5.0), (30, 9.0), (35, 10.0)):
        body = body.with_counts({"models:late@1": VersionCounts(rows=rows, busy_ms=busy_ms)})
    assert body.days == (DayCounts("2026-11-01", 30, 9.0), DayCounts("2026-11-02", 5, 1.0))
    assert body.count == 35


def test_what_an_endpoint_remembers_of_days_is_bounded_and_never_counts_backwards(monkeypatch):
    numbers = iter(range(200))
    monkeypatch.setattr(time, "strftime", lambda _format: f"day {next(numbers):03}")
    body = EndpointRecord()
    for rows in range(1, 100):
        body = body.with_counts({"models:late@1": VersionCounts(rows=rows)})
    assert len(body.days) == MOST_DAYS
    assert body.with_counts({"models:late@1": VersionCounts(rows=3)}).days == body.days
