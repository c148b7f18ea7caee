"""One cell in a session: its output here as it comes, variables both ways, and nothing left of them on the way."""

import json
import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from aiinfra_lab import gpu, kernels
from aiinfra_lab.cli import main
from aiinfra_lab.errors import Failed, Interrupted, Missing, NotFound, Unavailable, UsageProblem
from aiinfra_lab.kernels import CellFailed, KeptKernel, cells
from aiinfra_lab.kernels.values import needs
from tests.cards import one_line
from tests.conftest import PATIENCE_S, until
from tests.kernels.test_keeper import kill_keeper
from tests.kernels.value_kinds import ARRAYS, CELL, HARD_ROWS, PICKLED, PLAIN, ROWS, TABLES, TENSORS, same


@pytest.fixture
def session(workspace) -> KeptKernel:
    gpu.start("trainer")
    return KeptKernel.of("gpu:trainer")


def left(session: KeptKernel) -> list[str]:
    """The files that an exchange has left."""
    folders = [session.folder / "exchange", session.host / "exchange"]
    return [path.name for folder in folders if folder.is_dir() for path in folder.rglob("*")]


# ---- variables ----


def test_variables_go_and_come_back(session):
    rows = pd.DataFrame({"distance": [1.0, 2, 30, 40], "late": [0, 0, 1, 1]})
    code = (
        "from sklearn.linear_model import LogisticRegression\nmodel = LogisticRegression().fit(rows[['distance']], y)"
    )
    run = gpu.run("trainer", code, inputs={"rows": rows, "y": rows["late"]}, outputs="model")
    assert isinstance(run["model"], LogisticRegression)
    assert run["model"].predict(pd.DataFrame({"distance": [1.0, 40]})).tolist() == [0, 1]
    assert [*run.taken] == ["rows", "y"]
    assert "model (" in run.card().text()
    assert left(session) == []


@pytest.mark.parametrize("kind", [PLAIN, ARRAYS, TENSORS, ROWS, TABLES, HARD_ROWS, PICKLED])
def test_every_kind_comes_back_as_it_was(session, kind):
    back = gpu.run("trainer", "", inputs=kind, outputs=[*kind]).values
    assert [*back] == [*kind]
    odd = {"instance", "partial"}  # which know no equality
    assert [name for name in kind if name not in odd and not same(back[name], kind[name])] == []


def test_what_is_not_as_it_was_on_the_other_side_is_a_sentence_of_the_card(session):
    memory = bytearray(9)
    given = {"memory": memory, "view": np.frombuffer(memory, np.uint8)}
    code = "import numpy as np\na = np.arange(9)\nm = np.ma.array(a, copy=False)"
    done = gpu.run("trainer", code, inputs=given, outputs=("a", "m"))
    lost = "it shares no memory with its views."
    assert done.notes == (f"Not as here, of memory, view: {lost}", f"Not as there, of a, m: {lost}")
    assert done.notes[1] in one_line(done.card())


def test_a_function_and_a_class_of_the_notebook_go_along(session):
    given = {"area": CELL["area"], "Point": CELL["Point"]}
    assert gpu.run("trainer", "a = area(1, factor=Point(2).x)", inputs=given, outputs="a")["a"] == 2 * np.pi


def test_the_session_keeps_what_a_cell_sets(session):
    gpu.run("trainer", "kept = shown + 1", inputs={"shown": 1})
    assert gpu.run("trainer", "", outputs="shown, kept").values == {"shown": 1, "kept": 2}


def test_nothing_but_the_variables_is_new_in_the_session(session):
    code = "names = [name for name in globals() if name[:1] != '_']"
    before = gpu.run("trainer", code, outputs="names")["names"]
    after = gpu.run("trainer", code, inputs={"rows": 1}, outputs="names")["names"]
    assert {*after} - {*before} == {"rows", "names"}


def test_two_cells_at_once_each_have_their_own_variables(session):
    results: dict[int, list[int]] = {1: [], 2: []}

    def run(number: int) -> None:
        for _ in range(5):
            code = "import time\nmine = rows\ntime.sleep(0.05)\nassert rows == mine\nout = rows"
            results[number].append(gpu.run("trainer", code, inputs={"rows": number}, outputs="out")["out"])

    threads = [threading.Thread(target=run, args=(number,)) for number in results]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == {1: [1] * 5, 2: [2] * 5}
    assert left(session) == []


