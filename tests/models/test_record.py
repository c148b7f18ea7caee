"""What the records of versions and aliases hold on disk, and how an alias moves."""

import json
import threading
from functools import partial

import pytest

from aiinfra_lab.errors import Damaged, NotFound
from aiinfra_lab.models import record
from aiinfra_lab.models.record import AliasMove, LastCheck, ModelAliases, ModelVersion
from aiinfra_lab.rules import parse
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.store.base import decode, encode
from tests import records

# As version 0.1.0 wrote them.
VERSION = {
    "checked": {"at": 5.0, "margin": 0.0, "require": "auc > 0.7", "verdict": "good"}, "created_at": 4.0,
    "data": ["data:trips@2", "data:trips@1"], "files": {"model.onnx": "3f"}, "metrics": {"auc": 0.8},
    "note": "version 2", "registered_as": "2", "rows": "features:late@1#6f", "rows_digest": "0c", "run": "train:late@2",
}  # fmt: skip
MOVE = {"alias": "champion", "at": 6.0, "before": None, "by": "promote", "version": 2}
ALIASES = {"aliases": {"champion": 2}, "history": [MOVE]}


def test_a_version_of_the_first_version_is_read_as_it_is(workspace):
    records.write_as("models", "late@2", VERSION)
    body = open_store().get(ModelVersion, "late@2").body
    assert (body.verdict, body.data, body.size_bytes) == ("good", ("data:trips@2", "data:trips@1"), None)
    assert body.checked == LastCheck(verdict="good", require=parse("auc > 0.7"), margin=0.0, at=5.0)


def test_what_was_required_beyond_all_numbers_is_never_reached_and_can_be_written_again(workspace):
    records.write_as(
        "models", "late@2", {**VERSION, "checked": {**VERSION["checked"], "require": "auc > 1e400 and loss > -1e400"}}
    )
    body = record.change("late@2", note="x").body
    assert [term.holds(1e308) for term in body.checked.require.terms] == [False, True]
    assert open_store().get(ModelVersion, "late@2").body == body


def test_a_check_of_before_has_no_policy_and_no_findings():
    rule = {"terms": [{"metric": "auc", "sign": ">", "value": 0.7}]}
    second = {**VERSION, "checked": {**VERSION["checked"], "require": rule}}
    for fields, number in ((VERSION, 1), (second, 2)):
        checked = decode(ModelVersion, "late@2", json.dumps(fields), number).checked
        assert checked == LastCheck(verdict="good", require=parse("auc > 0.7"), margin=0.0, at=5.0)
        assert (checked.policy, checked.files, checked.champion, checked.findings) == ("", "", None, ())
    assert decode(ModelAliases, "late", json.dumps(ALIASES), 1).policy is None


@pytest.mark.parametrize("text", ["[]", "null"])
def test_a_version_of_the_first_version_that_is_no_object_is_damaged(workspace, text):
    records.write_as("models", "late@2", json.loads(text))
    with pytest.raises(Damaged):
        open_store().get(ModelVersion, "late@2")


def test_aliases_of_the_first_version_are_read_as_they_are(workspace):
    records.write_as("models.aliases", "late", ALIASES)
    body = open_store().get(ModelAliases, "late").body
    assert (body.aliases, body.history) == ({"champion": 2}, (AliasMove(**MOVE),))
    assert (record.aliases("late"), record.all_aliases()) == ({"champion": 2}, {"late": {"champion": 2}})


def test_they_are_written_with_the_names_and_shapes_of_the_first_version():
    checked = LastCheck(**{**VERSION["checked"], "require": parse("auc > 0.7")})
    version = json.loads(encode(ModelVersion(**{**VERSION, "checked": checked})))
    assert {key for key in VERSION if version[key] != VERSION[key]} == {"checked"}
    rule = {"terms": [{"metric": "auc", "sign": ">", "value": 0.7}]}
    since = {"policy": "", "files": "", "champion": None, "findings": []}
    assert version["checked"] == {**VERSION["checked"], "require": rule, **since}
    aliases = json.loads(encode(ModelAliases(aliases={"champion": 2}, history=(AliasMove(**MOVE),))))
    assert aliases == {**ALIASES, "policy": None}


