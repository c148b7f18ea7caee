"""The rows of recipes: what a run costs beside papermill, what a plan costs, and what large outputs cost."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from tests.endings import RIGHT, bring_about

from . import _nothing
from ._edits import Project, cosmetic, real
from ._own_notebooks import collect, passes_alone, passes_as_step
from ._sudden_ends import NOISY, kill_runs
from .measure import answer, by_turns, command, statement
from .rows import Cannot, Figure, at_most, exactly, ratio_at_most, row

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
LARGE = 8_000_000  # bytes that a cell puts out
EARLIER, STEPS = 1000, 50


def write(folder: Path, name: str, *cells: str, parameters: str = "x: int = 1") -> Path:
    """A notebook with a cell of parameters and these."""
    path = folder / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[first, *map(new_code_cell, cells)], metadata={"kernelspec": KERNEL})
    nbformat.write(notebook, path)
    return path


def chain(folder: Path, name: str, steps: int) -> None:
    """A recipe of trivial notebooks that come after each other."""
    text = ""
    for at in range(steps):
        write(folder, f"{name}{at}", f"print(x + {at})")
        text += f'[steps.s{at}]\nnotebook = "{name}{at}.ipynb"\n' + (f'after = ["s{at - 1}"]\n' if at else "")
    (folder / "recipes").mkdir(exist_ok=True)
    (folder / "recipes" / f"{name}.toml").write_text(text)


@contextmanager
def project() -> Iterator[tuple[Path, dict[str, str]]]:
    """A fresh project, and the environment in which a command works on it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "aiinfra.toml").touch()
        try:
            yield folder, {**os.environ, "AIINFRA_WORKSPACE": name}
        finally:
            shutil.rmtree(folder / ".aiinfra", ignore_errors=True)


def lab(*arguments: str) -> list[str]:
    """The command line of a verb."""
    return [sys.executable, "-m", "aiinfra_lab.cli", "recipe", *arguments]


@row("recipe.1", "a trivial notebook from the command line, without a warm pool", "<= 1.4 s", ("papermill", "nbclient"))
def trivial(full: bool) -> Iterator[Figure]:
    """Each in a fresh process with a kernel of its own; the peer is papermill's own command."""
    with project() as (folder, env):
        chain(folder, "one", 1)
        ours = command(lab("run", "one", "--force"), cwd=folder, env=env)
        notebook = str(folder / "notebooks" / "one0.ipynb")
        pill = [sys.executable, "-m", "papermill", "--no-progress-bar", notebook, str(folder / "out.ipynb")]
        theirs = command(pill, cwd=folder, env=env)
        engine = command([*pill, "--engine", "lab"], cwd=folder, env=env)
    yield Figure("recipe run --force", ours.wall_s, "s", at_most(1.4), note=ours.note)
    yield Figure("beside papermill", ours.wall_s, "s", ratio_at_most(1.0), theirs.wall_s, "papermill", theirs.note)
    engine_cpu = engine.cpu_s, "s CPU", ratio_at_most(1.0), theirs.cpu_s
    yield Figure("papermill --engine lab", *engine_cpu, "papermill", engine.note)


@contextmanager
def pool() -> Iterator[dict[str, str]]:
    """The environment of a pool of its own, which has begun; it ends afterwards."""
    with tempfile.TemporaryDirectory(prefix="pool-", dir="/tmp") as name:
        env = {**os.environ, "TMPDIR": name, "AIINFRA_POOL": "on"}
        order = [sys.executable, "-m", "aiinfra_lab.pool"]
        try:
            found = subprocess.run([*order, "start"], check=True, env=env, capture_output=True, text=True).stdout
            if not found.startswith("it answers"):
                raise Cannot(found)
            yield env
        finally:
            subprocess.run([*order, "stop"], check=True, env=env, capture_output=True)


ENTRY = "import sys; from aiinfra_lab.pool.entry import main; sys.exit(main())"
HEAVY = "import pandas, torch, mlflow"


@row("recipe.1w", "a trivial notebook from the command line, warm", "<= 200 ms", ("papermill",))
def warm_trivial(full: bool) -> Iterator[Figure]:
    """The command, by the function that it calls; the peer is papermill's own command."""
    yield from _warm("print(x)", 0.2)


@row(
    "recipe.2", "a notebook that imports pandas, torch and mlflow, warm", "<= 300 ms", ("papermill", "torch", "mlflow")
)
def warm_heavy(full: bool) -> Iterator[Figure]:
    """As the trivial one."""
    yield from _warm(HEAVY, 0.3)


