"""Very many versions: listing asks the store as often as for few, and their files not at all."""

from collections import Counter

import pytest

from aiinfra_lab import models
from aiinfra_lab.models import artifact
from aiinfra_lab.models.record import ModelAliases, ModelVersion
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.store.sql import SqlStore


def make_versions(count: int, name: str = "delay") -> None:
    """So many versions of one model, of which the first is the champion."""
    body = ModelVersion(run="train:delay@1", metrics={"auc": 0.7}, files={"model.onnx": "0a"}, size_bytes=7)
    made = [Record.new(f"{name}@{number}", body) for number in range(1, count + 1)]
    open_store().commit([*made, Record.new(name, ModelAliases(aliases={"champion": 1}))])


@pytest.fixture
def counted(monkeypatch):
    """Counts the readings of the store."""
    counts: Counter[str] = Counter()
    for method in ("get", "list"):
        real = getattr(SqlStore, method)
        monkeypatch.setattr(
            SqlStore, method, lambda *a, _real=real, _as=method, **k: (counts.update([_as]), _real(*a, **k))[1]
        )
    return counts


def test_listing_asks_the_store_as_often_for_many_versions_as_for_few(workspace, counted):
    found = []
    for count in (5, 200):
        make_versions(count, f"n{count}")
        counted.clear()
        assert len(models.ls(f"n{count}")) == count
        found.append(Counter(counted))
    assert found == [Counter(list=2)] * 2


def test_listing_looks_at_no_file(workspace, monkeypatch):
    make_versions(5)
    monkeypatch.setattr(artifact, "size", lambda path: pytest.fail("it looked"))
    assert [(item.size_bytes, item.aliases) for item in models.ls()][-1] == (7, ("champion",))


def test_the_size_of_a_version_from_before_is_that_of_its_files(workspace):
    open_store().commit([Record.new("delay@1", ModelVersion(files={"model.onnx": "0a"}))])
    folder = models.show("delay").path
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"1234")
    assert models.show("delay").size_bytes == 4


def test_the_fields_of_the_answer_are_those_of_the_first_version_and_of_its_check(workspace):
    make_versions(1)
    assert set(models.show("delay").as_json()) == {
        *("uri", "aliases", "checked", "metrics", "run", "rows", "created_at", "size_bytes", "digest", "note"),
        *("said", "path", "findings", "outdated", "source"),
    }
