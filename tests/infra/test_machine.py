"""What every GPU machine does first: `infra/machine.sh`, run here with stubs for the machine's own commands."""

import os
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "machine.sh"
EXPIRES_AT = "2099-01-31T18:00:00Z"
KEYS = "ssh-ed25519 AAAA me\nssh-ed25519 BBBB you"

STUB = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$(basename "$0")" in getent) echo "ubuntu:x:1:1::$HOUSE:/bin/sh" ;; esac
[ "$(basename "$0")" != "$BROKEN" ]
"""


def calls(folder: Path, *, broken: str = "", **changed: str) -> list[str]:
    """The machine's own commands that it gives, in their order. broken: the one that fails; changed: variables."""
    for name in ("shutdown", "systemctl", "nvidia-smi", "getent", "install"):
        stub = folder / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(STUB)
        stub.chmod(0o755)
    (folder / ".ssh").mkdir()
    given = {"expires_at": EXPIRES_AT, "mig": "", "user": "ubuntu", "ssh_keys": "", **changed}
    variables = "".join(f"{name}='{value}'\n" for name, value in given.items())
    env = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(folder / "calls"), "BROKEN": broken}
    env |= {"HOUSE": str(folder), "AIINFRA_UNITS": str(folder)}
    subprocess.run(["sh", "-c", variables + SCRIPT.read_text()], env=env, capture_output=True, check=False)
    return (folder / "calls").read_text().splitlines()


def test_the_deadline_is_armed_before_anything_else(tmp_path: Path) -> None:
    given = calls(tmp_path, mig="1g.5gb,1g.5gb", ssh_keys=KEYS)
    assert given[0].startswith("shutdown -h +")
    assert given[1:3] == ["systemctl daemon-reload", "systemctl enable --now aiinfra-deadline.timer"]
    assert given[-2:] == ["nvidia-smi -mig 1", "nvidia-smi mig -cgi 1g.5gb,1g.5gb -C"]
    assert (tmp_path / ".ssh" / "authorized_keys").read_text().splitlines() == KEYS.splitlines()


def test_the_shutdown_comes_at_the_deadline_and_not_before(tmp_path: Path) -> None:
    at = int(time.time()) + 3_590
    (first, *_) = calls(tmp_path, expires_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)))
    assert first in ("shutdown -h +60", "shutdown -h +59")


def test_the_timer_outlives_a_reboot_and_is_exact(tmp_path: Path) -> None:
    calls(tmp_path)
    timer = (tmp_path / "aiinfra-deadline.timer").read_text().splitlines()
    assert {"OnCalendar=2099-01-31 18:00:00 UTC", "AccuracySec=1s", "Persistent=true"} <= set(timer)
    assert "ExecStart=/usr/bin/env systemctl poweroff" in (tmp_path / "aiinfra-deadline.service").read_text()


@pytest.mark.parametrize("expires_at", ["2001-01-31T18:00:00Z", "never", ""])
def test_a_deadline_that_has_passed_or_cannot_be_read_ends_it_at_once(tmp_path: Path, expires_at: str) -> None:
    assert calls(tmp_path, expires_at=expires_at)[0] == "shutdown -h +0"


@pytest.mark.parametrize("broken", ["systemctl", "getent", "install", "nvidia-smi"])
def test_whatever_fails_later_the_deadline_is_armed(tmp_path: Path, broken: str) -> None:
    assert calls(tmp_path, mig="1g.5gb", ssh_keys=KEYS, broken=broken)[0].startswith("shutdown -h +")


def test_a_machine_without_slices_and_keys_only_ends(tmp_path: Path) -> None:
    assert [it.partition(" ")[0] for it in calls(tmp_path)] == ["shutdown", "systemctl", "systemctl"]
