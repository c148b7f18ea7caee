"""Somebody who has only the wheel, in an environment of his own, has the same first hour."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import FOLDERS, end_survivors

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    into = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--quiet", "--wheel", "--out-dir", str(into), str(ROOT))
    return next(into.glob("*.whl"))


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment, outside the checkout, that holds the wheel."""
    venv = tmp_path_factory.mktemp("elsewhere") / "venv"
    run(UV, "venv", "--quiet", "--python", sys.executable, str(venv))
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    run(UV, "pip", "install", "--quiet", "--python", str(venv / "bin" / "python"), *constraints, str(wheel))
    return venv / "bin"


@pytest.fixture
def person(elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of somebody who has activated that environment, whose warm pool ends afterwards."""
    monkeypatch.setenv("PATH", f"{elsewhere}:/usr/bin:/bin")
    for name in ("VIRTUAL_ENV", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in FOLDERS.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    run(str(elsewhere / "python"), "-m", "aiinfra_lab.pool", "stop")


def run(*command: str) -> str:
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


def test_the_wheel_holds_the_front_end_and_the_example_and_nothing_of_the_workshop_floor(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shared = [name.partition(".data/data/")[2] for name in names if ".data/data/" in name]
    assert "share/jupyter/labextensions/aiinfra-lab/package.json" in shared
    assert "share/jupyter/labextensions/aiinfra-lab/install.json" in shared
    assert "etc/jupyter/jupyter_server_config.d/aiinfra_lab.json" in shared
    assert "aiinfra_lab/examples/flights/notebooks/00-tour.ipynb" in names
    assert "aiinfra_lab/examples/flights/recipes/flight-delays.toml" in names
    assert [name for name in names if name.endswith("/machine.sh")]
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"aiinfra_lab", *(top for top in tops if top.startswith("aiinfra_lab-0"))}


def test_jupyter_finds_both_halves(person: Path) -> None:
    assert "aiinfra-lab v" in run("jupyter", "labextension", "list")
    assert "aiinfra_lab" in run("jupyter", "server", "extension", "list")


def test_a_new_workspace_runs_the_recipe(person: Path) -> None:
    home = person / "flights"
    run("aiinfra", "lab", "start", str(home), "--from", "example:flights")
    os.chdir(home)
    assert (home / "notebooks" / "00-tour.ipynb").is_file()
    run("aiinfra", "recipe", "run", "flight-delays", "--no-keep")
    newest = json.loads(run("aiinfra", "recipe", "show", "flight-delays@1", "--json").splitlines()[-1])
    assert newest["state"] == "done"
    assert {step["state"] for step in newest["steps"].values()} == {"done"}
    assert end_survivors(home) == []


def test_a_build_without_the_front_end_says_what_to_do(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(ROOT, bare, ignore=shutil.ignore_patterns(".*", "node_modules", "labextension", "build", "tests"))
    done = subprocess.run(
        [UV, "build", "--wheel", "--out-dir", str(tmp_path / "dist"), str(bare)],
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert "run `make front`" in done.stderr
    assert not list((tmp_path / "dist").glob("*.whl"))
