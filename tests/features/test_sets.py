"""Feature sets: added, versioned, listed, compared and removed."""

import pytest

from aiinfra_lab import data, features
from aiinfra_lab.errors import Conflict, Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.features.record import FeatureSetVersion
from aiinfra_lab.models.record import ModelAliases
from aiinfra_lab.store import Event, Record, open_store

from .conftest import CELL, put, small_tables

OPTIONS = {"timestamp": "asked_at", "label": "late", "id_": "trip"}


def verbs() -> list[str]:
    return [logged.event.verb for logged in open_store().events()]


def test_a_set_knows_its_features_in_order_and_whence(lateness):
    assert lateness.uri == str(lateness) == "features:lateness@1"
    assert dict(lateness.types) == {"line": "text", "place": "text", "temp": "number", "delay_6h": "number"}
    assert lateness.features == tuple(lateness.types)
    assert [item["name"] for item in lateness.views] == ["weather_now", "line_delay"]


def test_its_card_says_where_each_feature_comes_from(lateness):
    text = lateness.card().text()
    assert "temp      number  weather_now     place   3 h" in text
    assert "line      text    the row itself" in text


def test_adding_commits_one_event_that_names_the_data(lateness):
    event = list(open_store().events())[-1].event
    assert (event.verb, event.inputs, event.outputs) == ("features add", ("data:trips@1",), ("features:lateness@1",))
    assert verbs().count("features add") == 1


def test_the_same_cell_again_is_the_same_version_and_no_event(lateness, trips):
    before = verbs()
    assert features.add("lateness", data=trips, code=CELL + "\n\n", **OPTIONS) == lateness
    assert verbs() == before


@pytest.mark.parametrize("change", [{"label": ""}, {"id_": ""}, {"code": CELL + "# another word\n"}])
def test_another_cell_or_option_is_the_next_version(lateness, trips, change):
    assert features.add("lateness", data=trips, **{"code": CELL, **OPTIONS, **change}).uri == "features:lateness@2"


def test_newer_data_is_the_same_version_with_newer_values(lateness, tmp_path):
    tables = small_tables()
    tables["weather"] = tables["weather"].with_columns(temp=tables["weather"]["temp"] + 1)
    newer = put("trips", tables, tmp_path / "newer")
    again = features.add("lateness", data=newer, code=CELL, **OPTIONS)
    assert (again.uri, again.data, again.digest) == (lateness.uri, "data:trips@2", lateness.digest)
    assert list(open_store().events())[-1].event.inputs == ("features:lateness@1", "data:trips@2")


def test_data_of_other_types_makes_another_version(lateness, tmp_path):
    tables = small_tables()
    tables["weather"] = tables["weather"].with_columns(temp=tables["weather"]["temp"].cast(str))
    again = features.add("lateness", data=put("trips", tables, tmp_path / "other"), code=CELL, **OPTIONS)
    assert (again.uri, again.types["temp"]) == ("features:lateness@2", "text")


def test_ls_is_newest_first_and_says_how_to_begin(workspace):
    assert "%%features add NAME" in features.ls().card().text()


def test_ls_and_show(lateness, trips):
    features.add("other", data=trips, code="columns = ['line']", timestamp="asked_at")
    assert [item.uri for item in features.ls()] == ["features:other@1", "features:lateness@1"]
    assert features.show("lateness") == lateness == features.show("features:lateness@1")
    text = features.ls().card().text()
    assert f"{lateness.online_as_of[:16].replace('T', ' ')} UTC" in text
    assert lateness.online_as_of not in text


def test_a_set_without_views_needs_no_feast(lateness, trips):
    found = features.add("other", data=trips, code="columns = ['line']", timestamp="asked_at")
    assert features.get("other", online="line=red").values == ("red",)
    assert found.online_as_of == lateness.online_as_of


@pytest.mark.parametrize(
    ("name", "kind", "fix"),
    [
        ("latenes", NotFound, "did you mean lateness?"),
        ("lateness@2", NotFound, "there are: lateness@1"),
        ("lateness@1#0f", NotFound, "make them: `%features get lateness@1 --rows data:trips@1`"),
        ("lateness#0f", NotFound, "make them: `%features get lateness@1 --rows data:trips@1`"),
        ("lateness@champion", UsageProblem, "write features:lateness for the newest, or @N behind it"),
        ("data:lateness", UsageProblem, "did you mean features:lateness?"),
    ],
)
def test_what_is_not_there_is_an_error_that_names_what_is(lateness, name, kind, fix):
    with pytest.raises(kind) as problem:
        features.show(name)
    assert problem.value.fix == fix


def test_where_there_is_none_yet_the_fix_makes_one(workspace):
    with pytest.raises(NotFound) as problem:
        features.show("lateness")
    assert "`%%features add lateness` makes one" in problem.value.fix


def test_diff_by_meaning(lateness, trips):
    other = CELL.replace('ttl="3h"', 'ttl="2h"').replace('"line", "place"', '"place"').replace("temp", "warmth")
    features.add("lateness", data=trips, **OPTIONS, code=other.replace('"warmth"', 'pl.col("temp").alias("warmth")'))
    found = features.diff("lateness@1", "lateness@2")
    assert (found.gone, found.new) == (("line", "temp"), ("warmth",))
    assert found.changed == (("weather_now: ttl_s", "10800.0", "7200.0"),)
    assert '-columns = ["line", "place"]' in found.code


