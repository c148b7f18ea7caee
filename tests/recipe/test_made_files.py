"""Files that a step makes are the same where it ran often as in a fresh clone."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aiinfra_lab.errors import Failed
from aiinfra_lab.recipe import attempts, history
from aiinfra_lab.recipe import run as run_recipe
from aiinfra_lab.recipe.record import StepRecord

LOAD = "from aiinfra_lab import recipe\nout = recipe.outputs"
PARTS = f"{LOAD}.parts\nout.mkdir(exist_ok=True)\nfor each in range(n): (out / f'{{each}}.txt').write_text(str(each))"


@pytest.fixture
def make(notebook, recipe, workspace: Path, monkeypatch) -> Callable[..., Path]:
    """`make(CODE)`: a recipe of one step with that code, which has a parameter n and makes build/parts or build/t.txt;
    where it makes them."""
    monkeypatch.setattr(attempts, "_FIRST_PAUSE_S", 0.01)

    def write(code: str = PARTS, *more: str, name: str = "parts", path: str = "build/parts") -> Path:
        notebook("make", "n: int = 3", code)
        lines = [
            "[parameters]",
            "n = 3",
            "[steps.make]",
            'notebook = "make.ipynb"',
            'parameters = { n = "${params.n}" }',
        ]
        recipe("f", "\n".join([*lines, f'out = {{ {name} = "{path}" }}', *more]))
        return workspace / path

    return write


def last() -> StepRecord:
    return history.runs("f")[0].steps[0]


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_what_an_earlier_run_made_is_gone_before_the_next(make):
    folder = make()
    run_recipe("f")
    fresh = last().files
    run_recipe("f", param={"n": 1})
    assert names(folder) == ["0.txt"]
    run_recipe("f")
    assert last().files == fresh


def test_a_file_is_made_as_in_a_fresh_clone_also_by_code_that_looks_whether_it_is_there(make):
    file = make(f"{LOAD}.t\nif not out.exists(): out.write_text(str(n))", name="t", path="build/t.txt")
    run_recipe("f")
    run_recipe("f", param={"n": 1})
    assert file.read_text() == "1"


def test_what_somebody_put_there_stays_and_is_not_taken_for_made(make):
    folder = make()
    run_recipe("f")
    (folder / "notes.md").write_text("by hand")
    time.sleep(0.2)  # else it may be of the next run, as far as a file system counts time
    with pytest.raises(
        Failed, match=r"make ran, but did not write build/parts/1.txt, .*2.txt, .*notes.md, which were"
    ) as problem:
        run_recipe("f", param={"n": 1})
    assert "remove from build/parts what make.ipynb does not make" in problem.value.fix
    assert names(folder) == ["0.txt", "1.txt", "2.txt", "notes.md"]
    for name in ("1.txt", "2.txt", "notes.md"):
        (folder / name).unlink()
    run_recipe("f", param={"n": 1})
    assert names(folder) == ["0.txt"]


def test_what_a_failed_attempt_wrote_is_not_the_output_of_the_next(make):
    code = f"{LOAD}.t\nif not out.exists(): out.write_text('half'); raise OSError('no room')"
    file = make(code, "retries = 1", name="t", path="build/t.txt")
    with pytest.raises(Failed, match="no room"):
        run_recipe("f")
    assert last().attempts == 2
    # That of a run that failed nobody knows to be made: it is neither removed nor taken.
    with pytest.raises(Failed, match=r"did not write build/t.txt, which was there before"):
        run_recipe("f", param={"n": 1})
    assert file.read_text() == "half"


def test_a_kernel_that_was_held_has_what_it_made_before(make, notebook):
    folder = make(PARTS, 'on_failure = "hold 5m"')
    run_recipe("f")
    notebook("make", "n: int = 3", f"k = n - 1\n{PARTS.replace('range(n)', 'range(k)')}", "1 / 0")
    with pytest.raises(Failed):
        run_recipe("f")
    notebook("make", "n: int = 3", f"k = n - 1\n{PARTS.replace('range(n)', 'range(k)')}", "1 / 1")
    run_recipe("f", resume=True)
    assert names(folder) == ["0.txt", "1.txt"]


def test_a_link_is_written_although_the_file_that_it_leads_to_is_old(make, workspace):
    (workspace / "old.txt").write_text("1")
    make(f"{LOAD}.t\nimport os\nos.symlink('../old.txt', out)", name="t", path="build/t.txt")
    run_recipe("f")
    run_recipe("f", param={"n": 1})
    assert (workspace / "old.txt").read_text() == "1"


def test_hidden_files_do_not_count_and_that_is_what_it_says(make):
    make(f"{LOAD}.parts\nout.mkdir()\n(out / '.x').write_text('1')")
    with pytest.raises(Failed, match="made no file in build/parts that counts: names that begin with a dot do not"):
        run_recipe("f")


def test_a_name_that_no_record_can_hold_is_refused(make):
    make(f"{LOAD}.parts\nout.mkdir()\nopen(bytes(out) + b'/caf\\xe9', 'w').close()")
    with pytest.raises(Failed, match=r"the name of build/parts/caf\\xe9 is no UTF-8"):
        run_recipe("f")
