"""A kernel for whoever has never heard of sessions: each kernel manager gets a session that nobody else is in.

It stands in for `python3` where suites of others are run. What they start has to be fresh, so a session that somebody
was in before gets a new kernel.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from jupyter_client.connect import KernelConnectionInfo

from aiinfra_lab.files import is_locked, take_lock
from aiinfra_lab.kernels.client import send_code
from aiinfra_lab.kernels.provisioner import SessionProvisioner

ENVIRONMENT_S = 10.0


class FreshSession(SessionProvisioner):
    """See `SessionProvisioner`, which attaches to a session that is there already."""

    _taken: IO[bytes] | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        if self._taken is None:
            self._take()
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        info = await super().launch_kernel(cmd, **kwargs)
        # A session has the environment of whoever started it; suites hand things over by that of each kernel.
        given = {name: value for name, value in os.environ.items() if name.startswith(("NBEXECUTE", "IPYKERNEL"))}
        send_code(self.kept, f"__import__('os').environ.update({given!r})", ENVIRONMENT_S)
        return info

    async def cleanup(self, restart: bool = False) -> None:
        await super().cleanup(restart)
        if self._taken is not None and not restart:
            self._taken.close()
            self._taken = None

    def _take(self) -> None:
        self.workspace = os.environ["AIINFRA_WORKSPACE"]
        folder = Path(self.workspace, "fresh")
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            self._taken = None if is_locked(path) else take_lock(path)
            if self._taken is not None:
                self.uri, self._restart = f"gpu:{path.name}", "due"
                self._incarnation = self.kept.state().incarnation
                return
        name = f"fresh-{secrets.token_hex(4)}"
        self._taken, self.uri = take_lock(folder / name), f"gpu:{name}"
        # By a process of its own: suites fork processes in which a store that is open here would not work.
        subprocess.run([sys.executable, "-m", "aiinfra_lab.cli", "gpu", "start", name], check=True, capture_output=True)


def install(folder: Path) -> None:
    """Put it in place of `python3` for whoever has the folder in PYTHONPATH, and in JUPYTER_PATH."""
    distribution = folder / "fresh_session-1.dist-info"
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: fresh-session\nVersion: 1\n")
    (distribution / "entry_points.txt").write_text(
        f"[jupyter_client.kernel_provisioners]\nfresh-session = fresh_session:{FreshSession.__name__}\n"
    )
    shutil.copy(__file__, folder / "fresh_session.py")  # a suite has a package `tests` of its own
    spec = {
        "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        "interrupt_mode": "signal",
        "metadata": {"debugger": True, "kernel_provisioner": {"provisioner_name": "fresh-session"}},
    }
    (folder / "kernels" / "python3").mkdir(parents=True)
    (folder / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
