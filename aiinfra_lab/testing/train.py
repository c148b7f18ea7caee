"""What every tracking server keeps."""

from __future__ import annotations

import pytest

from ..errors import NotFound
from ..train.base import Ending, Intent, Tracked, Tracker
from ..train.history import Point

__all__ = ["INTENT", "TrackerContract", "points"]

INTENT = Intent("train:delay@1", "features:delay@1#0123456789ab", "d" * 64, {"lr": "0.1"}, {"lab.seed": "7"})


def points(count: int, name: str = "loss") -> list[Point]:
    """So many measurements of a metric, one a second."""
    return [Point(1000.0 + step, name, step, step / 2) for step in range(count)]


def read(tracker: Tracker, run_id: str) -> Tracked:
    """What the server has of a run that it knows."""
    found = tracker.read(run_id)
    assert found is not None
    return found


class TrackerContract:
    """A provider's test inherits this and gives the fixture `tracker`, empty and its own."""

    def test_what_is_begun_is_running_with_all_it_was_given(self, tracker: Tracker) -> None:
        found = read(tracker, tracker.begin(INTENT))
        assert (found.state, found.params["lr"], found.tags["lab.seed"]) == ("running", "0.1", "7")

    def test_beginning_twice_gives_the_same_run(self, tracker: Tracker) -> None:
        assert tracker.begin(INTENT) == tracker.begin(INTENT)
        other = Intent("train:delay@2", INTENT.rows, INTENT.digest)
        assert tracker.begin(other) != tracker.begin(INTENT)

    def test_many_points_arrive(self, tracker: Tracker) -> None:
        run = tracker.begin(INTENT)
        # More than one call may carry: MLflow's takes 1,000.
        tracker.log(run, [*points(1500), *points(10, "auc")])
        found = read(tracker, run)
        assert (found.points, found.metrics) == (1510, {"loss": 749.5, "auc": 4.5})

    def test_points_that_it_has_are_not_doubled(self, tracker: Tracker) -> None:
        run = tracker.begin(INTENT)
        tracker.log(run, points(3))
        tracker.log(run, points(5))
        assert read(tracker, run).points == 5

    def test_no_points_are_fine(self, tracker: Tracker) -> None:
        run = tracker.begin(INTENT)
        tracker.log(run, [])
        assert read(tracker, run).metrics == {}

    @pytest.mark.parametrize("ending", ["done", "failed", "stopped", "killed"])
    def test_it_says_how_a_run_ended(self, tracker: Tracker, ending: Ending) -> None:
        run = tracker.begin(INTENT)
        tracker.end(run, ending)
        assert read(tracker, run).state == ending

    def test_a_second_ending_holds(self, tracker: Tracker) -> None:
        run = tracker.begin(INTENT)
        tracker.end(run, "stopped")
        tracker.end(run, "done")
        assert read(tracker, run).state == "done"

    def test_an_unknown_run(self, tracker: Tracker) -> None:
        assert tracker.read("f" * 32) is None
        with pytest.raises(NotFound):
            tracker.log("f" * 32, points(1))
        with pytest.raises(NotFound):
            tracker.end("f" * 32, "done")

    def test_it_has_what_was_begun_of_any_number_that_is_asked_for(self, tracker: Tracker) -> None:
        runs = [tracker.begin(Intent(f"train:delay@{n}", INTENT.rows, INTENT.digest)) for n in (1, 2)]
        tracker.end(runs[0], "failed")
        # More than MLflow answers in one page, which is 1,000.
        assert tracker.known([*runs, *(f"{n:032x}" for n in range(1500))]) == set(runs)
        assert tracker.known([]) == set()

    def test_it_says_how_to_look(self, tracker: Tracker) -> None:
        assert tracker.look()
