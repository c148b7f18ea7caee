"""The notice before a spot machine is taken, as its metadata service tells it."""

import http.client
import socket
import time
from collections.abc import Iterator

import pytest

from aiinfra_lab.host import notice as module
from aiinfra_lab.host.notice import notice
from tests.fakes.imds import Imds

ACTION = '{"action": "terminate", "time": "2026-01-31T18:00:00Z"}'
AT = 1_769_882_400.0


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What this machine's cloud says now; nothing of a token of before is known."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
    monkeypatch.setattr(module._Token, "text", "")
    monkeypatch.setattr(module._Token, "good_until", 0.0)
    return {"meta-data/instance-id": "i-1"}


@pytest.fixture
def imds(said: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Imds]:
    with Imds(lambda: said) as service:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
        yield service


def test_there_is_none_until_there_is_one(imds: Imds, said: dict[str, str]) -> None:
    assert notice() is None
    said["meta-data/spot/instance-action"] = ACTION
    assert notice() == AT
    del said["meta-data/spot/instance-action"]
    assert notice() is None


def test_one_token_is_good_for_many_questions(imds: Imds, said: dict[str, str]) -> None:
    said["meta-data/spot/instance-action"] = ACTION
    assert {notice() for _ in range(5)} == {AT}
    assert len(imds._tokens) == 1


def test_a_token_that_is_not_known_any_more_is_renewed(imds: Imds, said: dict[str, str]) -> None:
    said["meta-data/spot/instance-action"] = ACTION
    assert notice() == AT
    imds._tokens.clear()
    assert [notice(), notice()] == [None, AT]


@pytest.mark.parametrize("answer", ["", "{", "[]", '{"action": "terminate"}', '{"time": 3}', '{"time": "soon"}'])
def test_an_answer_that_cannot_be_read_is_none(imds: Imds, said: dict[str, str], answer: str) -> None:
    said["meta-data/spot/instance-action"] = answer
    assert notice() is None


def test_a_service_that_is_switched_off_gives_none(imds: Imds, said: dict[str, str]) -> None:
    said.clear()
    assert notice() is None


@pytest.mark.parametrize("switch", ["", "true"])
def test_nothing_is_asked_on_a_machine_that_is_not_of_amazon(
    said: dict[str, str], monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", switch)
    monkeypatch.setattr(http.client, "HTTPConnection", None)
    assert notice() is None


def test_a_service_that_does_not_answer_costs_no_more_than_was_given(
    said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        assert notice(0.2) is None
        assert time.monotonic() - begun < 2
