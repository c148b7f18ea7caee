"""Nothing phones home: the whole recipe, without the tests' own opt-outs, where every packet is heard."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FOLDERS, OPT_OUTS, end_survivors

RECORDER = Path(__file__).with_name("recorder.py")
UNSHARE = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
ASKS = """
import contextlib, socket
with contextlib.suppress(OSError):
    socket.getaddrinfo("telemetry.example", 443)
with contextlib.suppress(OSError):
    socket.create_connection(("192.0.2.1", 443), timeout=2)
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname())
"""


def can_listen() -> bool:
    if not (shutil.which("unshare") and shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_listen(), reason="no network namespaces here: unshare --net or ip does not work"),
]


def heard(folder: Path, *command: str) -> list[str]:
    """What a command wants from outside; it must succeed."""
    report = folder / "heard.json"
    env = {name: value for name, value in os.environ.items() if name not in OPT_OUTS}
    env["PATH"] += ":/usr/sbin:/sbin"
    listening = [*UNSHARE, sys.executable, str(RECORDER), str(report), *command]
    done = subprocess.run(listening, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return sorted(json.loads(report.read_text()))


def test_the_recorder_hears_names_and_addresses_but_not_this_machine(tmp_path: Path) -> None:
    found = heard(tmp_path, sys.executable, "-c", ASKS)
    assert {"dns telemetry.example", "tcp 192.0.2.1 443"} <= set(found)
    assert not [words for words in found if words.startswith("tcp 127.")]


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new workspace with the example's notebooks and recipe, as one makes it outside a checkout."""
    for name, folder in FOLDERS.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    home = tmp_path / "flights"
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(home))
    home.mkdir()
    monkeypatch.chdir(home)
    return home


def test_the_whole_recipe_asks_nobody_anything(example: Path) -> None:
    aiinfra = (sys.executable, "-m", "aiinfra_lab.cli")
    assert heard(example.parent, *aiinfra, "lab", "start", "--from", "example:flights") == []
    assert heard(example.parent, *aiinfra, "recipe", "run", "flight-delays", "--no-keep") == []
    assert end_survivors(example) == []
