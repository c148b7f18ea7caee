"""Two machines with a folder each, on one database: each watches its own jobs and none of the other's."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import until
from tests.hosts import Host, needs_hosts
from tests.postgres import Server, needs_postgres, postgres

pytest.importorskip("psycopg")
pytestmark = [pytest.mark.slow, needs_postgres, needs_hosts]
__all__ = ["postgres"]

Run = Callable[[str], str]
START = "print(jobs.start('deploy:a', ['sleep', '600'], restart=True).id)"
ONE_OF_ITS_OWN = "print(jobs.wait(jobs.start('train:b', ['sleep', '2']).id, 60).state)"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    made = [Host(number, tmp_path / f"host-{number}") for number in (1, 2)]
    yield made
    for host in made:
        host.remove()


@pytest.fixture
def on(hosts: list[Host], postgres: Server) -> list[Run]:
    """Runs Python on each of the hosts, in its own folder; what it prints."""
    postgres.listen(*(host.gateway for host in hosts), to="10.0.0.0/8")
    return [_runner(host, f"postgresql://lab@{host.gateway}:{postgres.port}/postgres") for host in hosts]


def _runner(host: Host, url: str) -> Run:
    (host.folder / "aiinfra.toml").write_text(f'[store]\nurl = "{url}"\nschema = "{host.folder.parent.name}"')

    def run(code: str) -> str:
        code = f"from aiinfra_lab import jobs\nfrom aiinfra_lab.store import open_store\n{code}"
        return host.run(sys.executable, "-c", code, AIINFRA_WORKSPACE=str(host.folder))

    return run


def state(run: Run, job: str) -> str:
    return run(f"job = jobs.poll({job!r}); print(job.state, job.is_here, job.restarts)")


def lives(host: Host) -> int:
    """How many processes of the job run there."""
    return host.run("ps", "-eo", "args").splitlines().count("sleep 600")


def test_a_supervisor_adopts_no_job_of_another_host(hosts, on):
    first = on[0](START)
    until(lambda: state(on[0], first) == "running True 0")
    assert on[1](ONE_OF_ITS_OWN) == "done"
    assert (state(on[1], first), lives(hosts[0]), lives(hosts[1])) == ("running False 0", 1, 0)
    on[1](f"jobs.cancel({first!r})")
    until(lambda: state(on[1], first) == "stopped False 0")
    assert lives(hosts[0]) == 0


def test_a_job_of_a_host_that_lost_its_power_is_started_by_that_host_alone(hosts, on):
    first = on[0](START)
    until(lambda: state(on[0], first) == "running True 0")
    hosts[0].cut_power()
    assert on[1](ONE_OF_ITS_OWN) == "done"
    assert (state(on[1], first).startswith("running False"), lives(hosts[1])) == (True, 0)


def test_a_host_that_is_cut_off_goes_on_and_says_afterwards_how_its_job_ended(hosts, on):
    first = on[0]("print(jobs.start('train:a', ['sleep', '4']).id)")
    until(lambda: state(on[0], first) == "running True 0")
    hosts[0].set_link("down")
    assert state(on[1], first) == "running False 0"
    until(lambda: hosts[0].run("ps", "-eo", "args").splitlines().count("sleep 4") == 0)
    hosts[0].set_link("up")
    until(lambda: state(on[1], first) == "done False 0")
