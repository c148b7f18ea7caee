"""What every other registry of models keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ..errors import NotFound
from ..models.base import Entry, ModelRegistry

__all__ = ["Make", "RegistryContract"]

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
