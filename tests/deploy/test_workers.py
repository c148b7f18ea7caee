"""The processes of a version: whatever happens to one, only what it had in hand is touched, and another answers."""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from aiinfra_lab.config import settings
from aiinfra_lab.deploy.server import blamed
from aiinfra_lab.deploy.server import workers as server_workers
from aiinfra_lab.deploy.server.channel import Channel
from aiinfra_lab.deploy.server.forks import Forks
from aiinfra_lab.deploy.server.messages import Form, RawRequest
from aiinfra_lab.deploy.server.workers import VersionFiles, Workers
from aiinfra_lab.errors import Damaged, UsageProblem
from aiinfra_lab.files import digests
from tests.fakes.faulty_fork_server import CRASH, HANG, NAP, RAISE, SPIN

from .conftest import ROW
from .streams import stream

COMMAND = (sys.executable, "-m", "tests.fakes.faulty_fork_server")
PATIENCE_S = 60.0


class Asked:
    def __init__(self, raw):
        self.raw = raw
        self.reply = None
        self.took_s = 0.0

    def done(self, reply):
        assert self.reply is None
        self.reply = reply
        self.took_s = time.perf_counter() - self.raw.started


class Bench:
    """A version under test: `ask` submits rows, each a request of its own, and gives what came back."""

    def __init__(self, folder, uri="models:delay@1", memory_bytes=2 << 30, files=None):
        self.forks = Forks(COMMAND)
        self.files = files or {}
        self.folder, self.uri, self.memory_bytes = folder, uri, memory_bytes
        self.lost = 0

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self.forks.attach(loop)
        files = VersionFiles(self.uri, self.folder, self.files)
        self.workers = Workers(files, self.forks, loop, self.count, self.memory_bytes)
        self.problem = loop.create_future()
        self.workers.open(self.problem.set_result)
        return self

    async def __aexit__(self, *_):
        self.workers.close()
        self.forks.close()

    def count(self):
        self.lost += 1

    async def ready(self, processes=2):
        assert await asyncio.wait_for(self.problem, PATIENCE_S) is None
        await until(lambda: len([pid for pid in self.workers.pids if pid]) == processes and not self.workers._loading)
        return self

    def submit(self, *temps, **more):
        found = []
        for at, temp in enumerate(temps):
            body = json.dumps({"rows": [{**ROW, "temp": temp}], **more}).encode()
            found.append(Asked(RawRequest(f"r{at}", time.perf_counter(), body)))
            self.workers.submit(found[-1])
        return found

    async def ask(self, *temps):
        found = self.submit(*temps)
        await until(lambda: all(asked.reply for asked in found))
        return [asked.reply.status for asked in found]


async def until(true):
    ends = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < ends
        await asyncio.sleep(0.005)


@pytest.fixture
def run(artifacts):
    """Runs a coroutine function with a bench whose two processes are ready."""

    def go(test, **more):
        async def inside():
            async with Bench(artifacts("plain"), **more) as bench:
                await bench.ready()
                return await test(bench)

        return asyncio.run(inside())

    return go


def test_requests_are_answered_by_a_process_of_the_version(run):
    async def test(bench):
        assert await bench.ask(*range(200)) == [200] * 200
        assert os.getpid() not in bench.workers.pids
        assert bench.workers.waiting == bench.workers.waiting_bytes == bench.lost == 0

    run(test)


def bodies_of(temp: float) -> list[tuple[bytes, Form]]:
    """A row as tensors, and as a stream."""
    row, kinds = {**ROW, "temp": temp}, ("BYTES", "FP64", "FP64")
    inputs = [
        {"name": name, "shape": [1], "datatype": kind, "data": [row[name]]}
        for name, kind in zip(row, kinds, strict=True)
    ]
    table = pa.table({name: [value] for name, value in row.items()})
    tensors = json.dumps({"inputs": inputs}).encode()
    return [(tensors, Form("tensors", "tensors")), (stream(table), Form("arrow", "arrow"))]


