"""Signals: one record for each thing, with the last that happened to it."""

from aiinfra_lab import signal_records
from aiinfra_lab.store import open_store


def test_the_last_signal_of_each_thing_is_kept_and_found_by_when_it_was_written(workspace):
    store = open_store()
    signal_records.send(store, "deploy:late", "it was rolled back", "look")
    first = signal_records.send(store, "drift:late", "it drifts")
    again = signal_records.send(store, "deploy:late", "it was rolled back again", "look")
    assert [record.body.what for record in signal_records.since(store, 0)] == ["it drifts", "it was rolled back again"]
    assert signal_records.since(store, first.rev) == [again]
    assert signal_records.since(store, again.rev) == []
