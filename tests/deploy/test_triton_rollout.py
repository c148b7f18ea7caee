"""What the front of a Triton serves of what is applied to it, with the networks in this process in Triton's place."""

import asyncio
import errno
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from aiinfra_lab.deploy.record import Arm, DesiredState
from aiinfra_lab.deploy.server.predictions_log import PredictionsLog
from aiinfra_lab.deploy.triton import repository, rollout, state
from aiinfra_lab.deploy.triton.session import TritonModel
from aiinfra_lab.deploy.triton.state import Applied, AppliedVersion, Observed
from aiinfra_lab.files import digests
from aiinfra_lab.train.saved_model import SavedModel
from tests.conftest import until

from .conftest import artifact


class InProcess(TritonModel):
    session = SavedModel.session


class FakeRepository(repository.Repository):
    """A Triton that is none: what it loads runs in this process."""

    url, exit_code = "http://127.0.0.1:9", None

    def __init__(self):
        self.loaded: list[str] = []
        self.ended: list[str] = []
        self.silent = False

    def wait_ready(self):
        pass

    def answers(self):
        return not self.silent

    def is_ready(self, model):
        return model.name not in self.ended

    def end_network(self, model):
        self.ended.append(model.name)

    def unload(self, model):
        self.loaded.remove(model.name)

    def _load(self, uri, files):
        self.loaded.append(uri)
        self.ended = []
        return InProcess(files, url=self.url, name=uri, version="1")


