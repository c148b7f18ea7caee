"""One record that cannot be read costs one row of a list, and decides nothing."""

import importlib
import time

import pytest

from aiinfra_lab import data, jobs, lab, models, train
from aiinfra_lab.errors import Damaged
from aiinfra_lab.jupyter.items import current
from aiinfra_lab.store import open_store
from tests import records

LISTS = ["gpu", "data", "features", "train", "models", "deploy", "drift", "recipe", "lab"]


@pytest.fixture
def damaged(workspace) -> None:
    """A workspace with two things of some nouns, the newer of which cannot be read."""
    lab.start()
    for version in (1, 2):
        records.data(f"a@{version}")
        records.run(f"a@{version}", state="done", tracked=True)
        records.model(f"a@{version}", files={"model.onnx": "d"})
        records.endpoint(f"e{version}", stopped_at=2.0)
        records.session(f"g{version}", ended_at=2.0)
    spoil("name IN ('a@2', 'e2', 'g2')")


def spoil(where: str, change: str = "'{' || body") -> None:
    """Change what is stored, as a disk would."""
    with open_store()._session() as db:
        db.execute(f"UPDATE records SET body = {change} WHERE {where}")


@pytest.mark.parametrize("noun", LISTS)
def test_each_list_lacks_one_row_and_says_how_many(damaged, noun):
    listed = importlib.import_module(f"aiinfra_lab.{noun}").ls()
    lost = {"lab": 5, "features": 0, "drift": 0, "recipe": 0}.get(noun, 1)
    assert (len(listed), listed.unreadable) == (lost, lost)
    assert (f"{lost} record" in listed.card().text()) == bool(lost)


def test_what_is_there_is_shown_and_started_with_a_note(damaged):
    for made in (lab.show(), lab.start()):
        assert made.exists == dict.fromkeys(("gpu", "data", "train", "models", "deploy"), 1)
        assert any("cannot be read: `%lab check`" in note for note in made.notes)


def test_the_panel_lists_the_others(workspace):
    for uri in ("gpu:a", "gpu:b"):
        done = jobs.prepare(uri, []).with_(state="done", ended_at=time.time())
        open_store().commit([done])
    spoil("name LIKE 'gpu-b-%'")
    assert [item.uri for item in current()] == ["gpu:a"]


def test_what_decides_stops_at_it(damaged):
    for decide in (lambda: data.rm("a@1"), lambda: data.show("a"), lambda: models.show("a"), lambda: train.show("a")):
        with pytest.raises(Damaged):
            decide()


def test_a_run_whose_job_cannot_be_read_is_not_called_killed(workspace):
    records.run("a@1")
    with jobs.here("train:a@1"):
        spoil("kind = 'job'")
        assert train.ls()[0].state == "running"
        spoil("kind = 'job'", "substr(body, 2)")
