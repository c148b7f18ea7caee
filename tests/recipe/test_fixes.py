"""Every fix of a recipe's error is followed to the letter, and then it works."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aiinfra_lab import files, jobs
from aiinfra_lab import recipe as verbs
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Conflict, Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.recipe import taken
from aiinfra_lab.recipe.noun import NOUN
from tests.conftest import PATIENCE_S, until
from tests.following import COMMAND, run

Write = Callable[..., Path]

STEP = '[steps.a]\nnotebook = "a.ipynb"\n'
LIST = '[steps.a]\nnotebook = "list.ipynb"\n'
OTHER = '[steps.b]\nnotebook = "a.ipynb"\n'
MAKER = f'{OTHER}out = {{ made = "data:made" }}\n'

# What is wrong, what the fix says, and the file once that was done.
FILES = [
    ("title = a", "correct that line", STEP),
    ('title = "none"', "add a [steps.NAME] with a notebook", STEP),
    ("steps = 1", "write [steps.NAME] and what belongs to it below", STEP),
    ("[steps]\na = 1", "write [steps.a] and what belongs to it below", STEP),
    (f"{STEP}in = 1", "write [steps.a.in] and what belongs to it below", f'{STEP}[steps.a.in]\nx = "raw/x.csv"'),
    (f"{STEP}out = 1", "write [steps.a.out] and", f'{STEP}[steps.a.out]\nmade = "data:made"'),
    (f"{STEP}parameters = 1", "write [steps.a.parameters] and", f'{STEP}[steps.a.parameters]\nx = "1"'),
    (f"parameters = 1\n{STEP}", "write [parameters] and", f"[parameters]\nn = 1\n{STEP}"),
    (f"{STEP}inn = 1", "did you mean in?", f"{STEP}in = {{}}"),
    ("[steps.a]", 'add notebook = "NAME.ipynb"', STEP),
    ('[steps."a/b"]\nnotebook = "a.ipynb"', "use letters, digits, '-' and '_'", '[steps.a-b]\nnotebook = "a.ipynb"'),
    ('[steps.a]\nnotebook = "none.ipynb"', "correct `notebook = …` in the recipe", STEP),
    (f"{STEP}in = {{ x = 1 }}", 'write in = { x = "…" }', f'{STEP}in = {{ x = "raw/x.csv" }}'),
    (f"{STEP}after = 1", 'write after = ["step"]', f'{STEP}after = ["b"]\n{OTHER}'),
    (f'{STEP}after = ["c"]\n{OTHER}', "known: a, b", f'{STEP}after = ["b"]\n{OTHER}'),
    (f'{STEP}in = {{ x = "c.made" }}\n{MAKER}', "known: a, b", f'{STEP}in = {{ x = "b.made" }}\n{MAKER}'),
    (f'{STEP}in = {{ x = "b.mode" }}\n{MAKER}', "did you mean made?", f'{STEP}in = {{ x = "b.made" }}\n{MAKER}'),
    (f'{STEP}parameters = {{ y = "1" }}', "known: x", f'{STEP}parameters = {{ x = "1" }}'),
    (f'{STEP}after = ["b"]\n{OTHER}after = ["a"]', "out of `in` or `after`", f'{STEP}after = ["b"]\n{OTHER}'),
    (f"[small]\nm = 1\n[parameters]\nn = 1\n{STEP}", "known: n", f"[small]\nn = 1\n[parameters]\nn = 1\n{STEP}"),
    (f'[parameters]\nn = 1\n{STEP}parameters = {{ x = "${{params.m}}" }}', "known: n", f"[parameters]\nn = 1\n{STEP}"),
    (f'{LIST}parameters = {{ n = "a" }}', "write in the recipe a value of type int", f"{LIST}parameters = {{ n = 1 }}"),
    (f"{LIST}parameters = {{ f = inf }}", "write in the recipe a finite number", f"{LIST}parameters = {{ f = 1.5 }}"),
    (f'{LIST}in = {{ n = "raw/x.csv" }}', "`n: list[str] = …` for the files", f'{LIST}in = {{ rows = "raw/x.csv" }}'),
    (f'{STEP}in = {{ x = "raw/z.csv" }}', "there; did you mean raw/x.csv?", f'{STEP}in = {{ x = "raw/x.csv" }}'),
    (f'{STEP}in = {{ x = "raw/*.z" }}', "or correct 'raw/*.z' in `in`", f'{STEP}in = {{ x = "raw/*.csv" }}'),
    (f'{STEP}in = {{ x = "../x.csv" }}', "copy or link it into the project", f'{STEP}in = {{ x = "link.csv" }}'),
    (f'{STEP}in = {{ x = ".aiinfra/x" }}', "by its name, as data:NAME", f'{STEP}in = {{ x = "data:rows" }}'),
    (f'{STEP}in = {{ x = "models:rows" }}', "did you mean data:rows?", f'{STEP}in = {{ x = "data:rows" }}'),
    (f'{STEP}in = {{ x = "data:row" }}', "did you mean data:rows?", f'{STEP}in = {{ x = "data:rows" }}'),
    (f'{STEP}on_failure = "hold"', 'write on_failure = "hold 15m"', f'{STEP}on_failure = "hold 15m"'),
    (f'{STEP}on_failure = "hold on"', 'write on_failure = "hold 15m"', f'{STEP}on_failure = "hold 15m"'),
    (f'{STEP}title = "x"', "write title above the tables", f'title = "x"\n{STEP}'),
    (f'timeout = "1h"\n{STEP}', "write timeout below [steps.NAME]", f'{STEP}timeout = "1h"'),
    (
        f'{STEP}[schedule]\ncron = "@daily"\nparameters = {{ day = "1" }}',
        "write `day = …` below [parameters] in one.toml",
        f'{STEP}[parameters]\nday = "0"\n[schedule]\ncron = "@daily"\nparameters = {{ day = "1" }}',
    ),
    (f'{STEP}[trigger]\non = "data:x"', 'write on = ["data:x"]', f'{STEP}[trigger]\non = ["data:x"]'),
    (f'{STEP}[alert]\non = "failed"', 'write on = ["failed"]', f'{STEP}[alert]\non = ["failed"]'),
    (f'{STEP}cron = "@daily"', "write cron below [schedule]", f'{STEP}[schedule]\ncron = "@daily"'),
    (f'cron = "@daily"\n{STEP}', "write cron below [schedule]", f'{STEP}[schedule]\ncron = "@daily"'),
    (
        f'[parameters]\nn = 1\n{STEP}parameters = {{ x = "${{n}}" }}',
        "did you mean params.n?",
        f'[parameters]\nn = 1\n{STEP}parameters = {{ x = "${{params.n}}" }}',
    ),
    (f'{STEP}in = {{ x = "many" }}', "`%data add NAME FOLDER`, and data:NAME", f'{STEP}in = {{ x = "data:many" }}'),
]


def follow(fix: str) -> None:
    """Type each command that it names."""
    commands = COMMAND.findall(fix)
    assert commands
    for command in commands:
        run(command)


@pytest.fixture
def project(notebook: Write, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, data and notebooks for the recipes above."""
    monkeypatch.setattr(taken, "MOST_FILES", 3)
    notebook("a", 'x: str = ""')
    notebook("list", "rows: list[str] = []\nn: int = 1\nf: float = 1.0")
    for folder, many in (("raw", 1), ("many", 4)):
        (workspace / folder).mkdir()
        for number in range(many):
            (workspace / folder / f"{'x' * (number + 1)}.csv").write_text("n\n1\n")
    (workspace.parent / "x.csv").write_text("n\n1\n")
    (workspace / "link.csv").symlink_to(workspace.parent / "x.csv")
    run("data add rows raw")
    run("data add many many")