def _warm(cell: str, limit_s: float) -> Iterator[Figure]:
    with project() as (folder, own), pool() as its:
        env = {**own, **its, "AIINFRA_WORKSPACE": str(folder)}
        notebook = write(folder, "one", cell)
        (folder / "recipes").mkdir()
        (folder / "recipes" / "one.toml").write_text('[steps.s]\nnotebook = "one.ipynb"\n')
        ours = [sys.executable, "-c", ENTRY, "recipe", "run", "one", "--force"]
        command(ours, cwd=folder, env=env, runs=1)  # the store is new
        pill = [sys.executable, "-m", "papermill", "--no-progress-bar", str(notebook), str(folder / "out.ipynb")]
        took, theirs = by_turns(ours, pill, cwd=folder, env=env)
    yield Figure("recipe run --force", took.wall_s, "s", at_most(limit_s), theirs.wall_s, "papermill", took.note)


@row(
    "recipe.3",
    "20 kernels to the end of importing pandas, torch and mlflow",
    "<= 2.5 s, <= 1.0 GB private",
    ("ipykernel",),
)
def burst(full: bool) -> Iterator[Figure]:
    """Private memory with what keeps the kernels; the peer are kernels as jupyter_client starts them."""
    count = 20 if full else 5
    with pool() as env:
        warm = _burst("warm", count, env)
        stock = _burst("stock", count, {**env, "AIINFRA_POOL": "off"})
    share = count / 20
    yield Figure(f"{count} kernels", warm["took_s"], "s", at_most(2.5), stock["took_s"], "stock kernels")
    gigabytes = warm["private_gb"], "GB", at_most(1.0 * share)
    yield Figure("private memory", *gigabytes, stock["private_gb"], "stock kernels")


def _burst(kind: str, count: int, env: dict[str, str]) -> dict[str, float]:
    argv = [sys.executable, "-m", "tests.benchmarks._burst", kind, str(count)]
    answer: dict[str, float] = json.loads(subprocess.run(argv, check=True, env=env, capture_output=True).stdout)
    return answer


@row("recipe.4", "chains: first, unchanged, and with 1,000 earlier runs", "<= 0.7 / 0.12 s; <= 0.15 s; <= 0.6 s")
def chains(full: bool) -> Iterator[Figure]:
    """The last is planner and records alone: 50 steps by an executor that does nothing."""
    with project() as (folder, env):
        chain(folder, "three", 3)
        first = command(lab("run", "three", "--force"), cwd=folder, env=env, runs=3)
        again = command(lab("run", "three"), cwd=folder, env=env)
        chain(folder, "fifty", STEPS)
        prepare = f"import os; os.chdir({str(folder)!r})\nfrom tests.benchmarks import _nothing"
        alone = statement("_nothing.run('fifty', force=True)", before=prepare, env=env)
        _nothing.multiply(folder, "fifty", EARLIER)
        many = command(lab("run", "fifty"), cwd=folder, env=env)
    yield Figure("3 steps, all run", first.wall_s, "s", at_most(0.7), note=first.note)
    yield Figure("3 steps, unchanged", again.wall_s, "s", at_most(0.12), note=again.note)
    yield Figure("50 unchanged, 1,000 earlier runs", many.wall_s, "s", at_most(0.15), note=many.note)
    yield Figure("50 steps that do nothing", alone.wall_s, "s", at_most(0.6), note=alone.note)


@row("recipe.4w", "chains by the command, warm: first, unchanged, 50 unchanged", "<= 0.7 / 0.12 s; <= 0.15 s")
def warm_chains(full: bool) -> Iterator[Figure]:
    """The command, by the function that it calls, with 1,000 earlier runs of the 50."""
    with project() as (folder, own), pool() as its:
        env = {**own, **its, "AIINFRA_WORKSPACE": str(folder)}
        ours = [sys.executable, "-c", ENTRY, "recipe", "run"]
        chain(folder, "three", 3)
        chain(folder, "fifty", STEPS)
        command([*ours, "three", "--force"], cwd=folder, env=env, runs=1)  # the store is new
        first = command([*ours, "three", "--force"], cwd=folder, env=env, runs=3)
        again = command([*ours, "three"], cwd=folder, env=env)
        prepare = f"import os; os.chdir({str(folder)!r})\nfrom tests.benchmarks import _nothing"
        statement("_nothing.run('fifty', force=True)", before=prepare, env=env, runs=1)
        _nothing.multiply(folder, "fifty", EARLIER)
        many = command([*ours, "fifty"], cwd=folder, env=env)
    yield Figure("3 steps, all run", first.wall_s, "s", at_most(0.7), note=first.note)
    yield Figure("3 steps, unchanged", again.wall_s, "s", at_most(0.12), note=again.note)
    yield Figure("50 unchanged, 1,000 earlier runs", many.wall_s, "s", at_most(0.15), note=many.note)


