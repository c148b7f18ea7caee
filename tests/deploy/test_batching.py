"""Micro-batching: what arrives together runs together, nothing waits for a clock, and no answer goes astray."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aiinfra_lab.deploy.server.batching import INLINE_S, Batcher, Work
from aiinfra_lab.deploy.server.model import MAX_BATCH


class Doubling:
    """Doubles each row's number; remembers its batches and the thread they ran on. A negative number breaks it."""

    def __init__(self, expected_s: float = 0.0) -> None:
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self.seconds = expected_s

    def expected_s(self, rows: int) -> float:
        return self.seconds

    def predict(self, values):
        self.batches.append(len(values))
        self.threads.add(threading.get_ident())
        if min(row[0] for row in values) < 0:
            raise ValueError("negative")
        return [row[0] * 2 for row in values]


def together(model, requests):
    """Submit these lists of numbers in one turn of the loop; the answers."""

    async def run():
        with ThreadPoolExecutor(1) as executor:
            batcher, answers = Batcher(model, asyncio.get_running_loop(), executor), {}
            for at, numbers in enumerate(requests):
                batcher.submit(
                    Work([(number,) for number in numbers], lambda answer, at=at: answers.update({at: answer}))
                )
            while len(answers) < len(requests):
                await asyncio.sleep(0.001)
            assert batcher.rows_waiting == 0
            return [answers[at] for at in range(len(requests))]

    return asyncio.run(run())


@pytest.mark.parametrize("seconds", [0.0, INLINE_S * 2], ids=["here", "on a thread"])
def test_each_request_gets_its_own_scores(seconds):
    requests = [[at, at + 0.5] for at in range(100)]
    assert together(Doubling(seconds), requests) == [[2 * at, 2 * at + 1] for at in range(100)]


def test_what_arrives_in_one_turn_is_one_batch():
    model = Doubling()
    together(model, [[1], [2, 3], [4]])
    assert model.batches == [4]


def test_a_batch_is_bounded():
    model = Doubling()
    together(model, [[1]] * (MAX_BATCH + 1))
    assert model.batches == [MAX_BATCH, 1]


def test_a_larger_request_is_a_batch_of_its_own():
    model = Doubling()
    assert len(together(model, [[1], [2] * 500, [3]])[1]) == 500
    assert model.batches == [1, 500, 1]


def test_a_short_batch_runs_here_and_a_long_one_on_the_one_thread():
    here, away = Doubling(0.0), Doubling(INLINE_S * 2)
    together(here, [[1]])
    together(away, [[1]] * 200)
    assert here.threads == {threading.get_ident()}
    assert len(away.threads) == 1
    assert threading.get_ident() not in away.threads


@pytest.mark.parametrize("seconds", [0.0, INLINE_S * 2], ids=["here", "on a thread"])
def test_a_model_that_fails_fails_its_batch_and_not_the_next(seconds):
    answers = together(Doubling(seconds), [[-1], [1] * MAX_BATCH])
    assert isinstance(answers[0], ValueError)
    assert answers[1] == [2] * MAX_BATCH
