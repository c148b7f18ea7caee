"""Judging a version, each question for itself."""

import math
import re

import pytest

from aiinfra_lab.models import checks
from aiinfra_lab.models.checks import data_behind, verdict
from aiinfra_lab.models.policies import Policy, required, stated
from aiinfra_lab.models.record import ModelAliases, ModelFinding, ModelVersion, aliases
from aiinfra_lab.store import Event, Record, open_store
from aiinfra_lab.train.metrics import is_lower_better


def bounds(text: str, margin: float | None = None) -> Policy:
    """What a text requires."""
    return stated(required(text or None), margin)


@pytest.mark.parametrize(
    ("states", "worst"),
    [(["good"], "good"), (["good", "cannot tell"], "cannot tell"), (["cannot tell", "bad"], "bad"), ([], "good")],
)
def test_the_verdict_is_the_worst_finding(states, worst):
    assert verdict([ModelFinding("x", state, "") for state in states]) == worst


def version(number: int, metrics: dict[str, float], rows: str = "data:a@1") -> Record:
    body = ModelVersion(run=f"train:delay@{number}", rows=rows, metrics=metrics)
    return open_store().commit([Record.new(f"delay@{number}", body)])[0]


@pytest.fixture
def champion(workspace) -> Record:
    """models:delay@1 holds the alias."""
    open_store().commit([Record.new("delay", ModelAliases(aliases={"champion": 1}))])
    return version(1, {"auc": 0.8, "loss": 0.4, "odd": 1.0})


def compared(ours: Record, require: str = "", margin: float = 0.0) -> list[ModelFinding]:
    policy, against = bounds(require, margin), checks._against(ours, aliases(ours.base).get("champion"))
    return list(checks._champion(ours, policy, policy, against))


def measured(ours: Record, require: str = "") -> list[ModelFinding]:
    return list(checks._metrics(ours, bounds(require), bounds(require), None))


@pytest.mark.parametrize(
    ("metrics", "require", "state", "by"),
    [
        ({"auc": 0.9}, "", "good", "auc"),
        ({"auc": 0.7, "loss": 0.3}, "", "bad", "auc"),
        ({"auc": 0.7, "loss": 0.3}, "loss < 1", "good", "loss"),
        ({"loss": 0.5}, "", "bad", "loss"),
        ({"odd": 0.5}, "odd > 0", "bad", "odd"),
    ],
)
def test_a_version_is_compared_with_the_champion_by_what_was_required_first(champion, metrics, require, state, by):
    (finding,) = compared(version(2, metrics), require)
    assert (finding.what, finding.state, finding.detail.split()[0]) == ("champion delay@1", state, by)


@pytest.mark.parametrize(
    ("measures", "by"),
    [
        (("val_auc", "val_loss"), "val_auc"),
        (("perplexity",), "perplexity"),
        (("train_auc", "val_auc"), "val_auc"),
        (("val_auc", "auc"), "auc"),
        (("loss", "f1_macro"), "f1_macro"),
    ],
)
def test_measures_are_known_by_the_words_of_their_names_as_in_a_run(workspace, measures, by):
    open_store().commit([Record.new("delay", ModelAliases(aliases={"champion": 1}))])
    version(1, dict.fromkeys(measures, 0.5))
    better = {name: 0.4 if is_lower_better(name) else 0.6 for name in measures}
    (finding,) = compared(version(2, better))
    assert (finding.state, finding.detail.split()[0]) == ("good", by)


@pytest.mark.parametrize("auc", [0.7, 0.7856, 0.79999, 0.1])
def test_a_worse_one_is_good_within_the_margin_that_the_finding_names(champion, auc):
    worse = version(2, {"auc": auc})
    (finding,) = compared(worse)
    assert finding.state == "bad"
    named = re.search(r"--margin (\S+)`", finding.fix)
    assert compared(worse, margin=float(named[1]))[0].state == "good"


@pytest.mark.parametrize(
    ("ours", "theirs", "margin"),
    [(0.82, 0.84, 0.02), (0.7, 0.8, 0.1), (0.1, 0.4, 0.3), (0.79999, 0.8, 1e-05), (0.05, 0.060000000000000005, 0.01)],
)
def test_numbers_are_compared_as_people_see_them(workspace, ours, theirs, margin):
    open_store().commit([Record.new("delay", ModelAliases(aliases={"champion": 1}))])
    version(1, {"auc": theirs, "loss": ours})
    new = version(2, {"auc": ours, "loss": theirs})
    needed = compared(new)[0].fix.split("--margin ")[1].split("`")[0]
    assert margin <= float(needed) <= margin * 1.001
    for require in ("", "loss < 1"):
        assert compared(new, require, float(needed))[0].state == "good"
        assert compared(new, require, math.nextafter(margin, 0))[0].state == "bad"


