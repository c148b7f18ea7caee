"""How the panel's rows look: their states in the one alphabet, their figures, their price, and what is asked before."""

import time
from pathlib import Path
from typing import Any

import pytest

from aiinfra_lab import gpu, lab
from aiinfra_lab.deploy.record import VersionCounts
from aiinfra_lab.gpu.base import Status
from aiinfra_lab.jupyter.items import Item, ItemFeed, current, first_steps, observed, price_of
from aiinfra_lab.kernels.kept import KeptKernel, KernelState
from aiinfra_lab.nouns import Observation
from aiinfra_lab.show.states import LIVING, STATES
from aiinfra_lab.store import open_store
from aiinfra_lab.train import history
from aiinfra_lab.train.record import folder
from tests import records
from tests.jupyter.test_feed import living
from tests.jupyter.test_items import running


def only() -> Item:
    (item,) = current()
    return item


def endpoint(**fields: Any) -> Item:
    """A living endpoint with that record, as a row."""
    records.endpoint("delay", job=running("deploy:delay").id, started_at=1.0, **fields)
    return only()


COUNTED = VersionCounts(requests=1200, rows=1200, errors=12, busy_ms=1.0, buckets={"70": 1200})


@pytest.mark.parametrize(
    ("state", "look"),
    [
        ("done", ("✓", "done", "good")),
        ("failed", ("✕", "failed", "bad")),
        ("killed", ("✕", "killed", "bad")),
        ("stopped", ("■", "stopped", "off")),
    ],
)
def test_an_end_looks_as_the_alphabet_says(workspace: Path, state: str, look: tuple[str, str, str]) -> None:
    records.run("delay@1", state=state, ended_at=time.time())
    assert (only().glyph, only().word, only().tone, only().is_live) == (*look, False)


def test_an_endpoint_that_runs_looks_as_what_lives_on_and_a_run_as_what_ends_by_itself(workspace: Path) -> None:
    living("deploy:a")
    living("train:b@1")
    assert {item.noun: (item.glyph, item.tone) for item in current()} == {
        "deploy": ("●", "good"),
        "train": ("◐", "busy"),
    }


def test_why_a_session_ended_stands_behind_the_word(workspace: Path) -> None:
    records.session("trainer", ended_at=time.time(), ended_by="its kernel died")
    assert (only().state, only().word, only().glyph) == ("ended (its kernel died)", "ended", "■")


# Of two hours a fifth is 24 minutes, and of ten hours more than half an hour.
@pytest.mark.parametrize(
    ("whole_min", "left_min", "is_soon"),
    [(10, 9, False), (10, 1, True), (120, 25, False), (120, 23, True), (600, 31, False), (600, 29, True)],
)
def test_what_ends_soon_is_the_same_in_the_panel_a_list_a_card_and_lab_show(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, whole_min: int, left_min: int, is_soon: bool
) -> None:
    started_at = time.time() - (whole_min - left_min) * 60
    records.session("trainer", started_at=started_at, deadline_at=time.time() + left_min * 60, handle="gpu-trainer-1")
    monkeypatch.setattr("aiinfra_lab.gpu.local.LocalMachines.status", lambda *_: Status("ready"))
    mark = str(STATES["ends soon"] if is_soon else LIVING)
    assert f"{only().glyph} {only().word}" == mark
    assert mark in repr(gpu.ls())
    assert str(gpu.show("trainer").card().state) == mark
    assert ("gpu:trainer" in {look.uri for look in lab.show().overview.looks}) == is_soon


# ---- what it costs ----


def a(**fields: Any) -> Observation:
    return Observation("gpu:a", "running", is_live=True, **fields)


def test_rented_machines_add_up_and_this_machine_is_paid_once(workspace: Path) -> None:
    (workspace / "aiinfra.toml").write_text("[cost]\nmachine_usd_per_hour = 0.12\n")
    rented = [a(usd_per_hour=usd, on_machine=False) for usd in (0.41, 1.0)]
    assert price_of([*rented, a(), a()]).usd_per_hour == pytest.approx(1.53)


def test_what_runs_in_a_session_or_has_ended_costs_nothing_beside_it(workspace: Path) -> None:
    over = Observation("gpu:b", "stopped", usd_per_hour=5.0, on_machine=False)
    assert price_of([a(within="gpu:a", usd_per_hour=9.0), over]).usd_per_hour == 0


def test_a_price_that_nobody_knows_makes_the_sum_a_least(workspace: Path) -> None:
    assert price_of([a(on_machine=False), a(on_machine=False, usd_per_hour=1.0)]).is_least
    assert not price_of([a()]).is_least


