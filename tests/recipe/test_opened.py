"""What a step opens to read and to write, and what that means for the next run."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from aiinfra_lab import recipe

from .test_files import one, opened, run, state

__all__ = ["one"]


OPEN = "import sqlite3; db = sqlite3.connect('../raw/' + 'x' + '.db'); "
SELECT = OPEN + "db.execute('select * from o').fetchall(); db.close()"
READ = "with open('../raw/' + 'x' + '.csv', 'r+') as file: file.read()"
OS_READ = "import os; os.read(os.open('../raw/' + 'x' + '.csv', os.O_RDWR), 9)"
URI = SELECT.replace("connect('../raw/' + 'x' + '.db')", "connect('file:../raw/' + 'x%2Edb?mode=ro', uri=True)")
ELSEWHERE = "import subprocess; subprocess.run(['sh', '-c', 'exec 3<>../raw/x' + '.csv; cat <&3'])"


def change(folder: Path, sql: str) -> None:
    with (folder / "x.csv").open("a") as file:
        file.write("7\n")
    with contextlib.closing(sqlite3.connect(folder / "x.db")) as db, db:
        db.execute(sql)


@pytest.mark.parametrize(
    ("code", "name", "by_step"),
    [
        (SELECT, "x.db", True),
        (URI, "x.db", True),
        (READ, "x.csv", True),
        (OS_READ, "x.csv", True),
        (ELSEWHERE, "x.csv", False),
    ],
    ids=["sqlite", "sqlite by URI", "r+", "O_RDWR", "another program"],
)
def test_what_was_opened_to_read_and_write_was_read(one, workspace, code, name, by_step):
    one("", code)
    change(workspace / "raw", "create table o(a)")
    assert opened(run()) == [(f"raw/{name}", by_step)]
    assert state(run()) == "skipped"
    change(workspace / "raw", "insert into o values(1)")
    assert run().steps["a"]["because"] == (f"raw/{name} changed",)


@pytest.mark.parametrize(
    "code",
    [
        "with open('../raw/' + 'x' + '.csv', 'r+') as file: file.write(file.read())",
        "n = '../raw/' + 'x' + '.csv'; text = open(n).read(); open(n, 'w').write(text + '1')",
        OPEN + "db.execute('create table if not exists o(a)'); db.execute('insert into o values(1)'); db.commit()",
    ],
    ids=["r+", "read, then written", "sqlite"],
)
def test_a_file_that_a_step_reads_and_changes_stands_for_nothing(one, workspace, code):
    one("", code)
    change(workspace / "raw", "create table o(a)")
    assert [each["digest"] for each in run().steps["a"]["opened"]] == [""]
    assert state(run()) == "done"


@pytest.mark.parametrize(
    "code",
    [
        "open('o' + '.txt', 'w').write('1')",
        "open('o' + '.txt', 'w').write('1'); open('o' + '.txt', 'r+').read()",
        "open('o' + '.txt', 'w+').read()",
        "import pandas as pd; pd.DataFrame({'n': [1]}).to_csv('o' + '.csv')",
        "import pandas as pd; pd.DataFrame({'n': [1]}).to_parquet('o' + '.parquet')",
    ],
)
def test_what_a_step_only_writes_is_no_reason_to_run(one, code):
    one("", code)
    for force in (False, True):
        assert opened(recipe.run("one", force=force)) == []
        assert state(run()) == "skipped"


@pytest.mark.parametrize(
    "code",
    [
        "open('o.txt', 'w').write(str(time.time()))",
        "open('o.txt', 'w').write('1'); open('o.txt').read()",
        "import polars as pl; pl.DataFrame({'n': [time.time()]}).write_csv('o.csv')",
        "import subprocess; subprocess.run('date +%N > o.txt', shell=True)",
    ],
    ids=["open", "then read", "past Python", "another program"],
)
def test_what_the_code_names_and_only_writes_is_no_reason_to_run(one, workspace, code):
    one("", f"import time; {code}")
    assert [state(run()), state(run())] == ["done", "skipped"]
    one("", f"import time; {code}; 1")
    again = run()
    assert (state(again), again.steps["a"]["because"]) == ("done", ("its code changed",))
    assert state(run()) == "skipped"
    next((workspace / "notebooks").glob("o.*")).unlink()
    assert [state(run()), state(run())] == ["done", "skipped"], "what it makes is gone"


def test_a_file_that_the_code_names_reads_and_changes_is_a_reason_each_time(one):
    one("", "n = '../raw/x.csv'; text = open(n).read(); open(n, 'w').write(text + '1')")
    assert [state(run()), state(run())] == ["done", "done"]


def test_what_one_step_makes_and_the_next_reads_is_a_reason_for_that_alone(notebook, recipe, workspace):
    notebook("a", "n: int = 1", "open('o.txt', 'w').write(str(n)[:1])")
    notebook("b", "", "print(open('o.txt').read())")
    recipe(
        "one",
        """parameters = { n = 1 }
[steps.a]
notebook = "a.ipynb"
parameters = { n = "${params.n}" }
[steps.b]
notebook = "b.ipynb"
after = ["a"]""",
    )

    def states() -> list[str]:
        return [step["state"] for step in run().steps.values()]

    assert states() == ["done", "done"]
    assert states() == ["skipped", "skipped"]
    (workspace / "notebooks" / "o.txt").write_text("2")
    assert states() == ["skipped", "done"]
