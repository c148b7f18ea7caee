"""LAB107, LAB108 and LAB110: what a notebook imports, installs and loads is there when it runs."""

import pytest

from aiinfra_lab.recipe.lint import fix_notebook, lint_notebook
from aiinfra_lab.recipe.notebook import read_notebook

from .conftest import write_notebook

LOAD = "%load_ext aiinfra_lab"


@pytest.mark.parametrize(
    ("cells", "where"),
    [
        (["import json\nimport not_there_at_all.sub"], (1, 2)),
        (["import json", "from not_there_at_all import x"], (2, 1)),
        (["def f():\n    import not_there_at_all"], (1, 2)),
        (
            ["try:\n    pass\nexcept ImportError:\n    import not_there_at_all\nelse:\n    import not_there_either"],
            (1, 6),
        ),
        ([LOAD, "%%train run a --rows x\nimport not_there_at_all"], (2, 2)),
    ],
)
def test_a_module_that_is_not_installed_is_found(places, cells, where):
    assert places("LAB107", *cells) == [where]


@pytest.mark.parametrize(
    "cells",
    [
        ["import os, numpy.random, pandas as pd\nfrom aiinfra_lab import gpu"],
        ["try:\n    import not_there_at_all\nexcept ImportError:\n    pass"],
        ["if False:\n    import not_there_at_all"],
        ["import helper\nimport package.part"],
        ["%%writefile made.py\nx = 1", "import made"],
        ["import sys\nsys.path.append('lib')\nimport not_there_at_all"],
        ["%pip install not_there_at_all", "import not_there_at_all"],
        [LOAD, "%%gpu run a\nimport not_there_at_all"],
        [LOAD, "%%train run a --rows x --on gpu:b\nimport not_there_at_all"],
        ["from . import x"],
    ],
)
def test_what_is_there_or_may_be_is_not(found, workspace, cells):
    (workspace / "notebooks" / "package").mkdir(parents=True)
    (workspace / "notebooks" / "helper.py").touch()
    assert found("LAB107", *cells) == []


def test_a_kernel_of_another_environment_has_other_modules(found, workspace, monkeypatch):
    kernels = workspace / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    (kernels / "kernel.json").write_text('{"argv": ["/usr/other/bin/python", "-m", "ipykernel"]}')
    monkeypatch.setattr("sys.prefix", str(workspace / "none"))
    monkeypatch.setenv("JUPYTER_PATH", str(workspace / "jupyter"))
    assert found("LAB107", "import not_there_at_all") == []


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("%pip install pandas", 1),
        ("x = 1\n!pip install -q pandas", 2),
        ("x = 1\n!{sys.executable} -m pip install pandas", 2),
        ("%conda install -y pandas", 1),
        ("!mamba update x", 1),
        ("%uv pip install x", 1),
        ("!uv add x", 1),
        ("!apt-get install -y graphviz", 1),
        ("!cd x; pip3 install .", 1),
        ("%%bash\nset -e\npip install x", 3),
        ("import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', 'x'])", 2),
        ("import os\nos.system('pip install x')", 2),
        ("pip install x", 1),
    ],
)
def test_what_installs_packages_is_found(places, cell, line):
    assert places("LAB108", cell) == [(1, line)]


@pytest.mark.parametrize(
    "cell",
    [
        *("%pip list", "!pip freeze > a.txt", "%conda list", "!echo install", "!git add x", "print('pip install x')"),
        *("tools.install('x')", "!make install", "# %pip install x", "!uv --version"),
    ],
)
def test_what_installs_nothing_is_not(found, cell):
    assert found("LAB108", cell) == []


