"""Where Triton is: an environment of its own, since its packages cannot live beside ours. It is never imported here.

The package nvidia-pytriton is taken for the server that its wheel ships, with the Python backend and nothing else.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ...config import Settings
from ...errors import Missing

SETTING = "deploy.triton_env"
PACKAGES = ("nvidia-pytriton==0.7.0", "onnxruntime==1.32.0")
"""What has to be installed there; `constraints/triton.txt` has all that comes with it."""
_ASK = "import sys, sysconfig; print(sysconfig.get_config_var('LIBDIR'), '%d.%d' % sys.version_info[:2])"
# They would have Triton's Python find our packages.
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Installation:
    """One that is complete. packages: where Python's packages are in it."""

    folder: Path
    packages: Path

    @property
    def server(self) -> Path:
        """The program."""
        return self.packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    def backends(self, into: Path) -> None:
        """Make a folder of backends, with the one that runs Python as this environment has it."""
        files, place = self.packages / "pytriton" / "tritonserver", into / "python"
        place.mkdir(parents=True, exist_ok=True)
        stub = files / "python_backend_stubs" / self._python()[1] / "triton_python_backend_stub"
        for path in (*(files / "backends" / "python").iterdir(), stub):
            if not (link := place / path.name).is_symlink():
                link.symlink_to(path)

    def environment(self) -> dict[str, str]:
        """The variables that it is started with."""
        libraries = [self._python()[0], str(self.packages / "nvidia_pytriton.libs"), os.environ.get("LD_LIBRARY_PATH")]
        kept = {name: value for name, value in os.environ.items() if name not in _OURS}
        return {
            **kept,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            # The interpreter's own library first: with the one that the wheel ships, every model fails.
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        }

    def _python(self) -> tuple[str, str]:
        """Where the interpreter's library is, and its version."""
        asked = subprocess.run([self.folder / "bin" / "python", "-c", _ASK], capture_output=True, text=True, check=True)
        library, version = asked.stdout.split()
        return library, version


def place(where: Settings) -> Path:
    """Where the settings say that it is."""
    return Path(where.get("deploy.triton_env", "") or where.project / ".venvs" / "triton").absolute()


def find(folder: Path) -> Installation:
    """The installation there. Missing, with the commands that make it, when there is none."""
    found = next((Installation(folder, path) for path in sorted(folder.glob("lib/python3*/site-packages"))), None)
    if found is None or not found.server.is_file() or not (found.packages / "onnxruntime").is_dir():
        quoted = shlex.quote(str(folder))
        raise Missing(
            f"Triton needs an environment of its own, and {folder} is none",
            f"python3 -m venv {quoted} && {quoted}/bin/pip install {' '.join(PACKAGES)}",
        )
    return found
