"""What every sink of alerts keeps."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence

import pytest

from ..alerts import Alert, Sink
from ..errors import Denied, LabError, Unavailable, UsageProblem

__all__ = ["SinkContract", "alert", "written_of"]

ODD = 'train <b>fell</b> & "died" – naïve 🛠 <!channel> {x} .\r\nBcc: somebody@example.org\r\n.\r\nQUIT'


def alert(what: str = "the step train failed", kind: str = "failed") -> Alert:
    """One with everything."""
    facts = {"cost": "0.12 USD", "took": "3 min"}
    link = "https://example.org/runs/41?a=1&b=2"
    return Alert(kind, "recipe:nightly@41", what, "%recipe log nightly@41", facts=facts, link=link)  # type: ignore[arg-type]


def written_of(problem: BaseException) -> str:
    """All that anybody may see of an error: its texts, its causes, its traceback."""
    return "".join([*traceback.format_exception(problem), repr(problem), repr(problem.__cause__)])


class SinkContract:
    """A provider's test inherits this and gives these fixtures.

    sink, and an `address` at which its receiver takes alerts; `received`, which gives the texts that arrived there,
    decoded and the oldest first; addresses at which a receiver `refuses` and one that is `away`; `secrets`, the texts
    that may be seen nowhere; and `no_address`, which is none.
    """

    def test_it_is_there_when_send_returns_and_has_all_of_it(
        self, sink: Sink, address: str, received: Callable[[], Sequence[str]]
    ) -> None:
        given = alert()
        sink.send(given, address)
        (text,) = received()
        for part in (given.id, given.kind, given.subject, given.what, given.fix, "0.12 USD", "example.org/runs/41"):
            assert part in text

    def test_one_with_nothing_but_what_it_must_have_arrives(
        self, sink: Sink, address: str, received: Callable[[], Sequence[str]]
    ) -> None:
        sink.send(Alert("recovered", "deploy:delay", "it answers again"), address)
        (text,) = received()
        assert "it answers again" in text

    def test_sent_again_it_arrives_again_with_the_same_id(
        self, sink: Sink, address: str, received: Callable[[], Sequence[str]]
    ) -> None:
        given = alert()
        sink.send(given, address)
        sink.send(given, address)
        assert [given.id in text for text in received()] == [True, True]

    def test_whatever_stands_in_it_is_one_alert(
        self, sink: Sink, address: str, received: Callable[[], Sequence[str]]
    ) -> None:
        sink.send(alert(ODD), address)
        sink.send(alert("the next"), address)
        first, second = received()
        assert "naïve 🛠" in first
        assert "the next" in second

    def test_a_long_one_arrives(self, sink: Sink, address: str, received: Callable[[], Sequence[str]]) -> None:
        long = "".join(f"{number} ü " for number in range(5000))
        facts = {f"{number}: {long}": long for number in range(100)}
        sink.send(Alert("late", f"recipe:{'x' * 300}", long, long, facts=facts, link=f"https://{long}"), address)
        assert len(received()) == 1

    def test_several_threads_at_once_send_each_one_whole(
        self, sink: Sink, address: str, received: Callable[[], Sequence[str]]
    ) -> None:
        given = [alert(f"number {number} of them") for number in range(8)]
        threads = [threading.Thread(target=sink.send, args=(each, address)) for each in given]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        texts = received()
        assert len(texts) == len(given)
        assert all(any(each.id in text and each.what in text for text in texts) for each in given)

    def test_one_that_is_refused_is_denied_with_a_fix(self, sink: Sink, refuses: str) -> None:
        with pytest.raises(Denied) as problem:
            sink.send(alert(), refuses)
        assert problem.value.fix

    def test_a_receiver_that_is_away_is_unavailable_within_a_minute(self, sink: Sink, away: str) -> None:
        start_at = time.monotonic()
        with pytest.raises(Unavailable) as problem:
            sink.send(alert(), away)
        assert problem.value.fix
        assert time.monotonic() - start_at < 60

    def test_no_address_is_a_usage_problem(self, sink: Sink, no_address: str) -> None:
        with pytest.raises(UsageProblem):
            sink.send(alert(), no_address)

    def test_no_secret_is_seen_in_an_error_or_a_log(
        self, sink: Sink, refuses: str, away: str, secrets: Sequence[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(0)
        for address in (refuses, away):
            with pytest.raises(LabError) as problem:
                sink.send(alert(), address)
            seen = written_of(problem.value) + caplog.text
            assert [secret for secret in secrets if secret in seen] == []
