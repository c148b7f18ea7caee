"""Records as values: what they are called, how they change, and what an old one becomes."""

from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_lab.errors import Damaged, Unavailable
from aiinfra_lab.store import Body, Event, Record, canonical, chain_hash
from aiinfra_lab.store.base import decode, encode, event_of
from aiinfra_lab.store.sql import SqlStore


class Wheel(Body, frozen=True, kw_only=True):
    """Something with a nested struct, and a default."""

    kind: ClassVar[str] = "cars.wheels"
    schema_version: ClassVar[int] = 2

    size: float
    marks: tuple[str, ...] = ()
    worn_at: float | None = None

    @classmethod
    def upgrade(cls, fields: dict[str, Any], version: int) -> dict[str, Any]:
        assert version == 1
        return {"size": fields["inches"] * 2.54}

    @property
    def removed_on(self) -> float | None:
        return self.worn_at


def test_a_record_knows_its_uri_its_name_and_its_version():
    record = Record.new("front@12#left", Wheel(size=1.0))
    assert (record.kind, record.uri, record.base, record.version) == ("cars.wheels", "cars:front@12#left", "front", 12)
    assert Record.new("front", Wheel(size=1.0)).version == 0


def test_a_changed_record_keeps_its_revision_and_leaves_the_other_alone():
    record = Record("cars.wheels", "a", Wheel(size=1.0), 7, 3.0)
    changed = record.with_(size=2.0)
    assert (changed.body.size, changed.rev, changed.updated_at, record.body.size) == (2.0, 7, 3.0, 1.0)
    assert record.of(Wheel(size=5.0)).body.size == 5.0


def test_a_body_cannot_be_written_to_and_needs_its_fields_by_name():
    with pytest.raises(AttributeError):
        Wheel(size=1.0).size = 2.0
    with pytest.raises(TypeError):
        Wheel(1.0)
    with pytest.raises(TypeError):
        Wheel(size=1.0, colour="red")


def test_what_was_removed_is_only_a_record():
    assert (Wheel(size=1.0).is_removed, Wheel(size=1.0, worn_at=5.0).is_removed) == (False, True)


def test_the_defaults_of_a_body_are_those_of_a_thing_that_stands_for_itself():
    body = Wheel(size=1.0)
    assert (body.about, body.is_open) == ("", False)


def test_a_body_is_stored_in_one_spelling():
    assert encode(Wheel(size=1.0, marks=("b", "a"))) == '{"marks":["b","a"],"size":1.0,"worn_at":null}'


@given(st.floats(allow_nan=False, allow_infinity=False), st.lists(st.text()).map(tuple))
def test_what_is_stored_is_read_back(size, marks):
    body = Wheel(size=size, marks=marks)
    assert decode(Wheel, "a", encode(body), 2) == body


@pytest.mark.parametrize("size", [float("nan"), float("inf")])
def test_what_json_does_not_have_is_refused_when_it_is_written(size):
    with pytest.raises(ValueError, match="JSON compliant"):
        encode(Wheel(size=size))


def test_an_old_body_is_brought_up():
    assert decode(Wheel, "a", '{"inches":10}', 1).size == pytest.approx(25.4)


@pytest.mark.parametrize(
    ("text", "version", "names"),
    [
        ('{"size":"big"}', 2, "size"),
        ('{"size":1.0,"colour":"red"}', 2, "colour"),
        ("{", 2, "cars.wheels a"),
        ("[]", 1, "cars.wheels a"),
        ('{"feet":1}', 1, "inches"),
    ],
)
def test_what_cannot_be_read_is_damaged_and_says_which_record_and_why(text, version, names):
    with pytest.raises(Damaged, match=names) as problem:
        decode(Wheel, "a", text, version)
    assert "`%lab check`" in problem.value.fix


def test_a_body_from_the_future_names_both_versions():
    with pytest.raises(Unavailable, match=r"version 3 .* knows 2") as problem:
        decode(Wheel, "a", "{}", 3)
    assert "pip install -U" in problem.value.fix


@pytest.mark.parametrize(
    ("label", "index"),
    [("a@3", ("a", 3)), ("a", ("a", 0)), ("a@3#f", ("a", 3)), ("gpu-trainer-0f12", ("gpu-trainer-0f12", 0))],
)
def test_a_label_is_indexed_by_name_and_number(label, index):
    assert SqlStore.index_of(label) == index


EVENT = Event("data add", "data:a@1", ("file:x", "data:a@1"), ("data:a@1",), {"n": 1, "ü": [None]})


def test_an_event_names_each_uri_once():
    assert EVENT.uris == ("data:a@1", "file:x")


def test_an_event_is_read_back_as_it_was_written():
    assert event_of(canonical(msgspec.to_builtins(EVENT))) == EVENT


@pytest.mark.parametrize("body", ["", "{}", '{"verb":"x"}', "[1]"])
def test_what_is_no_event_is_damaged(body):
    with pytest.raises(Damaged, match="cannot be read"):
        event_of(body)


def test_the_hash_of_an_event_is_that_of_its_canonical_json():
    text = canonical(msgspec.to_builtins(EVENT))
    assert chain_hash(1, 2.5, "me", EVENT, "0" * 64) == chain_hash(1, 2.5, "me", text, "0" * 64)


@pytest.mark.parametrize(
    "other", [(2, 2.5, "me", EVENT, "0" * 64), (1, 2.6, "me", EVENT, "0" * 64), (1, 2.5, "ü", EVENT, "0" * 64),
              (1, 2.5, "me", EVENT, "1" * 64), (1, 2.5, "me", Event("data rm", "data:a@1"), "0" * 64)]
)  # fmt: skip
def test_the_hash_covers_everything(other):
    assert chain_hash(*other) != chain_hash(1, 2.5, "me", EVENT, "0" * 64)


def test_the_hash_is_what_the_version_before_computed():
    text = canonical({"seq": 1, "at": 2.5, "actor": 'a"b', "event": msgspec.to_builtins(EVENT), "prev": "0" * 64})
    import hashlib

    assert chain_hash(1, 2.5, 'a"b', EVENT, "0" * 64) == hashlib.sha256(text.encode()).hexdigest()
