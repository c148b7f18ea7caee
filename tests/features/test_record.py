"""The records of feature sets and of their rows: what an older workspace holds, and what others may ask the noun."""

import json

import pytest

from aiinfra_lab import features, nouns
from aiinfra_lab.errors import Damaged, NotFound, UsageProblem
from aiinfra_lab.features.record import FeatureSetVersion, JoinedRows, Spec, TypedColumn, ViewSpec, path_of
from aiinfra_lab.features.rows import made_with
from aiinfra_lab.resolve import exists, resolve
from aiinfra_lab.store import open_store
from aiinfra_lab.store.base import decode, encode
from aiinfra_lab.uris import Uri
from tests.fixtures import answers

# As version 0.1.0 wrote them: what was not removed had no `removed_at`. The digest is the one that it computed.
OLD_SET = """{"code":"columns = ['line']\\n","columns":[["line","text"],["hour","integer"]],"created_at":1700000000.5,
"data_uri":"data:trips@1","digest":"a3852cf8fa2a9dfd7492b65ae6144eaa4538ee38e6ce5c8589bc65c7628d39d9","label":"late",
"name":"late","online":{"as_of":"2024-05-01T17:00:00+00:00","digest":"d2","uri":"data:trips@2"},"row_id":"trip",
"timestamp":"asked_at","version":3,"views":[{"entity":[["place","text"],["m","integer"]],
"features":[["temp","number"],["wet","truth"]],"known_at":"seen","name":"weather","tables":["weather","trips"],
"timestamp":"t","ttl_s":10800.0},{"entity":[["line","text"]],"features":[["a","number"]],"known_at":null,
"name":"two","tables":["x"],"timestamp":"t","ttl_s":null}]}"""
OLD_ROWS = """{"columns":["line","temp"],"coverage":{"weather":0.5},"data_uri":"data:trips@1","digest":"d3",
"ended_at":1700000002.0,"entity":["place"],"features_uri":"features:late@3","label":"late","optional":["temp"],
"rows":4,"rows_uri":"data:trips@2","started_at":1700000001.0,"timestamp":"asked_at"}"""


def columns(**types: str) -> tuple[TypedColumn, ...]:
    return tuple(TypedColumn(*item) for item in types.items())


SPEC = Spec(
    name="late",
    version=3,
    code="columns = ['line']\n",
    timestamp="asked_at",
    label="late",
    row_id="trip",
    columns=columns(line="text", hour="integer"),
    views=(
        ViewSpec(
            "weather", columns(place="text", m="integer"), "t", "seen", 10800.0, columns(temp="number", wet="truth"),
            ("weather", "trips"),
        ),
        ViewSpec("two", columns(line="text"), "t", None, None, columns(a="number"), ("x",)),
    ),
)  # fmt: skip


def test_a_set_of_the_version_before_is_read_and_written_as_it_was():
    body = decode(FeatureSetVersion, "late@3", OLD_SET, 1)
    assert json.loads(encode(body)) == {**json.loads(OLD_SET), "removed_at": None}
    assert (body.uri, body.record_name, body.newest_data) == ("features:late@3", "late@3", "data:trips@2")


def test_rows_of_the_version_before_are_read_and_written_as_they_were():
    body = decode(JoinedRows, "late@3#0f", OLD_ROWS, 1)
    assert json.loads(encode(body)) == {**json.loads(OLD_ROWS), "removed_at": None, "is_aside": False}
    assert (body.about, body.is_removed) == ("features:late@3", False)


def test_the_order_of_columns_survives():
    body = decode(FeatureSetVersion, "late@3", OLD_SET, 1)
    assert body.features == ("line", "hour", "temp", "wet", "a")
    assert list(body.entity.items()) == [("place", "text"), ("m", "integer"), ("line", "text")]
    assert body.views == SPEC.views


