"""The machines behind the instances of EC2 on loopback: each a host in namespaces, with a disk and an sshd of its own.

What cloud-init and the firmware do is played here: a machine boots with host keys of its image, runs its user data,
and what it does by itself, a shutdown, is what its cloud is told. Its network is not needed for that.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.fakes.ec2 import Ec2
from tests.hosts import Host
from tests.sshd import _SSHD as SSHD

_LOOK_S = 0.05
_MORE = ("etc", "root", "run", "usr/local/sbin", "var/log")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# All that a machine writes stays in its own memory, and what is there already is seen through it.
_DISK = """set -e
mount -t tmpfs tmpfs "$1/disk"
for name in $2; do
    mkdir -p "$1/disk/$name/new" "$1/disk/$name/work" "/$name"
    mount -t overlay overlay -o "lowerdir=/$name,upperdir=$1/disk/$name/new,workdir=$1/disk/$name/work" "/$name"
done
mkdir -p /run/sshd ~root/.ssh
rm -f ~root/.ssh/authorized_keys /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
cp "$1"/sbin/* /usr/local/sbin/
"""
# One plan at a time, as systemd has it.
_SHUTDOWN = """#!/bin/sh
[ ! -f /run/plan ] || kill "$(cat /run/plan)" 2>/dev/null
case "$1 $2" in
"-h now" | "-h +0") echo "shutdown $*" >{power} ;;
"-h +"*)
    setsid sh -c "sleep $((${{2#+}} * 60)); echo 'shutdown $*' >{power}" >/dev/null 2>&1 </dev/null &
    echo $! >/run/plan
    ;;
esac
"""
_SYSTEMCTL = """#!/bin/sh
units=/etc/systemd/system
case "$1 $2" in
"poweroff ") echo "systemctl poweroff" >{power} ;;
"restart aiinfra-deadline.timer")
    [ ! -f /run/timer ] || kill "$(cat /run/timer)" 2>/dev/null
    at=$(date -d "$(sed -n 's/^OnCalendar=//p' $units/aiinfra-deadline.timer)" +%s)
    does=$(sed -n 's/^ExecStart=//p' $units/aiinfra-deadline.service)
    setsid sh -c "sleep $((at - $(date +%s))); $does" >/dev/null 2>&1 </dev/null &
    echo $! >/run/timer
    ;;
"restart ssh")
    # Until it is gone, as systemd waits: a listener that is there still keeps the next one from its port.
    if [ -f /run/sshd.pid ]; then
        old=$(cat /run/sshd.pid)
        kill "$old"
        while grep -q . "/proc/$old/cmdline" 2>/dev/null; do sleep 0.02; done
    fi
    {sshd} -f /dev/null -o PidFile=/run/sshd.pid -o UsePAM=no -o PermitRootLogin=prohibit-password \\
        -o AuthorizedKeysFile=%h/.ssh/authorized_keys -o StrictModes=no {options}
    ;;
esac
"""


class Machine(Host):
    """See `Host`. power: a file that is there once something on the machine has switched it off."""

    def __init__(self, number: int, folder: Path) -> None:
        super().__init__(number, folder)
        self.power = folder / "power"
        self._cloud_init: subprocess.Popen[bytes] | None = None

    def boot(self, user_data: str, metadata_url: str) -> None:
        """Have sshd listen and the user data run, which goes on. metadata_url: as processes that ssh starts know it."""
        options = f"-o SetEnv=AWS_EC2_METADATA_SERVICE_ENDPOINT={metadata_url}"
        for name in ("disk", "sbin"):
            (self.folder / name).mkdir()
        for name, text in {"shutdown": _SHUTDOWN, "systemctl": _SYSTEMCTL}.items():
            (self.folder / "sbin" / name).write_text(text.format(power=self.power, sshd=SSHD, options=options))
            (self.folder / "sbin" / name).chmod(0o755)
        (self.folder / "user-data").write_text(user_data)
        self.run("sh", "-c", _DISK, "disk", str(self.folder), " ".join(_MORE))
        self.run("systemctl", "restart", "ssh", PATH=_PATH)
        enter = ["nsenter", "-t", self._init, "--net", "--uts", "--mount", "--pid", "--"]
        script = f"sh {self.folder}/user-data >/var/log/cloud-init-output.log 2>&1"
        self._cloud_init = subprocess.Popen([*enter, "sh", "-c", script], env={"PATH": _PATH})

    def remove(self) -> None:
        super().remove()
        if self._cloud_init is not None:
            self._cloud_init.wait()


class Plane:
    """Machines come and go as their cloud says, between `with` and its end.

    config: the ssh configuration in which their public addresses lead to them, as in `[gpu] aws_ssh_config`
    """

    def __init__(self, ec2: Ec2, folder: Path) -> None:
        self.ec2, self._folder = ec2, folder
        folder.mkdir()
        self.config = folder / "ssh_config"
        self._known: list[str] = []
        self._lead()
        self.problems: list[BaseException] = []
        self._machines: dict[str, Machine] = {}
        self._numbers = iter(range(1, 100))
        self._closing = threading.Event()
        self._stack = contextlib.ExitStack()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Plane:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        for machine in self._machines.values():
            machine.remove()
        self._stack.close()
        assert self.problems == []

    def machine(self, instance_id: str) -> Machine | None:
        """The one that has that id, once it has begun to boot; None when there is none, or none any more."""
        return self._machines.get(instance_id)

    def _watch(self) -> None:
        while not self._closing.wait(_LOOK_S):
            try:
                self._look()
            except Exception as problem:  # noqa: BLE001  # told to the test when it ends
                self.problems.append(problem)
                return

    def _look(self) -> None:
        living = self.ec2.living()
        for name in [name for name in self._machines if name not in living]:
            self._machines.pop(name).remove()
        for name, machine in self._machines.items():
            if machine.power.exists():
                self.ec2.shut_down(name)
        for name, instance in living.items():
            if instance.state == "running" and name not in self._machines:
                self._boot(name, instance)

    def _boot(self, name: str, instance: Any) -> None:
        machine = self._machines[name] = Machine(next(self._numbers), self._folder / name)
        imds = self._stack.enter_context(self.ec2.imds(name, host=machine.gateway))
        machine.boot(instance.user_data.decode(), imds.url)
        self._lead(str(instance.public_ip), machine.address)

    def _lead(self, *addresses: str) -> None:
        """Write down where an address leads to. Nothing else is tried: it may be somebody's."""
        if addresses:
            self._known.append("Host {}\n HostName {}\n ProxyCommand none\n".format(*addresses))
        aside = self.config.with_suffix(".new")
        aside.write_text("".join([*self._known, "Host *\n ProxyCommand false\n"]))
        aside.replace(self.config)
