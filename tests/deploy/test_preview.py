"""What is said of a canary's share before it gets traffic."""

import shutil

import pytest
from msgspec.structs import replace

from aiinfra_lab.deploy import preview
from aiinfra_lab.deploy.record import Arm, EndpointRecord, VersionCounts
from aiinfra_lab.stats.bounds import parse_bounds


def endpoint(requests, hours, **given):
    """One with a canary of 5 %, that has answered so many requests."""
    fields = {"champion": "a", "canary": "b", "share": 0.05, "started_at": 1000.0}
    counts = {"a": VersionCounts(requests)}
    return EndpointRecord(**fields, versions=counts, **given), 1000.0 + 3600 * hours


def test_little_traffic_is_said_with_what_sees_it_sooner():
    note = preview.note(*endpoint(2400, 1, rollback_if=parse_bounds("errors > 1%")))
    assert note.startswith("at 40 requests a minute and 5 %, a rise of errors from 1 % to 2 % takes about 18")
    assert note.endswith("to see: `--canary 25%` sees it sooner")


def test_the_rule_says_which_rise_matters():
    assert "from 5 % to 10 %" in preview.note(*endpoint(240, 1, rollback_if=parse_bounds("errors > 5%")))


@pytest.mark.parametrize("given", [(180_000, 1), (5, 1), (2400, 0.01)])
def test_nothing_is_said_of_much_traffic_or_where_nobody_knows_how_much(given):
    assert preview.note(*endpoint(*given)) == ""


def test_nothing_is_said_without_a_champion_and_no_more_is_advised_than_half():
    body, now = endpoint(24, 1)
    assert preview.note(replace(body, champion=None), now) == ""
    assert "`--canary" not in preview.note(replace(body, share=0.5), now)


def test_what_a_canary_takes_otherwise_than_its_champion_is_said(tmp_path, artifacts, monkeypatch):
    champion, canary = artifacts("plain"), tmp_path / "canary"
    shutil.copytree(champion, canary)
    columns = (canary / "columns.json").read_text().replace('"distance"', '"length"')
    (canary / "columns.json").write_text(columns)
    monkeypatch.setattr(preview, "artifact", {"a": champion, "b": canary}.__getitem__)
    body, _ = endpoint(0, 0)
    assert preview.differs(body) == "b is not asked what a is: it also reads length; does not read distance"
    compared = replace(body, canary=None, others=(Arm("b", "candidate", 0.5), Arm("c", "shadow", 1.0)))
    assert preview.differs(compared) == preview.differs(body)
    monkeypatch.setattr(preview, "artifact", lambda uri: champion)
    assert preview.differs(body) == preview.differs(replace(body, champion=None)) == ""
