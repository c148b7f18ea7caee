import importlib
from pathlib import Path

import pytest

from aiinfra_lab import lab, providers
from aiinfra_lab.errors import Missing, NotFound
from aiinfra_lab.providers import Provider

MOON = """
class Moon:
    def __init__(self, where): ...
    def offers(self): ...
    def create(self, plan): ...
    def status(self, handle): ...
    def renew(self, handle, deadline_at): ...
    def terminate(self, handle): ...
    def list_owned(self): ...
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of somebody else, installed: a module, and the metadata that names its provider."""
    (tmp_path / "somebody.py").write_text(MOON)
    info = tmp_path / "somebody-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[aiinfra_lab.providers]\ngpu.machines.moon = somebody:Moon\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()


def test_a_provider_of_another_package_enters_by_the_same_door(third_party):
    assert "moon" in providers.names("gpu.machines")
    assert providers.load("gpu.machines", "moon").__name__ == "Moon"


def test_lab_check_lists_it(third_party, workspace):
    found = {item.what: item.detail for item in lab.check(report=True).findings}
    assert found["gpu.machines on moon"] == "brought by somebody"


def test_an_unknown_provider_suggests_the_nearest():
    with pytest.raises(NotFound, match="did you mean local"):
        providers.load("gpu.machines", "lcoal")


@pytest.mark.parametrize(("extra", "fix"), [("moon", r"aiinfra-lab\[moon\]"), ("", "no_such_package")])
def test_a_missing_extra_is_named(monkeypatch, extra, fix):
    table = {"moon": Provider("x:Y", extra, "no_such_package", "what it is")}
    monkeypatch.setitem(providers.TABLE, "gpu.machines", table)
    with pytest.raises(Missing, match=f"pip install '{fix}'"):
        providers.load("gpu.machines", "moon")
