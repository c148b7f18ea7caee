"""What every store keeps. A provider's test inherits this and gives the fixture `store`, empty and its own."""

import threading

import pytest

from aiinfra_lab.errors import Conflict
from aiinfra_lab.store import Event, Record, Store, first_break, update


class StoreContract:
    def test_what_is_committed_is_read_back(self, store: Store):
        written = store.commit([Record.new("data", "a@1", {"x": [1, {"y": None}]})], None)[0]
        assert store.get("data", "a@1") == written

    def test_what_is_not_there_is_none(self, store: Store):
        assert store.get("data", "nothing") is None

    def test_a_new_record_must_not_exist(self, store: Store):
        store.commit([Record.new("data", "a", {})], None)
        with pytest.raises(Conflict):
            store.commit([Record.new("data", "a", {})], None)

    def test_a_stale_revision_is_refused(self, store: Store):
        first = store.put(Record.new("data", "a", {"n": 1}), expected_rev=0)
        store.put(first.with_(n=2), expected_rev=first.rev)
        with pytest.raises(Conflict):
            store.put(first.with_(n=3), expected_rev=first.rev)
        assert store.get("data", "a").body == {"n": 2}

    def test_put_without_a_revision_overwrites(self, store: Store):
        store.put(Record.new("data", "a", {"n": 1}))
        store.put(Record.new("data", "a", {"n": 2}))
        assert store.get("data", "a").body == {"n": 2}

    def test_all_records_and_the_event_or_none(self, store: Store):
        store.commit([Record.new("data", "a", {})], None)
        with pytest.raises(Conflict):
            store.commit([Record.new("data", "b", {}), Record.new("data", "a", {})], Event("data add", "data:b"))
        assert store.get("data", "b") is None
        assert list(store.events()) == []

    def test_lists_are_newest_first_and_since_a_revision(self, store: Store):
        revs = [store.put(Record.new("data", name, {})).rev for name in "abc"]
        store.put(Record.new("gpu", "z", {}))
        assert [record.name for record in store.list("data")] == ["c", "b", "a"]
        assert [record.name for record in store.list(since_rev=revs[1])] == ["z", "c"]

    def test_an_update_moves_a_record_to_the_front(self, store: Store):
        first = store.put(Record.new("data", "a", {}))
        store.put(Record.new("data", "b", {}))
        store.put(first.with_(n=1), expected_rev=first.rev)
        assert [record.name for record in store.list("data")] == ["a", "b"]

    def test_events_are_a_chain(self, store: Store):
        for number in range(5):
            store.commit([], Event("data add", f"data:a@{number}", inputs=("x",), detail={"n": number}))
        events = list(store.events())
        assert [logged.event.detail["n"] for logged in events] == [0, 1, 2, 3, 4]
        assert first_break(events) is None
        assert [logged.seq for logged in store.events(since=3)] == [4, 5]

    def test_text_of_any_script_and_quotes_survive(self, store: Store):
        body = {"näme": "日本 'x' \"y\" \\ \u0000 \n", "f": 0.1, "big": 2**53}
        store.put(Record.new("data", "ü", body))
        assert store.get("data", "ü").body == body

    def test_a_body_that_is_no_json_changes_nothing(self, store: Store):
        with pytest.raises((TypeError, ValueError)):
            store.commit([Record.new("data", "a", {}), Record.new("data", "b", {"x": float("nan")})], None)
        assert store.get("data", "a") is None

    def test_update_repeats_until_it_fits(self, store: Store):
        store.put(Record.new("data", "n", {"n": 0}))
        threads = [threading.Thread(target=lambda: [count(store) for _ in range(10)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.get("data", "n").body == {"n": 40}

    def test_a_closed_store_may_be_used_again(self, store: Store):
        store.put(Record.new("data", "a", {}))
        store.close()
        store.close()
        assert store.get("data", "a") is not None


def count(store: Store) -> None:
    update(store, "data", "n", lambda body: {"n": body["n"] + 1})
