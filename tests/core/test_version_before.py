"""A workspace that the version before this one wrote opens, and every `ls`, `show` and `log` says the same.

The same in JSON, word by word. As text it looks as the present version draws it, and names whatever it named.

The workspace and its answers were stored by `tests/fixtures/make_workspace.py` with that version's own code.
"""

import contextlib
import hashlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab.nouns import TABLE
from aiinfra_lab.store import first_break, open_store, sqlite
from tests.fixtures import answers

VERSION = "0.1.0"
RECORDED = answers.recorded(VERSION)
COMMANDS = 164
# A run was killed in it, and nobody has looked since. The first look now writes down its end: from then on the run has
# a duration, which costs money, and a later date.
UNSEEN = "train:alone@1"
OF_ITS_END = ("lab ls", "lab show", "cost show", "cost show train:alone", f"cost show {UNSEEN}")
# What it holds is the same. Its words were untrue of rows that depend on each other; tests/drift has the new ones.
VERDICTS = tuple(each for each in RECORDED if each.startswith("drift show"))
# The names of lists in their JSON, which name no thing.
LISTS = {"drift:verdicts", "recipe:recipes", "lab:things"}
NAMED = re.compile(rf"(?:{'|'.join(TABLE)}|file):[^\s,;`]+")
Rows = dict[str, list[tuple[object, ...]]]


@pytest.fixture(scope="module")
def restored() -> Iterator[Path]:
    """The stored workspace, put back once for the file."""
    with answers.restored(VERSION) as place, answers.inside(place):
        answers.ask(["train", "ls"], place, VERSION)
        yield place


@pytest.fixture(scope="module")
def now(restored: Path) -> dict[str, answers.Answer]:
    """What the code under test answers."""
    return answers.ask_all(RECORDED, restored, VERSION)


@pytest.mark.parametrize("command", [each for each in RECORDED if each not in OF_ITS_END])
def test_an_answer_in_json_holds_what_it_held(now, command):
    old, new = RECORDED[command], now[command]
    assert new.get("error") == old.get("error")
    assert answers.differences(old.get("json"), new.get("json")) == []


@pytest.mark.parametrize(
    "command", [each for each in RECORDED if each not in (*OF_ITS_END, *VERDICTS) and "json" in RECORDED[each]]
)
def test_an_answer_names_what_it_named(now, command):
    assert named(RECORDED[command]["text"]) - named(now[command]["text"]) - LISTS == set()


@pytest.mark.parametrize("command", OF_ITS_END)
def test_only_the_run_that_was_killed_unseen_is_told_differently(now, command):
    changed = answers.differences(RECORDED[command]["json"], now[command]["json"])
    assert [line for line in changed if not re.search(r"changed_at|spent_usd|duration_s", line)] == []
    assert len(changed) <= 4


def test_every_look_at_everything_in_it_is_compared(first_schema):
    assert sorted(answers.commands(first_schema)) == sorted(RECORDED)
    assert len(RECORDED) == COMMANDS


def test_looking_changes_nothing(restored, now):
    before = contents(restored), rows_of(restored / ".aiinfra" / "store.sqlite")
    again = answers.ask_all(RECORDED, restored, VERSION)
    assert [command for command in RECORDED if answers.differences(now[command], again[command])] == []
    assert (contents(restored), rows_of(restored / ".aiinfra" / "store.sqlite")) == before


def test_its_audit_log_is_whole(restored):
    events = list(open_store().events())
    assert (first_break(events), len(events) > 40) == (None, True)


@pytest.fixture
def first_schema() -> Iterator[Path]:
    """The store as that version left it, opened by nobody."""
    with answers.restored(VERSION) as place:
        yield place / ".aiinfra" / "store.sqlite"


def test_a_store_of_the_first_schema_is_copied_before_it_is_brought_up(first_schema):
    before = rows_of(first_schema)
    assert schema(first_schema) == 1
    store = sqlite.SqliteStore(first_schema)
    assert sorted(key.name for key in store.changed()) == sorted(row[1] for row in before["records"])
    assert [one.hash for one in store.events()] == [row[-1] for row in before["events"]]
    store.close()
    (copy,) = (first_schema.parent / "backups").glob("store-*-schema1.sqlite")
    assert (schema(copy), rows_of(copy)) == (1, before)
    assert schema(first_schema) == len(sqlite.MIGRATIONS)


def named(text: list[str]) -> set[str]:
    """The URIs in a text."""
    return {uri.rstrip(".:)") for uri in NAMED.findall(" ".join(text))}


def contents(workspace: Path) -> dict[str, str]:
    """File → digest of everything but the store, which is compared by its rows."""
    files = [path for path in workspace.rglob("*") if path.is_file() and "store" not in path.name]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(store: Path) -> Rows:
    """Every record, and every event, as they lie in the file."""
    with contextlib.closing(sqlite3.connect(store)) as db:
        records = db.execute("SELECT kind, name, body, rev FROM records ORDER BY kind, name").fetchall()
        return {"records": records, "events": db.execute("SELECT seq, body, hash FROM events ORDER BY seq").fetchall()}


def schema(store: Path) -> int:
    """Which schema the file has."""
    with contextlib.closing(sqlite3.connect(store)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])