@pytest.mark.parametrize("call", ["exit()", "quit(0)"])
def test_an_exit_ends_the_kernel_as_in_any_notebook_and_the_session_goes_on(session, call):
    before = session.state().kernel_pid
    run = gpu.run("trainer", f"kept = 1\n{call}\nkept = 2", outputs="kept")
    assert run.values == {"kept": 2}  # the cell runs to its end
    assert "`exit()` has ended its kernel" in run.card().text()
    there = gpu.run("trainer", "there = 'kept' in globals()", outputs="there")
    assert (there["there"], there.exits) == (False, False)
    assert session.state().kernel_pid != before
    assert gpu.show("trainer").state == "running"
    assert not gpu.run("trainer", "exit(keep_kernel=True)").exits


@pytest.mark.parametrize("end", ["raise SystemExit", "import sys; sys.exit(3)"])
def test_a_system_exit_is_an_error_of_the_cell_alone(session, end):
    before = session.state().kernel_pid
    with pytest.raises(CellFailed, match="SystemExit") as problem:
        gpu.run("trainer", f"kept = 1\n{end}")
    assert "ends the cell and not the kernel" in problem.value.fix
    assert gpu.run("trainer", "", outputs="kept")["kept"] == 1
    assert session.state().kernel_pid == before


def test_an_output_that_the_cell_did_not_make_says_what_it_made(session):
    with pytest.raises(NotFound, match=r"made no `modle`; it made model, score\n") as problem:
        gpu.run("trainer", "model, score = 1, 2", outputs=["modle", "score"])
    assert problem.value.fix == "did you mean model?"
    assert left(session) == []


def test_a_value_that_cannot_go_is_an_error_before_anything_runs(session):
    with pytest.raises(UsageProblem, match=r"`lock` .* cannot go to another machine"):
        gpu.run("trainer", "ran = 1", inputs={"lock": threading.Lock()})
    assert gpu.run("trainer", "there = 'ran' in globals()", outputs="there")["there"] is False


def test_a_value_that_cannot_come_back_is_an_error_with_its_name(session):
    with pytest.raises(UsageProblem, match=r"`lock` .* cannot go to another machine"):
        gpu.run("trainer", "import threading\nlock = threading.Lock()", outputs="lock")
    assert gpu.run("trainer", "there = 'lock' in globals()", outputs="there")["there"] is True


def test_more_than_the_setting_allows_is_refused_either_way(session, workspace):
    (workspace / "aiinfra.toml").write_text("[gpu]\nvalue_bytes = 1000000\n")
    with pytest.raises(Unavailable, match=r"big \(1\.\d MiB\): more than the 976\.6 KiB that may go there"):
        gpu.run("trainer", "", inputs={"big": bytes(2_000_000)})
    with pytest.raises(Unavailable, match=r"big \(1\.\d MiB\): more than .* that may come back from gpu:trainer"):
        gpu.run("trainer", "big = bytes(2_000_000)", outputs="big")
    assert left(session) == []


# ---- versions ----


def with_another_version(monkeypatch, package: str, version: str) -> None:
    """This process has that version, and the session the real one."""
    real = needs._version
    monkeypatch.setattr(needs, "_version", lambda name: version if name == package else real(name))


def test_another_version_there_is_an_error_before_the_cell_runs(session, monkeypatch):
    with_another_version(monkeypatch, "scikit-learn", "0.9.1")
    there = gpu.run("trainer", "import sklearn as s; v = s.__version__", outputs="v")["v"]
    with pytest.raises(Missing) as problem:
        gpu.run("trainer", "ran = 1", inputs={"model": LogisticRegression()})
    assert "scikit-learn 0.9 is needed, since a value comes from 0.9.1, and " + there in problem.value.what
    assert "`%pip install scikit-learn==0.9.1" in problem.value.fix
    assert gpu.run("trainer", "there = 'ran' in globals()", outputs="there")["there"] is False


