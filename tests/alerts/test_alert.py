"""What an alert is, and where the settings send it."""

import pytest

from aiinfra_lab import lab
from aiinfra_lab.alerts import Alert, Destination, destinations
from aiinfra_lab.errors import LabError, UsageProblem
from aiinfra_lab.testing.alerts import written_of
from tests.packages import install


def test_the_id_is_that_of_the_same_alert_alone():
    first = Alert("failed", "recipe:a@1", "it broke", at=1.0)
    assert first.id == Alert("failed", "recipe:a@1", "it broke", "another fix", at=1.0, link="x").id
    others = [
        Alert("late", "recipe:a@1", "it broke", at=1.0),
        Alert("failed", "recipe:a@2", "it broke", at=1.0),
        Alert("failed", "recipe:a@1", "it broke again", at=1.0),
        Alert("failed", "recipe:a@1", "it broke", at=2.0),
    ]
    assert len({each.id for each in (first, *others)}) == 5


def test_every_text_is_one_line_and_bounded():
    odd = Alert("failed", "recipe:a\r\nX", "a\x00b\x1b[31m\u2028c\udc80", "x" * 9999, facts={"a\nb": "c\nd"})
    assert (odd.subject, odd.what, odd.facts) == ("recipe:a X", "a b [31m c", {"a b": "c d"})
    assert len(odd.fix) == 500
    assert len(Alert("failed", "a", "b", facts={str(number): "" for number in range(99)}).facts) == 20


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_moment_that_is_none_is_refused(at):
    with pytest.raises(UsageProblem):
        Alert("failed", "recipe:a", "it broke", at=at)


def test_an_unknown_kind_is_refused_with_the_nearest():
    with pytest.raises(UsageProblem) as problem:
        Alert("over-budget", "recipe:a", "it cost too much")
    assert problem.value.fix == "did you mean over budget?"


TO = ["webhook:ALERT_URL", "smtp:team@example.org, ops@example.org", "slack:SLACK_URL", "file:logs/alerts.jsonl"]


def test_a_list_in_the_file_and_a_text_in_the_environment_mean_the_same(workspace, monkeypatch):
    (workspace / "aiinfra.toml").write_text(f"[alerts]\nto = {TO}")
    found = destinations()
    assert [str(each) for each in found] == TO
    assert found[1] == Destination("smtp", "team@example.org, ops@example.org")
    (workspace / "aiinfra.toml").write_text("")
    monkeypatch.setenv("AIINFRA_ALERTS_TO", ", ".join(TO))
    assert destinations() == found
    assert destinations([TO[0], TO[0]]) == [found[0]]


def test_without_a_setting_there_are_none(workspace):
    assert destinations() == []


@pytest.mark.parametrize(
    "entry",
    ["https://hooks.example.org/qSECRETq", "webhook:https://hooks.example.org/qSECRETq", "qSECRETq", "webhook:qSECRETq",
     "slack:/services/qSECRETq", "qSECRETq:X", "webhook:", "smtp:", "file:"],
)  # fmt: skip
def test_an_entry_that_is_wrong_is_refused_by_its_number_and_a_secret_is_not_repeated(workspace, entry):
    with pytest.raises(UsageProblem) as problem:
        destinations(["file:a.jsonl", entry])
    assert "qSECRETq" not in written_of(problem.value)
    assert problem.value.fix


def test_a_misspelt_sink_suggests_the_nearest(workspace):
    with pytest.raises(UsageProblem) as problem:
        destinations(["webhok:ALERT_URL"])
    assert problem.value.fix == "did you mean webhook?"


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('to = ["webhook:https://hooks.example.org/qSECRETq"]', "alerts.to"),
        ('to = ["webhook:qSECRETq"]', "alerts.to"),
        ('to = ["smtp:team@example.org"]\nsmtp_security = "qSECRETq"', "alerts.to"),
        ('repeat = "often"', "alerts.repeat"),
        ("timeout_s = 0", "alerts.timeout_s"),
    ],
)
def test_lab_check_names_what_is_wrong_before_an_alert_is_lost(workspace, lines, key):
    (workspace / "aiinfra.toml").write_text(f"[alerts]\n{lines}")
    (found,) = [each for each in lab.check(report=True).findings if each.what == f"setting {key}"]
    assert (found.state, bool(found.fix)) == ("bad", True)


def test_a_misspelt_setting_suggests_the_nearest(workspace):
    (workspace / "aiinfra.toml").write_text('[alerts]\nrepeet = "1h"')
    with pytest.raises(LabError) as problem:
        destinations()
    assert problem.value.fix == "did you mean repeat?"
    (workspace / "aiinfra.toml").write_text("")


PAGER = """
class Pager:
    sent = []
    def __init__(self, where): ...
    def send(self, alert, address): Pager.sent.append((address, alert.what)) if address != "bad" else {}["key"]
"""


@pytest.fixture
def pager(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, PAGER, "alerts.sink.pager = somebody:Pager")


def test_a_sink_of_another_package_enters_by_the_same_door(pager, workspace):
    from aiinfra_lab.alerts import deliver

    done = deliver(Alert("failed", "recipe:a", "it broke"), ["pager:on-call", "pager:bad"])
    assert done.delivered == ("pager:on-call",)
    assert [each.destination for each in done.undelivered] == ["pager:bad"]