@pytest.mark.parametrize(("wrong", "fix", "right"), FILES)
def test_what_is_wrong_in_a_recipe_is_right_once_the_fix_was_done(project, recipe, wrong, fix, right):
    recipe("one", wrong)
    with pytest.raises(LabError) as problem:
        run("recipe check one")
    assert fix in problem.value.fix
    recipe("one", right)
    run("recipe check one")


@pytest.mark.parametrize(
    ("parameters", "fix", "right"),
    [
        ("x: int = 1 +", "one `name: type = value` a line", "x: int = 1"),
        ("x = 1 + one", "give every parameter a plain value, and compute in a later cell", "x = 1"),
    ],
)
def test_what_is_wrong_in_a_parameters_cell_is_right_once_the_fix_was_done(notebook, recipe, parameters, fix, right):
    recipe("one", STEP + "parameters = { x = 2 }")
    notebook("a", parameters)
    with pytest.raises(Failed) as problem:
        run("recipe check one")
    assert fix in problem.value.fix
    notebook("a", right)
    run("recipe check one")


def test_a_recipe_that_is_not_there_is_one_that_is_meant_or_one_to_be_written(workspace, notebook, recipe):
    with pytest.raises(NotFound) as problem:
        run("recipe run flights")
    follow(problem.value.fix)
    run("recipe check flight-delays")
    notebook("a", 'x: str = ""')
    recipe("one", STEP)
    with pytest.raises(NotFound, match=r"did you mean one\?"):
        run("recipe check on")


