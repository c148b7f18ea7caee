"""Hold-outs are kept while a version or the newest run of a name needs them, and then as the settings say."""

import os
import time

import pytest

from aiinfra_lab import data, lab, models, train
from aiinfra_lab.train import heldout
from aiinfra_lab.train.record import StoredHoldout

from ..train.test_paired import REGRESSION, table

DAY = 86_400


@pytest.fixture
def rows(workspace, empty_mlflow):
    return data.add("t", table())


def trained(rows, name: str = "m", seed: int = 0) -> StoredHoldout:
    """What a run kept, whose hold-out was written long ago. Of another seed it is of other rows."""
    run = train.run(name, rows=rows, label="y", columns=["x"], code=REGRESSION, params={"weight": 1.0}, seed=seed)
    os.utime(heldout.path_of(run.stored.digest), (1, 1))
    return run.stored


def listed() -> list[str]:
    return [file.path for file in lab.rm(expired=True, dry=True).files]


def path(stored: StoredHoldout) -> str:
    return str(heldout.path_of(stored.digest))


def test_the_newest_run_and_every_version_keep_theirs_and_the_others_go(rows):
    registered = trained(rows, seed=1)
    models.add("m", run="train:m@1")
    old, newest = trained(rows, seed=2), trained(rows, seed=3)
    assert len({registered.digest, old.digest, newest.digest}) == 3
    found = lab.rm(expired=True, dry=True)
    assert [(file.path, file.uri) for file in found.files] == [(path(old), "train:m@2")]
    assert found.files[0].why.endswith("; no model version and no newest run of a name needs it")
    assert "no newest run" in " ".join(found.card().text().split())
    assert [one.what for one in lab.check(report=True).findings if one.what == "old train.holdout"]
    lab.rm(expired=True)
    assert [heldout.path_of(one.digest).exists() for one in (registered, old, newest)] == [True, False, True]
    assert listed() == []


def test_what_is_young_stays_and_what_is_too_much_goes(rows, monkeypatch):
    old = trained(rows, seed=1)
    trained(rows, seed=2)
    now = time.time()
    os.utime(path(old), (now, now - 89 * DAY))
    assert listed() == []
    monkeypatch.setenv("AIINFRA_TRAIN_HOLDOUT_DAYS", "30")
    assert listed() == [path(old)]
    monkeypatch.setenv("AIINFRA_TRAIN_HOLDOUT_DAYS", "90")
    monkeypatch.setenv("AIINFRA_TRAIN_HOLDOUT_GIB", "0")
    assert listed() == [path(old)]


def test_a_hold_out_that_another_run_shares_is_kept(rows):
    assert trained(rows).digest == trained(rows).digest
    assert listed() == []


def test_one_that_is_measured_on_again_is_new_again(rows):
    trained(rows, seed=1)
    again = train.run("m", rows=rows, label="y", columns=["x"], code=REGRESSION, params={"weight": 1.0}, seed=1)
    trained(rows, seed=2)
    assert heldout.path_of(again.stored.digest).stat().st_mtime > 1
    assert listed() == []


def test_when_the_version_goes_its_hold_out_may_go_too(rows):
    first = trained(rows, seed=1)
    models.add("m", run="train:m@1")
    trained(rows, seed=2)
    assert listed() == []
    models.rm("m@1")
    assert listed() == [path(first)]


def test_what_cannot_be_read_may_need_any_of_them(rows, workspace):
    trained(rows, seed=1)
    models.add("m", run="train:m@1")
    trained(rows, seed=2)
    trained(rows, seed=3)
    assert len(listed()) == 1
    _spoil(workspace)
    assert listed() == []


def _spoil(workspace) -> None:
    import sqlite3

    with sqlite3.connect(workspace / ".aiinfra/store.sqlite") as db:
        db.execute("UPDATE records SET body = '{' WHERE kind = 'models'")


def test_a_comparison_goes_on_without_the_hold_out_of_the_other(rows):
    first, second = trained(rows, seed=1), trained(rows, seed=2)
    heldout.path_of(first.digest).unlink()
    found = train.diff("m@2", "m@1")
    assert found.paired is None or found.paired.rows <= second.rows
    heldout.path_of(second.digest).unlink()
    assert train.diff("m@2", "m@1").paired is None


def test_a_champion_can_always_be_compared_with(rows):
    trained(rows, seed=1)
    models.add("m", run="train:m@1")
    models.check("m@1")
    models.promote("m@1")
    trained(rows, seed=2)
    trained(rows, seed=3)
    lab.rm(expired=True)
    models.add("m", run="train:m@3")
    assert models.check("m@2", report=True).compared.rows > 0
