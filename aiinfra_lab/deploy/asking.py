"""Questions to many targets or endpoints side by side: one that hangs keeps no other's answer from whoever looks."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from ..config import settings
from ..errors import LabError, Unavailable
from ..units import show_duration

# An endpoint has 2 s by the contract, and may be asked twice in one question.
ENDPOINT_S = 5.0
# All endpoints of one target are asked for at once.
TARGET_S = 15.0
_AT_ONCE = 16

T = TypeVar("T")

# Question → until when whoever asked it first waits for it, of those that have no answer yet.
_pending: dict[tuple[str, str, str], float] = {}
_lock = threading.Lock()


def side_by_side(
    what: str, questions: Mapping[str, Callable[[], T]], within_s: float | None = None
) -> dict[str, T | LabError]:
    """The answer to each question, or why there is none: Unavailable for one that did not come in time.

    What is raised besides LabErrors is raised here.

    what: which question it is, the same at each look; the keys of `questions` say who is asked
    within_s: ENDPOINT_S when not given
    """
    within_s = ENDPOINT_S if within_s is None else within_s
    home, until = str(settings().home), time.monotonic() + within_s
    asked: dict[str, Future[T]] = {name: Future() for name in questions}
    waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    for name, question in questions.items():
        waiting.put(_asking((what, home, name), question, asked[name], until, within_s))
    for _ in range(min(_AT_ONCE, len(questions))):
        # No pool: at its end a process would wait for the pool's threads, however long they hang.
        threading.Thread(target=_work, args=(waiting, until), name=f"ask {what}", daemon=True).start()
    return {name: _answer(name, future, until, within_s) for name, future in asked.items()}


def _work(waiting: queue.SimpleQueue[Callable[[], None]], until: float) -> None:
    while time.monotonic() < until:
        try:
            ask = waiting.get_nowait()
        except queue.Empty:
            return
        ask()


def _asking(
    key: tuple[str, str, str], question: Callable[[], T], answer: Future[T], until: float, within_s: float
) -> Callable[[], None]:
    # The settings of whoever asks hold in the thread too.
    context = contextvars.copy_context()

    def ask() -> None:
        with _lock:
            first_until = _pending.setdefault(key, until)
        # A panel that looks every second must not pile up threads: what hangs since an earlier look is not asked again.
        if time.monotonic() >= first_until:
            answer.set_exception(_late(key[2], within_s))
            return
        try:
            answer.set_result(context.run(question))
        except BaseException as problem:  # noqa: BLE001  # raised again by whoever waits for the answer
            answer.set_exception(problem)
        finally:
            with _lock:
                _pending.pop(key, None)

    return ask


def _answer(name: str, future: Future[Any], until: float, within_s: float) -> Any:
    try:
        return future.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        return _late(name, within_s)
    except LabError as problem:
        return problem


def _late(name: str, within_s: float) -> Unavailable:
    return Unavailable(f"{name} does not answer within {show_duration(within_s)}", "look again in a moment")