def test_a_setting_that_is_no_price_hides_no_row(workspace: Path) -> None:
    (workspace / "aiinfra.toml").write_text("[cost]\nmachine_usd_per_hour = -1\n")
    living("deploy:a")
    assert len(current()) == 1
    assert price_of(observed().values()).is_least


# ---- figures ----


def test_an_endpoint_shows_its_latency_and_its_canary(workspace: Path) -> None:
    item = endpoint(champion="models:d@1", canary="models:d@2", share=0.1, versions={"models:d@1": COUNTED})
    assert item.figure.endswith(" ms p95")
    assert item.facts == ("canary 10 %", "1,200 requests")


def test_a_run_shows_where_its_loss_stands(workspace: Path) -> None:
    folder("delay@1").mkdir(parents=True)
    log = history.MetricLog(folder("delay@1") / history.FILE)
    for step in range(2000):  # only the end of it is read
        log.add(step, {"loss": 1 / (step + 1)})
    log.close()
    records.run("delay@1", on="gpu:trainer")
    living("train:delay@1")
    assert (only().figure, only().facts) == ("loss 0.0005", ("step 2,000", "on gpu:trainer"))


def test_a_recipes_run_shows_how_many_steps_are_done(workspace: Path) -> None:
    from aiinfra_lab.recipe.record import StepRecord

    steps = (StepRecord(name="data", state="done"), StepRecord(name="train", state="running"), StepRecord(name="serve"))
    records.recipe_run("flights@1", steps=steps)
    living("recipe:flights@1")
    assert (only().progress, only().facts, only().figure) == ((1, 3), ("1 of 3 steps",), "train")


# ---- what is asked before ----


def asked(item: Item) -> dict[str, str]:
    return {action.verb: action.consequence for action in item.actions}


def test_the_stop_of_an_endpoint_is_asked_about_with_what_it_answered(workspace: Path) -> None:
    item = endpoint(champion="models:d@1", versions={"models:d@1": COUNTED})
    assert list(asked(item)) == ["stop"]
    assert "1,200 requests" in asked(item)["stop"]


def test_a_canary_can_be_promoted_or_rolled_back_instead_of_the_stop(workspace: Path) -> None:
    item = endpoint(champion="models:d@1", canary="models:d@2", share=0.1)
    assert list(asked(item)) == ["promote", "rollback", "stop"]
    assert [action.instead for action in item.actions] == ["", "", "rollback"]
    assert "models:d@2 then answers no request" in asked(item)["rollback"]


def test_without_a_canary_a_rollback_goes_to_the_version_before(workspace: Path) -> None:
    item = endpoint(champion="models:d@2", earlier=("models:d@1",))
    assert "models:d@1 then answers every request again, and models:d@2 none" in asked(item)["rollback"]


def test_an_endpoint_that_nobody_recorded_is_asked_about_too(workspace: Path) -> None:
    living("deploy:delay")
    assert "its callers get no answer" in asked(only())["stop"]


def test_a_session_is_asked_about_while_a_run_goes_on_in_it(workspace: Path) -> None:
    living("gpu:trainer")
    assert asked(only()) == {}
    records.run("delay@1", on="gpu:trainer")
    living("train:delay@1")
    (session,) = (item for item in current() if item.noun == "gpu")
    assert asked(session) == {"stop": "train:delay@1 runs in it and will end."}


def test_a_session_is_asked_about_while_its_kernel_is_busy(workspace: Path) -> None:
    kernel = KeptKernel.of(living("gpu:trainer"))
    kernel.folder.mkdir(parents=True)
    kernel.write_state(KernelState(phase="ready", kernel="aiinfra-trainer"))
    feed = ItemFeed(open_store())
    (busy,) = feed.changes(busy={"aiinfra-trainer"}).items
    (idle,) = feed.changes(busy={"python3"}).items
    assert ("kernel is busy" in asked(busy)["stop"], asked(idle)) == (True, {})


def test_a_run_stops_at_once(workspace: Path) -> None:
    living("train:delay@1")
    assert (only().stoppable, only().actions) == (True, ())


# ---- where nothing runs ----


def test_the_first_steps_name_what_is_there(workspace: Path) -> None:
    assert [step["code"] for step in first_steps(workspace)] == [
        "%gpu start trainer",
        "%lab start --from example:flights",
    ]
    (workspace / "recipes").mkdir()
    (workspace / "recipes/flight-delays.toml").touch()
    (workspace / "notebooks").mkdir()
    (workspace / "notebooks/00-tour.ipynb").touch()
    pipeline, tour = first_steps(workspace)[1:]
    assert pipeline["code"] == "%recipe run flight-delays"
    assert tour["open"] == "notebooks/00-tour.ipynb"
