"""A version's folder."""

import pytest

from aiinfra_lab import files
from aiinfra_lab.errors import Failed
from aiinfra_lab.models import artifact
from aiinfra_lab.models.record import folder
from aiinfra_lab.train.signature import OF_SCORE

FILES = (*artifact.FROM_RUN, "columns.json")


@pytest.fixture
def source(workspace, tmp_path):
    """What a run saved."""
    made = tmp_path / "model"
    made.mkdir()
    for name in FILES:
        (made / name).write_text(f"the {name}")
    (made / "signature.json").write_text(OF_SCORE.to_json())
    return made


def test_a_version_is_what_the_run_saved_and_its_card(source):
    with artifact.built("delay", source, "# a card") as aside:
        label = artifact.publish_next(aside, "delay")
    assert label == "delay@1"
    assert {path.name for path in folder(label).iterdir()} == {*FILES, "card.md"}


def test_each_takes_the_next_number_that_no_folder_has(source):
    labels = []
    for _ in range(3):
        with artifact.built("delay", source, "") as aside:
            labels.append(artifact.publish_next(aside, "delay"))
    assert labels == ["delay@1", "delay@2", "delay@3"]


def test_what_was_not_published_leaves_nothing(source):
    with artifact.built("delay", source, ""):
        pass
    assert list(folder("x").parent.iterdir()) == []


def test_a_run_that_lacks_a_file_makes_no_version(source):
    (source / "signature.json").unlink()
    with pytest.raises(Failed, match=r"lacks signature\.json"), artifact.built("delay", source, ""):
        pass


def test_a_file_that_was_replaced_since_the_run_ended_makes_no_version(source):
    recorded = files.digests(source)
    (source / "model.onnx").write_text("another")
    with (
        pytest.raises(Failed, match=r"not what it saved: model\.onnx was changed"),
        artifact.built("delay", source, "", recorded),
    ):
        pass
    assert not folder("delay@1").exists()


def test_what_was_recorded_is_what_is_there(source):
    assert artifact.differences(source, files.digests(source)) == []


def test_each_file_that_differs_is_named(source):
    recorded = files.digests(source)
    (source / "model.onnx").write_text("another")
    (source / "columns.json").unlink()
    (source / "more.py").write_text("")
    assert artifact.differences(source, recorded) == [
        *("columns.json is missing", "model.onnx was changed", "more.py was added"),
    ]


def test_of_a_folder_that_is_gone_every_file_is_missing(source, tmp_path):
    recorded = files.digests(source)
    assert artifact.differences(tmp_path / "none", recorded) == [f"{name} is missing" for name in recorded]
    assert artifact.size(tmp_path / "none") == 0


def test_its_size_is_that_of_its_files(source):
    assert artifact.size(source) == sum(len(path.read_bytes()) for path in source.iterdir())
