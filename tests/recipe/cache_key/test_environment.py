"""What a notebook runs with: its kernel's interpreter and packages, and this machine's accelerator."""

import json
import os
import platform
import sys
from pathlib import Path

import pytest

from aiinfra_lab.recipe.cache_key import changed_packages, environment_of
from aiinfra_lab.recipe.cache_key.environment import StepEnvironment, own_packages
from aiinfra_lab.recipe.notebook import Notebook


def of(kernel: str) -> StepEnvironment:
    return environment_of(Notebook(Path("a.ipynb"), (), kernel))


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """`kernels("mine", "python", "-m", "x")` installs a kernel of that name and command."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))

    def install(name: str, *argv: str, **more: object) -> None:
        folder = tmp_path / "jupyter" / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps({"argv": list(argv), **more}))

    return install


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """`installed("name-1.0")` installs something here that has no code."""
    monkeypatch.syspath_prepend(tmp_path / "more")
    (tmp_path / "more").mkdir()
    return lambda name: (tmp_path / "more" / f"{name}.dist-info").mkdir()


def test_it_is_that_of_this_process_for_a_kernel_of_this_environment():
    own = of("python3")
    assert (own.python, own.packages) == (platform.python_version(), own_packages())
    assert any(line.startswith("torch 2.") for line in own.packages)
    assert of("") == own


def test_the_name_of_a_kernel_does_not_count(kernels):
    kernels("mine", sys.executable, "-m", "ipykernel_launcher")
    kernels("short", "python", "-m", "ipykernel_launcher")
    assert of("mine") == of("short") == of("python3")


def test_the_kernels_own_environment_counts_and_its_values_are_not_kept(kernels):
    for mode in ("one", "two"):
        kernels(mode, "python", "-m", "ipykernel_launcher", env={"MODE": mode})
    assert list(of("one").variables) == ["MODE"]
    assert of("one") != of("two")
    assert "one" not in of("one").variables.values()
    kernels("broken", "python", "-m", "ipykernel_launcher", env=3)
    assert of("broken").python == "broken", "Jupyter does not start it"


def test_another_interpreter_has_packages_of_its_own(kernels, tmp_path):
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "lib" / "python3.12" / "site-packages" / "numpy-2.1.0.dist-info").mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.12.4\n")
    kernels("other", str(tmp_path / "env" / "bin" / "python"), "-m", "ipykernel_launcher")
    assert (of("other").python, of("other").packages) == ("3.12.4", ("numpy 2.1.0",))


def test_a_kernel_of_another_language_counts_by_its_command(kernels):
    kernels("julia", "/usr/bin/julia", "--project", "kernel.jl")
    assert of("julia").python == "/usr/bin/julia --project kernel.jl"


def test_a_kernel_that_is_not_installed_counts_by_its_name():
    assert of("nothing-of-that-name").python == "nothing-of-that-name"


def test_what_changed_among_the_packages_is_named(workspace, installed):
    before = of("python3")
    before.keep()
    installed("added_one-1.0")
    after = of("python3")
    assert after.digest != before.digest
    assert changed_packages(before.digest, after.packages) == ["added_one new → 1.0"]
    after.keep()
    assert changed_packages(after.digest, before.packages) == ["added_one 1.0 → gone"]


def test_packages_that_were_never_written_down_are_not_named(workspace):
    assert changed_packages("0" * 64, own_packages()) == []


def test_where_nothing_may_be_written_nothing_is(workspace):
    (workspace / ".aiinfra").mkdir(exist_ok=True)
    (workspace / ".aiinfra" / "recipe").write_text("no folder")
    of("python3").keep()
    assert (workspace / ".aiinfra" / "recipe").read_text() == "no folder"


def test_what_is_installed_or_removed_meanwhile_counts(kernels, tmp_path):
    (tmp_path / "env" / "bin").mkdir(parents=True)
    kernels("other", str(tmp_path / "env" / "bin" / "python"))
    places = tmp_path / "env" / "lib" / "python3.12" / "site-packages"
    (places / "numpy-2.1.0.dist-info").mkdir(parents=True)
    os.utime(places, ns=(0, 0))  # long ago, so that it is kept in mind
    assert of("other").packages == of("other").packages == ("numpy 2.1.0",)
    (places / "scipy-1.0.dist-info").mkdir()
    assert of("other").packages == ("numpy 2.1.0", "scipy 1.0")
    (places / "numpy-2.1.0.dist-info").rmdir()  # within the same moment, perhaps
    assert of("other").packages == ("scipy 1.0",)
