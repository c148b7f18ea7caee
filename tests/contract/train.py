"""What every tracking server keeps. A provider's test inherits this and gives `tracker`, empty and its own."""

import pytest

from aiinfra_lab.errors import NotFound
from aiinfra_lab.train.base import Intent, Tracker
from aiinfra_lab.train.history import Point

INTENT = Intent("train:delay@1", "features:delay@1#0123456789ab", "d" * 64, {"lr": "0.1"}, {"lab.seed": "7"})


def points(count: int, name: str = "loss") -> list[Point]:
    return [Point(1000.0 + step, name, step, step / 2) for step in range(count)]


class TrackerContract:
    def test_what_is_begun_is_running_with_all_it_was_given(self, tracker: Tracker):
        found = tracker.read(tracker.begin(INTENT))
        assert (found.state, found.params["lr"], found.tags["lab.seed"]) == ("running", "0.1", "7")

    def test_beginning_twice_gives_the_same_run(self, tracker: Tracker):
        assert tracker.begin(INTENT) == tracker.begin(INTENT)
        other = Intent("train:delay@2", INTENT.rows, INTENT.digest)
        assert tracker.begin(other) != tracker.begin(INTENT)

    def test_many_points_arrive(self, tracker: Tracker):
        run = tracker.begin(INTENT)
        tracker.log(run, [*points(1500), *points(10, "auc")])
        assert (tracker.read(run).points, tracker.read(run).metrics) == (1510, {"loss": 749.5, "auc": 4.5})

    def test_points_that_it_has_are_not_doubled(self, tracker: Tracker):
        run = tracker.begin(INTENT)
        tracker.log(run, points(3))
        tracker.log(run, points(5))
        assert tracker.read(run).points == 5

    def test_no_points_are_fine(self, tracker: Tracker):
        run = tracker.begin(INTENT)
        tracker.log(run, [])
        assert tracker.read(run).metrics == {}

    @pytest.mark.parametrize("ending", ["done", "failed", "stopped", "killed"])
    def test_it_says_how_a_run_ended(self, tracker: Tracker, ending):
        run = tracker.begin(INTENT)
        tracker.end(run, ending)
        assert tracker.read(run).state == ending

    def test_a_second_ending_holds(self, tracker: Tracker):
        run = tracker.begin(INTENT)
        tracker.end(run, "stopped")
        tracker.end(run, "done")
        assert tracker.read(run).state == "done"

    def test_an_unknown_run(self, tracker: Tracker):
        assert tracker.read("f" * 32) is None
        with pytest.raises(NotFound):
            tracker.log("f" * 32, points(1))
        with pytest.raises(NotFound):
            tracker.end("f" * 32, "done")

    def test_it_says_how_to_look(self, tracker: Tracker):
        assert tracker.look()