PARAMETERS = """
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Optional
from aiinfra_lab.recipe import Range, Secret
day: date = date(2026, 1, 1)
at: datetime = datetime(2026, 1, 1)
where: Path = Path("a")
price: Decimal = Decimal("1.10")
size: Literal["small", "base"] = "small"
lr: Annotated[float, Range(1e-5, 1), "learning rate"] = 3e-4
days: list[date] = []
limit: Optional[int] = 3
end: bool = True
token: Secret = Secret("HF_TOKEN")
"""
# Each set is refused: a text that is none of the type, a value out of its range, a name that there is not.
BAD_PARAMETERS = (
    {"day": "2013-02-30"},
    {"day": 3},
    {"at": "noon"},
    {"where": ""},
    {"price": "cheap"},
    {"price": "Infinity"},
    {"size": "smal"},
    {"lr": "2"},
    {"lr": "nan"},
    {"days": "2013-07-01,x"},
    {"limit": "2.5"},
    {"end": "maybe"},
    {"token": "ghp_not_a_name"},
    {"dya": "2013-07-01"},
    {"x = 1; import os; y": "1", "day": "never", "lr": "7"},
)


@row("recipe.5", "the run is killed at a random moment while 8 MB are put out", "0 unreadable, <= 1 s lost, 0 alive")
def killed(full: bool) -> Iterator[Figure]:
    """A process that vanishes by SIGKILL; what is left after 2 s, and what its executed notebook holds."""
    with project() as (folder, env):
        write(folder, "noisy", NOISY, parameters="")
        (folder / "recipes").mkdir()
        (folder / "recipes" / "noisy.toml").write_text('[steps.s]\nnotebook = "noisy.ipynb"\n')
        own = {**env, "AIINFRA_PROJECT": str(folder), "AIINFRA_POOL": "off"}
        seen = kill_runs(
            folder / ".aiinfra" / "recipe", lab("run", "noisy", "--force"), own, 200 if full else 12, seed=5
        )
    note = f"{seen.kills} kills"
    yield Figure("unreadable notebooks", seen.unreadable, "", at_most(0), note=note)
    yield Figure("processes alive after 2 s", seen.left_alive, "", at_most(0), note=note)
    yield Figure("output lost at most", max(seen.lost_s, default=0.0), "s", at_most(1.0), note=note)


@row("recipe.6", "7 endings x (run, step, notebook, cells, error)", "all right")
def endings(full: bool) -> Iterator[Figure]:
    """Each brought about for real, by a command of its own."""
    wrong = []
    for name, right in RIGHT.items():
        with project() as (folder, env):
            if bring_about(name, folder, env) != right:
                wrong.append(name)
    yield Figure("of 7 that are not told as they were", len(wrong), "endings", exactly(0), note=", ".join(wrong))


@row("recipe.7", "8 cosmetic edits; 8 real ones", "0 reruns; exactly the dependents, each with its reason", ("dvc",))
def edited(full: bool) -> Iterator[Figure]:
    """One after another in a project of four notebooks; each cosmetic one in all of them. The peer is `dvc status`."""
    with project() as (folder, env):
        its = Project(folder, {**env, "AIINFRA_POOL": "off"})
        idle, busy = cosmetic(its), real(its)
    ran, stages = sum(len(one.ran) for one in idle), sum(one.dvc for one in idle)
    note = "; ".join(map(str, idle)) if ran else f"{len(idle)} edits"
    yield Figure("cosmetic: steps that ran", ran, "", exactly(0), stages, "stages that DVC would run", note)
    right = sum(one.is_right for one in busy)
    yield Figure("real: exactly the dependents", right, "edits", exactly(len(busy)), note=". ".join(map(str, busy)))


