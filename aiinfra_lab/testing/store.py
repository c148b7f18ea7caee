"""What every store keeps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import msgspec
import pytest

from ..errors import Conflict, Damaged, Unavailable
from ..store import (
    GENESIS,
    Body,
    Event,
    EventIndex,
    HeadCopier,
    HeadKeeper,
    NameIndex,
    Record,
    Sealed,
    Store,
    StoreUnavailable,
    first_break,
    update,
)
from ..store.base import Key, left_out


class Note(Body, frozen=True, kw_only=True):
    """A kind of record that belongs to no noun."""

    kind: ClassVar[str] = "testing.note"

    n: int = 0
    text: str = ""
    share: float = 0.0
    more: dict[str, Any] = msgspec.field(default_factory=dict)
    of: str = ""
    ended: bool = True

    @property
    def about(self) -> str:
        return self.of

    @property
    def is_open(self) -> bool:
        return not self.ended


class Unreadable(Body, frozen=True, kw_only=True):
    """What no `Note` is."""

    kind: ClassVar[str] = "testing.note"

    odd: int = 1


class Other(Body, frozen=True, kw_only=True):
    """A second kind."""

    kind: ClassVar[str] = "testing.other"


class Removable(Body, frozen=True, kw_only=True):
    """A kind of what can be removed."""

    kind: ClassVar[str] = "testing.removable"

    removed_at: float | None = None

    @property
    def removed_on(self) -> float | None:
        return self.removed_at


class NoteBefore(Body, frozen=True, kw_only=True):
    """What `NoteNow` was two versions ago."""

    kind: ClassVar[str] = "testing.changed"
    count: int = 0


class NoteNow(Body, frozen=True, kw_only=True):
    """A kind whose fields have changed twice."""

    kind: ClassVar[str] = "testing.changed"
    schema_version: ClassVar[int] = 3
    n: int
    unit: str

    @classmethod
    def upgrade(cls, fields: dict[str, Any], version: int) -> dict[str, Any]:
        if version == 1:
            fields = {"n": fields["count"]}
        return {**fields, "unit": "piece"}


def made(store: Store, name: str, **fields: Any) -> Record[Note]:
    """A record that was committed without an event."""
    return store.commit([Record.new(name, Note(**fields))])[0]


def names(records: Any) -> list[str]:
    return [record.name for record in records]


class StoreContract:
    """A provider's test inherits this and gives the fixture `store`, empty and its own.

    Besides it `AwayStoreContract`, where the test can cut the store off from what keeps its records.
    """

    def test_what_is_committed_is_read_back(self, store: Store) -> None:
        written = made(store, "a@1", more={"x": [1, {"y": None}]}, share=0.1)
        assert store.get(Note, "a@1") == written

    def test_what_is_not_there_is_none(self, store: Store) -> None:
        assert store.get(Note, "nothing") is None

    def test_two_kinds_may_have_one_name(self, store: Store) -> None:
        made(store, "a", n=1)
        store.commit([Record.new("a", Other())])
        found = store.get(Note, "a")
        assert found is not None
        assert found.body.n == 1

    def test_a_new_record_must_not_exist(self, store: Store) -> None:
        made(store, "a")
        with pytest.raises(Conflict):
            made(store, "a")

    def test_a_stale_revision_is_refused(self, store: Store) -> None:
        first = made(store, "a", n=1)
        store.commit([first.with_(n=2)])
        with pytest.raises(Conflict):
            store.commit([first.with_(n=3)])
        found = store.get(Note, "a")
        assert found is not None
        assert found.body.n == 2

    def test_all_records_and_the_event_or_none(self, store: Store) -> None:
        made(store, "a")
        both = [Record.new("b", Note()), Record.new("a", Note())]
        with pytest.raises(Conflict):
            store.commit(both, Event("data add", "data:b"))
        assert store.get(Note, "b") is None
        assert list(store.events()) == []

    def test_lists_begin_with_the_last_made_or_the_last_written(self, store: Store) -> None:
        first, *_ = [made(store, name) for name in "abc"]
        store.commit([first.with_(n=1)])
        store.commit([Record.new("z", Other())])
        assert names(store.list(Note)) == ["c", "b", "a"]
        assert names(store.list(Note, order="written")) == ["a", "c", "b"]

    def test_a_list_can_be_of_one_name_and_then_the_highest_version_comes_first(self, store: Store) -> None:
        # a@10 and a@2, since texts sort the other way round than numbers.
        for name in ("a@1", "ab@1", "a@10", "a@2", "a", "a@2#0f"):
            made(store, name)
        assert names(store.list(Note, name="a"))[:2] == ["a@10", "a@2#0f"]
        assert sorted(names(store.list(Note, name="a"))) == ["a", "a@1", "a@10", "a@2", "a@2#0f"]
        assert names(store.list(Note, name="a", limit=1)) == ["a@10"]

    def test_a_list_can_be_about_one_thing_or_any_version_of_it(self, store: Store) -> None:
        # x:A@1, since SQLite's LIKE takes capitals for small letters.
        for name, of in (("1", "x:a@1"), ("2", "x:a@2"), ("3", "x:ab"), ("4", "x:a"), ("5", "x:A@1"), ("6", "")):
            made(store, name, of=of)
        assert names(store.list(Note, about="x:a")) == ["4", "2", "1"]
        assert names(store.list(Note, about="x:a@1")) == ["1"]
        assert names(store.list(Note, about="x:none")) == []

    def test_a_list_can_be_of_what_is_open(self, store: Store) -> None:
        going = made(store, "a", ended=False)
        made(store, "b")
        assert (names(store.list(Note, is_open=True)), names(store.list(Note, is_open=False))) == (["a"], ["b"])
        store.commit([going.with_(ended=True)])
        assert names(store.list(Note, is_open=True)) == []

    def test_a_list_can_begin_after_a_revision(self, store: Store) -> None:
        revs = [made(store, name).rev for name in "abc"]
        assert names(store.list(Note, since_rev=revs[0])) == ["c", "b"]

    def test_what_changed_is_listed_once_each_the_last_first(self, store: Store) -> None:
        first, second = made(store, "a"), made(store, "b")
        other = store.commit([Record.new("z", Other())])[0]
        again = store.commit([first.with_(n=1)])[0]
        assert list(store.changed(first.rev)) == [
            Key(each.kind, each.name, each.rev) for each in (again, other, second)
        ]
        assert list(store.changed(again.rev)) == []

    def test_events_are_a_chain(self, store: Store) -> None:
        for number in range(5):
            store.commit([], Event("data add", f"data:a@{number}", inputs=("x",), detail={"n": number}))
        events = list(store.events())
        assert [logged.event.detail["n"] for logged in events] == [0, 1, 2, 3, 4]
        assert first_break(events) is None
        assert [logged.seq for logged in store.events(since=3)] == [4, 5]

    def test_the_last_events_come_oldest_first_too(self, store: Store) -> None:
        for number in range(4):
            store.commit([], Event("data add", f"data:a@{number}"))
        assert [logged.seq for logged in store.events(last=2)] == [3, 4]

    def test_more_events_than_one_reading_holds_all_come(self, store: Store) -> None:
        # Our SQL stores read 500 at a time: two full readings and a rest.
        for _ in range(1_003):
            store.commit([], Event("data add", "data:a@1"))
        assert [logged.seq for logged in store.events()] == list(range(1, 1_004))

    def test_events_can_be_asked_for_by_what_they_name(self, store: Store) -> None:
        store.commit([], Event("data add", "data:a@1", ("file:x",), ("data:a@1",)))
        store.commit([], Event("features get", "features:f@1#0f", ("data:a@1",), ("features:f@1#0f",)))
        store.commit([], Event("data add", "data:ab@1"))
        found = {uri: [one.seq for one in store.events(naming=uri)] for uri in ("data:a", "data:a@1", "features:f")}
        assert found == {"data:a": [1, 2], "data:a@1": [1, 2], "features:f": [2]}
        assert [one.seq for one in store.events(naming="data:a", last=1)] == [2]
        assert list(store.events(naming="data:a@2")) == []

    def test_text_of_any_script_and_quotes_survive(self, store: Store) -> None:
        # PostgreSQL's texts cannot hold NUL: a store has to keep it in another way.
        text = "日本 'x' \"y\" \\ \u0000 \n"
        made(store, "ü", text=text, n=2**53, more={"näme": "é"})
        found = store.get(Note, "ü")
        assert found is not None
        assert (found.body.text, found.body.n, found.body.more) == (text, 2**53, {"näme": "é"})

    def test_a_body_that_is_no_json_changes_nothing(self, store: Store) -> None:
        with pytest.raises((TypeError, ValueError)):
            store.commit([Record.new("a", Note()), Record.new("b", Note(share=float("nan")))])
        assert store.get(Note, "a") is None

    def test_a_record_of_an_older_version_is_brought_up_when_it_is_read(self, store: Store) -> None:
        store.commit([Record.new("a", NoteBefore(count=3))])
        found = store.get(NoteNow, "a")
        assert found is not None
        assert found.body == NoteNow(n=3, unit="piece")
        assert [record.body for record in store.list(NoteNow)] == [found.body]

    def test_a_record_that_was_brought_up_is_written_in_the_new_version(self, store: Store) -> None:
        store.commit([Record.new("a", NoteBefore(count=3))])
        update(store, NoteNow, "a", lambda body: NoteNow(n=body.n + 1, unit=body.unit))
        with pytest.raises(Unavailable):
            store.get(NoteBefore, "a")

    def test_a_record_of_a_newer_version_is_refused_with_both_versions(self, store: Store) -> None:
        store.commit([Record.new("a", NoteNow(n=1, unit="m"))])
        with pytest.raises(Unavailable, match=r"version 3 .* knows 1") as expected:
            store.get(NoteBefore, "a")
        assert "pip install -U aiinfra-lab" in expected.value.fix

    def test_a_record_with_an_unknown_field_is_damaged(self, store: Store) -> None:
        class Stranger(Body, frozen=True, kw_only=True):
            kind: ClassVar[str] = "testing.other"
            odd: int = 1

        store.commit([Record.new("a", Stranger())])
        with pytest.raises(Damaged, match="odd"):
            store.get(Other, "a")

    def test_a_list_can_leave_out_what_cannot_be_read_and_logs_it_once(
        self, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        made(store, "a")
        store.commit([Record.new("b", Unreadable())])
        with pytest.raises(Damaged):
            store.list(Note)
        assert [names(store.list(Note, skip_unreadable=True)) for _ in range(2)] == [["a"], ["a"]]
        (logged,) = caplog.messages
        assert ("testing.note b" in logged, "lab check" in logged) == (True, True)

    def test_whoever_shows_a_list_learns_what_it_leaves_out_each_time(self, store: Store) -> None:
        made(store, "a")
        store.commit([Record.new("b", Unreadable()), Record.new("c", Unreadable())])
        for _ in range(2):
            with left_out() as lacking:
                store.list(Note, skip_unreadable=True)
            assert lacking == {"testing.note b", "testing.note c"}

    def test_a_record_that_cannot_be_read_is_not_written_over(self, store: Store) -> None:
        store.commit([Record.new("b", Unreadable())])
        with pytest.raises(Conflict):
            made(store, "b")
        with pytest.raises(Damaged):
            update(store, Note, "b", lambda body: body)

    def test_update_repeats_until_it_fits(self, store: Store) -> None:
        made(store, "n")
        threads = [threading.Thread(target=count, args=(store, 10)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = store.get(Note, "n")
        assert found is not None
        assert found.body.n == 40

    def test_an_update_that_changes_nothing_writes_nothing(self, store: Store) -> None:
        before = made(store, "n")
        assert update(store, Note, "n", lambda body: None, Event("data add", "data:n")) == before
        assert list(store.events()) == []

    def test_a_closed_store_may_be_used_again(self, store: Store) -> None:
        made(store, "a")
        store.close()
        store.close()
        assert store.get(Note, "a") is not None


Away = Callable[[], AbstractContextManager[None]]
"""While `with away():` lasts, nothing reaches what keeps the records."""

ASKED: dict[str, Callable[[Store], Any]] = {
    "get": lambda store: store.get(Note, "a"),
    "list": lambda store: store.list(Note),
    "changed": lambda store: store.changed(),
    "commit": lambda store: made(store, "b"),
    "events": lambda store: list(store.events()),
}


class AwayStoreContract:
    """For a store that a test can cut off: a provider's test inherits this too, with the fixtures `store` and `away`,
    which is an `Away`.
    """

    @pytest.mark.parametrize("method", ASKED)
    def test_a_store_that_is_away_says_so_with_a_fix(self, store: Store, away: Away, method: str) -> None:
        made(store, "a")
        with away(), pytest.raises(StoreUnavailable) as problem:
            ASKED[method](store)
        assert problem.value.fix

    def test_once_it_is_back_all_is_there_but_what_it_refused(self, store: Store, away: Away) -> None:
        made(store, "a")
        with away(), pytest.raises(StoreUnavailable):
            made(store, "b")
        assert names(store.list(Note)) == ["a"]

    def test_a_store_that_is_away_can_be_closed(self, store: Store, away: Away) -> None:
        made(store, "a")
        with away():
            store.close()
        assert names(store.list(Note)) == ["a"]


class HeadKeeperContract:
    """For a store that notes its newest event: a provider's test inherits this too, with the fixture `store`."""

    @pytest.fixture
    def keeper(self, store: Store) -> HeadKeeper:
        """The same store, as what notes its newest event."""
        assert isinstance(store, HeadKeeper)
        return store

    def test_without_an_event_there_is_the_beginning(self, store: Store, keeper: HeadKeeper) -> None:
        made(store, "a")
        assert keeper.head() == (0, GENESIS)

    def test_the_newest_event_is_noted_with_its_commit(self, store: Store, keeper: HeadKeeper) -> None:
        for number in range(3):
            store.commit([], Event("data add", f"data:a@{number}"))
            newest = list(store.events())[-1]
            assert keeper.head() == (newest.seq, newest.hash)

    def test_what_was_not_committed_is_not_noted(self, store: Store, keeper: HeadKeeper) -> None:
        store.commit([Record.new("a", Note())], Event("data add", "data:a"))
        before = keeper.head()
        with pytest.raises(Conflict):
            store.commit([Record.new("a", Note())], Event("data add", "data:a"))
        assert keeper.head() == before

    def test_it_stays_when_the_store_is_closed(self, store: Store, keeper: HeadKeeper) -> None:
        store.commit([], Event("data add", "data:a@1"))
        before = keeper.head()
        store.close()
        assert keeper.head() == before


