"""Whatever a body holds, it is answered by its own status: predictions, or a refusal that blames the request."""

import asyncio
import json
import random
from collections import Counter

import pytest

from aiinfra_lab.deploy.server.predictions_log import PredictionsLog
from aiinfra_lab.deploy.server.predictor import Predictor
from tests.fakes.inline_workers import routes, served

from .conftest import ROW

PIECES = [
    b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b'"\\ud800"', b'"\\u0000"', b"\x00", b'"', b"\\", b"[", b"{", b"}", b"]",
    b",", b":", b"null", b"true", b"NaN", b"-0", b"1e999", b"1e-999", b"9" * 5000, b"-" + b"9" * 30, b"[" * 3000,
    b'{"a":' * 3000, b'"row_id":', b'"key":', b'"rows":', b"\xef\xbb\xbf", "日本".encode(),
]  # fmt: skip
DEEP = b"[" * 200_000
HARMFUL = [
    b'{"rows":[{"carrier":"\xff\xfe"}]}',
    b'{"\xff":1}',
    b'{"rows":[{"\xff":1}]}',
    b'{"key":"\xff","rows":[]}',
    b'{"rows":[{"carrier":"AA","row_id":"\xff"}]}',
    b'{"rows":' + DEEP,
    b'{"rows":' + DEEP + b"]" * 200_000 + b"}",
    b'{"rows":[{"carrier":' + DEEP + b"]" * 200_000 + b"}]}",
    b'{"rows":[{"nothing":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}]}",
    b'{"key":' + DEEP,
    b'{"nothing":' + DEEP + b"]" * 200_000 + b"}",
    DEEP,
]


@pytest.fixture
def statuses(tmp_path, artifacts):
    """Gives `statuses(bodies)`: the status of each body's answer."""

    def asked(bodies):
        async def run():
            predictor, found = Predictor(PredictionsLog(tmp_path / "log", 1e9), asyncio.get_running_loop()), []
            predictor.routes = routes(served(predictor, "models:a@1", artifacts("plain")))
            for body in bodies:
                before = len(found)
                predictor.predict(body, lambda status, answer: found.append((status, json.loads(answer))))
                while len(found) == before:
                    await asyncio.sleep(0)
            predictor.log.close()
            return [status for status, _ in found]

        return asyncio.run(run())

    return asked


def spoiled(rng: random.Random) -> bytes:
    """A good body of which a few bytes were replaced by, or lost to, something else."""
    rows = [{**ROW, "row_id": rng.choice(["a", 7])} for _ in range(rng.randint(1, 3))]
    body = json.dumps({"rows": rows, "key": rng.choice(["k", 5])}).encode()
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(body))
        body = body[:at] + rng.choice([*PIECES, b""]) + body[at + rng.choice([0, 0, 1, 2, 8]) :]
    return body


def test_no_body_is_a_fault_of_the_endpoint(statuses):
    rng = random.Random(18)  # the same bodies every time
    found = Counter(statuses(spoiled(rng) for _ in range(600)))
    assert set(found) == {200, 400, 422}


@pytest.mark.parametrize("body", HARMFUL, ids=range(len(HARMFUL)))
def test_bytes_that_are_no_text_and_nesting_without_end_are_no_json(statuses, body):
    assert statuses([body])[0] in (400, 422)