def test_other_forms_are_read_by_the_process_and_cost_one_alone_when_they_end_it(run):
    async def test(bench):
        forms = [*bodies_of(1.0), *bodies_of(CRASH)]
        found = [Asked(RawRequest(f"r{at}", time.perf_counter(), *each)) for at, each in enumerate(forms)]
        for asked in found:
            bench.workers.submit(asked)
        others = bench.submit(1.0, 2.0)
        await until(lambda: all(asked.reply for asked in (*found, *others)))
        assert [asked.reply.status for asked in found] == [200, 200, 500, 500]
        assert [asked.reply.rows for asked in found] == [1] * 4  # each is counted once, and logged
        assert [asked.reply.form for asked in found] == [None, Form("arrow"), None, None]
        assert [asked.reply.status for asked in others] == [200, 200]

    run(test)


@pytest.mark.parametrize("fault", [HANG, SPIN, CRASH], ids=["hang", "spin", "crash"])
def test_a_fault_costs_only_the_request_that_is_to_blame(run, fault):
    async def test(bench):
        active, spare = bench.workers.pids
        assert await bench.ask(*[1.0] * 17, fault, *[1.0] * 22) == [200] * 17 + [500] + [200] * 22
        await bench.ready()
        assert bench.workers.pids[0] == spare
        assert active not in bench.workers.pids
        assert await bench.ask(1.0) == [200]
        # The process that had all of them, and the one in which it was alone: each that hangs costs others time.
        assert bench.lost == 2

    run(test)


def test_requests_that_would_take_long_one_by_one_are_halved_first(run, monkeypatch):
    async def test(bench):
        monkeypatch.setattr(server_workers, "LEAST_S", 1e-6)  # so long is what is long here
        monkeypatch.setattr(server_workers, "TIMES_EXPECTED", 1e6)
        handed = []
        hand = bench.workers._hand
        bench.workers._hand = lambda worker, batch: (handed.append(len(batch)), hand(worker, batch))
        assert await bench.ask(*[1.0] * 7, CRASH) == [200] * 7 + [500]
        assert handed == [8, 4, 4, 1, 1, 1, 1]

    run(test)


def test_requests_that_come_after_a_fault_do_not_wait_for_what_is_suspected(run):
    async def test(bench):
        suspected = bench.submit(*[1.0] * 5, HANG)
        await until(lambda: bench.lost)
        assert await bench.ask(2.0) == [200]
        assert not any(asked.reply for asked in suspected if asked.raw.id == "r5")
        await until(lambda: all(asked.reply for asked in suspected))

    run(test)


def test_a_body_that_has_cost_a_process_costs_no_other_for_a_while(run, monkeypatch):
    monkeypatch.setattr(blamed, "BLAMED_S", 1.0)

    async def test(bench):
        assert await bench.ask(CRASH) == [500]
        await bench.ready()
        lost, pids = bench.lost, bench.workers.pids
        assert await bench.ask(1.0, CRASH) == [200, 503]
        assert (bench.lost, bench.workers.pids) == (lost, pids)
        await asyncio.sleep(1.0)
        assert await bench.ask(CRASH) == [500]

    run(test)


def test_a_body_that_is_answered_between_two_losses_is_not_to_blame_for_them(run):
    async def test(bench):
        for _ in range(2):
            os.kill(bench.workers.pids[0], signal.SIGSTOP)
            assert await bench.ask(1.0) == [500]
            assert await bench.ask(1.0) == [200]
            await bench.ready()

    run(test)


def test_others_are_answered_while_one_sends_a_row_that_hangs_again_and_again(run):
    async def test(bench):
        found, hangs = [], []
        for at in range(150):  # three seconds; each body is another, so that none is known
            if at % 50 == 10:
                hangs += bench.submit(HANG, key=str(at))
            found += bench.submit(float(at))
            await asyncio.sleep(0.02)
        await until(lambda: all(asked.reply for asked in (*found, *hangs)))
        assert [asked.reply.status for asked in hangs] == [500] * 3
        assert {asked.reply.status for asked in found} == {200}
        took = sorted(asked.took_s for asked in found)
        assert took[75] < 0.5

    run(test)


def test_one_that_was_killed_from_outside_costs_no_request(run):
    async def test(bench):
        asked = bench.submit(NAP, 1.0, 2.0)
        await asyncio.sleep(0.05)
        os.kill(bench.workers.pids[0], signal.SIGKILL)
        await until(lambda: all(one.reply for one in asked))
        assert [one.reply.status for one in asked] == [200] * 3

    run(test)


