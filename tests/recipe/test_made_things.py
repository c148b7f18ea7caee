"""What steps make, with a noun whose things live and one whose things have versions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from aiinfra_lab import jobs, nouns
from aiinfra_lab.recipe import made_things
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.store import Event, Record, open_store
from aiinfra_lab.uris import Uri

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture
def service(workspace, monkeypatch) -> str:
    """The URI of something that lives."""
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setitem(nouns.TABLE, "service", "living_noun")
    import living_noun

    living_noun.start("web")
    return "service:web"


@pytest.fixture
def versions(workspace) -> None:
    """Two versions of one thing: a recipe's runs have versions too."""
    for number in (1, 10):
        body = RunRecord(state="done", started_at=1.0, ended_at=2.0, steps=())
        open_store().commit([Record.new(f"r@{number}", body)])


@pytest.mark.parametrize(
    ("uri", "found"),
    [("recipe:r", "recipe:r@10"), ("recipe:r@1", "recipe:r@1"), ("recipe:r@2", None), ("recipe:x", None)],
)
def test_the_newest_version_is_the_highest_that_is_there(versions, uri, found):
    assert made_things.newest(Uri.parse(uri)) == found


def test_a_version_is_there_or_not(versions):
    assert made_things.is_there("recipe:r@10", alive=True)
    assert not made_things.is_there("recipe:r@2", alive=False)


def test_what_has_versions_does_not_live(service):
    assert not any(map(made_things.can_live, ["recipe:r@1", "recipe:r"]))
    assert made_things.can_live(service)


def test_what_lives_is_its_own_newest_version_while_it_lives(service):
    assert made_things.newest(Uri.parse(service)) == service
    assert made_things.is_there(service, alive=True)
    jobs.cancel(jobs.find(service).id)
    jobs.wait(jobs.find(service).id)
    assert made_things.newest(Uri.parse(service)) is None
    assert (made_things.is_there(service, alive=True), made_things.is_there(service, alive=False)) == (False, True)


def test_all_of_several_must_be_there(versions):
    assert made_things.are_there(["recipe:r@1", "recipe:r@10"], alive=True)
    assert not made_things.are_there(["recipe:r@1", "recipe:r@2"], alive=True)
    assert made_things.are_there([], alive=True)


# ---- what a step is credited with ----

R = Uri.parse("recipe:r")


@pytest.fixture
def log(versions, monkeypatch) -> Callable[..., None]:
    """`log("recipe:x@2/a", ("recipe:r@1",))`: an event of that context with these outputs."""

    def write(context: str, outputs: tuple[str, ...], inputs: tuple[str, ...] = ()) -> None:
        monkeypatch.setenv("AIINFRA_CONTEXT", context)
        open_store().commit([], Event("recipe end", outputs[0], inputs, outputs))

    return write


def test_of_what_a_noun_logs_nothing_of_a_step_is_credited_with_the_newest(versions):
    assert made_things.made_by(R, ["recipe:x@2"], "a") == "recipe:r@10"


def test_what_others_have_logged_is_not_the_steps(log):
    for context in ("", "recipe:x@2/b", "recipe:x@1/a", "recipe:x@22/a", "recipe:xx@2/a"):
        log(context, ("recipe:r@10",))
    assert made_things.made_by(R, ["recipe:x@2"], "a") is None
    assert made_things.made_by(R, ["recipe:x@2", "recipe:x@1"], "a") == "recipe:r@10"


def test_it_is_not_the_steps_either_when_many_have_named_it_since(log, monkeypatch):
    monkeypatch.setattr(made_things, "_MOST_EVENTS", 10)
    log("", ("recipe:r@10",))
    for number in range(12):
        open_store().commit([], Event("recipe run", f"recipe:c@{number}", ("recipe:r@10",), (f"recipe:c@{number}",)))
    assert made_things.made_by(R, ["recipe:x@2"], "a") is None


def test_the_last_that_the_step_has_logged_and_that_is_there_is_its_own(log):
    for name in ("recipe:r@1", "recipe:r@3", "recipe:r@1#0f", "recipe:rr@10", "recipe:r"):
        log("recipe:x@2/a", (name,), ("recipe:r@10",))
    assert made_things.made_by(R, ["recipe:x@2"], "a") == "recipe:r@1"


def test_what_it_gave_an_alias_to_is_its_own(log):
    log("recipe:x@2/a", ("recipe:r@champion",), ("recipe:r@1",))
    assert made_things.made_by(R, ["recipe:x@2"], "a") == "recipe:r@1"
