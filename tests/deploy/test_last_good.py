"""A champion that cannot be served any more: the last one before it that can be serves in its place, and loudly."""

import os
import shutil
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiinfra_lab import deploy, jobs, nouns
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import Failed
from aiinfra_lab.files import digests
from aiinfra_lab.models.record import ModelVersion
from aiinfra_lab.store import open_store, update
from tests.conftest import until

from .conftest import ROW, server_pid


def stored():
    return open_store().get(EndpointRecord, "delay").body


def altered(folder):
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")


def vanished(folder):
    (folder / "model.onnx").unlink()


def unloadable(folder):
    """As it was registered, and yet no model."""
    (folder / "model.onnx").write_bytes(b"no model")
    update(open_store(), ModelVersion, folder.name, lambda body: replace(body, files=digests(folder)))


@pytest.fixture
def damage(workspace):
    """Damages a version of `delay`."""
    return lambda version, how=altered: how(workspace / ".aiinfra" / "models" / f"delay@{version}")


def serve(register, *versions):
    """An endpoint that has served these as champions, one after the other."""
    for version in versions:
        deploy.start("delay", model=register(version))


def killed():
    """Kill its process, and wait until another one is there."""
    os.kill(server_pid(stored().job), signal.SIGKILL)
    until(lambda: jobs.find("deploy:delay").restarts and deploy.show("delay").state == "running")


@pytest.mark.parametrize("how", [altered, vanished, unloadable])
def test_the_champion_before_serves_when_a_process_comes_back_and_its_champion_is_damaged(register, damage, how):
    serve(register, 1, 2)
    damage(2, how)
    killed()
    shown = deploy.show("delay")
    assert (shown.champion, shown.cannot_serve, shown.previous) == ("models:delay@1", "models:delay@2", None)
    assert shown.predict([ROW]) == [pytest.approx(0.7350, abs=1e-4)]
    event = [item.event for item in open_store().events()][-1]
    assert (event.verb, event.inputs, event.detail["by"]) == ("deploy rollback", ("models:delay@2",), "the endpoint")
    text = shown.card().text()
    assert "needs a look" in text
    assert "models:delay@2 cannot be served" in text
    [notice] = [item for item in nouns.find("deploy").notices() if "cannot be served" in item.text]
    assert notice.fix
    assert "models:delay@1 serves in place of models:delay@2" in jobs.log(stored().job)


def test_of_several_champions_before_the_last_that_can_be_served_serves(register, damage):
    serve(register, 1, 2, 3, 4)
    damage(4), damage(3)
    killed()
    assert (stored().champion, stored().earlier) == ("models:delay@2", ("models:delay@1",))
    assert "models:delay@4 cannot be served" in stored().problem


def test_a_canary_that_is_damaged_leaves_the_champion_alone(register, damage):
    serve(register, 1)
    deploy.start("delay", model=register(2), canary="50%")
    damage(2)
    killed()
    assert (stored().champion, stored().canary) == ("models:delay@1", None)
    assert deploy.show("delay").cannot_serve == "models:delay@2"
    [notice] = [item for item in nouns.find("deploy").notices() if "cannot be served" in item.text]
    assert "--model" not in notice.fix


def test_a_start_with_a_damaged_version_fails_and_leaves_the_champion_of_before_serving(register, damage):
    serve(register, 1)
    deploy.stop("delay")
    register(2)
    damage(2)
    with pytest.raises(Failed, match="models:delay@2 cannot be served, and models:delay@1 serves in its place") as why:
        deploy.start("delay", model="models:delay@2")
    assert why.value.fix
    assert deploy.show("delay").predict([ROW])
    assert (stored().champion, stored().outcome) == ("models:delay@1", "")


def test_the_version_serves_again_once_it_is_whole_and_started(register, damage, workspace):
    serve(register, 1, 2)
    folder = workspace / ".aiinfra" / "models" / "delay@2"
    shutil.copytree(folder, workspace / "kept")
    damage(2)
    killed()
    shutil.copytree(workspace / "kept", folder, dirs_exist_ok=True)
    again = deploy.start("delay", model="models:delay@2")
    assert (again.champion, again.cannot_serve, again.previous) == ("models:delay@2", "", "models:delay@1")


def test_a_first_start_with_a_damaged_version_leaves_nothing_that_lives(register, damage):
    register(1)
    damage(1)
    with pytest.raises(Failed, match="are not what was registered"):
        deploy.start("delay", model="models:delay@1")
    assert (stored().outcome, jobs.ls(live=True)) == ("failed", [])


def processes_killed():
    """Kill the processes of its models, one after the other, and leave its own."""
    pid = server_pid(stored().job)
    [fork_server] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in Path(f"/proc/{fork_server}/task/{fork_server}/children").read_text().split():
        os.kill(int(one), signal.SIGKILL)


def test_the_champion_before_serves_once_the_processes_of_the_one_after_cannot_be_made_again(register, damage):
    serve(register, 1, 2)
    damage(2)
    processes_killed()
    until(lambda: stored().champion == "models:delay@1" and stored().served_generation == stored().generation)
    assert deploy.show("delay").predict([ROW]) == [pytest.approx(0.7350, abs=1e-4)]
    assert "model.onnx was changed" in stored().problem
    assert jobs.find("deploy:delay").restarts == 0


def test_an_only_champion_whose_processes_cannot_be_made_again_is_not_ready_and_says_why(register, damage, workspace):
    serve(register, 1)
    kept = shutil.copytree(workspace / ".aiinfra" / "models" / "delay@1", workspace / "kept")
    damage(1, vanished)
    processes_killed()
    until(lambda: stored().is_unable)
    assert status("readyz") == 503
    [notice] = [item for item in nouns.find("deploy").notices() if "answers nothing" in item.text]
    assert "model.onnx is missing" in notice.text
    assert "model.onnx is missing" in deploy.show("delay").card().text()
    shutil.copytree(kept, workspace / ".aiinfra" / "models" / "delay@1", dirs_exist_ok=True)
    until(lambda: status("readyz") == 200 and not stored().problem)
    assert deploy.show("delay").predict([ROW])


def test_a_shadow_whose_processes_cannot_be_made_again_is_dropped(register, damage):
    serve(register, 1)
    deploy.start("delay", model="models:delay@1", shadow=register(2))
    damage(2)
    processes_killed()
    until(lambda: not stored().others)
    assert (stored().champion, deploy.show("delay").predict([ROW]) != []) == ("models:delay@1", True)
    [notice] = [item for item in nouns.find("deploy").notices() if "cannot be served" in item.text]
    assert "models:delay@2" in notice.text
    assert "--model" not in notice.fix  # that would give a shadow all traffic


def status(path):
    try:
        return urllib.request.urlopen(f"{stored().url}/{path}", timeout=30).status
    except urllib.error.HTTPError as refused:
        return refused.code