@pytest.mark.parametrize("verb", ["run", "check"])
@pytest.mark.parametrize("name", ["one/a", "one@1/a", "a.ipynb", "notebooks/a.ipynb", "one.toml", "recipes/one.toml"])
def test_a_step_a_notebook_or_a_file_in_place_of_a_recipe_is_mended_by_the_fix(notebook, recipe, verb, name):
    notebook("a", 'x: str = ""')
    recipe("one", STEP)
    with pytest.raises(UsageProblem, match=f"'{name}' is ") as problem:
        run(f"recipe {verb} {name}")
    assert "`%recipe run one --only a`" in problem.value.fix or f"`%recipe {verb} one`" in problem.value.fix
    follow(problem.value.fix)


def test_a_step_that_takes_too_long_is_given_more_time_by_the_fix(notebook, recipe):
    notebook("a", "", "import time", "time.sleep(2.5)")
    recipe("one", f'{STEP}timeout = "1s"')
    with pytest.raises(Failed, match="as `timeout` of the step says") as problem:
        run("recipe run one")
    assert "correct the notebook, or raise `timeout` of the step, then `%recipe run one`" in problem.value.fix
    recipe("one", f'{STEP}timeout = "1m"')
    follow(problem.value.fix)


def test_a_session_that_on_names_without_its_noun_is_mended_by_the_fix(notebook, recipe):
    notebook("a", "")
    recipe("one", f'{STEP}on = "trainer"')
    with pytest.raises(NotFound, match="a: there is no executor 'trainer'") as problem:
        run("recipe run one")
    assert problem.value.fix == 'write on = "gpu:trainer" for a session, or the name of an executor: known: local'
    recipe("one", f'{STEP}on = "gpu:trainer"')
    with pytest.raises(LabError, match="there is no living session gpu:trainer"):
        run("recipe run one")


def test_a_parameter_that_is_given_in_python_as_an_argument_is_mended_by_the_fix(notebook, recipe):
    notebook("a", "x: int = 1")
    recipe("one", f'[parameters]\nn = 1\n{STEP}parameters = {{ x = "${{params.n}}" }}')
    with pytest.raises(UsageProblem, match="takes no 'n'") as problem:
        verbs.run("one", n=3)
    assert problem.value.fix == 'did you mean param={"n": 3}?'
    assert verbs.run("one", param={"n": 3}, dry=True)


def test_a_notebook_of_no_recipe_becomes_one_by_the_fix(notebook, recipe):
    notebook("lonely", 'x: str = ""')
    with pytest.raises(UsageProblem, match=r"'lonely\.ipynb' is a notebook, and no recipe has it as a step") as problem:
        run("recipe run lonely.ipynb")
    assert 'write [steps.lonely] and notebook = "lonely.ipynb" into recipes/lonely.toml' in problem.value.fix
    recipe("lonely", '[steps.lonely]\nnotebook = "lonely.ipynb"')
    follow(problem.value.fix)


@pytest.mark.parametrize(
    ("given", "fix", "right"),
    [
        ("m=1", "known: n, text", "n=1"),
        ("n=one", "give -p n= a value of type int", "n=1"),
        ("text=one", "give -p text= a value of type int", "text=1"),
    ],
)
def test_a_parameter_that_is_wrong_is_right_once_it_is_given_so(notebook, recipe, given, fix, right):
    notebook("a", "x: int = 1")
    recipe(
        "one", '[parameters]\nn = 1\ntext = "1"\n[steps.a]\nnotebook = "a.ipynb"\nparameters = { x = "${params.text}" }'
    )
    with pytest.raises(UsageProblem) as problem:
        run(f"recipe run one -p {given}")
    assert fix in problem.value.fix
    run(f"recipe run one -p {right}")


