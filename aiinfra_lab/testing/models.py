"""What every other registry of models keeps, and what every importer of models from somewhere else does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from .. import models
from ..errors import LabError, NotFound
from ..models import examples, record
from ..models.base import Entry, Importer, ModelRegistry

__all__ = ["ImporterContract", "Make", "RegistryContract"]

Make = Callable[[int], Entry]
"""The entry of that version of the model `delay`."""


class RegistryContract:
    """A provider's test inherits this and gives the fixture `registry`, empty and its own.

    One that keeps a version with its run gives `entry` too, with a run that it knows.
    """

    @pytest.fixture
    def entry(self, tmp_path: Path) -> Make:
        """Versions with one file that no run is known of."""
        (tmp_path / "entry").mkdir()
        (tmp_path / "entry" / "model.onnx").write_bytes(b"a network")
        return lambda version: Entry(f"models:delay@{version}", tmp_path / "entry", "", "a note", {})

    def test_what_is_registered_is_there(self, registry: ModelRegistry, entry: Make) -> None:
        registry.register(entry(1))
        registry.register(entry(2))
        assert registry.versions("delay") == {"models:delay@1", "models:delay@2"}

    def test_registering_twice_gives_the_same_version(self, registry: ModelRegistry, entry: Make) -> None:
        assert registry.register(entry(1)) == registry.register(entry(1))
        assert registry.register(entry(2)) != registry.register(entry(1))

    def test_an_alias_moves_and_goes(self, registry: ModelRegistry, entry: Make) -> None:
        for version in (1, 2):
            registry.register(entry(version))
            registry.alias("delay", "champion", f"models:delay@{version}")
            assert registry.aliases("delay") == {"champion": f"models:delay@{version}"}
        registry.alias("delay", "champion", None)
        registry.alias("delay", "champion", None)
        assert registry.aliases("delay") == {}

    def test_an_unknown_model_has_nothing(self, registry: ModelRegistry) -> None:
        assert registry.aliases("delay") == {}
        assert registry.versions("delay") == set()

    def test_an_alias_of_an_unknown_version_is_refused(self, registry: ModelRegistry, entry: Make) -> None:
        registry.register(entry(1))
        with pytest.raises(NotFound):
            registry.alias("delay", "champion", "models:delay@9")

    def test_what_is_removed_is_gone_and_may_be_removed_again(self, registry: ModelRegistry, entry: Make) -> None:
        registry.register(entry(1))
        registry.remove("models:delay@1")
        registry.remove("models:delay@1")
        assert registry.versions("delay") == set()


class ImporterContract:
    """A provider's test inherits this and gives the fixtures `importer`; `file`, a model of its format; `example`, what
    `models.add` takes besides, by flag; `rows`, other rows that the model takes, as a data frame or dicts; and
    `expected`, what the model's own library answers to those: an array, of a classification each label's probability.
    """

    def test_it_knows_its_own_files(self, importer: Importer, file: Path, tmp_path: Path) -> None:
        other = tmp_path / f"other{file.suffix or '.txt'}.text"
        other.write_text("a text about models")
        assert importer.suits(file)
        assert not importer.suits(other)
        assert not importer.suits(tmp_path / "missing")

    def test_it_leaves_other_formats_and_folders_to_others(self, importer: Importer, tmp_path: Path) -> None:
        (tmp_path / "a folder").mkdir()
        (tmp_path / "a folder" / "notes.md").write_text("notes about models")
        (tmp_path / "packed.zip").write_bytes(b"PK\x03\x04" + bytes(40))
        (tmp_path / "rows.csv").write_text("age,income\n40,2.5\n")
        assert not [name for name in ("a folder", "packed.zip", "rows.csv") if importer.suits(tmp_path / name)]

    def test_the_original_answers_twice_the_same(
        self, importer: Importer, file: Path, example: Mapping[str, Any], workspace: Path
    ) -> None:
        original = importer.read(file)
        given = examples.read(original, example.get("example"), example.get("rows"))
        one, other = original.predict(given.given), original.predict(given.given)
        alone = original.predict(given.last()[0])
        assert one.keys() == other.keys() == alone.keys()
        for name, values in one.items():
            assert len(values) == len(given)
            assert np.allclose(values, other[name], atol=original.tolerance)
            assert np.allclose(values[-1:], alone[name], atol=original.tolerance)

    def test_a_version_answers_other_rows_as_the_original(
        self, file: Path, example: Mapping[str, Any], rows: Any, expected: NDArray[Any], workspace: Path
    ) -> None:
        made = models.add("imported", from_=file, **example)
        assert models.check(made).state == "good"
        found = np.asarray(models.get(made).predict(rows))
        assert np.allclose(found.reshape(np.shape(expected)), expected, rtol=1e-5, atol=1e-5)

    def test_added_again_it_is_the_same_version(self, file: Path, example: Mapping[str, Any], workspace: Path) -> None:
        first = models.add("imported", from_=file, **example)
        assert models.add("imported", from_=file, **example).uri == first.uri
        assert models.add("imported", from_=file, note="another use", **example).uri == "models:imported@2"

    def test_a_damaged_file_is_refused_and_leaves_nothing(
        self, file: Path, example: Mapping[str, Any], tmp_path: Path, workspace: Path
    ) -> None:
        damaged = tmp_path / f"damaged{file.suffix}"
        if file.is_dir():
            damaged.mkdir()
        else:
            damaged.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(LabError):
            models.add("imported", from_=damaged, **example)
        assert models.ls().items == ()
        assert not [*record.folder("x").parent.glob("*")]