@pytest.mark.parametrize("checked", [None, {"verdict": "good"}, {"verdict": "good", "require": ""}])
def test_nothing_that_was_required_stays_nothing(workspace, checked):
    records.write_as("models", "late@2", {**VERSION, "checked": checked})
    found = open_store().get(ModelVersion, "late@2").body.checked
    assert found is None or found.require is None


def test_a_version_that_was_not_checked_has_no_verdict():
    assert ModelVersion().verdict == ""


@pytest.mark.parametrize("odd", [{"nite": "x"}, {"checked": {"verdict": "fine"}}, {"data": "data:trips@1"}])
def test_a_field_or_a_verdict_that_it_does_not_know_is_damage(workspace, odd):
    records.write_as("models", "late@2", {**VERSION, **odd})
    with pytest.raises(Damaged):
        open_store().get(ModelVersion, "late@2")


def moves(*entries: tuple[str, int]) -> ModelAliases:
    found = tuple(AliasMove(alias="champion", version=to, before=None, by=by, at=0.0) for by, to in entries)
    return ModelAliases(aliases={"champion": entries[-1][1]}, history=found)


@pytest.fixture
def three(workspace) -> None:
    """models:delay@1 to @3."""
    open_store().commit([Record.new(f"delay@{number}", ModelVersion()) for number in (1, 2, 3)])


@pytest.mark.parametrize(
    ("known", "before"),
    [
        (moves(("promote", 1), ("promote", 2)), 1),
        (moves(("promote", 1), ("promote", 2), ("promote", 3), ("rollback", 2)), 1),
        (moves(("promote", 3), ("promote", 9), ("promote", 2)), 3),
        (moves(("promote", 1), ("promote", 3), ("promote", 9), ("promote", 3)), 1),
    ],
)
def test_the_version_before_is_the_one_that_was_not_taken_back_and_is_there(three, known, before):
    assert record.before(known, "champion", "delay") == before


def test_where_nothing_held_the_alias_before_one_is_chosen(three):
    with pytest.raises(NotFound) as caught:
        record.before(moves(("promote", 1)), "champion", "delay")
    assert "`%models ls delay`" in caught.value.fix


def test_an_alias_that_was_taken_away_goes_back_to_its_last_version(three):
    for number in (1, 2):
        record.move("delay", "champion", "promote", lambda known, number=number: number)
    record.drop("delay", "champion")
    assert record.aliases("delay") == {}
    assert record.before(open_store().get(ModelAliases, "delay").body, "champion", "delay") == 2
    logged = list(open_store().events())
    record.drop("delay", "champion")
    assert (logged[-1].event.verb, len(list(open_store().events()))) == ("models rm", len(logged))


def test_a_version_that_was_given_back_its_alias_does_not_stand_before_itself(three):
    for number in (1, 2):
        record.move("delay", "champion", "promote", lambda known, number=number: number)
    record.drop("delay", "champion")
    record.move("delay", "champion", "promote", lambda known: 2)
    before = partial(record.before, alias="champion", name="delay")
    assert record.move("delay", "champion", "rollback", before) == (2, 1)
    with pytest.raises(NotFound):
        record.move("delay", "champion", "rollback", before)


def test_aliases_that_are_moved_at_once_are_all_kept(three):
    names = ["champion", "candidate", "spare"]
    threads = [
        threading.Thread(target=record.move, args=("delay", alias, "promote", lambda known: 2)) for alias in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert record.aliases("delay") == dict.fromkeys(names, 2)
    assert len(open_store().get(ModelAliases, "delay").body.history) == 3


def test_a_move_is_one_event_and_none_when_nothing_moves(three):
    assert record.move("delay", "champion", "promote", lambda known: 2) == (None, 2)
    assert record.move("delay", "champion", "promote", lambda known: 2) == (2, 2)
    (logged,) = open_store().events()
    assert (logged.event.subject, logged.event.inputs, logged.event.outputs) == (
        *("models:delay", ("models:delay@2",), ("models:delay@champion",)),
    )


def test_a_version_holds_the_aliases_that_point_at_it(three):
    for alias in ("champion", "candidate"):
        record.move("delay", alias, "promote", lambda known: 2)
    version = open_store().get(ModelVersion, "delay@2")
    assert record.held(version) == record.held(version, {"champion": 2, "candidate": 2}) == ("candidate", "champion")
    assert record.held(version, {}) == ()
