"""The batch script of a session is what is sent, and a real Slurm makes the same job of it."""

import re
import shlex
import subprocess
import sys
import time

import pytest

from aiinfra_lab import gpu
from aiinfra_lab.config import settings
from aiinfra_lab.errors import NotFound
from aiinfra_lab.gpu.exports import FORMS
from aiinfra_lab.gpu.exports.spec import spec_of
from aiinfra_lab.gpu.slurm import SlurmMachines
from aiinfra_lab.gpu.starting import SessionRequest
from tests.slurm import needs_slurm, slurm_cluster

__all__ = ["slurm_cluster"]
pytestmark = needs_slurm
# What a scheduler knows of a job, but for its number, its times and its directory.
SAME = ("JobName", "Comment", "Partition", "TimeLimit", "NumNodes", "NumTasks", "TresPerNode", "Requeue", "StdOut")


@pytest.fixture
def cluster(slurm_cluster, workspace, tmp_path, monkeypatch):
    """A cluster without jobs."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_cluster.conf))
    monkeypatch.setenv("HOME", str(tmp_path))
    (workspace / "aiinfra.toml").write_text(f'[gpu]\nslurm_python = "{sys.executable}"\n')
    yield slurm_cluster
    slurm_cluster.clear()


def job(cluster, number: str) -> dict[str, str]:
    text = cluster.run("scontrol", "show", "job", number)
    return {name: value for name, value in re.findall(r"(\w+)=(\S*)", text) if name in SAME}


def test_the_script_is_the_job_that_a_launch_asks_for(cluster, tmp_path):
    request = SessionRequest("trainer", "A100", False, 1800.0, None, None)
    spec, provider = spec_of(request, ["slurm"])
    done = FORMS["sbatch"].render(spec, provider, settings())
    (tmp_path / "job.sh").write_text(done.text)
    live = job(cluster, SlurmMachines(settings()).launch(spec))
    cluster.clear()
    given = job(cluster, cluster.run("sbatch", "--parsable", str(tmp_path / "job.sh")).strip())
    assert given == live
    assert {"JobName", "Comment", "Partition", "TimeLimit"} <= live.keys()


def test_slurm_takes_what_is_written(cluster, tmp_path):
    done = gpu.export("trainer", to="sbatch", gpu="A100", for_="30m", into=tmp_path / "out")
    folder = (tmp_path / "out" / done.file).parent
    begun = time.monotonic()
    checked = subprocess.run(shlex.split(done.use), cwd=folder, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert re.search(r"Job \d+ to start", checked.stderr)
    assert time.monotonic() - begun < 60
    assert cluster.run("squeue", "--noheader") == ""


def test_an_accelerator_that_nobody_knows_is_no_script(cluster):
    with pytest.raises(NotFound, match="there is no accelerator 'A10H'"):
        gpu.export("trainer", to="sbatch", gpu="A10H")
