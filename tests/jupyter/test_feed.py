"""What polls of the panel are answered with, on every store, and when a store is put back from a copy or exchanged."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiinfra_lab import signal_records
from aiinfra_lab.config import settings
from aiinfra_lab.jobs import JobRecord, process
from aiinfra_lab.jupyter import items
from aiinfra_lab.kernels import KeptKernel, specs
from aiinfra_lab.store import Store, open_store, sqlite
from tests import records
from tests.cost.test_budgets import session
from tests.postgres import needs_postgres, postgres, server
from tests.records import put

__all__ = ["postgres", "server"]
SCHEMA = "feed"


def poll(since: object = 0) -> tuple[int, set[str]]:
    """One request of the panel: the revision that it may ask from next time, and what it was told."""
    answer = items.items_since(int(str(since)), settings())
    assert isinstance(answer["items"], list)
    return int(str(answer["rev"])), {item["uri"] for item in answer["items"]}


def living(uri: str) -> str:
    """A job of that thing, which is this very process."""
    pid = os.getpid()
    given = {"pid": pid, "born": process.birth(pid), "started_at": 1.0, "supervised": False}
    put(f"{uri.replace(':', '-')}-1", JobRecord(subject=uri, state="running", **given))
    return uri


@pytest.fixture
def on_postgres(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Puts the workspace on an empty PostgreSQL, whose URL it returns."""
    url = request.getfixturevalue("server")

    def change() -> str:
        monkeypatch.setenv("AIINFRA_STORE_URL", url)
        monkeypatch.setenv("AIINFRA_STORE_SCHEMA", SCHEMA)
        return str(url)

    yield change
    import psycopg

    monkeypatch.delenv("AIINFRA_STORE_URL", raising=False)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def copied_sqlite() -> Callable[[], object]:
    store = open_store()
    assert isinstance(store, sqlite.SqliteStore)
    store.copy("test")
    return lambda: sqlite.restore(store.path)


def copied_postgres(url: str) -> Callable[[], object]:
    import psycopg

    rev = open_store().changed()[0].rev

    def put_back() -> None:
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(f"DELETE FROM {SCHEMA}.records WHERE rev > %s", [rev])
            db.execute(f"UPDATE {SCHEMA}.meta SET value = %s", [rev])

    return put_back


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
def copied(request: pytest.FixtureRequest, workspace: Path) -> Callable[[], object]:
    """A store that has `deploy:kept`; puts it back from a copy that was made then."""
    url = request.getfixturevalue("on_postgres")() if request.param == "postgres" else ""
    settings().home.mkdir(parents=True)
    living("deploy:kept")
    return copied_postgres(url) if url else copied_sqlite()


def test_polls_of_one_store_are_answered_by_one_feed(workspace: Path) -> None:
    settings().home.mkdir(parents=True)
    living("deploy:a")
    rev, first = poll()
    living("deploy:b")
    assert (first, poll(rev)[1]) == ({"deploy:a"}, {"deploy:b"})
    assert items.feed_of(open_store()) is items.feed_of(open_store())


def test_a_store_that_was_put_back_is_told_from_its_beginning(copied: Callable[[], object]) -> None:
    living("deploy:lost")
    rev, before = poll()
    copied()
    again, after = poll(rev)
    # A lower revision says to the panel that what it has beside these is gone.
    assert (before, after, again < rev) == ({"deploy:kept", "deploy:lost"}, {"deploy:kept"}, True)
    living("deploy:new")
    assert poll(again)[1] == {"deploy:new"}


@needs_postgres
def test_a_workspace_that_goes_on_in_another_store_is_told_from_its_beginning(
    workspace: Path, on_postgres: Callable[[], str]
) -> None:
    settings().home.mkdir(parents=True)
    for name in ("a", "b"):
        living(f"deploy:{name}")
    rev, _ = poll()
    on_postgres()
    living("deploy:elsewhere")
    assert poll(rev) == (1, {"deploy:elsewhere"})


def test_what_is_no_item_any_more_is_told_to_whoever_knows_it(workspace: Path) -> None:
    settings().home.mkdir(parents=True)
    session = living("gpu:trainer")
    records.session("other", started_at=time.time())
    feed = items.feed_of(open_store())
    before = feed.changes()
    records.session("trainer", handle="gpu-trainer-1", started_at=time.time())  # it takes the job's row
    after = feed.changes(before.rev)
    assert (before.gone, [item.job for item in after.items], after.gone) == ([], [session], ["gpu-trainer-1"])
    assert feed.changes(after.rev).gone == []


def test_the_job_of_a_session_that_starts_is_no_row_of_its_own(workspace: Path) -> None:
    settings().home.mkdir(parents=True)
    living("gpu:trainer")
    records.session("trainer", started_at=time.time())  # it names its job once that has a machine
    assert [item.job for item in items.current()] == ["gpu:trainer"]


def test_a_feed_asks_the_store_that_it_is_of(workspace: Path) -> None:
    settings().home.mkdir(parents=True)
    other: Store = sqlite.SqliteStore(settings().home / "other.sqlite")
    assert items.feed_of(other) is not items.feed_of(open_store())
    other.close()


def test_a_poll_takes_what_a_killed_keeper_left_out_of_the_launcher(workspace: Path) -> None:
    kernel = KeptKernel.of("gpu:trainer")
    kernel.hold().close()
    folder = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / specs.write_spec(kernel, "trainer")
    with kernel.hold():
        poll()
        assert folder.exists()
    poll()
    assert not folder.exists()


def test_a_signal_is_told_once_and_not_to_whoever_asks_for_the_first_time(workspace: Path) -> None:
    living("deploy:late")
    first = items.items_since(0, settings())
    signal_records.send(open_store(), "deploy:late", "it was rolled back", "look")
    assert items.items_since(0, settings())["signals"] == []
    then = items.items_since(int(str(first["rev"])), settings())
    assert isinstance(then["signals"], list)
    assert [(one["subject"], one["what"], one["fix"]) for one in then["signals"]] == [
        ("deploy:late", "it was rolled back", "look")
    ]
    assert items.items_since(int(str(then["rev"])), settings())["signals"] == []


def test_a_poll_hears_once_of_a_budget_that_is_half_spent(workspace: Path) -> None:
    living("deploy:late")
    first = items.items_since(0, settings())
    session(2.6)
    items.feed_of(open_store())._warned_at = float("-inf")
    then = items.items_since(int(str(first["rev"])), settings())
    assert isinstance(then["signals"], list)
    assert [one["what"].partition(",")[0] for one in then["signals"]] == ["52 % of 5.00 USD"]
    items.feed_of(open_store())._warned_at = float("-inf")
    assert items.items_since(int(str(then["rev"])), settings())["signals"] == []
