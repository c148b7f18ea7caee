"""Steps in the kernel of a session: `on = "gpu:trainer"`."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aiinfra_lab import data, gpu, kernels
from aiinfra_lab import recipe as verbs
from aiinfra_lab.errors import Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.kernels import KeptKernel
from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe import run as run_recipe
from aiinfra_lab.recipe.base import Executor, NotebookTask
from aiinfra_lab.recipe.session import SessionExecutor, executor_on
from aiinfra_lab.testing.recipe import ExecutorContract, printed, write_notebook
from tests.conftest import until

RECIPE = """
[steps.make]
notebook = "make.ipynb"
on = "gpu:trainer"
parameters = { n = 3 }
out = { file = "build/a.txt", rows = "data:rows" }
[steps.use]
notebook = "use.ipynb"
in = { rows = "make.rows", file = "make.file" }
"""
MAKE = """
import os
from aiinfra_lab import data, recipe
print("x" in globals(), os.environ["AIINFRA_CONTEXT"], os.path.basename(os.getcwd()))
x = n
recipe.outputs.file.write_text("a\\n" * x)
data.add("rows", recipe.outputs.file)
"""


class TestSessionExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self, workspace: Path) -> Executor:
        gpu.start("trainer")
        return executor_on("gpu:trainer")


@pytest.fixture
def made(workspace: Path, notebook, recipe) -> Path:
    notebook("make", "n: int = 0", MAKE)
    notebook("use", "rows: str = ''\nfile: str = ''", "print(rows, len(open(file).read()))")
    return recipe("r", RECIPE)


def in_session(code: str) -> str:
    outputs: list[kernels.Output] = []
    kernels.execute("gpu:trainer", code, outputs.append)
    return "".join(output["content"].get("text", "") for output in outputs)


def test_a_step_runs_in_the_session_that_it_names(made, workspace):
    gpu.start("trainer")
    assert in_session("x = 1; print(x)") == "1\n"
    done = run_recipe("r")
    assert done.state == "done"
    assert verbs.log("r@1/make").text.startswith("[3]\nFalse recipe:r@1/make notebooks\n")
    assert verbs.log("r@1/use").text == "[3]\ndata:rows@1 6\n"
    assert done.steps["make"]["outputs"] == {"rows": "data:rows@1", "file": "build/a.txt"}
    assert data.get("rows").uri == "data:rows@1"
    # Its kernel goes on for others, without what the step has left in it.
    assert in_session("import os; print('x' in globals(), 'AIINFRA_STEP' in os.environ)") == "False False\n"
    assert {step["state"] for step in run_recipe("r").steps.values()} == {"skipped"}


def test_a_step_that_fails_there_says_where(made, notebook):
    gpu.start("trainer")
    notebook("make", "n: int = 0", "y = n", "1 / (y - 3)")
    with pytest.raises(Failed, match="step make failed in cell 4: ZeroDivisionError"):
        run_recipe("r")
    assert in_session("print(y)") == "3\n", "what it has computed is there to be looked at"


def test_a_session_that_does_not_live_is_named_before_a_run(made):
    with pytest.raises(NotFound, match="there is no living session gpu:trainer") as problem:
        run_recipe("r")
    assert "`%gpu start trainer`" in problem.value.fix
    assert len(verbs.log("r")) == 0
    (note,) = verbs.check("r").notes
    assert note.startswith("It could not run now: there is no living session gpu:trainer; start it")


def test_two_runs_have_it_one_after_the_other(workspace, tmp_path):
    gpu.start("trainer")
    code = "import time, os; began = time.time(); time.sleep(1); print(began, time.time())"
    notebook = write_notebook(tmp_path / "a.ipynb", code)
    tasks = [NotebookTask(notebook, tmp_path / f"{at}.ipynb") for at in range(2)]
    begun = [executor_on("gpu:trainer").submit(task) for task in tasks]
    assert {handle.collect().state for handle in begun} == {"done"}
    spans = sorted(tuple(map(float, printed(task.archive).split())) for task in tasks)
    assert spans[0][1] <= spans[1][0]


def test_a_pool_has_as_many_at_once_as_sessions(workspace, tmp_path):
    gpu.start("many", min_=2, max_=2)
    executor = executor_on("gpu:many")
    code = "import time, os; time.sleep(0.5); print(os.getpid())"
    notebook = write_notebook(tmp_path / "a.ipynb", code)
    tasks = [NotebookTask(notebook, tmp_path / f"{at}.ipynb") for at in range(3)]
    begun = []
    for task in tasks:
        while not executor.has_room(task):
            time.sleep(0.02)
        begun.append(executor.submit(task))
    assert not executor.has_room(tasks[0]) or begun[0].poll()
    assert {handle.collect().state for handle in begun} == {"done"}
    assert len({printed(task.archive) for task in tasks}) >= 2


def test_who_waits_for_a_session_can_be_stopped(workspace, tmp_path):
    gpu.start("trainer")
    slow = write_notebook(tmp_path / "slow.ipynb", "import time; time.sleep(60)")
    first = SessionExecutor("trainer").submit(NotebookTask(slow, tmp_path / "one.ipynb"))
    second = SessionExecutor("trainer").submit(NotebookTask(slow, tmp_path / "two.ipynb"))
    time.sleep(2)
    for handle in (second, first):
        handle.cancel()
        assert handle.collect().state == "stopped"


@pytest.mark.parametrize(
    ("on", "error", "what", "fix"),
    [
        ("3", UsageProblem, "on must be a session, a pool or an executor, and 3 was given", 'on = "gpu:NAME"'),
        ('"data:x"', UsageProblem, "'data:x' was given", "starts a session"),
        ('"locl"', NotFound, "locl", "did you mean local?"),
    ],
)
def test_what_is_no_place_is_refused(notebook, recipe, on, error, what, fix):
    notebook("a", "x: int = 1")
    recipe("r", f'[steps.a]\nnotebook = "a.ipynb"\non = {on}\n')
    with pytest.raises(error) as problem:
        run_recipe("r")
    assert what in problem.value.what
    assert fix in problem.value.fix


def test_another_executor_may_be_named(notebook, recipe):
    notebook("a", "x: int = 1")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\non = "local"\n')
    assert run_recipe("r").state == "done"
    assert declaration.read("r").steps[0].on == "local"


def test_moving_to_another_session_is_no_reason_to_run_again(made, recipe):
    for name in ("trainer", "other"):
        gpu.start(name)
    run_recipe("r")
    recipe("r", RECIPE.replace("gpu:trainer", "gpu:other"))
    assert {step["state"] for step in run_recipe("r").steps.values()} == {"skipped"}
    recipe("r", RECIPE.replace('on = "gpu:trainer"\n', ""))
    assert run_recipe("r", dry=True).steps["make"]["action"] == "run"


def test_threads_of_this_process_are_not_left(made):
    gpu.start("trainer")
    before = threading.active_count()
    run_recipe("r")
    assert threading.active_count() <= before + 1
    assert KeptKernel.of("gpu:trainer").is_alive()


def test_a_kernel_that_dies_is_a_failure_and_the_session_lives_on(made, notebook):
    gpu.start("trainer")
    notebook("make", "n: int = 0", "import os; os._exit(3)")
    with pytest.raises(LabError, match="step make was killed"):
        run_recipe("r")
    assert in_session("print(1)") == "1\n"


def test_code_of_somebody_else_in_the_middle_fails_the_step(made, notebook):
    gpu.start("trainer")
    notebook("make", "n: int = 0", "import time; time.sleep(3)", "print(n)")
    others = threading.Timer(2.0, lambda: in_session("n = 99"))
    others.start()
    with pytest.raises(Failed, match="somebody else ran code in gpu:trainer while this step did"):
        run_recipe("r")
    others.join()
    # The next run is of the step alone.
    notebook("make", "n: int = 0", MAKE)
    assert run_recipe("r").state == "done"


def test_a_step_waits_for_what_somebody_runs_and_that_is_not_its_time(workspace, notebook, recipe):
    notebook("a", "x: int = 1")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\non = "gpu:trainer"\ntimeout = "5s"\n')
    gpu.start("trainer")
    ended: list[str] = []
    begin = f"open({str(workspace / 'begun')!r}, 'w').close()"
    code = f"import time\n{begin}\nfor _ in range(80): time.sleep(0.1)\nprint('whole')"
    other = threading.Thread(target=lambda: ended.append(in_session(code)))
    other.start()
    until((workspace / "begun").exists, "nothing runs")
    assert run_recipe("r").state == "done"
    other.join()
    assert ended == ["whole\n"]


RUNNER = """
import os
from aiinfra_lab import recipe
recipe.run("r")
"""


@pytest.mark.parametrize("on", ["gpu:trainer", "gpu:many"])
def test_what_runs_there_ends_with_a_runner_that_is_killed(on, workspace, notebook, recipe):
    code = "import time; from aiinfra_lab import recipe; open('../begun', 'w').close()\ntime.sleep(8 if n == 1 else 0)"
    notebook("a", "n: int = 0", f"{code}\nrecipe.outputs.file.write_text(str(n))")
    given = 'parameters = { n = "${params.n}" }\nout = { file = "build/a.txt" }\n'
    recipe("r", f'[parameters]\nn = 1\n[steps.a]\nnotebook = "a.ipynb"\non = "{on}"\n{given}')
    gpu.start("trainer") if on == "gpu:trainer" else gpu.start("many", min_=1, max_=1)
    runner = subprocess.Popen([sys.executable, "-c", RUNNER], stderr=subprocess.DEVNULL)
    until((workspace / "begun").exists, "the cell does not run")
    runner.kill()
    runner.wait()
    assert run_recipe("r", param={"n": 2}).state == "done"
    time.sleep(9)
    assert (workspace / "build" / "a.txt").read_text() == "2"


def archive_of_one_that_is_killed(workspace, notebook, recipe) -> Path:
    """The executed notebook of a step in the session, whose runner was killed when it had saved twenty lines."""
    lines = "import time\nfor n in range(2000):\n    print('line', n, flush=True); time.sleep(0.01)"
    notebook("a", "n: int = 0", "print('first')", lines)
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\non = "gpu:trainer"\n')
    runner = subprocess.Popen([sys.executable, "-c", RUNNER], stderr=subprocess.DEVNULL)
    archive = workspace / ".aiinfra" / "recipe" / "r@1" / "a.ipynb"
    until(lambda: archive.exists() and "line 20" in archive.read_text())
    runner.kill()
    runner.wait()
    return archive


def test_the_notebook_of_a_runner_that_is_killed_is_completed_from_the_session(workspace, notebook, recipe):
    gpu.start("trainer")
    in_session("print('of somebody')")
    archive = archive_of_one_that_is_killed(workspace, notebook, recipe)
    archive.unlink()
    text = verbs.log("r@1/a").text
    assert text.startswith("[2]\nfirst\n[3]\nline 0\nline 1\n")
    assert ("line 21\n" in text, "of somebody" in text, archive.with_suffix(".journal").exists()) == (
        True,
        False,
        False,
    )
    assert in_session("print('it lives')") == "it lives\n"


def test_what_was_saved_stays_where_the_session_was_started_again_since(workspace, notebook, recipe):
    gpu.start("trainer")
    archive = archive_of_one_that_is_killed(workspace, notebook, recipe)
    gpu.stop("trainer")
    gpu.start("trainer")
    in_session("1")
    text = verbs.log("r@1/a").text
    assert ("first\n" in text, "line 20\n" in text) == (True, True)
    assert not archive.with_suffix(".journal").exists()


def test_a_session_that_ends_in_the_middle_is_named(made, notebook):
    gpu.start("trainer")
    notebook("make", "n: int = 0", "import time; time.sleep(60)")
    threading.Timer(3.0, lambda: gpu.stop("trainer")).start()
    with pytest.raises(LabError, match="gpu:trainer has ended") as problem:
        run_recipe("r")
    assert "`%gpu start trainer`" in problem.value.fix


def test_what_does_not_hold_in_a_session_is_said_before(notebook, recipe):
    notebook("a", "x: int = 1")
    gpu.start("trainer")
    more = 'memory = "400MB"\non_failure = "hold 10m"'
    recipe("r", f'[steps.a]\nnotebook = "a.ipynb"\non = "gpu:trainer"\n{more}\n')
    assert "a: memory and hold mean nothing on gpu:trainer" in " ".join(verbs.check("r").notes)
    notes = verbs.export("r", to="github").notes
    assert any(note.startswith("steps run in gpu:trainer, which must live") for note in notes)
