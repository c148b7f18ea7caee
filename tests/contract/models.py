"""What every other registry keeps. A provider's test inherits this and gives two fixtures: `registry`, empty and its
own, and `entry`, which makes the entry of a version of the model delay."""

from collections.abc import Callable

import pytest

from aiinfra_lab.errors import NotFound
from aiinfra_lab.models.base import Entry, ModelRegistry

Make = Callable[[int], Entry]


class RegistryContract:
    def test_what_is_registered_is_there(self, registry: ModelRegistry, entry: Make):
        registry.register(entry(1))
        registry.register(entry(2))
        assert registry.versions("delay") == {"models:delay@1", "models:delay@2"}

    def test_registering_twice_gives_the_same_version(self, registry: ModelRegistry, entry: Make):
        assert registry.register(entry(1)) == registry.register(entry(1))
        assert registry.register(entry(2)) != registry.register(entry(1))

    def test_an_alias_moves_and_goes(self, registry: ModelRegistry, entry: Make):
        for version in (1, 2):
            registry.register(entry(version))
            registry.alias("delay", "champion", f"models:delay@{version}")
            assert registry.aliases("delay") == {"champion": f"models:delay@{version}"}
        registry.alias("delay", "champion", None)
        registry.alias("delay", "champion", None)
        assert registry.aliases("delay") == {}

    def test_an_unknown_model_has_nothing(self, registry: ModelRegistry):
        assert registry.aliases("delay") == {}
        assert registry.versions("delay") == set()

    def test_an_alias_of_an_unknown_version_is_refused(self, registry: ModelRegistry, entry: Make):
        registry.register(entry(1))
        with pytest.raises(NotFound):
            registry.alias("delay", "champion", "models:delay@9")

    def test_a_version_of_an_unknown_run_is_refused(self, registry: ModelRegistry, entry: Make):
        known = entry(1)
        stranger = Entry(known.uri, known.folder, "f" * 32, known.note, known.tags)
        with pytest.raises(NotFound):
            registry.register(stranger)
        assert registry.versions("delay") == set()

    def test_what_is_removed_is_gone_and_may_be_removed_again(self, registry: ModelRegistry, entry: Make):
        registry.register(entry(1))
        registry.remove("models:delay@1")
        registry.remove("models:delay@1")
        assert registry.versions("delay") == set()
