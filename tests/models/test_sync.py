"""Bringing another registry to what our records say, with a registry that can be taken away."""

import pytest

from aiinfra_lab import providers
from aiinfra_lab.errors import NotFound, Unavailable
from aiinfra_lab.models import record, sync
from aiinfra_lab.models.record import ModelAliases, ModelVersion
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.train.record import TrainingRun


def put(number: int, name: str = "delay") -> Record:
    """A version with its folder and its run."""
    label = f"{name}@{number}"
    record.folder(label).mkdir(parents=True)
    (record.folder(label) / "model.onnx").write_bytes(b"a network")
    body = ModelVersion(run=f"train:{label}", files={"model.onnx": "0a"}, note="a note", rows="data:a@1")
    run = Record.new(label, TrainingRun(state="done", tracked_as=f"id-{number}"))
    return open_store().commit([Record.new(label, body), run])[0]


def point(alias: str, number: int) -> None:
    record.move("delay", alias, "promote", lambda known: number)


def differences() -> list[str]:
    return [found.what for found in sync.disagreements()]


@pytest.fixture
def registry(workspace, ledger):
    """The other registry; what it holds can be looked at."""
    return providers.make("models.registry")


def gone(monkeypatch) -> None:
    monkeypatch.setenv("AIINFRA_TRAIN_LEDGER_URL", "http://127.0.0.1:9")


def test_a_version_is_registered_with_where_it_came_from(registry):
    made = put(1)
    entry = sync.entry(made)
    assert (entry.uri, entry.tracked_as, entry.note) == ("models:delay@1", "id-1", "a note")
    assert entry.tags == {
        "lab.run": "train:delay@1", "lab.data.uri": "data:a@1", "lab.data.digest": "", "lab.model.digest": "0a",
    }  # fmt: skip
    assert sync.register(made) == ""
    assert open_store().get(ModelVersion, "delay@1").body.registered_as == "entry of models:delay@1"


def test_a_registry_that_is_down_is_a_note_and_no_error(registry, monkeypatch):
    made = put(1)
    gone(monkeypatch)
    notes = (sync.register(made), sync.move_alias("delay", "champion", 1), sync.remove(made))
    assert [note.endswith("`%lab start` sends it") for note in notes] == [True] * 3


def test_what_it_does_not_have_is_registered_in_the_order_of_our_numbers(registry):
    for number in (1, 2, 3):
        put(number)
    point("champion", 2)
    assert differences() == [
        *(f"the other registry does not have models:delay@{number}" for number in (1, 2, 3)),
        "champion of models:delay is models:delay@2 here and nothing in the other registry",
    ]
    assert len(sync.reconcile()) == 4
    assert (differences(), sync.reconcile()) == ([], [])
    assert registry.aliases("delay") == {"champion": "models:delay@2"}


def test_what_is_removed_here_is_removed_there(registry):
    put(1)
    sync.reconcile()
    record.change("delay@1", removed_at=1.0)
    assert sync.reconcile() == ["removed models:delay@1 from the other registry"]
    assert registry.versions("delay") == set()


def test_an_alias_that_only_the_other_registry_has_goes(registry):
    put(1)
    sync.reconcile()
    registry.alias("delay", "odd", "models:delay@1")
    assert differences() == ["odd of models:delay is nothing here and models:delay@1 in the other registry"]
    assert sync.reconcile() == ["odd of models:delay is nothing again in the other registry"]
    assert registry.aliases("delay") == {}


def test_each_model_is_compared_with_its_own(registry):
    for name in ("b", "a"):
        put(1, name)
    assert differences() == [f"the other registry does not have models:{name}@1" for name in ("a", "b")]
    sync.reconcile()
    assert (registry.versions("a"), registry.versions("b")) == ({"models:a@1"}, {"models:b@1"})


def test_without_models_no_registry_is_asked(workspace, ledger, monkeypatch):
    gone(monkeypatch)
    open_store().commit([Record.new("delay", ModelAliases())])
    assert (differences(), sync.reconcile()) == ([], [])


def test_a_registry_that_cannot_be_asked_is_said_to_be_so(registry, monkeypatch):
    put(1)
    gone(monkeypatch)
    with pytest.raises(Unavailable):
        sync.reconcile()


def test_one_version_that_it_refuses_does_not_keep_the_others_back(registry, monkeypatch):
    put(1), put(2)
    real = sync.entry

    def entry(version):
        if version.version == 1:
            raise NotFound("it does not know the run", "send the run first")
        return real(version)

    monkeypatch.setattr(sync, "entry", entry)
    refused, registered = sync.reconcile()
    assert (registered, registry.versions("delay")) == ("registered models:delay@2", {"models:delay@2"})
    assert refused.startswith("the other registry does not have models:delay@1: ")
