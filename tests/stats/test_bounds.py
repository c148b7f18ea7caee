import time

import pytest
from scipy import stats

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.stats.bounds import (
    JudgedBound,
    JudgedMeasure,
    binomial_interval,
    bounds_of,
    difference_interval,
    parse_bounds,
    round_up,
)

RULE = "p95_ms > 80 or errors > 1%"


@pytest.mark.parametrize(
    ("bad", "total"), [(0, 1), (1, 1), (0, 100), (3, 100), (50, 100), (100, 100), (7, 100_000), (99_000, 1_000_000)]
)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_the_interval_is_the_exact_one(bad, total, confidence):
    exact = stats.binomtest(bad, total).proportion_ci(confidence, method="exact")
    assert binomial_interval(bad, total, confidence) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_without_data_the_interval_says_nothing():
    assert binomial_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("counts", [(-1, 5), (6, 5)])
def test_what_is_no_count_is_refused(counts):
    with pytest.raises(ValueError, match="is no count"):
        binomial_interval(*counts)


def test_a_rule_says_what_is_counted_and_how_much_of_it_is_allowed():
    assert [(bound.key, round(bound.share, 9)) for bound in bounds_of(parse_bounds(RULE))] == [
        ("slower_than_80ms", 0.05),
        ("errors", 0.01),
    ]


def test_a_limit_may_be_written_in_seconds():
    assert bounds_of(parse_bounds("p99_ms > 0.5s"))[0].key == "slower_than_500ms"


def test_limits_that_differ_in_the_last_digit_are_counted_apart():
    keys = {bound.key for bound in bounds_of(parse_bounds("p95_ms > 80.00001 or p50_ms > 80.00002"))}
    assert keys == {"slower_than_80.00001ms", "slower_than_80.00002ms"}


def judged(text, bad, total, verdict="undecided", more=None):
    (bound,) = bounds_of(parse_bounds(text))
    return JudgedBound.of(bound, verdict, bad, total, more)


def test_a_long_limit_is_said_with_all_its_digits():
    assert "took longer than 12345670 ms" in str(judged("p95_ms > 12345670", 0, 10))


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("", "p95_ms > 80"),
        ("p95_ms", "p95_ms > 80"),
        ("p95_ms < 80", "write >, nothing else is read here"),
        ("p59_ms > 80", "did you mean p9"),
        ("error > 1%", "did you mean errors"),
        ("errors > 150%", "errors > 1%"),
        ("errors > 1", "errors > 1%"),
        ("errors > -1%", "p95_ms > 80"),
        ("p95_ms > 0", "p95_ms > 80"),
        ("p95_ms > 80 and errors > 1%", "write or, nothing else is read here"),
        ("p95_ms > 8.0.0", "p95_ms > 80"),
    ],
)
def test_nonsense_is_refused_with_a_fix(text, fix):
    with pytest.raises(UsageProblem) as problem:
        parse_bounds(text)
    assert fix in problem.value.fix


def test_a_bound_that_nobody_counted_says_so():
    assert str(judged("p95_ms > 80", 0, 0)) == "p95_ms > 80: no answers yet"
    assert str(judged("errors > 1%", 0, 0)) == "errors > 1%: no requests yet"


def test_a_bound_says_what_was_seen_and_what_is_allowed():
    reason = str(judged("p90_ms > 20", 300, 1000, "breach"))
    assert reason.startswith("p90_ms > 20: breach, 300 of 1000 took longer than 20 ms (between 26.3 % and 33.9 %")
    assert reason.endswith("10 % allowed)")


@pytest.mark.parametrize(("metric", "share"), [("p50_ms", 0.5), ("p90_ms", 0.1), ("p95_ms", 0.05), ("p99_ms", 0.01)])
def test_a_percentile_is_the_share_that_may_be_slower(metric, share):
    (bound,) = bounds_of(parse_bounds(f"{metric} > 12.5"))
    assert (bound.share, bound.key, str(bound)) == (share, "slower_than_12.5ms", f"{metric} > 12.5")


def measured(**given):
    fields = {
        "measure": "errors", "verdict": "undecided", "canary_bad": 49, "canary": 1000, "champion_bad": 95,
        "champion": 19_000, "since": 0.0, "evidence": 81_000.0, "limit": 72_000.0, "is_guarded": True, "margin": 0.005,
    }  # fmt: skip
    return JudgedMeasure(**{**fields, **given})


def test_a_rollback_says_both_shares_since_when_and_how_strong_the_evidence_is(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    reason = str(measured(verdict="breach", since=14 * 3600 + 3 * 60.0))
    assert reason == "errors 4.9 % against the champion's 0.5 % since 14:03 (evidence 81,000 of 72,000)"
    assert str(measured(verdict="breach", evidence=1e300)).endswith("(evidence far beyond 72,000)")


def test_latencies_are_counted_beyond_what_the_champion_took():
    reason = str(measured(measure="latency", verdict="breach", canary_bad=210, p95_ms=61.2))
    assert reason.startswith("latency slower than 61.2 ms 21 % against the champion's 0.5 %")
    assert "not compared yet" in str(measured(measure="latency"))


def test_what_is_not_decided_says_about_how_many_more_are_needed():
    assert str(measured(more=1234)).endswith("not decided, about 1,300 more are needed")
    assert str(measured()).endswith("not decided, more requests are needed")
    assert str(measured(verdict="ok")).endswith("not worse by 0.5 points")
    assert str(measured(canary=0)) == "errors: no requests of both yet"


@pytest.mark.parametrize(
    ("bad", "total", "other_bad", "other"), [(5, 100, 1, 100), (0, 50, 0, 99), (49, 1000, 95, 9000)]
)
def test_a_difference_lies_within_its_interval(bad, total, other_bad, other):
    low, difference, high = difference_interval(bad, total, other_bad, other)
    assert low < difference == bad / total - other_bad / other < high
    is_seen = stats.fisher_exact([[bad, total - bad], [other_bad, other - other_bad]]).pvalue < 0.05
    assert (low > 0) == is_seen


def test_without_data_a_difference_may_be_anything():
    assert difference_interval(0, 0, 1, 10) == (-1.0, 0.0, 1.0)


@pytest.mark.parametrize(("count", "rounded"), [(0, 0), (9, 9), (1234, 1300), (1200, 1200), (98_765, 99_000)])
def test_an_estimate_has_two_digits(count, rounded):
    assert round_up(count) == rounded
