"""What every GPU machine does first: `infra/machine.sh`, run with stubs for the machine's own commands, in a folder
that stands for its disk."""

import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "machine.sh"
EXPIRES_AT = "2099-01-31T18:00:00Z"
KEYS = "ssh-ed25519 AAAA me\nssh-ed25519 BBBB you"

STUB = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$(basename "$0")" in getent) echo "ubuntu:x:1:1::$HOUSE:/bin/sh" ;; id) echo "${USER_ID:-0}" ;; esac
[ "$(basename "$0")" != "$BROKEN" ]
"""
STUBS = ("shutdown", "systemctl", "nvidia-smi", "getent", "install", "sudo", "id", "apt-get", "python3")
DISK = (".ssh", "etc/ssh", "etc/systemd/system", "run", "usr/local/sbin")


def machine(folder: Path, *, broken: str = "") -> dict[str, str]:
    """The environment in which commands are those of a machine whose disk is that folder."""
    for name in STUBS:
        stub = folder / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(STUB)
        stub.chmod(0o755)
    for name in DISK:
        (folder / name).mkdir(parents=True)
    return environment(folder, broken)


def environment(folder: Path, broken: str = "") -> dict[str, str]:
    """The same on a machine that has run already."""
    env = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(folder / "calls"), "BROKEN": broken}
    return {**env, "HOUSE": str(folder), "AIINFRA_ROOT": str(folder)}


def given(folder: Path) -> list[str]:
    """The machine's own commands that were given, in their order."""
    lines = (folder / "calls").read_text().splitlines()
    return [line for line in lines if not line.startswith("id ")]


def calls(folder: Path, *, broken: str = "", **changed: str) -> list[str]:
    """What a machine does. broken: the command that fails; changed: variables."""
    env = machine(folder, broken=broken)
    named = {"expires_at": EXPIRES_AT, "mig": "", "user": "ubuntu", "ssh_keys": "", **changed}
    variables = "".join(f"{name}='{value}'\n" for name, value in named.items())
    subprocess.run(["sh", "-c", variables + SCRIPT.read_text()], env=env, capture_output=True, check=False)
    return given(folder)


TIMER = [
    "systemctl daemon-reload",
    "systemctl enable aiinfra-deadline.timer",
    "systemctl restart aiinfra-deadline.timer",
]


def test_the_deadline_is_armed_before_anything_else(tmp_path: Path) -> None:
    did = calls(tmp_path, mig="1g.5gb,1g.5gb", ssh_keys=KEYS)
    assert did[0].startswith("shutdown -h +")
    assert did[1:5] == [did[0], *TIMER]
    assert did[-2:] == ["nvidia-smi -mig 1", "nvidia-smi mig -cgi 1g.5gb,1g.5gb -C"]
    assert (tmp_path / ".ssh" / "authorized_keys").read_text().splitlines() == KEYS.splitlines()


def test_the_shutdown_comes_at_the_deadline_and_not_before(tmp_path: Path) -> None:
    at = int(time.time()) + 3_590
    (first, *_) = calls(tmp_path, expires_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)))
    assert first in ("shutdown -h +60", "shutdown -h +59")


def test_the_timer_outlives_a_reboot_and_is_exact(tmp_path: Path) -> None:
    calls(tmp_path)
    units = tmp_path / "etc" / "systemd" / "system"
    timer = (units / "aiinfra-deadline.timer").read_text().splitlines()
    assert {"OnCalendar=2099-01-31 18:00:00 UTC", "AccuracySec=1s", "Persistent=true"} <= set(timer)
    assert "ExecStart=/usr/bin/env systemctl poweroff" in (units / "aiinfra-deadline.service").read_text()


