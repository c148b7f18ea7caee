"""Machines of another package, on another machine: every verb works with them, or says what it cannot do."""

import time

import pytest

from aiinfra_lab import cost, gpu, lab, nouns, providers, train
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Denied, Interrupted, LabError, StoreUnavailable, Unavailable
from aiinfra_lab.gpu import sessions, starting
from aiinfra_lab.gpu.record import Limits, SessionRecord
from aiinfra_lab.jupyter import calls, items
from aiinfra_lab.store import open_store
from aiinfra_lab.testing.gpu import MachinesContract
from tests.conftest import until
from tests.fakes import cloud, one_step


@pytest.fixture(autouse=True)
def rented(workspace, tmp_path, monkeypatch):
    """The cloud, installed as a package of somebody else, without a machine."""
    cloud.install(tmp_path, monkeypatch)


class TestCloud(MachinesContract):
    lead_s = 0.3

    @pytest.fixture
    def machines(self):
        return providers.make("gpu.machines", "cloud", settings())

    @pytest.fixture
    def make(self):
        return lambda where: providers.make("gpu.machines", "cloud", where)


def test_a_session_is_rented_shown_and_given_back():
    started = gpu.start("far", gpu="A10G", on="cloud", for_="1h")
    assert (started.state, started.gpu, started.on, started.hourly_usd) == ("running", "A10G", "cloud", 1.0)
    assert started.kernel == ""
    assert [(str(item), item.state) for item in gpu.ls()] == [("gpu:far", "running")]
    assert gpu.stop("far").state == "ended (stopped)"
    assert gpu.stop("far").state == "ended (stopped)"


def test_its_deadline_is_kept_by_the_cloud_and_written_down_once():
    gpu.start("far", gpu="T4", on="cloud", for_="1s")
    until(lambda: gpu.show("far").state == "ended (deadline)")
    record = open_store().get(SessionRecord, "far")
    assert (record.body.ended_by, record.body.is_open) == ("deadline", False)
    gpu.ls()
    assert open_store().get(SessionRecord, "far").rev == record.rev


def test_a_live_name_gets_a_new_end():
    gpu.start("far", gpu="T4", on="cloud", for_="1h")
    gpu.start("far", for_="2h")
    (machine,) = cloud.machines.values()
    assert machine.deadline_at == pytest.approx(gpu.show("far").deadline_at)


def test_its_kernel_cannot_be_reached_and_that_is_said():
    gpu.start("far", gpu="T4", on="cloud")
    with pytest.raises(Unavailable, match="can be reached from here") as problem:
        sessions.kernel_of("gpu:far")
    assert problem.value.fix == (
        "leave --on out, or move it to this machine: `%gpu stop far`, then `%gpu start far --on local`"
    )


def test_the_way_out_of_that_works(workspace):
    gpu.start("far", gpu="T4", on="cloud")
    gpu.stop("far")
    gpu.start("far", on="local")
    (workspace / "rows.csv").write_text("x,y\n1,2\n3,4\n")
    assert train.run("delay", rows="rows.csv", code="run.log(loss=1)", on="gpu:far").state == "done"


def test_the_settings_choose_it(workspace):
    (workspace / "aiinfra.toml").write_text('[gpu]\nmachines = "cloud"\n')
    assert gpu.start("far", gpu="a100-sxm4").gpu == "A100-SXM4-80GB"


def test_what_it_does_not_have_names_what_it_has():
    with pytest.raises(Unavailable, match="cloud has no cpu; it has T4, A10G, A100-SXM4-80GB") as problem:
        gpu.start("far", on="cloud")
    assert problem.value.fix.startswith("use --gpu T4")
    assert gpu.start("far", on="cloud", gpu="T4").state == "running"


def test_a_name_that_is_started_again_rents_another_machine():
    gpu.start("far", gpu="T4", on="cloud")
    first = open_store().get(SessionRecord, "far").body.handle
    gpu.stop("far")
    gpu.start("far", gpu="T4", on="cloud")
    body = open_store().get(SessionRecord, "far").body
    assert body.handle != first
    assert len(body.earlier_spans) == 1