def test_a_stopped_process_is_one_that_hangs(run):
    async def test(bench):
        os.kill(bench.workers.pids[0], signal.SIGSTOP)
        assert await bench.ask(1.0) == [500]
        assert await bench.ask(1.0) == [200]

    run(test)


def test_a_row_that_raises_costs_no_process(run):
    async def test(bench):
        before = bench.workers.pids
        assert await bench.ask(1.0, RAISE, 2.0) == [200, 500, 200]
        assert bench.workers.pids == before

    run(test)


def test_one_that_grows_is_replaced_and_nothing_is_lost(run):
    from tests.fakes.faulty_fork_server import LEAK, LEAK_BYTES

    async def test(bench):
        before = bench.workers.pids[0]
        while bench.workers.pids[0] == before:
            assert await bench.ask(LEAK) == [200]
            await asyncio.sleep(0.2)
        await bench.ready()
        assert before not in bench.workers.pids
        assert bench.lost == 0

    run(test, memory_bytes=16 * LEAK_BYTES)


def test_the_kernel_refuses_a_process_more_memory_than_it_may_have(run):
    from tests.fakes.faulty_fork_server import LEAK, LEAK_BYTES

    async def test(bench):
        assert await bench.ask(LEAK) == [500]
        assert await bench.ask(1.0) == [200]

    run(test, memory_bytes=LEAK_BYTES // 2)


@pytest.mark.parametrize(("gib", "found"), [("0.5", 1 << 29), (None, 2 << 30)])
def test_how_much_it_may_take_is_a_setting(workspace, monkeypatch, gib, found):
    if gib:
        monkeypatch.setenv("AIINFRA_DEPLOY_MEMORY_GIB", gib)
    assert server_workers.memory_bytes(settings()) == found


@pytest.mark.parametrize("gib", ["0", "-1", "nan"])
def test_no_room_is_no_setting(workspace, monkeypatch, gib):
    monkeypatch.setenv("AIINFRA_DEPLOY_MEMORY_GIB", gib)
    with pytest.raises(UsageProblem, match="leaves no room"):
        server_workers.memory_bytes(settings())


def test_a_lost_fork_server_is_started_again(run):
    async def test(bench):
        bench.forks._process.kill()
        bench.forks._process.wait()
        os.kill(bench.workers.pids[0], signal.SIGKILL)
        assert await bench.ask(1.0) == [200]
        await bench.ready()

    run(test)


def test_a_fork_server_that_hangs_is_replaced(run, monkeypatch):
    monkeypatch.setattr(server_workers, "FORK_S", 0.5)

    async def test(bench):
        before = bench.forks._process.pid
        os.kill(before, signal.SIGSTOP)
        for pid in bench.workers.pids:
            os.kill(pid, signal.SIGKILL)
        assert await bench.ask(1.0) == [200]
        assert bench.forks._process.pid != before

    run(test)


def test_one_that_dies_on_everything_is_started_ever_later(run):
    async def test(bench):
        for at in range(6):
            [asked] = bench.submit(CRASH, key=str(at))
            await until(lambda asked=asked: asked.reply)
            assert asked.reply.status == 500
        assert bench.lost >= 12
        assert await bench.ask(1.0) == [200]  # after a pause
        assert bench.workers._losses == 0

    run(test)


@pytest.fixture
def sockets(monkeypatch):
    """Call it with a number: so many channels cannot be made from then on, as when all descriptors are taken."""
    left, pair = [0], Channel.pair

    def made():
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(24, "Too many open files")
        return pair()

    monkeypatch.setattr(Channel, "pair", made)
    return lambda count: left.__setitem__(0, count)


def test_a_version_for_which_no_process_can_be_started_says_so(artifacts, sockets):
    sockets(1)

    async def inside():
        async with Bench(artifacts("plain")) as bench:
            return await asyncio.wait_for(bench.problem, PATIENCE_S)

    assert "Too many open files" in str(asyncio.run(inside()))


def test_a_version_for_which_no_process_can_be_forked_says_so_and_the_next_one_is_made(artifacts, monkeypatch):
    monkeypatch.setenv("FAILING_FORKS", "1")

    async def inside():
        async with Bench(artifacts("plain")) as bench:
            problem = await asyncio.wait_for(bench.problem, PATIENCE_S)
            pid = bench.forks._process.pid
            again = Workers(VersionFiles(bench.uri, bench.folder), bench.forks, bench.workers._loop, bench.count, 0)
            opened = bench.workers._loop.create_future()
            again.open(opened.set_result)
            assert await asyncio.wait_for(opened, PATIENCE_S) is None
            again.close()
            return problem, bench.forks._process.pid == pid

    problem, is_same_server = asyncio.run(inside())
    assert "no process can be made for models:delay@1" in problem.what
    assert "Resource temporarily unavailable" in problem.what
    assert problem.fix
    assert is_same_server


def test_a_process_that_could_not_be_started_is_tried_again(run, sockets):
    async def test(bench):
        sockets(3)
        os.kill(bench.workers.pids[0], signal.SIGKILL)
        os.kill(bench.workers.pids[1], signal.SIGKILL)
        assert await bench.ask(1.0) == [200]
        await bench.ready()

    run(test)


def test_retired_it_answers_what_it_has_taken_and_ends(run):
    async def test(bench):
        pids, asked = bench.workers.pids, bench.submit(NAP, 1.0)
        bench.workers.retire()
        await until(lambda: all(one.reply for one in asked))
        assert [one.reply.status for one in asked] == [200, 200]
        await until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))

    run(test)


