"""The metadata service on loopback refuses what the real one refuses."""

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from .imds import TOKEN, TTL, Imds

DATA = {"meta-data/instance-id": "i-1", "meta-data/tags/instance/aiinfra:session": "trainer", "user-data": "#!/bin/sh"}


@pytest.fixture
def imds() -> Iterator[Imds]:
    with Imds(lambda: DATA) as service:
        yield service


def ask(imds: Imds, method: str, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(imds.url).netloc, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def token(imds: Imds, lifetime_s: str = "60") -> str:
    status, made = ask(imds, "PUT", "/latest/api/token", **{TTL: lifetime_s})
    assert status == 200
    return made


def get(imds: Imds, path: str, **headers: str) -> tuple[int, str]:
    return ask(imds, "GET", path, **(headers or {TOKEN: token(imds)}))


def test_it_answers_whoever_has_a_token(imds: Imds) -> None:
    assert get(imds, "/latest/meta-data/instance-id") == (200, "i-1")
    assert get(imds, "/latest/meta-data/tags/instance/aiinfra:session") == (200, "trainer")
    assert get(imds, "/latest/user-data") == (200, "#!/bin/sh")


def test_a_folder_is_listed(imds: Imds) -> None:
    assert get(imds, "/latest/meta-data/") == (200, "instance-id\ntags/")


def test_what_there_is_not_is_not_found(imds: Imds) -> None:
    assert get(imds, "/latest/meta-data/spot/instance-action") == (404, "")


@pytest.mark.parametrize("headers", [{"accept": "*/*"}, {TOKEN: "made-up"}])
def test_nothing_is_answered_without_a_token(imds: Imds, headers: dict[str, str]) -> None:
    assert get(imds, "/latest/meta-data/instance-id", **headers)[0] == 401


def test_a_token_ends(imds: Imds) -> None:
    made, now = token(imds), imds.clock()
    imds.clock = lambda: now + 61
    assert get(imds, "/latest/meta-data/instance-id", **{TOKEN: made})[0] == 401


def test_a_token_is_good_for_one_instance(imds: Imds) -> None:
    with Imds(lambda: DATA) as other:
        assert get(other, "/latest/meta-data/instance-id", **{TOKEN: token(imds)})[0] == 401


@pytest.mark.parametrize("lifetime_s", ["0", "21601", "long", "-1"])
def test_a_lifetime_has_bounds(imds: Imds, lifetime_s: str) -> None:
    assert ask(imds, "PUT", "/latest/api/token", **{TTL: lifetime_s})[0] == 400


def test_a_token_needs_a_lifetime_and_no_proxy(imds: Imds) -> None:
    assert ask(imds, "PUT", "/latest/api/token")[0] == 400
    assert ask(imds, "PUT", "/latest/api/token", **{TTL: "60", "X-Forwarded-For": "203.0.113.1"})[0] == 403


def test_version_1_answers_where_tokens_are_optional() -> None:
    with Imds(lambda: DATA, tokens_required=False) as imds:
        assert get(imds, "/latest/meta-data/instance-id", accept="*/*") == (200, "i-1")
        assert get(imds, "/latest/meta-data/instance-id", **{TOKEN: "made-up"})[0] == 401


def test_one_that_is_switched_off_refuses() -> None:
    with Imds(dict) as imds:
        assert ask(imds, "PUT", "/latest/api/token", **{TTL: "60"})[0] == 403
        assert get(imds, "/latest/meta-data/instance-id", accept="*/*")[0] == 403
