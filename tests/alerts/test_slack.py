"""Slack's form of webhooks."""

import json

import pytest

from aiinfra_lab import providers
from aiinfra_lab.alerts import Alert
from aiinfra_lab.errors import Denied
from aiinfra_lab.testing.alerts import ODD, SinkContract, alert, written_of
from tests.fakes.web_receiver import Answer

PATH = "/services/T0SECRET0/B9secret9/qSECRETq"


@pytest.fixture
def sink(workspace):
    return providers.make("alerts.sink", "slack")


@pytest.fixture
def address(web, monkeypatch):
    monkeypatch.setenv("SLACK_URL", f"http://127.0.0.1:{web.port}{PATH}")
    return "SLACK_URL"


def texts_of(value):
    """All texts of a message, as Slack shows them."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts_of(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts_of(each)]
    return [value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")] if isinstance(value, str) else []


class TestSlack(SinkContract):
    @pytest.fixture
    def received(self, web):
        return lambda: ["\n".join(texts_of(json.loads(each.body))) for each in web.posted]

    @pytest.fixture
    def refuses(self, web, monkeypatch):
        web.by_path[f"{PATH}x"] = Answer(404, body=b"no_team")
        monkeypatch.setenv("OLD_URL", f"http://127.0.0.1:{web.port}{PATH}x")
        return "OLD_URL"

    @pytest.fixture
    def away(self, monkeypatch):
        monkeypatch.setenv("AWAY_URL", f"http://127.0.0.1:1{PATH}")
        return "AWAY_URL"

    @pytest.fixture
    def no_address(self):
        return "hooks.slack.com/services/x"

    @pytest.fixture
    def secrets(self):
        return PATH.split("/")[2:]


def sent(sink, address, web, given):
    sink.send(given, address)
    return json.loads(web.posted[-1].body)


def test_the_text_alone_says_all_for_those_who_show_no_blocks(sink, address, web):
    given = alert()
    text = sent(sink, address, web, given)["text"]
    for part in (given.kind, given.subject, given.what, given.fix, "cost: 0.12 USD", "|more>", given.id):
        assert part in text


def test_the_blocks_are_what_slack_allows(sink, address, web):
    long = "wort " * 200
    given = Alert("drift", f"deploy:{long}", long, long, facts={f"{n} {long}": long for n in range(40)})
    blocks = sent(sink, address, web, given)["blocks"]
    assert [block["type"] for block in blocks] == ["header", "section", "section", "section", "context"]
    assert len(blocks[0]["text"]["text"]) <= 150
    assert all(len(field["text"]) <= 2000 for block in blocks for field in block.get("fields", ()))
    assert all(len(block.get("fields", ())) <= 10 for block in blocks)
    assert len(blocks[1]["text"]["text"]) <= 3000


def test_nothing_in_an_alert_is_markup_or_wakes_everybody(sink, address, web):
    odd = Alert("failed", "recipe:<!here>", ODD, "<@U1>", facts={"<#C1>": "<http://x|y>"}, link="javascript:<!channel>")
    message = sent(sink, address, web, odd)
    mrkdwn = [message["text"], *(each["text"] for each in flat(message["blocks"]) if each.get("type") == "mrkdwn")]
    assert "&lt;!channel&gt;" in message["text"]
    assert [text for text in mrkdwn if "<" in text or ">" in text] == []


def flat(value):
    if isinstance(value, list):
        return [each for item in value for each in flat(item)]
    return [value, *(each for item in value.values() for each in flat(item))] if isinstance(value, dict) else []


def test_what_slack_answers_is_named_when_it_is_a_word_of_slacks(sink, address, web):
    web.answers = [Answer(403, body=b"channel_is_archived"), Answer(403, body=PATH.encode())]
    with pytest.raises(Denied, match="403, channel_is_archived"):
        sink.send(alert(), address)
    with pytest.raises(Denied, match=r"refuses the alert: 403\n") as problem:
        sink.send(alert(), address)
    assert "qSECRETq" not in written_of(problem.value)