class HeadCopierContract:
    """For a store that keeps a copy of its head elsewhere: a provider's test inherits this too, with the fixture
    `store`, and `copied`: the same store, keeping a copy."""

    @pytest.fixture
    def copied(self, store: Store) -> Store:
        """For a store that keeps one always."""
        return store

    @pytest.fixture
    def copier(self, copied: Store) -> HeadCopier:
        """The same store, as what keeps a copy."""
        assert isinstance(copied, HeadCopier)
        return copied

    def test_without_an_event_the_copy_is_of_the_beginning(self, copied: Store, copier: HeadCopier) -> None:
        made(copied, "a")
        assert copier.head_copy()[:2] == (0, GENESIS)

    def test_the_copy_is_of_the_newest_event_and_says_where_it_is(self, copied: Store, copier: HeadCopier) -> None:
        for number in range(3):
            copied.commit([], Event("data add", f"data:a@{number}"))
        newest = list(copied.events())[-1]
        assert copier.head_copy()[:2] == (newest.seq, newest.hash)
        assert copier.head_copy().where

    def test_the_copy_stays_when_the_store_is_closed(self, copied: Store, copier: HeadCopier) -> None:
        copied.commit([], Event("data add", "data:a@1"))
        before = copier.head_copy()
        copied.close()
        assert copier.head_copy() == before


