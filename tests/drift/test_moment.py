"""Since when an endpoint's log is judged, and what drift asks of an endpoint."""

import time
from pathlib import Path

import pytest

from aiinfra_lab.drift.served import ServedEndpoint, moment
from aiinfra_lab.errors import UsageProblem

ENDPOINT = ServedEndpoint("delay", "models:delay@1", Path("log"), 123.0)


def test_by_default_the_log_is_judged_since_the_endpoint_was_last_started():
    assert moment(None, ENDPOINT) == 123.0


@pytest.mark.parametrize(("text", "seconds"), [("15m", 900), ("2h", 7200), ("365d", 365 * 86400)])
def test_a_duration_counts_back_from_now(text, seconds):
    before = time.time() - seconds
    assert before <= moment(text, ENDPOINT) <= time.time() - seconds


@pytest.mark.parametrize("text", ["1760000000", " 1760000000.5 "])
def test_a_long_number_is_a_moment(text):
    assert moment(text, ENDPOINT) == float(text)


@pytest.mark.parametrize("text", ["banana", "", "-5m", "yesterday"])
def test_what_is_no_moment_is_refused_with_examples(text):
    with pytest.raises(UsageProblem) as problem:
        moment(text, ENDPOINT)
    assert problem.value.fix == "write 15m for the last 15 minutes, or an epoch time, e.g. 1767225600"
    assert moment(problem.value.fix.split()[-1], ENDPOINT) == 1767225600


def test_an_endpoint_has_a_uri():
    assert ENDPOINT.uri == "deploy:delay"