def test_workspace_cost_and_panel_know_it():
    gpu.start("far", gpu="A10G", on="cloud")
    assert lab.show().lives == ("gpu:far (running)",)
    assert [(thing.uri, thing.state) for thing in lab.ls()] == [("gpu:far", "running")]
    assert cost.show("gpu:far").usd_per_hour == 1.0
    (item,) = items.ItemFeed(open_store()).look()
    assert (item.uri, item.state, item.stoppable) == ("gpu:far", "running", True)
    assert calls.stop("gpu", {"args": ["far"]}) == []  # what was asked is no job
    assert gpu.show("far").state == "ended (stopped)"


def test_a_cloud_that_does_not_answer_hides_nothing():
    gpu.start("far", gpu="T4", on="cloud")
    gpu.start("near")
    gpu.stop("near")
    cloud.reachable[0] = False
    assert {str(one): one.state for one in gpu.ls()} == {"gpu:near": "ended (stopped)", "gpu:far": "cannot tell"}
    (span,) = [span for span in nouns.find("gpu").spans() if span.uri == "gpu:far"]
    assert span.is_live  # it may cost money
    assert [(thing.uri, thing.state) for thing in lab.ls()] == [
        ("gpu:near", "ended (stopped)"),
        ("gpu:far", "cannot tell"),
    ]
    assert "cannot tell" in [item.state for item in items.ItemFeed(open_store()).look()]
    with pytest.raises(Unavailable, match="does not answer"):
        gpu.show("far")


@pytest.mark.parametrize("method", ["status", "list_owned", "terminate"])
def test_a_vendors_client_that_raises_hides_nothing_and_names_itself(monkeypatch, method):
    def fail(*_: object) -> None:
        raise RuntimeError("HTTP 500")

    gpu.start("far", gpu="T4", on="cloud")
    monkeypatch.setattr(cloud.Cloud, method, fail)
    assert [str(one) for one in gpu.ls()] == ["gpu:far"]
    assert [thing.uri for thing in lab.ls()] == ["gpu:far"]
    with pytest.raises(Unavailable, match=rf"gpu\.machines on cloud failed in {method}: RuntimeError: HTTP 500"):
        gpu.stop("far") if method != "status" else gpu.show("far")


def test_a_session_whose_machine_cannot_be_made_says_why_and_is_no_session(monkeypatch):
    def fail(*_: object) -> None:
        raise ConnectionError("reset by peer")

    monkeypatch.setattr(cloud.Cloud, "create", fail)
    with pytest.raises(Unavailable, match="failed in create: ConnectionError"):
        gpu.start("far", gpu="T4", on="cloud")
    assert gpu.ls().items[0].state.startswith("ended (there was no machine: ")


@pytest.fixture
def slow(monkeypatch):
    """A machine of the cloud is ready at the fourth look at it; gives how many providers there were at each."""
    made, seen = [], []
    make, status = cloud.Cloud.__init__, cloud.Cloud.status

    def booting(self, handle):
        seen.append(len(made))
        return gpu.Status("starting") if len(seen) < 4 else status(self, handle)

    monkeypatch.setattr(cloud.Cloud, "__init__", lambda self, where: made.append(where) or make(self, where))
    monkeypatch.setattr(cloud.Cloud, "status", booting)
    monkeypatch.setitem(starting.PATIENCE_S, "ready", 0.0)
    return seen


def test_a_verb_gives_up_on_machines_that_do_not_say_how_long_they_take(slow):
    with pytest.raises(Unavailable, match="is not ready after"):
        gpu.start("far", gpu="T4", on="cloud")


def test_a_verb_waits_as_long_as_the_machines_say_and_makes_them_once(slow, monkeypatch):
    monkeypatch.setattr(cloud.Cloud, "ready_within_s", lambda self: 30.0, raising=False)
    monkeypatch.setattr(cloud.Cloud, "ended_within_s", lambda self: 30.0, raising=False)
    assert gpu.start("far", gpu="T4", on="cloud").state == "running"
    assert len(set(slow[:4])) == 1


def test_a_store_that_may_not_be_written_still_tells_how_a_session_ended(monkeypatch):
    gpu.start("far", gpu="T4", on="cloud")
    (handle,) = cloud.machines
    cloud.Cloud(settings()).terminate(handle)

    def refuse(*_: object) -> None:
        raise Denied("the workspace may not be written", "check who owns it")

    monkeypatch.setattr(type(open_store()), "commit", refuse)
    assert gpu.show("far").state == "ended (stopped)"


