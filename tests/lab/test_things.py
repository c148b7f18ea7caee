import importlib

import pandas as pd
import pytest

from aiinfra_lab import data, features, gpu, jobs, lab
from tests import records
from tests.conftest import until
from tests.structure.source import HEAVY, loaded_by


def states() -> dict[str, str]:
    return {thing.uri: thing.state for thing in lab.ls()}


def recipe(workspace, name: str) -> None:
    (workspace / "recipes").mkdir(exist_ok=True)
    (workspace / "recipes" / f"{name}.toml").touch()


def test_what_belongs_to_a_thing_is_no_thing(workspace):
    lab.start()
    records.model("delay@1")
    records.aliases("delay", champion=1)
    records.data("gone@1", removed_at=1.0)
    assert (list(states()), lab.show().exists) == (["models:delay@1"], {"models": 1})


def test_show_counts_what_each_nouns_own_list_holds(workspace):
    frame = pd.DataFrame({"id": [1, 2], "at": pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True), "late": [0, 1]})
    rows = data.add("flights", frame)
    features.add("delay", data=rows, timestamp="at", label="late", id_="id", code="columns = ['id']")
    features.get("delay", rows=rows)
    gpu.start("trainer")
    exists = lab.show().exists
    assert exists == {"gpu": 1, "data": 1, "features": 1}
    assert exists == {noun: len(importlib.import_module(f"aiinfra_lab.{noun}").ls()) for noun in exists}


def test_what_lives_is_observed(workspace):
    job = jobs.start("deploy:web", ["sleep", "600"])
    records.endpoint("web", job=job.id)
    records.endpoint("far", on="moon", job="x")
    gpu.start("trainer")
    until(lambda: states()["deploy:web"] == "running")
    assert (states()["gpu:trainer"], states()["deploy:far"]) == (gpu.show("trainer").state, "cannot tell")
    gpu.stop("trainer")
    jobs.cancel(job.id)
    jobs.wait(job.id)
    assert (states()["gpu:trainer"], states()["deploy:web"]) == ("ended (stopped)", "stopped")


@pytest.mark.parametrize(("written", "state"), [("running", "killed"), ("done", "done")])
def test_a_run_whose_process_is_gone_was_killed(workspace, written, state):
    records.run("delay@1", state=written)
    assert states() == {"train:delay@1": state}


def test_to_look_does_not_change_what_changed_when(workspace):
    records.run("delay@1", ended_at=None)
    records.endpoint("web", job="gone", started_at=2.0)
    records.data("flights@1")
    first = lab.ls().items
    assert lab.ls().items == first


def test_a_recipe_is_one_thing_with_the_state_of_its_newest_run(workspace):
    recipe(workspace, "new")
    recipe(workspace, "old")
    records.recipe_run("old@1", state="done", ended_at=2.0)
    records.recipe_run("old@2", started_at=3.0)
    assert states() == {"recipe:new": "never ran", "recipe:old": "lost"}
    assert lab.show().exists == {"recipe": 2}


def test_looking_loads_nothing_heavy(workspace):
    records.session("trainer", handle="x")
    records.run("delay@1")
    records.endpoint("web", job="x")
    recipe(workspace, "new")
    assert loaded_by("from aiinfra_lab import lab\nassert len(lab.ls()) == 4") & set(HEAVY) == set()
