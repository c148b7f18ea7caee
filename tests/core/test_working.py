import sys
import threading

import pytest

from aiinfra_lab.show import Card, Sentence, TickingFrame, live, working


@pytest.fixture
def frames(monkeypatch):
    """What is shown, in a process that looks like a notebook's, and when something is."""
    made, is_shown = [], threading.Event()

    class Frame:
        def __init__(self, card):
            made.append(card)
            is_shown.set()

        def update(self, card):
            made.append(card)

        def close(self, card):
            made.append(card)

        def clear(self):
            made.append(None)

    for name, value in {"LiveFrame": Frame, "in_notebook": lambda: True, "EVERY_S": 0.01}.items():
        monkeypatch.setattr(live, name, value)
    monkeypatch.setattr(sys.modules["aiinfra_lab.show.working"], "in_notebook", lambda: True)
    monkeypatch.setattr(sys.modules["aiinfra_lab.show.working"], "SHOWN_AFTER_S", 0.001)
    return made, is_shown


def fail(is_shown):
    with working("Data version", "data:flights", "reads") as step:
        step("stores")
        is_shown.wait(10)
        raise ValueError


def test_a_verb_that_takes_long_says_what_it_does_and_the_frame_is_taken_away(frames):
    made, is_shown = frames
    with working("Data version", "data:flights", "reads the tables"):
        assert is_shown.wait(10)
    assert (made[0].uri, str(made[0].state)) == ("data:flights", "◐ running")
    assert "It reads the tables" in made[0].lead
    assert made[-1] is None


def test_what_stands_beside_is_drawn_anew_each_time(frames):
    made, is_shown = frames
    lines = iter([[], [Sentence("0.12 USD")], *[[Sentence("0.13 USD")]] * 10_000])
    with working("Session", "gpu:trainer", "waits", lambda: next(lines)):
        assert is_shown.wait(10)
        while len(made) < 3:
            is_shown.wait(0.01)
    assert [[part.text for part in card.parts] for card in made[:3]] == [[], ["0.12 USD"], ["0.13 USD"]]


def test_what_only_becomes_what_it_is_does_not_run_yet(frames):
    made, is_shown = frames
    with working("Session", "gpu:a", "waits for its machine", state="starting"):
        assert is_shown.wait(10)
    assert str(made[0].state) == "◐ starting"


def test_what_may_not_be_shown_any_more_when_it_is_due_is_not(frames):
    asked = threading.Event()

    def may_show():
        asked.set()
        return False

    with working("Session", "gpu:trainer", "runs the cell", may_show=may_show):
        assert asked.wait(10)
    assert frames[0] == []


def test_the_frame_goes_also_when_the_verb_fails(frames):
    with pytest.raises(ValueError):  # noqa: PT011
        fail(frames[1])
    assert frames[0][-1] is None


def test_a_verb_within_another_is_a_step_of_that(frames):
    made, is_shown = frames
    with working("Feature set", "features:a", "reads"), working("Data version", "data:b", "takes the rows in"):
        is_shown.wait(10)
    assert {card.uri for card in made if card} == {"features:a"}


def test_a_ticking_frame_is_drawn_anew_while_its_caller_is_busy_and_never_after_its_end(frames):
    made, count, is_third = frames[0], iter(range(100_000)), threading.Event()

    def draw():
        number = next(count)
        if number == 3:
            is_third.set()
        return Card(kind="", uri=f"data:{number}")

    frame = TickingFrame(draw)
    assert is_third.wait(10)
    frame.close(Card(kind="", uri="data:end"))
    drawn = len(made)
    assert [card.uri for card in made[:3]] == ["data:0", "data:1", "data:2"]
    assert made[-1].uri == "data:end"
    assert threading.Event().wait(0.05) is False
    assert len(made) == drawn


def test_a_frame_that_is_slow_to_draw_waits_longer_for_the_next(monkeypatch):
    monkeypatch.setattr(live, "EVERY_S", 1.0)
    assert [live.wait_s(drew_s) for drew_s in (0.001, 0.1, 2.0)] == [1.0, 1.0, 20.0]


def test_outside_a_notebook_nothing_is_shown(capsys):
    with working("Data version", "data:flights", "reads") as step:
        step("stores")
    assert capsys.readouterr() == ("", "")