@pytest.mark.parametrize(
    ("cells", "where", "what", "fix"),
    [
        (["x = 1\n%dta get x"], (1, 2), "there is no magic %dta", "did you mean data?"),
        ([LOAD, "%timit f()"], (2, 1), "there is no magic %timit", "did you mean timeit?"),
        (["%data ls"], (1, 1), "the magic data is not loaded here", f"write {LOAD} above"),
        (["%%train run a --rows b\npass"], (1, 1), "the magic train is not loaded here", f"write {LOAD} above"),
        (
            ["x = 1\n%%time\ny = 2"],
            (1, 2),
            "%%time is not the first line of its cell",
            "put it at the top of a cell of its own",
        ),
        (["%bash ls"], (1, 1), "there is no magic %bash", ""),
        (["%%sql\nselect 1"], (1, 1), "there is no magic %%sql", ""),
        (["x = %sql select 1"], (1, 1), "there is no magic %sql", ""),
        (["%autoreload 2"], (1, 1), "there is no magic %autoreload", ""),
    ],
)
def test_a_magic_that_is_not_loaded_is_found(found, cells, where, what, fix):
    (only,) = found("LAB110", *cells)
    assert ((only.cell, only.line), only.what) == (where, what)
    assert not fix or only.fix == fix


@pytest.mark.parametrize(
    "cells",
    [
        [LOAD + "\n%data ls"],
        ["%load_ext aiinfra_lab  # the nouns", "%%gpu run a\n%own_magic"],
        ["%time x = 1\n%matplotlib inline\n!ls\n%cd x\n%less a\n%autosave 0"],
        ["%%bash\nls", "%%!\nls", "%%HTML\n<b>", "%%writefile x\n%data ls"],
        ["%load_ext autoreload\n%autoreload 2"],
        ["%load_ext sql\n%sql select 1"],
        ["from IPython.core.magic import register_line_magic\n@register_line_magic\ndef own(line): ...", "%own"],
        ["get_ipython().run_line_magic('load_ext', 'x')", "%x"],
        ["%alias_magic t timeit", "%t f()"],
        ["len?\n?len\n%time?\n%%time?"],
        ["x = 7\ny = (x\n  %3)"],
        ["t = '''\n%nothing\n'''"],
    ],
)
def test_a_magic_that_is_there_is_not(found, cells):
    assert found("LAB110", *cells) == []


def test_its_fix_loads_the_nouns_in_a_cell_above(workspace):
    path = write_notebook(workspace / "n.ipynb", "x = 1", "%%train run a --rows b\npass", "%data ls")
    assert fix_notebook(path, lint_notebook(path)) == 2
    assert [cell.source for cell in read_notebook(path).cells][:2] == ["x = 1", LOAD]
    assert [each for each in lint_notebook(path) if each.code == "LAB110"] == []


@pytest.mark.parametrize(
    "cell", ["run: str = 'a'", "\nrun: str = 'a'\n", "rm: str = 'a'  # which", "time: int", "ls: list[int] = []"]
)
def test_a_line_that_ipython_takes_for_a_magic_is_found(places, cell):
    assert places("LAB111", cell) == [(1, 2 if cell.startswith("\n") else 1)]


@pytest.mark.parametrize(
    "cell", ["run = 'a'", "# which\nrun: str = 'a'", "run: str = 'a'\nx = 1", "rows: int = 1", "%run a.py", "print(1)"]
)
def test_what_is_python_for_ipython_too_is_not(places, cell):
    assert places("LAB111", cell) == []


def test_ipython_takes_it_so(tmp_path):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    assert shell.run_cell("run: str = 'a'", silent=True).success is False
    assert shell.run_cell("# which\nrun: str = 'a'", silent=True).success is True
    assert shell.user_ns["run"] == "a"


def test_a_module_in_the_projects_folder_is_to_be_moved(found, workspace):
    (workspace / "own_module.py").touch()
    (one,) = found("LAB107", "import own_module")
    assert one.fix.startswith("move own_module.py from the project's folder beside n.ipynb, or make of it a package")
    (other,) = found("LAB107", "import not_there_at_all")
    assert other.fix == "install it there and name it in the project's lock file"


def test_a_kernel_that_is_not_installed_is_found(workspace):
    path = write_notebook(workspace / "notebooks" / "n.ipynb", "1")
    assert lint_notebook(path) == []
    written = path.read_text()
    path.write_text(written.replace('"python3"', '"python"'))  # which is that of jupyter_client's own Python
    assert lint_notebook(path) == []
    path.write_text(written.replace('"python3"', '"no-such"'))
    (found,) = lint_notebook(path)
    assert (found.code, found.what, found.place) == ("LAB112", "there is no kernel no-such", "n.ipynb line 1")
    assert "python3" in found.fix
