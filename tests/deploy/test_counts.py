"""Counts: quantiles are as fine as their buckets, and nothing is lost on the way through the record."""

import math
import statistics
from bisect import bisect_left

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_lab.deploy.record import VersionCounts
from aiinfra_lab.deploy.server.counts import EDGES_MS, SHOWN_MS, Counts, TotalCounts


def counted(latencies):
    counts = Counts()
    for latency in latencies:
        counts.add(latency, 2, failed=latency > 50)
    return counts


def test_edges_rise_and_cover_what_can_happen():
    assert list(EDGES_MS) == sorted(set(EDGES_MS))
    assert (EDGES_MS[0], EDGES_MS[-1]) == (0.01, 90_000)
    assert {0.1, 1, 2.5, 5, 10, 25, 50, 100, 1000} <= set(SHOWN_MS)


@given(st.lists(st.floats(0.02, 50_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.95]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(latencies, share):
    true = sorted(latencies)[math.ceil(share * len(latencies) - 1e-9) - 1]
    at = bisect_left(EDGES_MS, true)
    assert EDGES_MS[at - 1] <= counted(latencies).quantile_ms(share) <= EDGES_MS[at]


def test_the_median_of_many():
    latencies = [1 + at / 100 for at in range(1000)]
    assert counted(latencies).quantile_ms(0.5) == pytest.approx(statistics.median(latencies), rel=0.02)


def test_no_requests_have_no_quantile():
    assert Counts().quantile_ms(0.5) is None


@pytest.mark.parametrize("latency", [0.0, 0.001, 1e9])
def test_what_lies_outside_is_counted_at_the_ends(latency):
    assert counted([latency]).quantile_ms(0.5) is not None


def test_a_record_gives_the_same_counts_back():
    counts = counted([0.5, 3, 3, 80])
    assert Counts.of(msgspec.json.decode(msgspec.json.encode(counts.to_record()), type=VersionCounts)) == counts
    assert (counts.requests, counts.rows, counts.errors) == (4, 8, 1)


def test_at_most_counts_up_to_the_edge():
    counts = counted([0.9, 1.0, 1.05])
    assert counts.at_most(1) == 2
    assert counts.at_most(2) == 3


def test_the_counts_of_several_fronts_are_one_version_s():
    parts = [counted([0.5, 3]), counted([80])]
    parts[1].as_shadow.add(7.0, 3, failed=True)
    parts[0].lost += 2
    total = TotalCounts(parts)
    assert (total.requests, total.rows, total.errors, total.lost, total.busy_ms) == (3, 6, 1, 2, 83.5)
    assert total.buckets == counted([0.5, 3, 80]).buckets
    assert (total.shadowed.requests, total.shadowed.errors, counted([1]).shadowed) == (1, 1, None)
    parts[0].add(4.0, 2, failed=False)
    assert total.requests == 4  # of this moment


def test_how_latency_wanders_is_kept_in_blocks_of_what_was_answered_in_them(monkeypatch):
    now, counts = [100.0], Counts()
    monkeypatch.setattr("aiinfra_lab.deploy.server.counts.time.monotonic", lambda: now[0])
    counts.add(1000.0, 1, failed=False)  # before anybody looks
    for latency in (1.0, 10.0, None, 100.0, 1000.0):
        counts.sample()
        for _ in range(5 if latency else 0):
            counts.add(latency, 1, failed=False)
        now[0] += 10.0
    counts.sample()
    assert counts.minutes.means(10) == pytest.approx([math.log(latency) for latency in (1, 10, 100, 1000)])
    assert counts.minutes.means(20) == pytest.approx([math.log(10) / 2, (math.log(100) + math.log(1000)) / 2])
