"""A namespace that one shell saves and another one reads: what comes back, what does not, and that it says so."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SHELL = """
import sys, types
from IPython.core.interactiveshell import InteractiveShell
from aiinfra_lab.kernels.values import namespace
shell = InteractiveShell.instance(colors="NoColor")
def run(code):
    result = shell.run_cell(code)
    result.raise_error()
"""
SAVE = "run({code!r})\nprint(namespace.save({path!r}, {most}, {until}))\nrun({after!r})"
RESTORE = "namespace.restore({path!r}, {size}, 'on another machine')\nrun({code!r})"


def python(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SHELL + text], capture_output=True, text=True, check=True)


class Both:
    """Two shells, one after the other, and what goes between them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "saved"
        self.printed = ""

    def save(self, code: str, after: str = "", most: int = 1 << 30, left_s: float = 60) -> dict[str, Any]:
        done = python(
            SAVE.format(code=code, path=str(self.file), most=most, until=time.time() + left_s, after=after or "pass")
        )
        answer, _, self.printed = done.stdout.partition("\n")
        return dict(json.loads(answer))

    def restore(self, code: str) -> str:
        """What the line says."""
        size = self.file.stat().st_size if self.file.exists() else 0
        done = python(RESTORE.format(path=str(self.file), size=size, code=code or "pass"))
        self.printed = done.stdout
        return done.stderr.strip().strip("[]").removeprefix("on another machine; ")


@pytest.fixture
def both(tmp_path: Path) -> Both:
    return Both(tmp_path)


def test_functions_use_what_is_set_later_and_share_one_namespace(both):
    both.save("n = 0\ndef count():\n    global n\n    n += 1\ndef show(): return n\nf = lambda: count() or show()")
    assert both.restore("count(); count(); print(n, show(), f()); n = 10; print(show())") == "4 of 4 names are back"
    assert both.printed == "2 2 3\n10\n"


def test_classes_and_their_instances_belong_together(both):
    code = """
from dataclasses import dataclass
scale = 2
@dataclass
class Point:
    x: int
    def scaled(self): return self.x * scale
class Deep(Point):
    def scaled(self): return super().scaled() + 1
p, q = Point(3), Deep(4)
"""
    both.save(code)
    both.restore("scale = 10\nprint(p.scaled(), q.scaled(), isinstance(q, Point), Point(3) == p)")
    assert both.printed == "30 41 True True\n"


def test_what_two_names_share_they_share_afterwards(both):
    both.save("a = []; b = {'a': a}; c = (a, b); import numpy as np; x = np.zeros(3); y = {'x': x}; g = globals()")
    both.restore("a.append(1); x[0] = 5; print(b, c[0] is a, y['x'][0], g is globals(), __builtins__.len(a))")
    assert both.printed == "{'a': [1]} True 5.0 True 1\n"


def test_views_in_several_names_stay_views(both):
    both.save("import numpy as np; a = np.zeros(4); b = a[1:]; c = np.ones(2)")
    assert both.restore("a[1] = 7; print(b[0], c)") == "4 of 4 names are back"
    assert both.printed == "7.0 [1. 1.]\n"


def test_what_is_not_as_before_is_named(both):
    both.save("import torch; x = torch.ones(2, requires_grad=True); x.register_hook(lambda g: 2 * g); y = x * 2")
    line = "3 of 3 names are back; not as before: `x` (its hooks are gone), `y` (its tensors have no history)"
    assert both.restore("") == line


def test_generators_of_random_numbers_go_on(both):
    draw = "print(random.random(), np.random.rand(), torch.rand(1).item())"
    both.save("import random, torch\nimport numpy as np\nrandom.random(); np.random.rand(); x = torch.rand(1)", draw)
    drawn = both.printed
    both.restore(draw)
    assert both.printed == drawn


def test_a_tensor_whose_accelerator_is_not_there_is_back_in_memory_and_named(both):
    both.save(
        "import torch\nx, y = torch.ones(2), 1\n"
        "from aiinfra_lab.kernels.values import arrays\narrays._device = lambda _: 'cuda:9'\ndel arrays"
    )
    line = "not as before: `x` (it is in the processor's memory: there is no cuda:9)"
    assert both.restore("print(x.tolist(), x.device)") == f"3 of 3 names are back; {line}"
    assert both.printed == "[1.0, 1.0] cpu\n"


def test_a_tensor_of_an_accelerator_that_torch_there_does_not_know_costs_no_other_name(both):
    both.save(
        "import torch\nx, y = torch.ones(2), 1\n"
        "from aiinfra_lab.kernels.values import arrays\narrays._device = lambda _: 'nonsense:9'\ndel arrays"
    )
    assert both.restore("print(y)").startswith("2 of 3 names are back; could not be put back: `x` (")
    assert both.printed == "1\n"


def test_imports_come_by_name_and_what_ipython_has_set_does_not(both):
    both.save("import os.path as p, numpy as np\nfrom math import sqrt\n_mine = 1")
    assert both.restore("print(p.join('a', 'b'), np.pi, sqrt(4), _mine)") == "4 of 4 names are back"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("import socket\ns = socket.socket()", "1 of 2 names are back; `s` could not be saved (socket.socket)"),
        (
            "g = (i for i in ()); import threading; t = threading.Lock()",
            "1 of 3 names are back; could not be saved: `g` (generator), `t` (_thread.lock)",
        ),
        (
            "class No:\n    def __reduce__(self): raise ValueError('secret')\nn = No()",
            "1 of 2 names are back; `n` could not be saved (No)",
        ),
    ],
)
def test_what_cannot_be_saved_is_named_by_its_kind_alone(both, code, line):
    both.save(code)
    assert both.restore("") == line


def test_a_function_that_uses_what_is_lost_is_there(both):
    both.save("import threading\nlock = threading.Lock()\ndef locked():\n    with lock: return 1")
    both.restore("lock = threading.Lock(); print(locked())")
    assert both.printed == "1\n"


def test_what_another_machine_lacks_is_named_and_costs_no_other(both, tmp_path, monkeypatch):
    (tmp_path / "helpers.py").write_text("class Helper: pass")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    both.save("import helpers\nh = helpers.Helper()\nx = 1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    found = both.restore("print(x)")
    assert found.startswith(
        "1 of 3 names are back; could not be put back: `helpers` (No module named 'helpers'), `h` ("
    )
    assert "helpers is needed and not installed" in found
    assert both.printed == "1\n"


def test_the_largest_stay_behind_where_there_is_no_room(both):
    both.save("small, large = bytes(10**4), bytes(10**6)", most=10**5)
    line = "1 of 2 names are back; `large` could not be saved (1.0 MB, for which there is no room)"
    assert both.restore("print(len(small))") == line


def test_no_time_is_no_name(both):
    both.save("x = 1", left_s=-1)
    assert both.restore("") == "0 of 1 names is back; `x` could not be saved (no time was left)"


def test_the_beginning_of_a_file_is_put_back_as_far_as_it_goes(both):
    both.save("small, large = bytes(10**4), bytes(10**6)")
    with both.file.open("r+b") as file:
        file.truncate(500_000)
    line = "1 of 2 names are back; could not be put back: `large` (it had not come in time)"
    assert both.restore("print(len(small))") == line


def test_nothing_saved_is_an_empty_kernel(both):
    assert both.restore("") == "its kernel begins empty"
    both.file.write_bytes(b"\1\0")
    assert both.restore("").startswith("its kernel begins empty: what was saved cannot be read")


def test_only_the_next_cell_says_it(both):
    both.save("x = 1")
    assert both.restore("x").count("names is back") == 1
