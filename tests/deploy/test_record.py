"""An endpoint's record: what its desired state says, and that one of version 1 opens."""

import msgspec
import pytest

from aiinfra_lab.deploy.record import DesiredState, EndpointRecord, Verdict, VersionCounts
from aiinfra_lab.stats.bounds import parse_bounds
from aiinfra_lab.store import canonical
from aiinfra_lab.store.base import decode

# As version 1 wrote it.
OLD = {
    "canary": "models:late@2", "champion": None, "count": 50, "earlier": [], "earlier_spans": [],
    "ended_at": 2.0, "generation": 1, "job": "deploy-third-a2",
    "judged": {"bad": {"errors": 0}, "of": ["models:late@2", "salt", "errors>5 %"], "requests": 50},
    "log_dir": "/x/log", "log_lost_rows": 0, "on": "local", "port": 40857, "problem": None,
    "problem_generation": None, "rollback_if": "errors>5 %", "rolled_back": None, "salt": "salt",
    "share": 0.2, "started_at": 1.0, "stopped_at": 2.0, "url": "http://127.0.0.1:40857",
    "verdict": {"reasons": ["errors > 5 %: undecided"], "state": "undecided"},
    "versions": {"models:late@2": {
        "buckets": {"27": 2}, "busy_ms": 12.5, "errors": 0, "refused": 0, "requests": 2, "rows": 2,
    }},
}  # fmt: skip


def read(body):
    """A body of version 1 as it is read now."""
    return decode(EndpointRecord, "third", canonical(body), 1)


def test_a_record_of_version_1_has_its_rule_parsed():
    body = read(OLD)
    assert body.rollback_if == parse_bounds("errors > 5%")
    assert body.judged is None  # by what the canary alone did nobody can tell whether it is worse
    assert body.desired.judged == ("models:late@2", "salt", "errors > 5%", "", "1")
    assert body.verdict == Verdict("undecided", ("errors > 5 %: undecided",))
    assert body.versions["models:late@2"] == VersionCounts(2, 2, 0, 0, 12.5, {"27": 2})


def test_a_record_of_version_2_opens_as_it_is():
    rule = {"rollback_if": msgspec.to_builtins(parse_bounds("errors > 5%")), "judged": None, "outcome": "lost"}
    body = decode(EndpointRecord, "third", canonical({**OLD, **rule, "detail": "", "restarts": 0}), 2)
    assert (body.rollback_if, body.outcome) == (parse_bounds("errors > 5%"), "lost")
    assert (body.context, body.stop_requested_at, body.served_generation) == ("", None, 0)


def test_a_record_of_version_1_without_a_rule_opens():
    body = read({**OLD, "rollback_if": "", "judged": None, "canary": None, "champion": "models:late@1"})
    assert (body.rollback_if, body.judged, body.desired.judged) == (None, None, None)
    assert (body.outcome, body.is_open) == ("stopped", False)


def test_how_one_of_version_1_ended_that_nobody_stopped_is_left_to_be_observed():
    assert read({**OLD, "stopped_at": None}).is_open


def test_what_was_written_is_read_back():
    body = read(OLD)
    text = msgspec.json.encode(body)
    assert msgspec.json.decode(text, type=EndpointRecord) == body


@pytest.mark.parametrize(("champion", "canary", "share"), [("a", "b", 0.2), (None, "b", 1.0), ("a", None, 0.0)])
def test_the_canary_gets_its_share_or_all_while_there_is_no_champion(champion, canary, share):
    desired = DesiredState(champion, canary, 0.2)
    assert desired.canary_share == share
    assert desired.models == tuple(filter(None, (champion, canary)))