@row(
    "recipe.8", "15 bad parameter sets; 6 planted secrets x 8 sinks", "refused, <= 100 ms each; 0 found", ("papermill",)
)
def refused(full: bool) -> Iterator[Figure]:
    """`recipe.run` in a process that has loaded the verb; each has to be refused with file, line and fix."""
    names = [line.partition(":")[0] for line in PARAMETERS.splitlines() if ": " in line]
    defaults = 'day = 2026-01-01\nat = 2026-01-01T00:00:00\nwhere = "a"\nprice = "1.10"\nsize = "small"\nlr = 0.1\n'
    rest = 'days = []\nlimit = 3\nend = true\ntoken = "HF_TOKEN"\n'
    with project() as (folder, env):
        write(folder, "rich", parameters=PARAMETERS)
        given = "\n".join(f'{name} = "${name}"' for name in names)
        text = f'[parameters]\n{defaults}{rest}[steps.one]\nnotebook = "rich.ipynb"\n[steps.one.parameters]\n{given}\n'
        (folder / "recipes").mkdir()
        (folder / "recipes" / "rich.toml").write_text(text)
        found = answer(_REFUSED.format(folder=str(folder), sets=BAD_PARAMETERS), env=env)
    yield Figure("refused", found["refused"], "of 15 sets", exactly(len(BAD_PARAMETERS)))
    yield Figure("the slowest of them", found["slowest_s"] * 1000, "ms", at_most(100))
    yield Figure("runs begun", found["runs"], "runs", exactly(0))
    yield from secrets_in_sinks()


def secrets_in_sinks() -> Iterator[Figure]:
    """The same notebook by a recipe's run and by papermill, with its own engine and with ours; and what it costs."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", f"{__package__}._planted", folder]
        done = subprocess.run(argv, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    counts = [count for sink in found["recipe"].values() for count in sink.values()]
    note = f"{sum(taken_out for _, taken_out in counts)} names stand in the places of {len(counts)} pairs"
    theirs = found["papermill"], "papermill"
    yield Figure("found in a recipe's run", sum(number for number, _ in counts), "", exactly(0), *theirs, note)
    yield Figure("found after papermill --engine lab", found["lab"], "", exactly(0), *theirs)
    before = "from tests.benchmarks._planted import known, large\nredactor, text = known(), large()"
    cost = statement("redactor.clean(text)", before=before)
    yield Figure("8 MB of output, 10 secrets known", cost.cpu_s, "s CPU", at_most(0.5), note=cost.note)
    cost = statement("stream(redactor, text)", before=f"{before}\nfrom tests.benchmarks._planted import stream")
    yield Figure("the same in pieces of 4 KB", cost.cpu_s, "s CPU", at_most(1.0), note=cost.note)


_REFUSED = """
import json, os, time
os.chdir({folder!r})
from aiinfra_lab import recipe
from aiinfra_lab.errors import LabError
took, refused = [], 0
for given in {sets!r}:
    began = time.perf_counter()
    try:
        recipe.run("rich", param=given)
    except LabError as problem:
        took.append(time.perf_counter() - began)
        refused += bool(problem.fix) and ("rich.ipynb cell 1 line" in problem.what or "rich.toml" in problem.what)
