"""What the verbs hand back: cards, their small size, and JSON that stays."""

import polars as pl
import pytest

from aiinfra_lab import data, features
from aiinfra_lab.features.results import FeatureCheck, FeatureDifference, FeatureHistory, FeatureRemoval, OnlineRow

from .conftest import after

VERDICTS = ({"what": "weather: no future", "verdict": "good", "why": "12 answers are the same"},)


def test_a_sets_card_says_when_nothing_is_online(lateness):
    offline = {**vars(lateness), "online_as_of": "", "label": ""}
    facts = dict(features.FeatureSet(**offline).card().facts)
    assert (facts["online"], facts["label"]) == ("–", "–")
    assert dict(lateness.card().facts)["online"] == "as of 2024-05-01 17:00 UTC"


def test_the_json_of_a_set_holds_its_views_as_mappings(lateness):
    first = lateness.as_json()["views"][0]
    assert first == {
        "name": "weather_now",
        "entity": {"place": "text"},
        "timestamp": "observed_at",
        "known_at": None,
        "ttl_s": 10800.0,
        "features": {"temp": "number"},
        "tables": ["weather"],
    }


def test_a_long_cell_is_cut_in_the_card_and_whole_in_the_result(lateness):
    code = lateness.code + "# more\n" * 1000
    cell = features.FeatureSet(**{**vars(lateness), "code": code}).card().parts[-1].content.text
    assert cell.endswith("\n…")
    assert len(cell) < 1600


def test_rows_show_the_share_that_each_view_knew(lateness, trips):
    card = features.get("lateness", rows=trips).card()
    (table,) = card.parts
    assert [(name, share, without) for name, (share, _), without in table.rows] == [
        ("weather_now", "50 %", "2 of 4"), ("line_delay", "50 %", "2 of 4")
    ]  # fmt: skip
    assert "weather_now knew nothing of 50 %" in card.lead
    assert "`%%train run lateness --rows features:lateness@1#" in card.text()
    assert dict(card.facts)["of"] == "data:trips@1"
    assert [(figure.label, figure.value) for figure in card.figures][1:] == [
        ("features", "4"),
        ("from views", "2"),
    ]


def test_rows_of_a_set_without_views_do_not_speak_of_views(trips):
    features.add("plain", data=trips, timestamp="asked_at", code="columns = ['delay']")
    assert "view" not in features.get("plain", rows=trips).card().text()


def test_whole_numbers_with_a_gap_stay_exact_in_pandas(workspace):
    ids = [2**60 + 1, None, 2**60 + 3]
    rows = pl.DataFrame({"at": [after(1), after(2), after(3)], "plane": pl.Series(ids, dtype=pl.Int64)})
    features.add("planes", data=data.add("planes", rows), timestamp="at", code='columns = ["plane"]')
    found = features.get("planes", rows=rows).df()
    assert (str(found.plane.dtype), found.plane.dropna().tolist()) == ("Int64", [2**60 + 1, 2**60 + 3])


def test_rows_in_pandas_in_polars_and_not_read_yet_are_the_same(lateness, trips):
    found = features.get("lateness", rows=trips)
    assert found.scan().collect().equals(found.table())
    assert found.df()["row_id"].tolist() == found.table()["row_id"].to_list()


@pytest.mark.parametrize(
    ("uri", "newest", "note"),
    [
        ("features:late@2", "features:late@1", "features:late now means features:late@1"),
        ("features:late@2", "", "no version of features:late is left"),
        ("features:late@2#0f", "", "`%features get` of the same rows makes them again"),
    ],
)
def test_a_removal_says_what_follows_from_it(uri, newest, note):
    card = FeatureRemoval(uri, "feature set", newest).card()
    assert (str(card.state), note in card.lead) == ("▲ removed", True)


def test_a_check_shows_each_proof_and_what_it_takes_for_granted():
    card = FeatureCheck("features:late@1", "good", VERDICTS, 1, "asked_at").card()
    (row,) = card.parts[0].rows
    assert (str(card.state), row[0], str(row[1])) == ("✓ passed", "weather: no future", "✓ passed")
    assert card.notes == ["A row's own columns are taken to be known at its time."]


def test_a_check_that_fails_says_first_why_and_what_to_do():
    bad = {
        "what": "online is offline",
        "verdict": "bad",
        "why": "temp of place=north: 1 online, 2 in the history",
        "fix": "correct the view",
    }
    card = FeatureCheck("features:late@1", "bad", (*VERDICTS, bad), 1, "asked_at").card()
    assert card.lead == f"**1 of 2 proofs failed.** {bad['what']}: {bad['why']}."
    assert [row[0] for row in card.parts[0].rows] == ["online is offline", "weather: no future"]
    assert card.advice == "correct the view."


def test_a_difference_marks_what_went_came_and_changed():
    found = FeatureDifference("features:a@1", "features:a@2", ("old",), ("new",), (("label", "x", "y"),), "-a\n+b")
    card = found.card()
    table, fold = card.parts
    assert [(row[0], str(row[1])) for row in table.rows] == [
        ("old", "− removed"), ("label", "~ changed"), ("new", "+ added")
    ]  # fmt: skip
    assert (card.uri, str(card.state), fold.content.text) == ("features:a@1 → @2", "▲ changed", "-a\n+b")
    assert card.lead == "**1 feature removed, 1 feature added, 1 setting changed.**"


def test_an_online_row_names_each_value_and_the_moment():
    at = "2024-05-01T17:00:00+00:00"
    text = OnlineRow("features:a@1", ("temp", "line"), (21.5, None), at, at, "data:trips@1").card().text()
    assert text.startswith("Online features features:a@1  at 2024-05-01 17:00 UTC")
    assert "1 of 2 features is not known at that moment: line." in text
    assert "temp      21.5  known" in text
    assert "line         –  not known" in text


def test_a_history_is_one_line_for_each_event(lateness, trips):
    made = features.get("lateness", rows=trips)
    lines = [line for *_, line in features.log("lateness").events]
    assert lines == [f"features:lateness@1, data:trips@1 → {made.uri}", "data:trips@1 → features:lateness@1"]
    assert "2 events" in features.log("lateness").card().text()
    assert FeatureHistory("features:a", ()).card().text() == "Feature history features:a  0 events"