def test_diff_of_the_same_and_with_nothing(lateness):
    assert "✓ same\n  Nothing differs." in features.diff("lateness", "lateness@1").card().text()
    found = features.diff("lateness", "lateness@7")
    assert (found.note, found.gone) == ("lateness@7 does not exist", lateness.features)
    with pytest.raises(NotFound):
        features.diff("nothing", "nothing@2")


def test_rm_keeps_the_record_and_the_number(lateness, trips):
    removed = features.rm("lateness")
    assert (removed.uri, removed.newest, len(features.ls())) == ("features:lateness@1", "", 0)
    assert "features:lateness@1  ▲ removed" in removed.card().text()
    assert "no version of features:lateness is left" in removed.card().text()
    with pytest.raises(NotFound, match="was removed"):
        features.show("lateness@1")
    assert features.add("lateness", data=trips, code=CELL, **OPTIONS).uri == "features:lateness@2"


def test_a_set_that_a_champion_was_made_with_is_not_removed(lateness):
    made = Event("models add", "models:m@1", (lateness.uri,), ("models:m@1",))
    open_store().commit([Record.new("m", ModelAliases(aliases={"champion": 1}))], made)
    with pytest.raises(Conflict, match="which was made of features:lateness@1"):
        features.rm("lateness")
    assert features.show("lateness") == lateness


def test_rm_without_a_number_needs_a_single_version(lateness, trips):
    features.add("lateness", data=trips, code=CELL, timestamp="asked_at")
    with pytest.raises(Conflict, match="several versions"):
        features.rm("lateness")
    assert features.rm("lateness@1").newest == "features:lateness@2"


def test_log_tells_what_happened(lateness, trips):
    features.get("lateness", rows=trips)
    assert [what for _, _, what, _ in features.log("lateness").events] == ["features get", "features add"]
    with pytest.raises(NotFound) as problem:
        features.log("latenes")
    assert problem.value.fix == "did you mean features:lateness?"
    features.rm("lateness")
    assert features.log("lateness@1").events[0][2] == "features rm"


def test_a_handle_is_a_name_too(lateness, trips):
    other = features.add("other", data=trips, code="columns = ['line']", timestamp="asked_at")
    assert features.diff(lateness, other).other == other.uri
    assert features.get(other, rows=trips).features_uri == other.uri
    assert features.rm(other).uri == other.uri


def test_cards_stay_small(lateness, trips):
    long = features.add("long", data=trips, code=CELL + "# a long story\n" * 2000, timestamp="asked_at")
    bundles = [
        item._repr_mimebundle_()["text/html"] for item in (long, features.ls(), features.diff("lateness", "long"))
    ]
    assert max(map(len, bundles)) < 5_000


BAD = {
    "a column the rows lack": (CELL.replace('"line", "place"', '"lien"'), OPTIONS, "did you mean line?"),
    "a table that is not there": (CELL.replace("weather: pl", "wether: pl"), OPTIONS, "did you mean weather?"),
    "a column the view lacks": (CELL.replace('"temp"', '"tmp"'), OPTIONS, "correct it"),
    "a feature twice": (CELL.replace('"line", "place"', '"line", "delay", "line"'), OPTIONS, "rename one"),
    "two views, one feature": (CELL.replace("delay_6h", "temp"), OPTIONS, "rename one"),
    "the label as a feature": (CELL.replace('"line", "place"', '"late"'), OPTIONS, "take it out"),
    "a time as a feature": (CELL.replace('"line", "place"', '"arrived_at"'), OPTIONS, "make it a number"),
    "no such timestamp": (CELL, OPTIONS | {"timestamp": "asked"}, "did you mean asked_at?"),
    "no such label": (CELL, OPTIONS | {"label": "latte"}, "did you mean late?"),
    "no such id": (CELL, OPTIONS | {"id_": "trips"}, "did you mean trip?"),
    "a timestamp that is none": (CELL, OPTIONS | {"timestamp": "trip"}, "make it a time"),
    "no cell": ("", OPTIONS, "%features add --help"),
}


@pytest.mark.parametrize(("code", "options", "fix"), BAD.values(), ids=BAD)
def test_bad_input_names_the_fix_and_leaves_nothing(trips, code, options, fix):
    with pytest.raises(LabError) as problem:
        features.add("lateness", data=trips, code=code, **options)
    assert fix in problem.value.fix
    assert open_store().list(FeatureSetVersion) == []


def test_a_key_hidden_by_a_feature_and_a_key_of_two_types_are_refused(trips):
    hidden = CELL.replace('"temp"', 'pl.col("temp").alias("line")').replace('"line", "place"', '"place"')
    with pytest.raises(Failed, match="'line' is a key of one view and a feature of another"):
        features.add("lateness", data=trips, code=hidden, **OPTIONS)
    view = "@view(entity='line', timestamp='asked_at')\ndef n(trips):\n"
    two = CELL + view + "    return trips.select('asked_at', line='trip', n=1)\n"
    with pytest.raises(Failed, match="the key line is integer in view n, and text before"):
        features.add("lateness", data=trips, code=two, **OPTIONS)


def test_a_name_must_be_one(trips):
    with pytest.raises(UsageProblem):
        features.add("Late ness", data=trips, code=CELL, **OPTIONS)


def test_a_data_frame_is_stored_first(workspace):
    rows = small_tables()["trips"]
    found = features.add("own", data=rows, code="columns = ['line']", timestamp="asked_at")
    assert data.get(found.data).table().equals(rows)
