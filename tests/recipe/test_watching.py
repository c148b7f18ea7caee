"""How the files of a project are watched while a run goes on."""

from pathlib import Path

from aiinfra_lab.pool import match
from aiinfra_lab.recipe import run as run_recipe
from aiinfra_lab.recipe.watching import ProjectWatch, reading

from ..conftest import until


def watches() -> int:
    """How many handles of inotify this process has."""
    return sum("inotify" in str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink())


def test_the_end_of_a_watch_closes_its_handle(workspace: Path) -> None:
    before = watches()
    with ProjectWatch() as watch:
        watch.open(workspace / "report")
        assert watches() == before + 1
    until(lambda: watches() == before, "its handle is open")


TWO_BRANCHES = """
parameters = { n = 1 }
[steps.slow]
notebook = "slow.ipynb"
parameters = { n = "${params.n}" }
[steps.first]
notebook = "first.ipynb"
parameters = { n = "${params.n}" }
out = { word = "build/word.txt" }
[steps.same]
notebook = "same.ipynb"
in = { raw = "raw.csv", word = "first.word" }
out = { table = "build/table.csv" }
[steps.last]
notebook = "last.ipynb"
parameters = { n = "${params.n}" }
after = ["same"]
"""
SAME = """
import helper
from aiinfra_lab import recipe
recipe.outputs.table.write_text(open(raw).read())
"""


def test_what_the_run_reads_to_decide_about_one_step_no_other_has_opened(workspace, notebook, recipe):
    # Until the last step has begun, so that the run decides about the others meanwhile.
    notebook(
        "slow", "n: int = 1", "import pathlib, time\nwhile not pathlib.Path(f'{n}.log').exists(): time.sleep(0.01)"
    )
    notebook("first", "n: int = 1", "from aiinfra_lab import recipe\nrecipe.outputs.word.write_text('a')")
    notebook("same", "raw: str = ''\nword: str = ''", SAME)
    notebook("last", "n: int = 1", "open(f'{n}.log', 'w').close()")
    recipe("r", TWO_BRANCHES)
    (workspace / "raw.csv").write_text("1")
    (workspace / "notebooks" / "helper.py").write_text("")
    run_recipe("r")
    done = run_recipe("r", param={"n": 2})
    assert [step["state"] for step in done.steps.values()] == ["done", "done", "skipped", "done"]
    assert done.steps["slow"]["opened"] == ()


def test_what_others_read_of_a_file_before_and_after_the_run_does_is_seen(workspace):
    path, other = workspace / "a.csv", workspace / "b.csv"
    for each in (path, other):
        each.write_text("1")
    with ProjectWatch() as watch:
        for read in ([path], [other, path]):
            window = watch.open(workspace / "report")
            with reading(path):
                path.read_text()
            for each in read:
                each.read_text()
            with reading(path):
                path.read_text()
            assert watch.close(window).meanwhile == {*read}
        window = watch.open(workspace / "report")
        with reading(path):
            path.read_text()
        assert watch.close(window).meanwhile == set()


def test_what_the_warm_pool_does_in_a_temporary_folder_of_the_project_is_not_seen(workspace):
    lock = workspace / "tmp" / Path(match.folder()).name / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with ProjectWatch() as watch:
        window = watch.open(workspace / "report")
        lock.read_text()
        assert watch.close(window).meanwhile == set()


def test_a_file_that_two_runs_of_one_process_read_at_once_counts_for_none(workspace):
    path = workspace / "data.csv"
    path.write_text("a")
    with ProjectWatch() as watch:
        window = watch.open(workspace / "report")
        with reading(path):
            with reading(path):  # as in the thread of another run, which is over first
                path.read_text()
            path.read_text()
        assert watch.close(window).meanwhile == set()