def test_a_run_that_failed_goes_on_once_the_notebook_was_corrected(notebook, recipe):
    notebook("a", "x: int = 1", "1 / 0")
    recipe("one", f"[parameters]\nx = 1\n{STEP}parameters = {{ x = '${{params.x}}' }}")
    with pytest.raises(Failed) as problem:
        run("recipe run one -p x=2")
    assert Path(re.search(r"see (\S+);", problem.value.fix)[1]).exists()
    notebook("a", "x: int = 1", "assert x == 2")
    follow(problem.value.fix)


def test_an_error_that_has_a_fix_of_its_own_gives_no_other(notebook, recipe, workspace):
    notebook("a", "x: int = 1")
    recipe("one", STEP)
    place = settings().home / "recipe"
    files.make_folder(place.parent)
    place.symlink_to("/sys")  # where not even root can make a folder
    with pytest.raises(Failed, match=r"one@1 may not be written") as problem:
        run("recipe run one")
    place.unlink()
    assert problem.value.fix.startswith("make it writable, or choose another place, then `%recipe run one`")
    follow(problem.value.fix)


def test_a_step_that_made_nothing_succeeds_once_its_out_was_corrected(notebook, recipe):
    notebook("a", "x: int = 1")
    recipe("one", f'{STEP}out = {{ made = "data:made" }}')
    with pytest.raises(Failed, match=r"made no data:made") as problem:
        run("recipe get one data:made")
    assert "correct a.ipynb, or `out` of the step" in problem.value.fix
    notebook("a", "x: int = 1", "%load_ext aiinfra_lab", "%data add made a.ipynb")
    follow(problem.value.fix)


def test_what_a_recipe_does_not_make_is_one_that_it_makes(notebook, recipe):
    notebook("a", "x: int = 1", "%load_ext aiinfra_lab", "%data add made a.ipynb")
    recipe("one", f'{STEP}out = {{ made = "data:made" }}')
    with pytest.raises(NotFound) as problem:
        run("recipe get one data:other")
    run(f"recipe get one {problem.value.fix.rpartition(': ')[2]}")


@pytest.mark.parametrize(
    ("wanted", "fix"),
    [
        ("t", "`%recipe run one` writes it; then open it"),
        ("a.t", "`%recipe run one` writes it; then open it"),
        ("build/t.txt", "`%recipe run one` writes it; then open it"),
        ("made", "`%recipe get one data:made`"),
        ("data:none", "the recipe one makes: data:made"),
    ],
)
def test_what_is_no_thing_of_the_recipe_is_named(notebook, recipe, wanted, fix):
    notebook("a", "x: int = 1")
    recipe("one", f'{STEP}out = {{ t = "build/t.txt", made = "data:made" }}')
    with pytest.raises(LabError) as problem:
        run(f"recipe get one {wanted}")
    assert problem.value.fix.replace("aiinfra ", "%") == fix
    recipe("one", f'{STEP}out = {{ t = "build/t.txt" }}')
    with pytest.raises(NotFound) as problem:
        run("recipe get one data:made")
    assert problem.value.fix.replace("aiinfra ", "%") == "the recipe one makes files: `%recipe run one` writes them"


def test_a_run_that_is_over_is_shown(notebook, recipe):
    notebook("a", "x: int = 1")
    recipe("one", STEP)
    run("recipe run one")
    with pytest.raises(NotFound) as problem:
        NOUN.stop("recipe:one@1")
    follow(problem.value.fix)


def test_who_comes_second_can_look_at_the_first_and_end_it(notebook, recipe):
    notebook("a", "x: int = 1", "import time; time.sleep(600)")
    recipe("one", STEP)
    going = subprocess.Popen([sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "one"])
    until(lambda: jobs.ls("recipe:one", live=True))
    with pytest.raises(Conflict) as problem:
        run("recipe run one")
    follow(problem.value.fix)
    assert going.wait(PATIENCE_S) == 1
