"""A real Slurm of the tests' own on loopback: its daemons, and nodes on this machine whose GPUs are null devices."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_PROGRAMS = (
    "munged",
    "slurmctld",
    "slurmd",
    "sbatch",
    "srun",
    "squeue",
    "scancel",
    "sinfo",
    "scontrol",
    "mknod",
    "setpriv",
)
needs_slurm = pytest.mark.skipif(
    os.geteuid() != 0 or not all(shutil.which(name, path=_PATH) for name in _PROGRAMS),
    reason="needs root and Slurm: slurm-wlm, munge",
)

# Each with another kind of GPUs: whole ones, slices of one, and another type.
NODES = {"n1": {"a100": 2}, "n2": {"1g.10gb": 3}, "n3": {"h100": 1}}
_CONF = """
ClusterName=lab
SlurmctldHost={host}({address})
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge/sock
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
MailProg={true}
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1
KillWait=5
MessageTimeout=4
MinJobAge={remembers_s}
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
SlurmctldParameters=preempt_send_user_signal
EnforcePartLimits=ALL
{nodes}
PartitionName=gpu Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PreemptMode=OFF PriorityTier=2
PartitionName=big Nodes=n3 MaxTime=INFINITE State=UP PreemptMode=OFF PriorityTier=2
PartitionName=scavenge Nodes=n3 MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=short Nodes=n1 MaxTime=1 State=UP PreemptMode=OFF PriorityTier=2
PartitionName=closed Nodes=n1 AllowAccounts=physics State=UP PreemptMode=OFF PriorityTier=2
"""


def _free_ports(count: int) -> list[int]:
    """Below those that the system itself gives to whoever asks for any: one of these may be taken before it is used."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = range(20_000, low) if low > 21_000 else range(61_000, 65_000)
    return list(itertools.islice(filter(_is_free, random.sample(ports, 500)), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


class SlurmCluster:
    """One cluster. `conf` is its slurm.conf; a test may take its controller away, and bring it back."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.conf = folder, folder / "slurm.conf"
        self._host = socket.gethostname().partition(".")[0]
        self._port, *node_ports = _free_ports(1 + len(NODES))
        self._node_ports = dict(zip(NODES, node_ports, strict=True))
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        folder.chmod(0o755)  # munge wants its key's folders to be nobody else's to write
        for name in ("munge", "state", *(f"spool/{node}" for node in NODES)):
            (folder / name).mkdir(parents=True, mode=0o755)
        (folder / "munge" / "key").write_bytes(os.urandom(128))
        (folder / "munge" / "key").chmod(0o600)
        self.write(self.conf)
        (folder / "gres.conf").write_text("\n".join(self._gpus()))

    def write(self, conf: Path, address: str = "127.0.0.1", remembers_s: int = 300) -> None:
        """A slurm.conf for a machine that sees this one at that address."""
        nodes = [
            f"NodeName={name} NodeHostname={self._host} NodeAddr={address} Port={port} CPUs=4 RealMemory=1000"
            f" Gres={','.join(f'gpu:{kind}:{count}' for kind, count in NODES[name].items())}"
            for name, port in self._node_ports.items()
        ]
        values = {"host": self._host, "address": address, "folder": self.folder, "port": self._port}
        text = _CONF.format(**values, true=shutil.which("true"), nodes="\n".join(nodes), remembers_s=remembers_s)
        conf.write_text(text)

    @property
    def env(self) -> dict[str, str]:
        # Its daemons are no test's, whose processes end with it.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIINFRA_")}
        return {**kept, "PATH": _PATH, "SLURM_CONF": str(self.conf)}

    def run(self, *command: str) -> str:
        """What a command prints; it must succeed."""
        done = subprocess.run(command, env=self.env, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout.strip()

    def start(self) -> None:
        munge = self.folder / "munge"
        files = {"key-file": "key", "socket": "sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._start("munged", "-F", *(f"--{option}={munge / name}" for option, name in files.items()))
        self._until((munge / "sock").exists)
        self.start_controller()
        for name in NODES:
            self._start("slurmd", "-D", "-N", name, called=name)
        self._until(self.is_idle)

    def start_controller(self) -> None:
        self._start("slurmctld", "-D")

    def stop_controller(self) -> None:
        self._stop("slurmctld")

    def is_idle(self) -> bool:
        """Whether every node is up and has nothing to do."""
        return self._node_states() == {"idle"}

    def is_up(self) -> bool:
        """Whether the controller has heard of every node."""
        return bool(self._node_states()) and self._node_states() <= {"idle", "mix", "alloc"}

    def _node_states(self) -> set[str]:
        ask = ["sinfo", "-h", "-N", "-o", "%t"]
        return set(subprocess.run(ask, env=self.env, text=True, capture_output=True, check=False).stdout.split())

    def clear(self) -> None:
        """End every job, and wait until it is gone."""
        subprocess.run(["scancel", "--user=root"], env=self.env, check=False)
        for name in NODES:
            resume = ["scontrol", "update", f"nodename={name}", "state=resume"]  # refused where it is up
            subprocess.run(resume, env=self.env, capture_output=True, check=False)
        self._until(self.is_idle)

    def end(self) -> None:
        with contextlib.suppress(AssertionError):
            self.clear()
        for name in [*NODES, "slurmctld", "munged"]:
            self._stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, program: str, *words: str, called: str = "") -> None:
        called = called or program
        log = (self.folder / f"{called}.log").open("ab")
        path = shutil.which(program, path=_PATH)
        assert path
        # They end with this process, also when that is killed.
        self._daemons[called] = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", path, *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _stop(self, called: str) -> None:
        if daemon := self._daemons.pop(called, None):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _until(self, ready: Callable[[], bool]) -> None:
        until = time.monotonic() + 60
        while not ready():
            assert time.monotonic() < until, self._logs()
            assert all(each.poll() is None for each in self._daemons.values()), self._logs()
            time.sleep(0.1)

    def _logs(self) -> str:
        return "\n".join(
            f"{log.name}: {log.read_text('utf-8', 'replace')[-1500:]}" for log in self.folder.glob("*.log")
        )

    def _gpus(self) -> Iterator[str]:
        """The lines of gres.conf. Slurm wants device nodes: these are copies of the null device."""
        for node, kinds in NODES.items():
            for kind, count in kinds.items():
                devices = [self.folder / f"{node}-{kind}-{number}" for number in range(count)]
                for device in devices:
                    subprocess.run(["mknod", str(device), "c", "1", "3"], check=True)
                yield f"NodeName={node} Name=gpu Type={kind} File={','.join(map(str, devices))}"


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A cluster for all tests of this process; each ends its jobs by `SlurmCluster.clear`."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a short path: a socket lies in it
    cluster = SlurmCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
