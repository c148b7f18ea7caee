import importlib.metadata
import math
import os
import sys
from pathlib import Path

import pytest

from aiinfra_lab import lab, providers
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Conflict, Missing, NotFound, Unavailable, UsageProblem
from aiinfra_lab.providers import Patience, Provider
from aiinfra_lab.store import has_store
from tests.packages import MOON, install


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that fills the contract of machines."""
    install(tmp_path, monkeypatch, MOON, "gpu.machines.moon = somebody:Moon")


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


def test_what_a_package_brings_is_made_with_the_settings(third_party, workspace):
    assert providers.make("gpu.machines", "moon").offers() is None


@pytest.mark.parametrize(
    ("code", "entry", "kind", "what"),
    [
        ("import nothing_of_that_name", "gpu.machines.moon = somebody:Moon", Unavailable, "cannot be imported"),
        ("x = 1 / 0", "gpu.machines.moon = somebody:Moon", Unavailable, "ZeroDivisionError"),
        ("class Sun: ...", "gpu.machines.moon = somebody:Moon", Unavailable, "AttributeError"),
        ("class Moon:\n    def offers(self): ...", "gpu.machines.moon = somebody:Moon", Unavailable, "lacks create"),
        ("Moon = 1", "gpu.machines.moon = somebody:Moon", Unavailable, "nothing that can be called"),
        (MOON.replace("self, where", "self"), "gpu.machines.moon = somebody:Moon", Unavailable, "TypeError"),
        (MOON.replace("where): ...", "where): {}['x']"), "gpu.machines.moon = somebody:Moon", Unavailable, "KeyError"),
        (MOON + "    offers = None", "gpu.machines.moon = somebody:Moon", Unavailable, "lacks offers"),
        ("def moon(where): return object()", "gpu.machines.moon = somebody:moon", Unavailable, "lacks offers, create"),
        (MOON, "gpu.machine.moon = somebody:Moon", NotFound, "there is no such contract"),
        (MOON, "gpu.machines.local = somebody:Moon", Conflict, "aiinfra-lab and somebody both bring"),
    ],
)
def test_a_package_that_is_wrong_is_said_with_its_name_and_a_fix(
    tmp_path, workspace, monkeypatch, code, entry, kind, what
):
    install(tmp_path, monkeypatch, code, entry)
    with pytest.raises(kind, match=what) as problem:
        providers.make("gpu.machines", entry.partition(" ")[0].rpartition(".")[2])
    assert "somebody" in problem.value.fix or "gpu.machines" in problem.value.fix


def test_lab_check_names_a_package_that_is_wrong_and_goes_on(tmp_path, workspace, monkeypatch):
    install(tmp_path, monkeypatch, "class Moon: ...", "gpu.machines.moon = somebody:Moon")
    found = {item.what: item for item in lab.check(report=True).findings}
    assert found["gpu.machines on moon"].state == "off"
    assert found["gpu.machines on local"].state == "ok"


def test_lab_check_says_that_what_the_settings_choose_is_not_there(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_DATA_VERSIONS", "dcv")
    (found,) = [each for each in lab.check(report=True).findings if each.what == "data.versions on dcv"]
    assert (found.state, "did you mean dvc?" in found.fix) == ("bad", True)


@pytest.mark.parametrize(("name", "kind"), [
    ("gpu", Conflict), ("json", Conflict), ("file", Conflict), ("my cloud", UsageProblem), ("A", UsageProblem),
    ("a:b", UsageProblem), ("a@b", UsageProblem), ("ü", UsageProblem),
])  # fmt: skip
def test_a_name_that_could_be_taken_for_something_else_is_refused(tmp_path, workspace, monkeypatch, name, kind):
    install(tmp_path, monkeypatch, MOON, f"gpu.machines.{name} = somebody:Moon")
    with pytest.raises(kind) as problem:
        providers.make("gpu.machines", name)
    assert "pip uninstall somebody" in problem.value.fix
    assert name not in providers.names("gpu.machines")
    assert [str(each) for _, each in providers.problems()] == [str(problem.value)]


def test_our_own_providers_have_names_that_would_not_be_refused():
    foreign = [providers.Foreign(contract, name, "", "") for contract, rows in providers.TABLE.items() for name in rows]
    assert [each for each in foreign if providers._misnamed(each)] == []


def test_a_provider_is_looked_for_once(third_party, workspace, monkeypatch):
    looked, find = [], providers._find
    monkeypatch.setattr(providers, "_find", lambda *which: looked.append(which) or find(*which))
    providers.make("gpu.machines", "moon")
    assert looked == [("gpu.machines", "moon")]


def test_a_notebook_that_is_saved_has_no_package_read_again(tmp_path, workspace, monkeypatch):
    looked, entry_points = [], importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda **group: looked.append(group) or entry_points(**group)
    )
    monkeypatch.syspath_prepend(workspace)
    providers.foreign()
    looked.clear()
    (workspace / "notebook.ipynb").write_text("{}")
    assert "moon" not in providers.names("gpu.machines")
    assert looked == []
    install(workspace, monkeypatch, MOON, "gpu.machines.moon = somebody:Moon")
    assert "moon" in providers.names("gpu.machines")


def test_the_folder_that_one_works_in_may_be_another_one(tmp_path, workspace, monkeypatch):
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    install(tmp_path / "with", monkeypatch, MOON, "gpu.machines.moon = somebody:Moon")
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(tmp_path / "with")])
    monkeypatch.syspath_prepend("")
    for name, found in (("without", False), ("with", True), ("without", False)):
        os.utime(tmp_path / name, ns=(1, 1))  # as of two that were made at one time
        monkeypatch.chdir(tmp_path / name)
        importlib.invalidate_caches()
        assert ("moon" in providers.names("gpu.machines")) is found


def test_two_packages_with_one_name_are_both_named(tmp_path, workspace, monkeypatch):
    for package in ("somebody", "anybody"):
        folder = tmp_path / package
        folder.mkdir()
        install(folder, monkeypatch, MOON, f"gpu.machines.moon = {package}:Moon", package=package)
    with pytest.raises(Conflict, match=r"anybody and somebody both bring gpu\.machines on moon"):
        providers.make("gpu.machines", "moon")


def test_a_contract_that_nobody_has_suggests_the_nearest():
    with pytest.raises(NotFound) as problem:
        providers.load("gpu.machine", "local")
    assert problem.value.fix == "did you mean gpu.machines?"


def test_the_settings_choose_by_contract_and_the_former_name_still_holds(third_party, workspace, monkeypatch):
    assert providers.chosen("gpu.machines") == "local"
    (workspace / "aiinfra.toml").write_text('[gpu]\nprovider = "moon"')
    assert providers.chosen("gpu.machines") == "moon"
    monkeypatch.setenv("AIINFRA_GPU_MACHINES", "local")
    assert providers.chosen("gpu.machines") == "local"


@pytest.mark.parametrize(
    ("lines", "name", "is_there"),
    [
        ("", "sqlite", False),
        ('url = "postgresql://localhost/lab"', "postgres", True),
        ('provider = "memory"', "memory", True),
        ('provider = "memory"\nurl = "memory://somewhere"', "memory", True),
        ('provider = "sqlite"\nurl = "postgresql://localhost/lab"', "sqlite", False),
    ],
)
def test_the_url_of_a_database_chooses_the_store_unless_a_provider_is_named(workspace, lines, name, is_there):
    (workspace / "aiinfra.toml").write_text(f"[store]\n{lines}")
    assert (providers.chosen("store"), has_store(settings())) == (name, is_there)
    (workspace / "aiinfra.toml").write_text("")  # nothing is to be opened there when the test has ended


class Slow:
    """Machines from a queue, which say how long it may take."""

    def __init__(self, within_s):
        self.within_s = within_s

    def ready_within_s(self):
        return self.within_s

    ended_within_s = ready_within_s


@pytest.mark.parametrize("within_s", [0, 90, 604_800.0])
def test_a_verb_waits_as_long_as_the_provider_says(within_s):
    assert Patience.of(Slow(within_s), "ready", 1.0).within_s == within_s


@pytest.mark.parametrize("state", ["ready", "ended"])
@pytest.mark.parametrize("within_s", [math.inf, math.nan, None, -1, "90", 1e300])
def test_a_time_that_nobody_can_wait_for_is_refused_at_once(state, within_s):
    with pytest.raises(Unavailable, match=f"Slow.*{state}_within_s") as problem:
        Patience.of(Slow(within_s), state, 1.0)
    assert "finite" in problem.value.fix


def test_who_states_a_time_that_nobody_can_wait_for_is_named(tmp_path, workspace, monkeypatch):
    code = MOON + "    def ready_within_s(self): return float('inf')\n    ended_within_s = ready_within_s"
    install(tmp_path, monkeypatch, code, "gpu.machines.moon = somebody:Moon")
    with pytest.raises(Unavailable, match=r"gpu\.machines on moon states inf in ready_within_s") as problem:
        Patience.of(providers.make("gpu.machines", "moon"), "ready", 1.0)
    assert "somebody" in problem.value.fix


@pytest.mark.parametrize("contract", sorted(providers.CONTRACTS))
def test_every_contract_has_a_protocol_a_default_that_exists_and_a_suite(contract):
    row = providers.CONTRACTS[contract]
    module, _, name = row.protocol.partition(":")
    assert getattr(getattr(importlib.import_module(module), name), "_is_protocol", False)
    assert row.default in ("", *providers.TABLE[contract])
