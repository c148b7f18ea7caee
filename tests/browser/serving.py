"""A real Jupyter server (or JupyterLab) as a process on a free port of this machine, with folders of its own."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
TOKEN = "t"
QUIET = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


@dataclass(frozen=True)
class Served:
    """A running server: `folder` holds its log and settings, `root` what it serves."""

    port: int
    process: subprocess.Popen[bytes]
    folder: Path
    root: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = TOKEN,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Status, JSON (or text) and headers of one request; the path is sent as it is. A body of bytes too."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        sent = {"Authorization": f"token {token}"} if token else {}
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, raw, {**sent, **(headers or {})})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text[:1] in ("{", "[") else text, answer.headers

    def stop(self) -> None:
        """End the server and the kernels it started."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def serve(module: str, folder: Path, root: Path, *options: str) -> Served:
    """Start `python -m MODULE` (jupyter_server or jupyterlab) and return when it answers.

    It is started elsewhere than in its root, so that only the root can tell it which workspace is meant.
    """
    environment = prepare(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", module, "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}"),
        *options,
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    served = Served(port, process, folder, root)
    try:
        until(lambda: answers(served), f"{module} does not answer, see {folder / 'server.log'}")
    except BaseException:
        served.stop()
        raise
    return served


def prepare(folder: Path) -> dict[str, str]:
    """Folders that know our extension exactly as an installation would, and nobody's own settings."""
    names = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "run"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIINFRA_")}
    # Before the environment's own: what is tested is the front end of this checkout.
    environment |= {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_PREFER_ENV_PATH": "0"}
    environment |= {f"JUPYTER_{name}": str(folder / place) for name, place in names.items()}
    environment |= {f"JUPYTERLAB_{name.upper()}_DIR": str(folder / name) for name in ("settings", "workspaces")}
    for place in ("config/labconfig", "config/jupyter_server_config.d", "data/labextensions", "run", "ipython"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / "config/labconfig/default_setting_overrides.json").write_text(json.dumps(QUIET))
    shipped = ROOT / "widgets/jupyter-config/server-config/aiinfra_lab.json"
    shutil.copy(shipped, folder / "config/jupyter_server_config.d")
    (folder / "data/labextensions/aiinfra-lab").symlink_to(ROOT / "aiinfra_lab/labextension")
    return environment


def answers(served: Served) -> bool:
    """Whether the server is up; an error when it has ended."""
    assert served.process.poll() is None, (served.folder / "server.log").read_text()[-3000:]
    try:
        return served.call("GET", "/api/status")[0] == 200
    except OSError:
        return False