def test_another_version_here_is_an_error_and_the_value_stays_there(session, monkeypatch):
    with_another_version(monkeypatch, "scikit-learn", "0.9.1")
    with pytest.raises(Missing, match="model of gpu:trainer cannot be used here: scikit-learn"):
        gpu.run("trainer", "from sklearn.svm import SVC\nmodel = SVC()", outputs="model")
    gpu.run("trainer", "assert model")


# ---- what it puts out, and how it ends ----


def test_outputs_come_as_they_are_made(session, monkeypatch):
    seen: list[tuple[str, float]] = []
    monkeypatch.setattr(kernels, "republish", lambda output: seen.append((output["msg_type"], time.monotonic())))
    gpu.run("trainer", "import time\nprint('first')\ntime.sleep(1)\ndisplay({'a': 1})\n40 + 2")
    assert [kind for kind, _ in seen] == ["stream", "display_data", "execute_result"]
    assert seen[1][1] - seen[0][1] > 0.5


def test_a_cell_that_asks_is_told_where_it_could(session):
    with pytest.raises(CellFailed, match="StdinNotImplementedError") as problem:
        gpu.run("trainer", "input('name? ')")
    assert problem.value.fix.endswith("(`-i answer`); or run it in a notebook on the kernel aiinfra-trainer")


def test_a_kernel_that_died_is_told_on_the_card(session):
    with pytest.raises(Failed, match="exit code 7"):
        gpu.run("trainer", "import os\nos._exit(7)")
    gpu.run("trainer", "1")
    lead = gpu.show("trainer").card().lead
    assert "Its kernel ended with exit code 7, and another one took its place" in lead


def test_an_error_has_the_traceback_from_there(session):
    with pytest.raises(CellFailed, match=r"^ZeroDivisionError: division by zero") as problem:
        gpu.run("trainer", "def ratio():\n    return 1 / 0\nratio()", inputs={"a": 1}, outputs="b")
    shown = "\n".join(problem.value._render_traceback_())
    assert "ratio" in shown
    assert "line 2" in shown
    assert "fix: correct it" in shown
    assert left(session) == []


def interrupted(seconds: float, code: str, **options) -> Interrupted | None:
    """Press Ctrl-C after so long; what that raised."""
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        gpu.run("trainer", code, **options)
    except Interrupted as problem:
        return problem
    return None


def test_ctrl_c_interrupts_the_cell_there(session):
    problem = interrupted(2, f"import time\nbegun = 1\ntime.sleep({4 * PATIENCE_S})\nover = 1", inputs={"a": 1})
    assert problem is not None
    assert problem.what == "the cell was interrupted in gpu:trainer"
    assert any("KeyboardInterrupt" in line for line in problem._render_traceback_())
    assert gpu.run("trainer", "state = begun, 'over' in globals()", outputs="state")["state"] == (1, False)
    assert left(session) == []


def test_a_cell_that_catches_ctrl_c_goes_on(session):
    code = f"import time\ntry:\n    time.sleep({4 * PATIENCE_S})\nexcept KeyboardInterrupt:\n    saved = 7"
    results = []
    run = gpu.run

    def keep(*given, **options):
        results.append(run(*given, **options))

    threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT)).start()
    keep("trainer", code, outputs="saved")
    assert results[0]["saved"] == 7


def test_ctrl_c_while_variables_come_back_says_that_they_are_there(session):
    # It takes its time to be packed.
    code = "import time\nclass Slow:\n    def __reduce__(self):\n        time.sleep(100)\nslow = Slow()"
    problem = interrupted(3, code, outputs="slow")
    assert problem is not None
    assert "the cell has run in gpu:trainer; you stopped waiting for its variables" in problem.what
    assert gpu.run("trainer", "there = 'slow' in globals()", outputs="there")["there"] is True


def test_a_kernel_that_was_restarted_in_between_runs_nothing(session, monkeypatch):
    prepare = cells._Cell.prepare

    def then_restart(self, *given):
        prepare(self, *given)
        os.kill(session.state().kernel_pid, signal.SIGKILL)
        until(lambda: session.state().incarnation == 2 and session.state().phase == "ready")

    with monkeypatch.context() as patched:
        patched.setattr(cells._Cell, "prepare", then_restart)
        with pytest.raises(Failed, match="was restarted before the cell began"):
            gpu.run("trainer", "ran = 1", inputs={"a": 1})
    assert gpu.run("trainer", "there = 'ran' in globals()", outputs="there")["there"] is False