class EventIndexContract:
    """For a store that finds events by an index: a provider's test inherits this too, with the fixtures `store` and
    `spoiled`: called with an event's number, it makes the index forget that event, and leaves the event as it is.
    """

    @pytest.fixture
    def index(self, store: Store) -> EventIndex:
        """The same store, as what has an index."""
        assert isinstance(store, EventIndex)
        return store

    @pytest.fixture
    def named(self, store: Store) -> dict[int, set[str]]:
        """What three events name, by their numbers; they are committed."""
        store.commit([], Event("data add", "data:a@1", ("file:x",), ("data:a@1",)))
        store.commit([], Event("features get", "features:f@1#0f", ("data:a@1",), ("features:f@1#0f", "x:ü")))
        store.commit([], Event("data add", "data:ab@1"))
        return {logged.seq: set(logged.event.uris) for logged in store.events()}

    def test_where_no_event_is_nothing_is_found(self, index: EventIndex) -> None:
        index.rebuild_index()
        assert index.indexed(0, None) == {}

    def test_every_event_is_found_under_all_that_it_names(self, index: EventIndex, named: dict[int, set[str]]) -> None:
        assert index.indexed(0, None) == named

    @pytest.mark.parametrize(
        ("after", "until", "found"), [(1, None, {2, 3}), (0, 2, {1, 2}), (1, 2, {2}), (3, None, set()), (1, 1, set())]
    )
    def test_a_part_of_the_log_can_be_asked_for(
        self, index: EventIndex, named: dict[int, set[str]], after: int, until: int | None, found: set[int]
    ) -> None:
        assert index.indexed(after, until) == {seq: named[seq] for seq in found}

    def test_what_is_wrong_is_seen_and_rebuilt(
        self, store: Store, index: EventIndex, named: dict[int, set[str]], spoiled: Callable[[int], None]
    ) -> None:
        spoiled(2)
        assert index.indexed(0, None) == {seq: uris for seq, uris in named.items() if seq != 2}
        index.rebuild_index()
        assert index.indexed(0, None) == named
        assert [logged.seq for logged in store.events(naming="features:f")] == [2]

    def test_rebuilding_what_is_right_changes_nothing(
        self, store: Store, index: EventIndex, named: dict[int, set[str]]
    ) -> None:
        before = list(store.events())
        for _ in range(2):
            index.rebuild_index()
        assert (index.indexed(0, None), list(store.events())) == (named, before)