def text(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


@pytest.mark.parametrize("ahead_s", [0, 7200, -7200])
def test_whoever_rents_it_by_a_clock_that_is_wrong_has_it_for_as_long(tmp_path: Path, ahead_s: int) -> None:
    first, *_ = calls(tmp_path, expires_at=text(time.time() + 3_590 + ahead_s), lasts_s="3590")
    assert first in ("shutdown -h +60", "shutdown -h +59")
    timer = (tmp_path / "etc" / "systemd" / "system" / "aiinfra-deadline.timer").read_text()
    assert 3_570 <= float(timer.partition("OnActiveSec=")[2].partition("\n")[0]) <= 3_591


def test_what_was_asked_for_again_late_ends_with_the_first_request(tmp_path: Path) -> None:
    first, *_ = calls(tmp_path, expires_at=text(time.time() + 600), lasts_s="3600")
    assert first in ("shutdown -h +10", "shutdown -h +9")


@pytest.mark.parametrize("expires_at", ["2001-01-31T18:00:00Z", "never", ""])
def test_a_deadline_that_has_passed_or_cannot_be_read_ends_it_at_once(tmp_path: Path, expires_at: str) -> None:
    assert calls(tmp_path, expires_at=expires_at)[0] == "shutdown -h +0"


@pytest.mark.parametrize("broken", ["systemctl", "getent", "install", "nvidia-smi"])
def test_whatever_fails_later_the_deadline_is_armed(tmp_path: Path, broken: str) -> None:
    assert calls(tmp_path, mig="1g.5gb", ssh_keys=KEYS, broken=broken)[0].startswith("shutdown -h +")


def test_a_machine_without_slices_and_keys_only_ends(tmp_path: Path) -> None:
    first, again, *others = calls(tmp_path)
    assert (first, others) == (again, TIMER)


@pytest.mark.parametrize(("broken", "code"), [("", "0"), ("nvidia-smi", "1")])
def test_it_says_how_its_setup_went(tmp_path: Path, broken: str, code: str) -> None:
    calls(tmp_path, mig="1g.5gb", broken=broken)
    assert (tmp_path / "run" / "aiinfra-machine").read_text() == f"{code}\n"


def test_ssh_knows_it_by_the_key_that_came_with_it(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    did = calls(tmp_path, host_key=(tmp_path / "key").read_text().rstrip())
    assert did[-1] == "systemctl restart ssh"
    key = tmp_path / "etc" / "ssh" / "ssh_host_ed25519_key"
    assert key.read_text() == (tmp_path / "key").read_text()
    assert key.stat().st_mode & 0o777 == 0o600
    public = [path.read_text().split()[1] for path in (tmp_path / "key.pub", key.with_suffix(".pub"))]
    assert public[0] == public[1]


# ---- the command that moves the deadline ----


def moved(folder: Path, *words: str, **env: str) -> list[str]:
    """What `aiinfra-deadline` does on a machine that has it."""
    (folder / "calls").write_text("")
    command = [str(folder / "usr" / "local" / "sbin" / "aiinfra-deadline"), *words]
    subprocess.run(command, env={**environment(folder), **env}, capture_output=True, check=False)
    return given(folder)


def test_the_deadline_is_moved_in_both_directions(tmp_path: Path) -> None:
    calls(tmp_path)
    for seconds, minutes in (("7200", 120), ("90.0", 2)):
        assert moved(tmp_path, seconds) == [f"shutdown -h +{minutes}", *TIMER]
        timer = (tmp_path / "etc" / "systemd" / "system" / "aiinfra-deadline.timer").read_text()
        assert f"OnActiveSec={float(seconds):.0f}\n" in timer
        at = datetime.fromisoformat(timer.partition("OnCalendar=")[2][:19]).replace(tzinfo=UTC).timestamp()
        assert abs(at - time.time() - float(seconds)) < 5


@pytest.mark.parametrize("seconds", ["0", "-3"])
def test_no_time_left_is_the_end(tmp_path: Path, seconds: str) -> None:
    calls(tmp_path)
    assert moved(tmp_path, seconds) == ["shutdown -h now"]


def test_without_systemd_the_minute_is_kept(tmp_path: Path) -> None:
    calls(tmp_path)
    assert moved(tmp_path, "61", BROKEN="systemctl")[0] == "shutdown -h +2"


def test_a_shutdown_that_is_planned_and_refuses_another_is_taken_back(tmp_path: Path) -> None:
    calls(tmp_path)
    assert moved(tmp_path, "60", BROKEN="shutdown")[:2] == ["shutdown -h +1", "shutdown -c"]


def test_who_is_not_root_asks_sudo(tmp_path: Path) -> None:
    calls(tmp_path)
    (did,) = moved(tmp_path, "0", USER_ID="1000")
    assert did.startswith(f"sudo -n {tmp_path}/usr/local/sbin/aiinfra-deadline @")