@contextmanager
def front(folder: Path):
    """A front that follows the folder; it ends as its process does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    log = PredictionsLog(folder / "log", 1e6)
    predictor, triton, left = rollout.FrontPredictor(log, loop), FakeRepository(), list[str]()
    follows = rollout.Rollout(folder, predictor, triton, left.append, 10.0)
    follows.start("http://127.0.0.1:1")

    def served():
        return {arm.version.model.uri: arm.role for arm in predictor.routes.arms}

    try:
        yield SimpleNamespace(served=served, left=left, triton=triton, predictor=predictor, rollout=follows)
    finally:
        follows.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        log.close()


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setenv("AIINFRA_JOB_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def versions(tmp_path) -> dict[str, AppliedVersion]:
    folders = {f"models:delay@{number}": artifact(tmp_path / f"delay@{number}") for number in (1, 2, 3)}
    return {uri: AppliedVersion(str(folder), digests(folder)) for uri, folder in folders.items()}


def apply(job: Path, versions: dict[str, AppliedVersion], **desired: object) -> None:
    state.write(Applied(DesiredState(**desired), versions), job)


def flip_a_bit(version: AppliedVersion) -> None:
    path = Path(version.folder) / "model.onnx"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def problem(job: Path) -> str:
    found = state.read(Observed, job)
    return found.problem if found else ""


def serves(one: SimpleNamespace, **roles: str) -> Callable[[], bool]:
    return lambda: one.served() == {f"models:delay@{uri[1:]}": role for uri, role in roles.items()}


def test_who_finds_its_champion_damaged_serves_the_one_before(job, versions):
    for number, uri in enumerate(versions, 1):
        apply(job, versions, champion=uri, generation=number)
        with front(job) as one:
            until(lambda: one.served() == {uri: "champion"})  # noqa: B023
    flip_a_bit(versions["models:delay@3"])
    with front(job) as one:
        until(serves(one, _2="champion"))
        assert one.predictor.routes.generation == 2  # whoever waits for the third must not take this for it
        until(lambda: problem(job))  # written after it serves
        assert "models:delay@3 cannot be served, and models:delay@2 serves in its place: the files of" in problem(job)
        assert state.read(Observed, job).problem_generation == 3
        apply(job, versions, champion="models:delay@1", generation=4)
        until(serves(one, _1="champion"))
        until(lambda: one.triton.loaded == ["models:delay@1"])
        assert one.left == []


def test_once_the_files_are_whole_again_they_are_served_and_nothing_is_wrong(job, versions):
    for number, uri in enumerate([*versions][:2], 1):
        apply(job, versions, champion=uri, generation=number)
        with front(job) as one:
            until(lambda: one.served() == {uri: "champion"})  # noqa: B023
    flip_a_bit(versions["models:delay@2"])
    with front(job) as one:
        until(serves(one, _1="champion"))
    flip_a_bit(versions["models:delay@2"])
    with front(job) as one:
        until(serves(one, _2="champion"))
        until(lambda: problem(job) == "")


def test_without_a_champion_before_it_ends_with_the_reason(job, versions):
    apply(job, versions, champion="models:delay@1", generation=1)
    flip_a_bit(versions["models:delay@1"])
    with front(job) as one:
        until(lambda: one.left)
        assert "model.onnx was changed" in one.left[0]


def test_a_damaged_shadow_costs_the_others_nothing(job, versions):
    flip_a_bit(versions["models:delay@3"])
    shadow = (Arm("models:delay@3", "shadow", 1.0),)
    apply(job, versions, champion="models:delay@1", canary="models:delay@2", share=0.5, others=shadow, generation=1)
    with front(job) as one:
        until(serves(one, _1="champion", _2="canary"))
        until(lambda: "models:delay@3 cannot be served, and the others serve without it" in problem(job))


# ---- a disk that takes nothing ----


def test_what_cannot_be_written_costs_no_answers_and_is_written_later(job, versions, monkeypatch):
    apply(job, versions, champion="models:delay@1", generation=1)
    monkeypatch.setattr(rollout, "WRITE_S", 0.05)
    with front(job) as one:
        until(serves(one, _1="champion"))
        with monkeypatch.context() as full:
            tried = []

            def refuse(*what):
                tried.append(what)
                raise OSError(errno.ENOSPC, "No space left on device")

            full.setattr(state, "write", refuse)
            one.predictor.counts["models:delay@1"].add(1.0, 3, False)
            until(lambda: len(tried) > 2)
            assert (one.left, one.served()) == ([], {"models:delay@1": "champion"})
        until(lambda: state.read(Observed, job).versions["models:delay@1"].rows == 3)


def test_a_version_that_has_no_room_is_loaded_once_there_is(job, versions, monkeypatch):
    apply(job, versions, champion="models:delay@1", generation=1)
    load, full = FakeRepository._load, [1, 2, 3]

    def loaded(self, uri, files):
        if full:
            full.pop()
            raise repository.NoRoom("no space is left", "free some")
        return load(self, uri, files)

    monkeypatch.setattr(FakeRepository, "_load", loaded)
    with front(job) as one:
        until(serves(one, _1="champion"))
        assert (one.left, full, problem(job)) == ([], [], "")


@pytest.mark.parametrize("left_by_a_power_cut", [b"", b'{"url":"htt', b'{"url":"\xb4"}'])
def test_a_state_that_cannot_be_read_is_as_one_that_is_missing(job, versions, left_by_a_power_cut):
    apply(job, versions, champion="models:delay@1", generation=1)
    (job / "observed.json").write_bytes(left_by_a_power_cut)
    assert state.read(Observed, job) is None
    with front(job) as one:
        until(serves(one, _1="champion"))


# ---- what hangs ----


def test_a_network_that_hangs_is_ended_and_loaded_again(job, versions, monkeypatch):
    apply(job, versions, champion="models:delay@1", generation=1)
    monkeypatch.setattr(rollout, "BEAT_S", 0.05)
    with front(job) as one:
        until(serves(one, _1="champion"))
        ready = []
        load = one.triton._load
        one.triton._load = lambda *what: ready.append(one.predictor.ready) or load(*what)
        answerer = one.predictor.routes.champion.version.workers
        answerer._network.failed(b"a body that hangs", time.perf_counter() - 10)
        until(lambda: ready)
        until(lambda: one.predictor.ready and not answerer.hangs)
        assert (ready, one.left, one.predictor.counts["models:delay@1"].lost) == ([False], [], 1)


def test_a_triton_that_hangs_takes_no_requests_and_ends_the_front(job, versions, monkeypatch):
    apply(job, versions, champion="models:delay@1", generation=1)
    monkeypatch.setattr(rollout, "BEAT_S", 0.05)
    with front(job) as one:
        until(serves(one, _1="champion"))
        one.triton.silent = True
        until(lambda: not one.predictor.ready)
        until(lambda: one.left)
        assert "Triton hangs" in one.left[0]
