import os
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiinfra_lab import gpu, jobs, kernels
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Denied, Failed, NotFound, StoreUnavailable, Unavailable
from aiinfra_lab.gpu import AcceleratorUse, Offer
from aiinfra_lab.gpu.keeping import read_offer
from aiinfra_lab.gpu.local import LocalMachines
from aiinfra_lab.jobs import process
from aiinfra_lab.store import open_store, update
from aiinfra_lab.testing.gpu import KernelHostContract, MachinesContract
from tests.conftest import end, end_supervisor, no_supervisor, until


@pytest.fixture
def machines(workspace: Path) -> LocalMachines:
    return LocalMachines(settings())


class TestLocal(MachinesContract, KernelHostContract):
    pass


@pytest.fixture
def two_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's program as it answers on a machine with two accelerators; nothing else of them is here."""
    folder = tmp_path / "bin"
    folder.mkdir()
    lines = "GPU-1, NVIDIA A10G, 23028\nGPU-2, NVIDIA A100-SXM4-80GB, 81920\n"
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '%s' '{lines}'\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_without_a_driver_there_is_the_processor(machines, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert [offer.gpu for offer in machines.offers()] == ["cpu"]


def test_a_driver_that_fails_is_no_accelerator(machines, two_cards, tmp_path):
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho 'no devices were found'; exit 9\n")
    assert [offer.gpu for offer in machines.offers()] == ["cpu"]


def test_an_accelerator_whose_memory_the_driver_cannot_tell_is_offered(machines, two_cards, tmp_path):
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU-1, NVIDIA GB10, [N/A]'\n")
    assert [(offer.gpu, offer.memory_gib) for offer in machines.offers()] == [("cpu", None), ("GB10", None)]


def test_names_that_are_no_utf_8_hide_no_accelerator(machines, two_cards, tmp_path):
    (tmp_path / "bin" / "nvidia-smi").write_bytes(b"#!/bin/sh\nprintf 'GPU-1, NVIDIA A10G\\351, 100\\n'\n")
    assert [offer.device for offer in machines.offers()] == ["", "GPU-1"]


def test_the_drivers_accelerators_are_offered(machines, two_cards):
    found = [(offer.gpu, offer.memory_gib, offer.device) for offer in machines.offers()]
    assert found == [("cpu", None, ""), ("A10G", 22.5, "GPU-1"), ("A100-SXM4-80GB", 80.0, "GPU-2")]


def test_how_much_an_accelerator_is_used_is_what_the_driver_says_of_it(machines, two_cards, tmp_path):
    program = tmp_path / "bin" / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$4" = GPU-2 ] || exit 6\necho "37, 1024, 81920"\n')
    assert machines.use_of("GPU-2") == AcceleratorUse(0.37, 1.0, 80.0)
    assert [machines.use_of(device) for device in ("GPU-1", "")] == [None, None]
    program.write_text("#!/bin/sh\necho '[N/A], 1024, 81920'\n")  # as of one that is cut into slices
    assert machines.use_of("GPU-2") == AcceleratorUse(None, 1.0, 80.0)


def test_a_session_sees_its_own_accelerator_only_and_has_it_alone(workspace, two_cards):
    session = gpu.start("trainer", gpu="A100")
    outputs: list[kernels.Output] = []
    kernels.execute("gpu:trainer", "import os\nprint(os.environ['CUDA_VISIBLE_DEVICES'])", outputs.append)
    assert session.gpu == "A100-SXM4-80GB"
    assert "".join(output["content"]["text"] for output in outputs) == "GPU-2\n"
    with pytest.raises(Unavailable, match="taken, one by gpu:trainer"):
        gpu.start("other", gpu="A100-80GB")


def test_a_processor_session_sees_no_accelerator(workspace, two_cards):
    gpu.start("trainer")
    outputs: list[kernels.Output] = []
    kernels.execute("gpu:trainer", "import os\nprint(repr(os.environ['CUDA_VISIBLE_DEVICES']))", outputs.append)
    assert "".join(output["content"]["text"] for output in outputs) == "''\n"


def test_a_machine_is_a_job_that_can_be_found(machines):
    handle = machines.create(gpu.Plan("one", machines.offers()[0], None))
    assert jobs.find("gpu:one").id == handle


def test_a_session_that_has_ended_is_not_ready_while_its_keeper_still_goes(workspace, machines):
    gpu.start("one")
    kept, handle = kernels.KeptKernel.of("gpu:one"), jobs.find("gpu:one").id
    assert machines.status(handle).state == "ready"
    kept.write_state(replace(kept.state(), phase="ended", why="its kernel ended with exit code 1"))
    assert machines.status(handle).state == "stopping"


def test_a_keeper_that_fails_says_what_happened_and_what_mends_it(workspace):
    with kernels.KeptKernel.of("gpu:one").hold(), pytest.raises(Failed) as problem:
        gpu.start("one")
    why = "its keeper failed: another keeper holds gpu:one (look at it with `%gpu show one`)"
    assert problem.value.what == f"gpu:one did not become ready: {why}"


def test_a_session_whose_supervisor_and_wrapper_were_killed_lives_and_can_be_stopped(workspace):
    gpu.start("one")
    job = jobs.find("gpu:one")
    end_supervisor(workspace)
    end(job.pid)
    until(lambda: not process.birth(job.pid))
    assert gpu.show("one").state == "running"
    assert gpu.stop("one").state.startswith("ended")
    assert list(process.tree(0, 0.0, job.id)) == []


def test_a_kernel_that_outlives_its_keeper_and_the_supervisor_is_ended_by_a_stop(workspace):
    gpu.start("one")
    job = jobs.find("gpu:one")
    end_supervisor(workspace)
    for pid in [job.pid, *process.tree(job.pid, process.birth(job.pid), job.id)]:
        if "ipykernel" not in Path(f"/proc/{pid}/cmdline").read_text():
            end(pid)
    until(lambda: not jobs.poll(job.id).live)
    gpu.stop("one")
    assert list(process.tree(0, 0.0, job.id)) == []


@pytest.mark.parametrize("error", [Denied, StoreUnavailable])
def test_a_stop_ends_a_session_though_the_store_takes_nothing(workspace, monkeypatch, error):
    gpu.start("one")
    job = jobs.find("gpu:one")

    def refuse(*_: object) -> None:
        raise error("the store takes nothing", "free some space")

    monkeypatch.setattr(type(open_store()), "commit", refuse)
    assert gpu.stop("one").state == "ended (stopped)"  # its keeper writes that, whose store takes it
    assert list(process.tree(0, 0.0, job.id)) == []


def test_a_session_of_another_folder_is_listed_and_its_kernel_is_not_reached(workspace):
    gpu.start("one")
    job = jobs.find("gpu:one")
    update(open_store(), jobs.JobRecord, job.id, lambda body: replace(body, home="another"))
    assert (gpu.show("one").state, gpu.ls()[0].state) == ("running", "running")
    with pytest.raises(Unavailable, match="in another folder"):
        gpu.sessions.kernel_of("one")
    update(open_store(), jobs.JobRecord, job.id, lambda body: replace(body, home=""))


def test_a_start_that_failed_leaves_no_machine_that_comes_later(workspace):
    with no_supervisor(), pytest.raises(Unavailable):
        gpu.start("one", for_="1h")
    assert (gpu.ls()[0].state.startswith("ended"), jobs.ls(live=True)) == (True, [])
    assert gpu.start("one").state == "running"


def test_the_state_of_an_earlier_start_counts_for_nothing(machines):
    kernel = kernels.KeptKernel.of("gpu:one")
    kernel.hold().close()
    kernel.write_state(kernels.KernelState(phase="ready", at=time.time() - 60))
    job = jobs.start("gpu:one", ["sleep", "60"])
    assert machines.status(job.id).state == "starting"


def test_the_end_of_what_was_killed_long_ago_is_its_last_heartbeat(machines):
    job = jobs.start("gpu:one", ["false"])
    jobs.wait(job.id, timeout_s=30)
    update(open_store(), jobs.JobRecord, job.id, lambda body: replace(body, started_at=body.started_at - 1000))
    heartbeat, ended_at = job.folder / "heartbeat", job.started_at - 500
    heartbeat.touch()
    os.utime(heartbeat, (ended_at, ended_at))
    found = machines.status(job.id)
    assert (found.why, found.at) == ("its keeper failed with exit code 1", pytest.approx(ended_at, abs=0.1))


def test_jobs_of_other_nouns_are_not_its_machines(machines):
    jobs.start("deploy:one", ["sleep", "60"])
    assert machines.list_owned() == {}


def test_it_gives_the_kernel_of_a_machine(machines):
    assert isinstance(machines, gpu.KernelHost)
    handle = machines.create(gpu.Plan("one", machines.offers()[0], None))
    assert machines.kernel(handle) == kernels.KeptKernel.of("gpu:one")
    with pytest.raises(NotFound):
        machines.kernel("gpu-never-was")


def test_the_keeper_of_an_earlier_version_is_read_by_its_device_alone():
    assert read_offer("") == Offer("", 0.0)
    assert read_offer("GPU-298e46a5") == Offer("", 0.0, device="GPU-298e46a5")
