from dataclasses import replace

import pytest

from aiinfra_lab import audit, lab
from aiinfra_lab.errors import Failed, NotFound
from aiinfra_lab.nouns import Reference
from aiinfra_lab.store import Event, Store, open_store

CHAIN = [
    Event("data add", "data:flights@1", ("example:flights",), ("data:flights@1",)),
    Event("features add", "features:delay@1", ("data:flights@1",), ("features:delay@1",)),
    Event("train run", "train:delay@1", ("features:delay@1", "data:flights@1"), ("train:delay@1",)),
    Event("models add", "models:delay@1", ("train:delay@1",), ("models:delay@1",)),
    Event("data add", "data:other@1", (), ("data:other@1",)),
    Event("deploy start", "deploy:delay", ("models:delay@1",), ("deploy:delay",)),
]


@pytest.fixture
def chain(workspace) -> Store:
    for event in CHAIN:
        open_store().commit([], event)
    return open_store()


def test_upstream_reaches_the_raw_data_nearest_first(chain):
    steps = list(audit.upstream(chain, "deploy:delay"))
    assert [step.used for step in steps][:2] == ["models:delay@1", "train:delay@1"]
    assert {step.used for step in steps} == {
        "models:delay@1", "train:delay@1", "features:delay@1", "data:flights@1", "example:flights",
    }  # fmt: skip


def test_downstream_of_the_data_is_all_that_was_made_of_it(chain):
    made = {step.made for step in audit.downstream(chain, "data:flights@1")}
    assert made == {"features:delay@1", "train:delay@1", "models:delay@1", "deploy:delay"}


def test_a_name_without_its_version_stands_for_all_versions(chain):
    assert list(audit.downstream(chain, "data:flights")) == list(audit.downstream(chain, "data:flights@1"))


def test_a_circle_ends(workspace):
    for used, made in (("a:x", "a:y"), ("a:y", "a:x")):
        open_store().commit([], Event("data add", made, (used,), (made,)))
    assert len(list(audit.upstream(open_store(), "a:x"))) == 2


def test_lab_log_tells_both_directions(chain):
    told = lab.log("models:delay@1")
    assert any("train:delay@1" in line for line in told.came_from)
    assert any("deploy:delay" in line for line in told.led_to)
    assert any("models add" in line for line in told.events)


TESTED = [
    ("data add", "data:flights@1", ("example:1",), ("data:flights@1",)),
    ("data add", "data:july@1", ("example:7",), ("data:july@1",)),
    ("features add", "features:delay@1", ("data:flights@1",), ("features:delay@1",)),
    *(("features get", "features:delay@1", ("features:delay@1", data), (rows,)) for data, rows in (
        ("data:flights@1", "features:delay@1#000000000001"), ("data:july@1", "features:delay@1#000000000007"),
    )),
    ("train run", "train:delay@1", ("features:delay@1#000000000001",), ("train:delay@1",)),
    ("models add", "models:delay@1", ("train:delay@1",), ("models:delay@1",)),
    ("models add", "models:delay@2", ("train:delay@1",), ("models:delay@2",)),
    ("deploy start", "deploy:delay", ("models:delay@1",), ("deploy:delay",)),
    ("deploy start", "deploy:delay", ("models:delay@2",), ("deploy:delay",)),
    ("deploy run", "deploy:delay", ("features:delay@1#000000000007",), ("deploy:delay",)),
    ("recipe run", "recipe:r@1", ("models:delay@2",), ("recipe:r@1", "deploy:delay")),
]  # fmt: skip


def test_a_card_of_months_stays_small_and_shows_the_events_that_were_asked_for(chain):
    """Others link to it more often than its own events are: each month of a pipeline."""
    for month in range(60):
        chain.commit([], Event("recipe run", f"recipe:monthly@{month}", ("train:delay@1",), ("models:delay@1",)))
        chain.commit([], Event("deploy start", "deploy:delay", ("models:delay@1",), ("deploy:delay",)))
    page, whole = (lab.log("deploy:delay", **asked)._repr_mimebundle_()["text/html"] for asked in ({}, {"events": 99}))
    assert len(page) < 8_000
    assert "… and 87 more" in page
    assert "recipe:monthly" in page
    assert "… and 18 more" in whole


def test_an_endpoint_was_made_from_its_models_and_not_from_the_rows_that_were_sent(workspace):
    for event in TESTED:
        open_store().commit([], Event(*event))
    told = lab.log("deploy:delay")
    assert told.card().lead == (
        "It was made from **models:delay@2** and **models:delay@1**, trained on **data:flights@1**."
    )
    serving = replace(told, uses=(Reference("models:delay@2", "deploy:delay serves", ""),))
    assert serving.card().lead.startswith("It serves **models:delay@2**, trained on **data:flights@1**.")


def test_lab_log_of_what_nobody_recorded(chain):
    with pytest.raises(NotFound, match="nothing was ever recorded about data:zzz"):
        lab.log("data:zzz")


def test_lab_check_proves_the_log_and_finds_a_change(chain):
    assert any(item.what == "audit log" and item.state == "ok" for item in lab.check(audit=True, report=True).findings)
    open_store()._session().__enter__().execute("UPDATE events SET actor = 'x' WHERE seq = 2")
    with pytest.raises(Failed, match="event 2 is not what was written"):
        lab.check(audit=True)


WRONG = [
    "DELETE FROM event_uris WHERE seq = 2",
    "DELETE FROM event_uris WHERE seq = 2 AND uri = 'data:flights@1'",
    "INSERT INTO event_uris VALUES ('data:zzz@1', 2)",
    "UPDATE event_uris SET uri = 'data:zzz@9' WHERE seq = 2 AND uri = 'data:flights@1'",
]


@pytest.mark.parametrize(("statement", "first"), [*((each, 2) for each in WRONG), (WRONG[2].replace("2)", "99)"), 99)])
def test_an_index_that_misses_an_event_is_found_and_rebuilt_by_the_fix(chain, statement, first):
    open_store()._session().__enter__().execute(statement)
    with pytest.raises(Failed, match=f"event {first} is not found by the URIs") as caught:
        lab.check(audit=True)
    assert "`%lab start --restore`" in caught.value.fix
    events = list(chain.events())
    assert any("nothing is lost" in note for note in lab.start(restore=True).notes)
    assert list(chain.events())[: len(events)] == events
    assert audit.prove(chain).sound
    assert any("features add" in line for line in lab.log("data:flights@1").events)


def test_events_that_are_committed_while_the_index_is_proved_are_no_error(chain, monkeypatch):
    indexed = chain.indexed

    def late(*given):
        chain.commit([], CHAIN[0])
        return indexed(*given)

    monkeypatch.setattr(chain, "indexed", late)
    assert audit.prove(chain).sound