class NameIndexContract:
    """For a store that finds names without reading all records: a provider's test inherits this too, with `store`."""

    @pytest.fixture
    def labels(self, store: Store) -> Callable[..., list[str]]:
        """starts, most → names; there are a, b@1 (written last), b@2, bc and e@1, and d and e@2 were removed."""
        assert isinstance(store, NameIndex)
        index: NameIndex = store
        for name in ("a", "b@1", "b@2", "bc", "e@1"):
            store.commit([Record.new(name, Removable())])
        for name in ("d", "e@2"):
            store.commit([Record.new(name, Removable(removed_at=1.0))])
        update(store, Removable, "b@1", lambda body: Removable(removed_at=None))
        return lambda starts="", most=9: list(*index.names([Removable], starts, most))

    def test_all_that_were_not_removed_are_named_once(self, labels: Callable[..., list[str]]) -> None:
        assert sorted(labels()) == ["a", "b@1", "b@2", "bc", "e@1"]

    @pytest.mark.parametrize(
        ("starts", "found"),
        [("b", ["b@1", "b@2", "bc"]), ("b@", ["b@1", "b@2"]), ("b@2", ["b@2"]), ("d", []), ("x", [])],
    )
    def test_they_begin_as_they_were_asked_for(
        self, labels: Callable[..., list[str]], starts: str, found: list[str]
    ) -> None:
        assert sorted(labels(starts)) == found

    def test_of_many_the_highest_of_each_name_comes_first(self, labels: Callable[..., list[str]]) -> None:
        assert set(labels("b", 2)) == {"b@2", "bc"}

    def test_another_kind_is_not_named(self, store: Store, labels: Callable[..., list[str]]) -> None:
        made(store, "f")
        assert "f" not in labels()

    def test_what_cannot_be_read_is_left_out(self, store: Store) -> None:
        assert isinstance(store, NameIndex)
        index: NameIndex = store
        made(store, "a")
        store.commit([Record.new("b", Unreadable())])
        assert index.names([Note], "", 9) == [["a"]]

    def test_several_kinds_are_asked_at_once(self, store: Store, labels: Callable[..., list[str]]) -> None:
        assert isinstance(store, NameIndex)
        index: NameIndex = store
        made(store, "bf")
        found = index.names([Removable, Note], "b", 9)
        assert [sorted(each) for each in found] == [sorted(labels("b")), ["bf"]]