def test_processes_end_with_the_one_that_they_answer(artifacts):
    async def inside():
        async with Bench(artifacts("plain")) as bench:
            await bench.ready()
            bench.submit(SPIN)
            await asyncio.sleep(0.1)
            return bench.workers.pids

    pids = asyncio.run(inside())
    ends = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_model_that_cannot_be_loaded_says_why(tmp_path, artifacts):
    (tmp_path / "model.onnx").write_bytes(b"\x80 no model")
    (tmp_path / "columns.json").write_bytes((artifacts("plain") / "columns.json").read_bytes())

    async def inside():
        async with Bench(tmp_path) as bench:
            return await asyncio.wait_for(bench.problem, PATIENCE_S)

    assert "cannot be served" in str(asyncio.run(inside()))


def test_no_process_is_made_of_files_that_were_changed(artifacts):
    async def inside():
        async with Bench(artifacts("plain", 1.0), files=digests(artifacts("plain", 2.0))) as bench:
            return await asyncio.wait_for(bench.problem, PATIENCE_S)

    problem = asyncio.run(inside())
    assert (type(problem), "model.onnx was changed" in problem.what) == (Damaged, True)


def test_what_no_process_can_be_made_for_is_refused_at_once_until_one_can(artifacts, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(artifacts("plain"), folder)

    async def inside():
        async with Bench(folder) as bench:
            await bench.ready()
            (folder / "model.onnx").rename(tmp_path / "away")
            for pid in bench.workers.pids:
                os.kill(pid, signal.SIGKILL)
            first = bench.submit(1.0)  # while nobody knows yet
            await until(lambda: bench.workers.problem)
            assert "has no model.onnx" in bench.workers.problem.what
            [later] = bench.submit(1.0)
            assert (later.reply.status, b"has no model.onnx" in later.reply.body) == (503, True)
            assert [asked.reply.status for asked in first] == [503]
            assert bench.workers.waiting == bench.workers.waiting_bytes == 0
            (tmp_path / "away").rename(folder / "model.onnx")
            await until(lambda: not bench.workers.problem)
            assert await bench.ask(1.0) == [200]

    asyncio.run(inside())


def test_a_model_that_hangs_while_it_is_loaded_is_given_up(artifacts, monkeypatch):
    monkeypatch.setattr(server_workers, "LOAD_S", 3.0)

    async def inside():
        async with Bench(artifacts("plain"), "models:hangs-at-load@1") as bench:
            return await asyncio.wait_for(bench.problem, PATIENCE_S)

    assert "was not ready after 3 s" in str(asyncio.run(inside()))


def test_a_request_that_nobody_could_take_in_time_is_refused(run, monkeypatch):
    monkeypatch.setattr(server_workers, "REQUEST_S", 0.3)

    async def test(bench):
        blocking = bench.submit(NAP, NAP)
        await asyncio.sleep(0.05)
        late = bench.submit(1.0)
        late[0].raw = RawRequest("late", time.perf_counter() - 1.0, late[0].raw.body)
        await until(lambda: late[0].reply)
        assert late[0].reply.status == 503
        await until(lambda: all(one.reply for one in blocking))

    run(test)
