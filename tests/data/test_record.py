"""The record of a version: what an older workspace holds, and what others may ask the noun."""

import json

import msgspec
import pandas as pd
import pytest

from aiinfra_lab import data, nouns
from aiinfra_lab.completion import complete
from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.data.versions import before
from aiinfra_lab.errors import Damaged, NotFound, UsageProblem
from aiinfra_lab.resolve import exists, resolve
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.store.base import decode, encode

# As version 0.1.0 wrote it: what was not removed had no `removed_at`.
OLD = """{"added_at":1700000000.5,"described":[{"columns":[["name","text"],["age","int64"]],"file":"cats.csv",
"name":"cats","rows":2,"separator":","}],"digest":"d1","files":1,"key":"k1.dir","name":"cats","only":"cats.csv",
"rows":2,"size_bytes":22,"source":"file:/x/cats.csv","version":3}"""


def read(text: str) -> DataVersion:
    body: DataVersion = decode(DataVersion, "cats@3", text, 1)
    return body


def test_a_record_of_the_version_before_is_read_and_written_as_it_was():
    body = read(OLD)
    assert (body.described[0].schema, body.is_removed) == ({"name": "text", "age": "int64"}, False)
    assert json.loads(encode(body)) == {**json.loads(OLD), "removed_at": None}


def test_a_removed_one_says_when():
    body = read(OLD.replace('"rows":2,"size', '"removed_at":1700000001.0,"rows":2,"size'))
    assert (body.is_removed, body.removed_on) == (True, 1700000001.0)


@pytest.mark.parametrize("field", ["key", "digest", "described"])
def test_a_record_that_lacks_a_field_is_damaged(field):
    lacking = {name: value for name, value in json.loads(OLD).items() if name != field}
    with pytest.raises(Damaged, match=field) as caught:
        read(json.dumps(lacking))
    assert "`%lab check`" in caught.value.fix


def test_a_record_with_an_unknown_field_is_damaged_at_any_depth():
    with pytest.raises(Damaged, match="odd"):
        read(json.dumps({**json.loads(OLD), "odd": 1}))
    with pytest.raises(Damaged, match="odd"):
        read(OLD.replace('"file":', '"odd":1,"file":'))


def test_what_is_added_is_recorded_in_that_form(workspace):
    data.add("cats", pd.DataFrame({"name": ["Tom"]}))
    body = resolve("cats", DataVersion).body
    assert set(msgspec.to_builtins(body)) == {*json.loads(OLD), "removed_at"}
    assert (body.name, body.version, body.removed_at) == ("cats", 1, None)


@pytest.fixture
def cats(workspace):
    """Three versions without content, the second removed, and another name."""
    for number, removed_at in ((1, None), (2, 5.0), (3, None)):
        body = msgspec.structs.replace(read(OLD), version=number, removed_at=removed_at)
        open_store().commit([Record.new(f"cats@{number}", body)])
    open_store().commit([Record.new("dogs@1", msgspec.structs.replace(read(OLD), name="dogs", version=1))])
    return nouns.find("data")


def test_the_noun_names_what_there_is(cats):
    assert [thing.uri for thing in cats.things()] == ["data:dogs@1", "data:cats@3", "data:cats@1"]
    assert cats.names() == ["dogs", "dogs@1", "cats", "cats@3", "cats@1"]


def test_versions_neither_live_nor_cost_and_cannot_be_stopped(cats):
    assert (cats.watched(), cats.spans(), cats.references()) == ([], [], [])
    assert {item.state for item in cats.observe(open_store().list(DataVersion))} == {""}
    with pytest.raises(NotFound):
        cats.stop("data:cats")


def test_a_name_means_its_newest_version_that_is_left(cats):
    open_store().commit([resolve("cats@3", DataVersion).with_(removed_at=6.0)])
    assert resolve("cats", DataVersion).uri == "data:cats@1"
    assert (exists("data:cats@2"), exists("data:dogs")) == (False, True)
    assert resolve("cats@2", DataVersion, removed=True).body.removed_at == 5.0
    with pytest.raises(NotFound) as caught:
        resolve("cats@2", DataVersion)
    assert caught.value.fix == "there are: cats@1"


def test_names_complete_with_and_without_the_noun(cats):
    assert complete("data", "get ca") == ["cats", "cats@1", "cats@3"]
    assert complete("data", "get data:do") == ["data:dogs", "data:dogs@1"]


@pytest.mark.parametrize("name", ["cats@1#0f", "cats@best", "features:cats", "No Name"])
def test_what_can_be_no_version_of_data_is_a_wrong_word(cats, name):
    with pytest.raises(UsageProblem):
        resolve(name, DataVersion)


def test_the_version_before_is_the_one_that_is_left(cats):
    found = before(resolve("cats@3", DataVersion))
    assert found is not None
    assert found.uri == "data:cats@1"
    assert before(found) is None
