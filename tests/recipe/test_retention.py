"""Executed notebooks are kept for a while, and those that the newest run stands on for as long as it is that."""

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiinfra_lab import lab, recipe
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.store import open_store, update

ONE = '[steps.a]\nnotebook = "a.ipynb"\n'


@pytest.fixture
def old(notebook, recipe) -> None:
    """Three runs, all long ago: two executed their step, and the last stands on the second."""
    from aiinfra_lab import recipe as recipes

    notebook("a", "", "print(1)")
    recipe("one", ONE)
    for force in (True, True, False):
        recipes.run("one", force=force)
    for number in (1, 2, 3):
        at = time.time() - 86_400 * (100 - number)
        update(open_store(), RunRecord, f"one@{number}", lambda body, at=at: replace(body, ended_at=at, started_at=at))


@pytest.fixture
def with_a_parameter(notebook, recipe, monkeypatch) -> None:
    """A recipe whose step fails with p = 3, and whose executed notebooks are kept for no time."""
    notebook("a", "p: int = 1", "1 / (p - 3)")
    recipe("r", f'[parameters]\np = 1\n{ONE}parameters = {{ p = "${{params.p}}" }}\n')
    monkeypatch.setenv("AIINFRA_RECIPE_ARCHIVE_DAYS", "0")


def test_what_is_too_old_goes_but_for_what_the_newest_run_stands_on(old):
    archives = [Path(recipe.show(f"one@{number}").steps["a"]["archive"]) for number in (1, 2, 3)]
    assert archives[1] == archives[2]
    freed = lab.rm(expired=True)
    assert [file.path for file in freed.files] == [str(archives[0].parent)]
    assert [archive.exists() for archive in archives] == [False, True, True]
    assert recipe.show("one@1").state == "done", "its record stays"
    assert recipe.run("one").steps["a"]["state"] == "skipped"


def test_what_a_step_that_cannot_be_read_may_stand_on_stays(old):
    with open_store()._transaction() as db:
        db.execute("UPDATE records SET body = ? WHERE name = ?", ("{", "one@3#a"))
    assert lab.rm(expired=True).files == ()


def test_what_a_run_that_cannot_be_read_stands_on_stays(with_a_parameter):
    for p in (1, 2, 1):
        recipe.run("r", param={"p": p})
    with open_store()._transaction() as db:
        db.execute("UPDATE records SET body = ? WHERE kind = 'recipe' AND name = ?", ("{", "r@3"))
    assert lab.rm(expired=True).files == ()


def test_the_last_execution_of_a_step_stays_though_it_was_skipped_since_for_an_older_one(with_a_parameter):
    for p in (1, 2, 3, 1):
        recipe.run("r", param={"p": p}, report=True)
    assert recipe.show("r@3").steps["a"]["state"] == "failed"
    assert recipe.show("r@4").steps["a"]["archive"] == recipe.show("r@1").steps["a"]["archive"]
    assert [Path(file.path).name for file in lab.rm(expired=True).files] == ["r@2"]


def test_what_a_step_stands_on_stays_whatever_ran_without_it(notebook, recipe, monkeypatch):
    from aiinfra_lab import recipe as recipes

    notebook("a", "", "print(1)")
    notebook("b", "", "print('B')")
    recipe("two", '[steps.a]\nnotebook = "a.ipynb"\n[steps.b]\nnotebook = "b.ipynb"\n')
    recipes.run("two")
    notebook("a", "", "print(2)")
    recipes.run("two", only="a")
    notebook("a", "", "1 / 0")
    recipes.run("two", only="a", report=True)
    notebook("a", "", "2 / 0")
    recipes.run("two", only="a", report=True)
    monkeypatch.setenv("AIINFRA_RECIPE_ARCHIVE_DAYS", "0")
    assert [Path(file.path).name for file in lab.rm(expired=True).files] == ["two@3"]
    notebook("a", "", "print(2)")
    assert [step["state"] for step in recipes.run("two").steps.values()] == ["skipped", "skipped"]
    assert "B" in recipes.log("two@5/b").text


def test_a_run_that_goes_on_keeps_its_own(old):
    update(open_store(), RunRecord, "one@1", lambda body: replace(body, state="running", ended_at=None))
    assert lab.rm(expired=True).files == ()


def test_within_the_settings_all_stay(old, monkeypatch):
    monkeypatch.setenv("AIINFRA_RECIPE_ARCHIVE_DAYS", "365")
    assert lab.rm(expired=True).files == ()
    monkeypatch.setenv("AIINFRA_RECIPE_ARCHIVE_GIB", "0")
    assert len(lab.rm(expired=True, dry=True).files) == 1