def test_a_margin_that_is_just_what_a_version_is_worse_by_allows_it(workspace):
    open_store().commit([Record.new("delay", ModelAliases(aliases={"champion": 1}))])
    version(1, {"auc": 0.84})
    assert compared(version(2, {"auc": 0.82}), margin=0.02)[0].state == "good"
    assert "--margin 0.02`" in compared(version(3, {"auc": 0.82}), margin=0.01)[0].fix


@pytest.mark.parametrize(
    ("auc", "least"), [(0.7, "auc >= 0.7"), (0.12345678901, "auc >= 0.1234"), (-0.5, "auc >= -0.5")]
)
def test_a_bound_is_lowered_to_the_next_number_of_four_digits(workspace, auc, least):
    (finding,) = measured(version(1, {"auc": auc}), "auc > 0.9")
    assert f"--require '{least}'`" in finding.fix
    assert measured(version(2, {"auc": auc}), least)[0].state == "good"


def test_a_sum_of_floats_beyond_its_bound_is_shown_as_it_is(workspace):
    (finding,) = measured(version(1, {"loss": 0.1 + 0.2}), "loss <= 0.3")
    assert (finding.detail, finding.state) == ("it is 0.30000000000000004", "bad")


def test_without_a_measure_that_both_have_nothing_can_be_told(champion):
    assert [finding.state for finding in compared(version(2, {"odd": 5.0}))] == ["cannot tell"]


def test_another_set_of_rows_is_named(champion):
    assert compared(version(2, {"auc": 0.9}, rows="data:b@1"))[0].detail.endswith("on rows of its own")


def test_the_champion_is_not_compared_with_itself_and_the_first_with_nobody(champion):
    assert compared(champion) == []
    other = open_store().commit([Record.new("other@1", ModelVersion(metrics={"auc": 0.1}))])[0]
    assert compared(other) == []


@pytest.mark.parametrize(
    ("require", "states"),
    [("auc > 0.7", ["good"]), ("auc > 0.9", ["bad"]), ("f1 > 0.5 and auc > 0.5", ["cannot tell", "good"]), ("", [])],
)
def test_each_bound_is_a_finding(champion, require, states):
    assert [finding.state for finding in measured(champion, require)] == states


@pytest.mark.parametrize(("auc", "shown"), [(0.69996, "it is 0.69996"), (0.7, "it is 0.7"), (0.65, "it is 0.65")])
def test_a_measure_just_beyond_its_bound_does_not_read_like_the_bound(workspace, auc, shown):
    (finding,) = measured(version(1, {"auc": auc}), "auc >= 0.7")
    assert (finding.detail, finding.state) == (shown, "good" if auc >= 0.7 else "bad")


def test_a_measure_just_below_the_champions_does_not_read_like_it(champion):
    (finding,) = compared(version(2, {"auc": 0.8 - 1e-9}))
    assert finding.detail == "auc is 0.799999999, the champion's is 0.8"


def test_a_run_that_measured_nothing_cannot_be_judged(workspace):
    (finding,) = measured(version(1, {}))
    assert (finding.what, finding.state) == ("metrics", "cannot tell")


@pytest.fixture
def lineage(workspace) -> None:
    """features:f@1#0a was made of data:b@1, which was made of data:a@1, which came from a file."""
    for verb, made, used in (
        ("data add", "data:a@1", ("file:x",)),
        ("data add", "data:b@1", ("data:a@1", "example:flights")),
        ("features add", "features:f@1", ("data:a@1",)),
        ("features get", "features:f@1#0a", ("data:b@1", "features:f@1")),
    ):
        open_store().commit([], Event(verb, made, used, (made,)))


@pytest.mark.parametrize(
    ("rows", "behind"),
    [
        ("features:f@1#0a", ["data:b@1", "data:a@1"]),
        ("data:b@1", ["data:b@1", "data:a@1"]),
        ("data:a@1", ["data:a@1"]),
        ("features:g@1#0b", []),
    ],
)
def test_the_data_behind_rows_is_found_nearest_first_and_each_once(lineage, rows, behind):
    assert data_behind(rows) == behind


def test_the_lineage_of_one_version_does_not_read_the_whole_log(lineage, monkeypatch):
    asked = []
    store = type(open_store())
    monkeypatch.setattr(
        store, "events", lambda self, *a, real=store.events, **given: asked.append(given) or real(self, *a, **given)
    )
    data_behind("features:f@1#0a")
    assert [given for given in asked if not given.get("naming")] == []
    assert len(asked) > 3


@pytest.mark.parametrize("rows", ["features:g@1#0b", "data:gone@1"])
def test_rows_without_data_or_whose_data_is_gone_are_not_good(workspace, rows):
    finding = checks._data(version(1, {"auc": 1.0}, rows=rows))
    assert finding.state in ("bad", "cannot tell")
    assert finding.fix
