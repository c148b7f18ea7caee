"""A start of a name that serves something else says what it changes, who had started that, and how to undo it."""

import threading

from aiinfra_lab import deploy
from aiinfra_lab.deploy import lifecycle
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.show import moment
from aiinfra_lab.store import actor, open_store


def last_event():
    return [item.event for item in open_store().events()][-1]


def test_the_second_start_of_a_name_is_told_what_it_replaces(register):
    register(1), register(2)
    deploy.start("delay", model="models:delay@1")
    first = list(open_store().events())[-1]
    second = deploy.start("delay", model="models:delay@2")
    assert (
        f"delay served models:delay@1 since {moment(first.at)}, started by {actor()}; "
        "this replaces it with models:delay@2 for all traffic; undo: `%deploy rollback delay`"
    ) in second.notes
    detail = last_event().detail
    assert (detail["replaces"], detail["served_since"], detail["started_by"]) == ("models:delay@1", first.at, actor())
    assert "models:delay@2 in place of models:delay@1" in deploy.log("delay").events[0]
    assert deploy.rollback("delay").champion == "models:delay@1"  # as it was told


def test_a_start_that_ends_a_canary_says_so(register):
    register(1), register(2), register(3)
    deploy.start("delay", model="models:delay@1")
    started = list(open_store().events())[-1]
    deploy.start("delay", model="models:delay@2", canary="5%")
    third = deploy.start("delay", model="models:delay@3")
    [note] = [note for note in third.notes if "this replaces it" in note]
    assert "for all traffic, and ends its canary models:delay@2; undo" in note
    assert last_event().detail["served_since"] == started.at  # not since the canary began


def test_a_start_that_replaces_nothing_says_nothing_of_it(register):
    register(1), register(2)
    deploy.start("delay", model="models:delay@1")
    again = deploy.start("delay", model="models:delay@1")
    beside = deploy.start("delay", model="models:delay@2", canary="5%")
    promoted = deploy.start("delay", model="models:delay@1")
    assert not [note for each in (again, beside, promoted) for note in each.notes if "this replaces it" in note]


def test_of_two_starts_at_one_instant_the_later_replaces_what_the_earlier_began(register, monkeypatch):
    """Both have seen the same endpoint before either writes."""
    for version in (1, 2, 3):
        register(version)
    deploy.start("delay", model="models:delay@1")
    both, changed = threading.Barrier(2, timeout=30), lifecycle.reconcile
    seen = threading.local()

    def together(*given):
        if not getattr(seen, "is_again", False):
            seen.is_again = True
            both.wait()
        return changed(*given)

    monkeypatch.setattr(lifecycle, "reconcile", together)
    found = {}

    def start(version):
        found[version] = deploy.start("delay", model=f"models:delay@{version}")

    threads = [threading.Thread(target=start, args=(version,)) for version in (2, 3)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    later = int(open_store().get(EndpointRecord, "delay").body.champion[-1])
    earlier = 5 - later
    assert f"delay served models:delay@{earlier} since" in " ".join(found[later].notes)
    assert "delay served models:delay@1 since" in " ".join(found[earlier].notes)
    replaced = [item.event.detail.get("replaces") for item in open_store().events()]
    assert replaced == [None, "models:delay@1", f"models:delay@{earlier}"]


def test_of_two_first_starts_at_one_instant_one_wins_and_the_other_is_told(register, monkeypatch):
    register(1), register(2)
    found = {}

    def start(version):
        found[version] = deploy.start("delay", model=f"models:delay@{version}")

    threads = [threading.Thread(target=start, args=(version,)) for version in (1, 2)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    later = int(open_store().get(EndpointRecord, "delay").body.champion[-1])
    assert f"delay served models:delay@{3 - later} since" in " ".join(found[later].notes)
    assert [item.event.verb for item in open_store().events()] == ["deploy start"] * 2