def test_ctrl_c_leaves_alone_what_others_run(session):
    other = threading.Thread(
        target=kernels.execute, args=("gpu:trainer", "import time\ntime.sleep(5)\ndone = 1", lambda _: None)
    )
    other.start()
    time.sleep(1)
    problem = interrupted(1, "mine = 1")
    assert problem is not None
    assert "still runs something else" in problem.what
    other.join()
    assert gpu.run("trainer", "", outputs="done, mine").values == {"done": 1, "mine": 1}


def test_a_keeper_that_is_killed_in_the_middle_loses_nothing(session, capsys):
    def kill() -> None:
        time.sleep(1.5)
        kill_keeper("trainer")

    threading.Thread(target=kill).start()
    code = "import time\nfor n in range(60):\n    print('line', n)\n    time.sleep(0.1)"
    rows = np.arange(1000)
    run = gpu.run("trainer", f"{code}\nout = rows * 2", inputs={"rows": rows}, outputs="out")
    assert run["out"].tolist() == (rows * 2).tolist()
    assert capsys.readouterr().out == "".join(f"line {n}\n" for n in range(60))
    assert left(session) == []


def test_a_session_that_ends_in_the_middle_says_why(session):
    threading.Timer(2, gpu.stop, ("trainer",)).start()
    with pytest.raises(Failed, match="ended in the middle of the code: stopped"):
        gpu.run("trainer", f"import time\ntime.sleep({4 * PATIENCE_S})", inputs={"a": 1})


def test_what_a_process_that_was_killed_left_goes_with_the_next(session):
    top = session.folder / "exchange"
    (top / "0123456789abcdef").mkdir(parents=True)
    (top / "0123456789abcdef" / "owner").touch()
    os.utime(top / "0123456789abcdef", (0, 0))
    gpu.run("trainer", "", inputs={"a": 1})
    until(lambda: left(session) == [])


# ---- names ----


def test_a_session_that_is_not_there_suggests_one_that_is(session):
    with pytest.raises(NotFound, match="no living session gpu:trainr") as problem:
        gpu.run("trainr", "1")
    assert problem.value.fix == "did you mean trainer? Or start it: `%gpu start trainr`"


def test_outputs_must_be_names(session):
    with pytest.raises(UsageProblem, match="-o a-b cannot be a variable's name"):
        gpu.run("trainer", "1", outputs="a-b")


def test_a_shell_runs_a_file(session, workspace, capfd):
    from aiinfra_lab.cli import main

    (workspace / "train.py").write_text("print(40 + 2)")
    assert main(["gpu", "run", "trainer", "train.py"]) == 0
    printed = capfd.readouterr()
    assert printed.out.startswith("42\n")
    assert (printed.err, "It ran there in" in printed.out) == ("", True)
    (workspace / "bad.py").write_text("1 / 0")
    assert main(["gpu", "run", "trainer", "bad.py"]) == 1
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert main(["gpu", "run", "trainer", "train.py", "-o", "x"]) == 2
    assert "a shell has none" in capfd.readouterr().err


def test_the_cap_is_4_gib():
    assert cells.MOST_BYTES == 4 << 30


def test_a_shell_gets_the_output_of_the_code_on_its_own_streams(session, capsys, tmp_path):
    (tmp_path / "c.py").write_text("import sys\nprint('out')\nprint('err', file=sys.stderr)\n1 / 0\n")
    words = ["gpu", "run", "trainer", "--code", str(tmp_path / "c.py")]
    assert main(words) == Failed.exit_code
    found = capsys.readouterr()
    assert (found.out, "\x1b" in found.err) == ("out\n", False)
    assert found.err.startswith("err\n")
    assert "ZeroDivisionError" in found.err
    (tmp_path / "c.py").write_text("print('out')")
    assert main([*words, "--json"]) == 0
    found = capsys.readouterr()
    assert (json.loads(found.out)["uri"], found.err) == ("gpu:trainer", "out\n")