runs = len(recipe.log("rich").items)
print()
print(json.dumps({{"refused": refused, "slowest_s": max(took), "runs": runs}}))
"""


@row("recipe.9", "8 MB of output, then 100 cells", "<= 0.5 s beyond the same without it", ("papermill", "nbclient"))
def large(full: bool) -> Iterator[Figure]:
    """What the large output costs on top of the cells; papermill in the same way."""
    with project() as (folder, env):
        cells = [f"y = {at}" for at in range(100)]
        light = str(write(folder, "light", "print(1)", *cells))
        heavy = str(write(folder, "heavy", f"print('x' * {LARGE})", *cells))
        pill = [sys.executable, "-m", "papermill", "--no-progress-bar"]
        took = {
            (name, engine): command(
                [*pill, path, str(folder / "o.ipynb"), "--engine", engine], cwd=folder, env=env, runs=3
            )
            for name, path in (("light", light), ("heavy", heavy))
            for engine in ("lab", "nbclient")
        }
    ours, theirs = (took["heavy", each].wall_s - took["light", each].wall_s for each in ("lab", "nbclient"))
    yield Figure("on top of 101 cells", ours, "s", at_most(0.5), note=took["heavy", "lab"].note)
    yield Figure("beside papermill", ours, "s", ratio_at_most(1.0), theirs, "papermill", took["heavy", "nbclient"].note)


@row(
    "recipe.12",
    "8 steps that need not each other, on 2 cores",
    ">= 1.8x of one after the other; >= 1.0x of papermills at once",
)
def independent(full: bool) -> Iterator[Figure]:
    """Each computes for a second (full: five), with a warm pool. The peer is as many papermills at once as there are
    steps."""
    count = 60_000_000 if full else 12_000_000
    work = f"total = 0\nfor number in range({count}):\n    total += number * x"
    with project() as (folder, own), pool() as its:
        env = {**own, **its, "AIINFRA_WORKSPACE": str(folder)}
        text = ""
        for at in range(8):
            write(folder, f"work{at}", work)
            text += f'[steps.s{at}]\nnotebook = "work{at}.ipynb"\n'
        (folder / "recipes").mkdir()
        (folder / "recipes" / "eight.toml").write_text(text)
        one, two = ({**env, "AIINFRA_RECIPE_AT_ONCE": count} for count in ("1", "2"))
        serial = command(lab("run", "eight", "--force"), cwd=folder, env=one, runs=2)
        ours = command(lab("run", "eight", "--force"), cwd=folder, env=two, runs=2)
        pill = f"{sys.executable} -m papermill --no-progress-bar notebooks/work$N.ipynb out$N.ipynb"
        each = f"for N in 0 1 2 3 4 5 6 7; do {pill} & done; wait"
        theirs = command(["sh", "-c", each], cwd=folder, env=env, runs=2)
    yield Figure(
        "one after the other", ours.wall_s, "s", ratio_at_most(1 / 1.8), serial.wall_s, "at_once = 1", ours.note
    )
    yield Figure("papermills at once", ours.wall_s, "s", ratio_at_most(1.0), theirs.wall_s, "papermill", theirs.note)


@row(
    "recipe.10", "a cell fails after 8 s of work: from its correction to the end", "<= 100 ms; only the unfinished step"
)
def resumed(full: bool) -> Iterator[Figure]:
    """In a process that has loaded the verb, in the kernel that was held, with a warm pool; beside it the step as a
    whole."""
    work_s = 8 if full else 2
    with project() as (folder, own), pool() as its:
        env = {**own, **its, "AIINFRA_WORKSPACE": str(folder)}
        (folder / "recipes").mkdir()
        (folder / "recipes" / "long.toml").write_text(
            '[steps.a]\nnotebook = "quick.ipynb"\n'
            '[steps.b]\nnotebook = "long.ipynb"\nafter = ["a"]\non_failure = "hold 5m"\n'
        )
        write(folder, "quick", "print(1)")
        work = f"import time; time.sleep({work_s})"
        write(folder, "long", work, "1 / 0", "print('end')")
        code = (
            "import json, os, sys, time; os.chdir(sys.argv[1])\n"
            "from pathlib import Path; from aiinfra_lab import recipe\n"
            "recipe.run('long', report=True); path = Path('notebooks/long.ipynb')\n"
            "path.write_text(path.read_text().replace('1 / 0', '1 / 1'))\n"
            "began = time.perf_counter(); run = recipe.run('long', resume=True); took = time.perf_counter() - began\n"
            "began = time.perf_counter(); recipe.run('long'); whole = time.perf_counter() - began\n"
            "ran = [step['state'] for step in run.steps.values()]\n"
            "print(json.dumps([took, whole, ran]))"
        )
        argv = [sys.executable, "-c", code, str(folder)]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
        took, whole, ran = json.loads(done.stdout.splitlines()[-1])
    yield Figure("in the held kernel", took * 1000, "ms", at_most(100), whole * 1000, "the step as a whole")
    yield Figure("steps that ran", ran.count("done"), "", exactly(1), note=", ".join(ran))


@row("recipe.11", "the plan of 50 steps; the lint of 100 cells", "<= 150 ms each")
def plan(full: bool) -> Iterator[Figure]:
    """`recipe run --dry` in a process that has loaded the verb, nothing having run before."""
    with project() as (folder, env):
        chain(folder, "fifty", STEPS)
        before = f"import os; os.chdir({str(folder)!r})\nfrom aiinfra_lab import recipe"
        cost = statement("recipe.run('fifty', dry=True)", before=before, env=env)
    yield Figure("50 steps", cost.wall_s * 1000, "ms", at_most(150), note=cost.note)
    yield from _lint()


def _lint() -> Iterator[Figure]:
    """A notebook of 100 cells, in a process that has loaded the verb."""
    cell = "total = 0\nfor number in range(10):\n    total += number\nprint(f'{total}')\n%time total"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "hundred.ipynb")
        nbformat.write(new_notebook(cells=[new_code_cell(cell) for _ in range(100)]), path)
        before = "from pathlib import Path; from aiinfra_lab.recipe.lint import lint_notebook"
        cost = statement(f"lint_notebook(Path({str(path)!r}))", before=before)
    yield Figure("100 cells", cost.wall_s * 1000, "ms", at_most(150), note=cost.note)


@row("recipe.13", "nbclient's and papermill's own notebooks as steps", "nbclient's verdicts", ("nbclient", "papermill"))
def own_notebooks(full: bool) -> Iterator[Figure]:
    """Each as a recipe of one step, and by nbclient in a process of its own, with the kernel that it names."""
    with project() as (folder, env):
        place = folder / "notebooks"
        place.mkdir()
        missing = collect(place)
        paths = sorted(place.glob("*.ipynb"))
        own = {**env, "AIINFRA_PROJECT": str(folder), "AIINFRA_POOL": "off"}
        with ThreadPoolExecutor(4) as at_once:
            ours = list(at_once.map(lambda path: passes_as_step(path, lab("run"), own), paths))
            theirs = list(at_once.map(passes_alone, paths))
    others = [path.stem for path, one, other in zip(paths, ours, theirs, strict=True) if one != other]
    note = "; ".join([f"of {len(paths)}, of which nbclient executes {sum(theirs)}", *others])
    yield Figure("other verdicts", len(others), "notebooks", exactly(0), note=note)
    if missing:
        yield Figure("those that were not there", None, "", exactly(0), note=missing)


@row("recipe.14", "a year of schedules, DST both ways, two daemons, 50 sleeps and kills", "exactly once, or missed")
def year(full: bool) -> Iterator[Figure]:
    """By a clock of ours, on a real store; five schedules in Berlin."""
    with project() as (folder, env):
        code = (
            f"import os; os.chdir({str(folder)!r}); os.environ['AIINFRA_WORKSPACE'] = {str(folder)!r}\n"
            "from datetime import UTC, datetime; from pathlib import Path; from tests.benchmarks._year import Year\n"
            "year = Year(Path.cwd(), datetime(2026, 1, 1, tzinfo=UTC).timestamp(), 365, sleeps=50, kills=50)\n"
            "year.go()\n"
            "print(len(year.faults()), sum(map(len, year.begun.values())), year.slept, year.killed, year.crossed)"
        )
        run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    faults, begun, slept, killed, crossed = map(int, run.stdout.split())
    note = f"{begun} begun, {slept} sleeps, {killed} kills, {crossed} commits that crossed"
    yield Figure("begun twice, lost or unlisted", faults, "schedules", at_most(0), note=note)


@row(
    "recipe.load",
    "runs through one workspace, 8 at a time",
    "none lost, nothing left",
    ("ipykernel",),
    is_required=True,
)
def load(full: bool) -> Iterator[Figure]:
    """1,000 of them, in short 60: by commands, by the supervisor, and in threads of one kernel."""
    with project() as (folder, own), pool() as env:
        here = {**own, **env, "AIINFRA_WORKSPACE": str(folder), "IPYTHONDIR": str(folder / ".ipython")}
        argv = [sys.executable, "-m", f"{__package__}._load", "1000" if full else "60"]
        done = subprocess.run(argv, env=here, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    for kind in ("lost", "left"):
        for what, names in found[kind].items():
            yield Figure(f"{kind}: {what}", len(names), "", exactly(0), note="; ".join(names[:5]))
    for span in found["spans"]:
        yield from _grown(span)
    few, many = found["few"], found["many"]
    yield Figure("recipe ls", many["ls_cpu_s"], "s CPU", ratio_at_most(2), few["ls_cpu_s"], "after 10 runs")
    for what in ("store", "home"):
        yield Figure(what, many[f"{what}_mb"], "MB", at_most(100), few[f"{what}_mb"], "after 10 runs")


def _grown(span: dict[str, Any]) -> Iterator[Figure]:
    """What a process has more of than some runs before."""
    before, after, runs = span["before"], span["after"], span["runs"]
    if before["pid"] != after["pid"]:  # its successor shows nothing
        return
    limits = {"rss_mb": ("memory", "MB", 10 + 0.02 * runs)}
    limits |= {each: (each, "", 0) for each in ("files", "threads", "children")}
    for field, (what, unit, most) in limits.items():
        note = f"{before[field]:.4g} → {after[field]:.4g} {unit} in {runs} runs"
        yield Figure(f"{span['who']}: more {what}", after[field] - before[field], unit, at_most(most), note=note)
