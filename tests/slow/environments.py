"""Environments of peers that cannot share ours: each is made from its constraints when it is not there."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))


def python_of(name: str) -> str:
    """The interpreter of that environment."""
    place = ROOT / ".venvs" / name
    found = place / "bin" / "python"
    if not found.exists():
        run(UV, "venv", "--quiet", "--python", sys.executable, str(place))
    run(UV, "pip", "install", "--quiet", "--python", str(found), "-r", str(ROOT / "constraints" / f"{name}.txt"))
    return str(found)


def packages_of(name: str) -> Path:
    """A folder of packages that are to be imported beside ours: its constraints name all that we lack."""
    place, wanted = ROOT / ".venvs" / name, str(ROOT / "constraints" / f"{name}.txt")
    run(UV, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(place), "-r", wanted)
    return place


def run(*command: str, given: str | None = None) -> str:
    """What a program prints that ends well. given: its input."""
    done = subprocess.run(command, text=True, capture_output=True, check=False, input=given)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
