import pytest
from scipy import stats

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.stats.bounds import binomial_interval, bounds_of, judge, parse_bounds

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


def test_a_long_limit_is_said_with_all_its_digits():
    judged = judge(bounds_of(parse_bounds("p95_ms > 12345670")), {"slower_than_12345670ms": (0, 10)})
    assert "took longer than 12345670 ms" in judged.reasons[0]


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


@pytest.mark.parametrize(
    ("errors", "slow", "verdict"),
    [
        ((0, 0), (0, 0), "undecided"),
        ((1, 10), (0, 10_000), "undecided"),
        ((0, 10_000), (0, 10_000), "ok"),
        ((300, 10_000), (0, 10_000), "breach"),
        ((0, 10_000), (600, 10_000), "breach"),
        ((100, 10_000), (0, 10_000), "undecided"),
        ((0, 10_000), (0, 0), "undecided"),
    ],
)
def test_verdicts(errors, slow, verdict):
    judged = judge(bounds_of(parse_bounds(RULE)), {"errors": errors, "slower_than_80ms": slow})
    assert judged.verdict == verdict
    assert len(judged.reasons) == 2


def test_a_bound_that_holds_is_breached_by_chance_less_often_than_stated():
    """At the allowed share itself, the chance of a wrong breach is at most half of 5 %."""
    bounds, total, share = bounds_of(parse_bounds("errors > 1%")), 2000, 0.01
    wrong = [
        bad for bad in range(total + 1) if bad < 100 and judge(bounds, {"errors": (bad, total)}).verdict == "breach"
    ]
    assert 0 < stats.binom.sf(min(wrong) - 1, total, share) <= 0.025


def test_a_bound_that_nobody_counted_is_undecided():
    judged = judge(bounds_of(parse_bounds(RULE)), {"errors": (0, 10_000)})
    assert judged.verdict == "undecided"
    assert judged.reasons[0] == "p95_ms > 80: no answers yet"


def test_a_reason_says_what_was_seen_and_what_is_allowed():
    (reason,) = judge(bounds_of(parse_bounds("p90_ms > 20")), {"slower_than_20ms": (300, 1000)}).reasons
    assert reason.startswith("p90_ms > 20: breach, 300 of 1000 took longer than 20 ms (between 27.2 % and 32.9 %")
    assert reason.endswith("10 % allowed)")


def test_more_confidence_takes_more_requests():
    counts = {"errors": (25, 1000)}
    bounds = bounds_of(parse_bounds("errors > 1%"))
    assert [judge(bounds, counts, confidence).verdict for confidence in (0.95, 0.9999999)] == ["breach", "undecided"]


@pytest.mark.parametrize(("metric", "share"), [("p50_ms", 0.5), ("p90_ms", 0.1), ("p95_ms", 0.05), ("p99_ms", 0.01)])
def test_a_percentile_is_the_share_that_may_be_slower(metric, share):
    (bound,) = bounds_of(parse_bounds(f"{metric} > 12.5"))
    assert (bound.share, bound.key, str(bound)) == (share, "slower_than_12.5ms", f"{metric} > 12.5")


@pytest.mark.parametrize(("bad", "total"), [(0, 20), (1, 40), (3, 100), (8, 100)])
def test_about_so_many_requests_decide_as_are_said_to(bad, total):
    bounds = bounds_of(parse_bounds("p95_ms > 80"))
    (judged,) = judge(bounds, {"slower_than_80ms": (bad, total)}).bounds
    assert judged.verdict == "undecided"
    share = bad / total

    def verdict(total):
        return judge(bounds, {"slower_than_80ms": (round(share * total), total)}).verdict

    assert verdict(judged.needed) != "undecided"
    assert verdict(judged.needed * 3 // 4) == "undecided"


def test_of_a_share_that_lies_on_what_is_allowed_no_number_of_requests_decides():
    (on_it,) = judge(bounds_of(parse_bounds("p90_ms > 20")), {"slower_than_20ms": (100, 1000)}).bounds
    assert on_it.needed is None


def test_what_is_decided_needs_no_more_requests():
    (kept,) = judge(bounds_of(parse_bounds("errors > 1%")), {"errors": (0, 10_000)}).bounds
    assert (kept.verdict, kept.needed) == ("ok", 10_000)