@pytest.mark.parametrize(
    "look", [lambda: gpu.show("far"), lambda: gpu.ls().items[0], lambda: gpu.start("far", on="cloud", gpu="T4")]
)
def test_a_machine_that_nobody_wrote_down_is_that_of_its_session(look):
    offer = cloud.OFFERS[0]
    sessions.intend("far", "cloud", offer, time.time() - 120, Limits())
    handle = cloud.Cloud(settings()).create(gpu.Plan("far", offer, None))
    assert look().state == "running"
    assert (sessions.find("far").body.handle, list(cloud.machines)) == (handle, [handle])


def test_ctrl_c_while_one_waits_for_an_end_does_not_say_that_the_session_goes_on(monkeypatch):
    gpu.start("far", gpu="T4", on="cloud")
    monkeypatch.setattr(starting, "until", lambda *_, **__: _press_ctrl_c())
    with pytest.raises(Interrupted, match="it ends all the same"):
        gpu.stop("far")


def _press_ctrl_c() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def cut_off(monkeypatch):
    """A session in the cloud whose stop was cut off before the cloud heard of it."""
    gpu.start("far", gpu="T4", on="cloud")

    def cut(*_: object) -> None:
        raise Unavailable("the cloud does not answer", "try again")

    with monkeypatch.context() as patch:
        patch.setattr(cloud.Cloud, "terminate", cut)
        with pytest.raises(Unavailable):
            gpu.stop("far")


def test_a_stop_that_was_cut_off_is_shown_and_finished_by_the_next(cut_off):
    (machine,) = cloud.machines.values()
    assert (gpu.show("far").state, [item.state for item in gpu.ls()]) == ("stopping", ["stopping"])
    assert machine.ended_at is None
    assert gpu.stop("far").state == "ended (stopped)"
    assert list(cloud.Cloud(settings()).list_owned()) == []
    assert [logged.event.verb for logged in open_store().events()] == ["gpu start", "gpu stop"]


def test_a_start_finishes_the_stop_before_it(cut_off):
    assert gpu.start("far", gpu="T4", on="cloud").state == "running"
    assert [machine.why for machine in cloud.machines.values()] == ["stopped", ""]


def test_a_recipe_that_keeps_nothing_gives_its_machine_back(workspace):
    gpu.start("before", gpu="T4", on="cloud")

    def step() -> None:
        gpu.start("far", gpu="A10G", on="cloud")
        gpu.start("before", for_="1h")  # it lived already: another end does not make it the run's

    one_step.run(step, workspace, keep=False)
    assert {item.uri: item.state for item in gpu.ls()} == {"gpu:far": "ended (stopped)", "gpu:before": "running"}
    assert [machine.name for machine in cloud.machines.values() if machine.ended_at is None] == ["before"]


def test_a_recipe_gives_its_machine_back_though_the_database_restarts_meanwhile(workspace, monkeypatch):
    noun, refusals = nouns.find("gpu"), iter(range(3))
    watched = type(noun).watched

    def away(self, ended=20):
        if next(refusals, None) is not None:
            raise StoreUnavailable("the database restarts", "wait")
        return watched(self, ended)

    def step() -> None:
        gpu.start("far", gpu="A10G", on="cloud")
        monkeypatch.setattr(type(noun), "watched", away)

    assert one_step.run(step, workspace, keep=False).body.state == "done"
    assert [machine.why for machine in cloud.machines.values()] == ["stopped"]


def test_a_recipe_leaves_its_machine_where_nothing_else_is_asked(workspace):
    one_step.run(lambda: gpu.start("far", gpu="A10G", on="cloud"), workspace, keep=True)
    one_step.run(lambda: None, workspace, keep=False)
    assert gpu.show("far").state == "running"


def test_a_machine_that_a_recipe_could_not_end_is_named_in_its_event(workspace):
    def step() -> None:
        gpu.start("far", gpu="A10G", on="cloud")
        cloud.reachable[0] = False

    assert one_step.run(step, workspace, keep=False).body.state == "done"
    (event,) = open_store().events(last=1)
    assert (event.event.verb, event.event.detail["still_live"]) == ("recipe end", ["gpu:far"])


@pytest.mark.parametrize("on", ["clodu", "azure-cloud"])
def test_a_provider_that_is_not_there_is_suggested(on):
    with pytest.raises(LabError) as problem:
        gpu.start("far", gpu="T4", on=on)
    assert "cloud" in problem.value.fix
