"""A version that runs by other packages than ours: added, compared, kept and predicted by these, and by no others."""

import numpy as np
import pytest

from aiinfra_lab import lab, models
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.models.noun import NOUN
from aiinfra_lab.store import open_store
from aiinfra_lab.train.environments import Environment
from aiinfra_lab.train.remote_network import RemoteSession
from aiinfra_lab.train.saved_model import SavedModel

from ..train.test_environments import OLD, OURS, asked, there
from .importers.made import ROWS, WEIGHTS, linear

__all__ = ["asked"]


@pytest.fixture
def add(asked, tmp_path):
    """Gives `add(lines, **options)`: the version of a little network that is to run by these packages."""

    def version(lines=OLD, **options):
        (tmp_path / "needs.txt").write_text(lines)
        path = linear(tmp_path / "linear.onnx")
        return models.add("net", from_=path, example={"x": ROWS}, environment=tmp_path / "needs.txt", **options)

    return version


def test_it_is_compared_and_predicts_by_its_own_packages(add):
    made = add()
    environment = Environment.of(made.path)
    assert (environment.requirements, environment.is_built) == (OLD, True)
    saved = SavedModel(made.path)
    assert isinstance(saved.session, RemoteSession)
    assert np.allclose(saved.run({"x": ROWS})["y"], ROWS @ WEIGHTS, atol=1e-6)
    assert np.allclose(made.predict([{"x": row.tolist()} for row in ROWS]), ROWS @ WEIGHTS, atol=1e-6)
    saved.session.close()
    models.check("net")


def test_what_it_runs_by_is_kept_and_shown(add):
    made = add()
    assert (made.path / "requirements.txt").read_text() == OLD
    assert "onnxruntime==1.19.2\n" in (made.path / "environment.txt").read_text()
    assert {"requirements.txt", "environment.txt"} <= {*open_store().get(NOUN.kind, "net@1").body.files}
    assert "| packages that it runs by | onnxruntime 1.19.2 |" in (made.path / "card.md").read_text()
    assert [(fact.label, fact.value) for fact in NOUN.details(made.uri).facts] == [("runs by", "onnxruntime 1.19.2")]


def test_the_same_again_is_the_same_version_and_by_other_packages_another(add, asked):
    assert [add().uri, add().uri] == ["models:net@1", "models:net@1"]
    assert len(asked()) == 1
    assert add(OLD + "flatbuffers==25.1\n").uri == "models:net@2"


def test_where_it_asks_for_what_is_installed_here_it_runs_here(add, asked):
    made = add(f"onnxruntime=={OURS}\n")
    assert not isinstance(SavedModel(made.path).session, RemoteSession)
    assert (made.path / "requirements.txt").read_text() == f"onnxruntime=={OURS}\n"
    assert asked() == there() == []


@pytest.mark.parametrize(
    ("lines", "kind", "what"),
    [("onnxruntime\n", UsageProblem, "does not name one version"), ("no-such==1\n", Failed, "was not found")],
)
def test_what_cannot_be_had_leaves_neither_version_nor_environment(add, lines, kind, what):
    with pytest.raises(kind, match=what):
        add(lines)
    assert there() == []
    assert not [*settings().home.glob("models/*")]
    assert not models.ls().items


def test_a_run_brings_no_environment(workspace, tmp_path):
    with pytest.raises(UsageProblem, match="--environment is for models that were trained elsewhere"):
        models.add("net", run="train:net@1", environment=tmp_path / "needs.txt")


def test_an_environment_goes_once_no_version_needs_it(add, monkeypatch):
    monkeypatch.setenv("AIINFRA_MODELS_ENVIRONMENTS_GIB", "0")
    first, second = add(), add(OLD + "flatbuffers==25.1\n")
    place = Environment.of(first.path).place
    models.rm(first.uri)
    listed = [file.path for file in lab.rm(expired=True, dry=True).files]
    assert listed == [str(place)]
    lab.rm(expired=True)
    assert not place.exists()
    assert Environment.of(second.path).is_built