def test_the_digest_of_a_cell_is_what_the_version_before_computed():
    digest = json.loads(OLD_SET)["digest"]
    assert SPEC.fingerprint() == decode(FeatureSetVersion, "late@3", OLD_SET, 1).fingerprint() == digest


@pytest.mark.parametrize("change", [{"code": ""}, {"label": ""}, {"row_id": ""}, {"views": ()}, {"columns": ()}])
def test_another_cell_or_option_has_another_digest(change):
    fields = {name: getattr(SPEC, name) for name in SPEC.__struct_fields__}
    assert Spec(**{**fields, **change}).fingerprint() != SPEC.fingerprint()
    assert Spec(**{**fields, "name": "other", "version": 1}).fingerprint() == SPEC.fingerprint()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"row_id"', '"rowid"'),
        ('"as_of"', '"as_off"'),
        ('"known_at":null', '"known":null'),
        ('["a","number"]', '["a"]'),
    ],
)
def test_a_field_that_is_unknown_or_missing_at_any_depth_is_damage(old, new):
    with pytest.raises(Damaged) as caught:
        decode(FeatureSetVersion, "late@3", OLD_SET.replace(old, new), 1)
    assert "`%lab check`" in caught.value.fix


def test_rows_that_the_version_before_made_are_found_again():
    """The same question in its workspace: nothing is computed, and nothing is written."""
    with answers.restored("0.1.0") as place, answers.inside(place):
        before = len(list(open_store().events()))
        stored = made_with(resolve("late@1", FeatureSetVersion))
        asked = [features.get("late@1", rows=record.body.rows_uri, data=record.body.data_uri) for record in stored]
        assert [found.uri for found in asked] == [record.uri for record in stored]
        assert (len(stored), len(list(open_store().events()))) == (2, before)


def test_what_is_added_is_recorded_in_that_form(lateness, trips):
    body = resolve("lateness", FeatureSetVersion).body
    assert set(json.loads(encode(body))) == {*json.loads(OLD_SET), "removed_at"}
    assert body.digest == body.fingerprint() == lateness.digest
    rows = resolve(features.get("lateness", rows=trips), JoinedRows).body
    assert set(json.loads(encode(rows))) == {*json.loads(OLD_ROWS), "removed_at", "is_aside"}


def test_rows_are_where_they_were(workspace):
    assert path_of("late@3#0f") == workspace / ".aiinfra/features/rows/late@3-0f.parquet"


def test_the_noun_names_sets_and_not_their_rows(lateness, trips):
    noun = nouns.find("features")
    features.add("other", data=trips, code="columns = ['line']", timestamp="asked_at")
    made = features.get("lateness", rows=trips)
    assert [thing.uri for thing in noun.things()] == ["features:other@1", lateness.uri]
    assert noun.names() == ["other", "other@1", "lateness", "lateness@1"]
    assert exists(made.uri)
    features.rm("other")
    assert noun.names() == ["lateness", "lateness@1"]


def test_sets_neither_live_nor_cost_and_cannot_be_stopped(lateness):
    noun = nouns.find("features")
    assert (noun.watched(), noun.spans(), noun.references()) == ([], [], [])
    with pytest.raises(NotFound):
        noun.stop(lateness.uri)


def test_rows_are_named_with_the_version_that_made_them(lateness, trips):
    made = features.get("lateness", rows=trips)
    part = Uri.parse(made.uri).part
    assert resolve(f"lateness@1#{part}", JoinedRows).uri == made.uri
    with pytest.raises(NotFound):
        resolve(f"lateness#{part}", JoinedRows)


@pytest.mark.parametrize(("name", "kind"), [("lateness@1", JoinedRows), ("lateness@1#0f", FeatureSetVersion)])
def test_a_set_is_no_rows_and_rows_are_no_set(lateness, name, kind):
    with pytest.raises(UsageProblem) as caught:
        resolve(name, kind)
    assert "write features:NAME@N" in caught.value.fix