class SealedContract:
    """For a store that keeps digests of its records: a provider's test inherits this too, with the fixtures `store`,
    `edited` and `lost`: called with a name, they change what is stored of that note, or remove it, behind its back.
    """

    @pytest.fixture
    def sealed(self, store: Store) -> Sealed:
        """The same store, as what keeps digests, with three notes, one of them written twice."""
        assert isinstance(store, Sealed)
        for name in "abc":
            store.commit([Record.new(name, Note(text=name))], Event("data add", f"data:{name}"))
        update(store, Note, "b", lambda body: Note(n=1, text=body.text))
        return store

    def test_every_record_is_sealed_at_its_revision(self, store: Store, sealed: Sealed) -> None:
        seals, is_complete = sealed.seals()
        assert {(seal.kind, seal.name, seal.rev) for seal in seals} == {
            (key.kind, key.name, key.rev) for key in store.changed()
        }
        assert (is_complete, {seal.is_whole for seal in seals}) == (True, {True})

    def test_an_event_carries_the_records_that_it_was_committed_with(self, store: Store, sealed: Sealed) -> None:
        there = {seal.name: f"{seal.rev} {seal.digest}" for seal in sealed.seals()[0]}
        carried = {name: digest for logged in store.events() for name, digest in logged.records.items()}
        assert carried.keys() == {f"{Note.kind} {name}" for name in "abc"}
        assert [carried[f"{Note.kind} {name}"] == there[name] for name in "abc"] == [True, False, True]

    def test_a_commit_that_is_refused_changes_no_seal(self, store: Store, sealed: Sealed) -> None:
        before = sealed.seals()
        with pytest.raises(Conflict):
            store.commit([Record.new("d", Note()), Record.new("a", Note())])
        assert sealed.seals() == before

    def test_the_same_body_of_another_record_has_another_digest(self, store: Store, sealed: Sealed) -> None:
        store.commit([Record.new(name, Note(text="same")) for name in "de"])
        digests = [seal.digest for seal in sealed.seals()[0]]
        assert len(digests) == len(set(digests))

    @pytest.mark.parametrize("name", ["a", "b"])
    def test_a_record_that_was_edited_is_not_whole(
        self, sealed: Sealed, edited: Callable[[str], None], name: str
    ) -> None:
        edited(name)
        seals, is_complete = sealed.seals()
        assert ({seal.name for seal in seals if not seal.is_whole}, is_complete) == ({name}, False)

    @pytest.mark.parametrize("name", ["a", "b"])
    def test_a_record_that_is_gone_is_missed(self, sealed: Sealed, lost: Callable[[str], None], name: str) -> None:
        lost(name)
        seals, is_complete = sealed.seals()
        assert ({seal.name for seal in seals}, is_complete) == (set("abc") - {name}, False)


def count(store: Store, times: int) -> None:
    """Add one, so many times."""
    for _ in range(times):
        update(store, Note, "n", lambda body: Note(n=body.n + 1))
