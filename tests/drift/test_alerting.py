"""People hear of drift in what is served, once, and that it is over."""

import json

import pytest

from aiinfra_lab import data, drift
from tests.drift.conftest import frame


@pytest.fixture
def heard(module_workspace, monkeypatch, tmp_path):
    path = tmp_path / "heard.jsonl"
    monkeypatch.setenv("AIINFRA_ALERTS_TO", f"file:{path}")
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_of_drift_once_with_the_verdict(endpoint, heard):
    endpoint(frame(2, moved=0.5))
    for _ in range(2):
        found = drift.check(endpoint.name, against="data:t@1", report=True)
    (alert,) = heard()
    assert found.state == "drift"
    text = json.dumps(alert)
    assert "what it is asked has drifted" in text
    assert f"deploy:{endpoint.name}" in text
    assert "drift:" in text


def test_nobody_hears_of_a_verdict_on_rows_that_were_given_or_that_cannot_tell(endpoint, heard):
    data.add("given", frame(3, moved=1.0))
    drift.check(endpoint.name, against="data:t@1", rows="data:given", report=True)
    drift.check(endpoint.name, against="data:t@1", report=True)
    assert heard() == []


def test_of_no_drift_nobody_hears_who_heard_of_none(endpoint, heard):
    endpoint(frame(4))
    assert drift.check(endpoint.name, against="data:t@1").state == "no drift"
    assert heard() == []
