"""A second folder that shares the store: it has the records, and not the first one's files."""

import shutil

import pytest

from aiinfra_lab import data, deploy, features, lab, models, train
from aiinfra_lab.errors import LabError
from aiinfra_lab.models import sync
from aiinfra_lab.models.record import ModelVersion
from aiinfra_lab.store import open_store
from aiinfra_lab.train import sync as runs
from aiinfra_lab.train.record import TrainingRun


@pytest.fixture
def second(workspace, model, tmp_path, monkeypatch):
    """The records of the first folder as a shared store would show them, in a folder of its own."""
    models.check(model, report=True)
    models.promote(model)
    open_store().close()
    folder = tmp_path / "second"
    (folder / ".aiinfra").mkdir(parents=True)
    for path in (workspace / ".aiinfra").glob("store*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / ".aiinfra" / path.name)
    (folder / "aiinfra.toml").touch()
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(folder))
    monkeypatch.chdir(folder)
    yield folder
    open_store().close()


def test_it_starts_and_takes_no_run_and_no_version_for_its_own(second):
    before = [(kind, open_store().list(kind)) for kind in (TrainingRun, ModelVersion)]
    lab.start()
    assert [(kind, open_store().list(kind)) for kind, _ in before] == before
    assert (list(sync.disagreements()), runs.behind(verify=True)) == ([], [])


@pytest.mark.parametrize(
    "act",
    [
        lambda: models.get("delay@1", into="copy"),
        lambda: models.add("delay", run="delay@1"),
        lambda: models.check("delay@1"),
        lambda: train.get("delay@1", into="copy"),
        lambda: train.run("delay", rows=train.show("delay@1").rows, code="run.log(loss=1.0)"),
        lambda: deploy.start("delay", model="models:delay@1"),
        lambda: data.get("flights@1").df(),
        lambda: data.get("flights@1", into="copy"),
        lambda: features.get("delay", rows="data:flights@1"),
        lambda: models.show("delay@1").signature,
    ],
)
def test_what_needs_the_files_says_so(second, act):
    with pytest.raises(LabError):
        act()


def test_what_needs_no_files_is_shown(second):
    shown = (models.ls(), models.show("delay@1"), train.ls(), train.show("delay@1"), lab.show())
    assert [bool(each._repr_mimebundle_()) for each in shown] == [True] * 5
