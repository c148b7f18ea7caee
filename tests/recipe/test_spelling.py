"""What looks like a reference in a recipe's file and is none."""

from pathlib import Path

import pytest

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.recipe import declaration, filling

TOML = """
[parameters]
day = "2026-01-01"
[steps.use]
notebook = "use.ipynb"
parameters = { s = "TEXT" }
"""


@pytest.fixture
def write(workspace: Path, notebook, recipe):
    notebook("use", "s: str = ''")
    return lambda text: recipe("r", text)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("${{params.day}}", "write ${params.day}; or $${{ for the text ${{"),
        ("at ${{ params.day }}/x", "write ${params.day}; or"),
        ("${params.day/x", "write ${params.day}, with its closing brace"),
        ("{params.day}", "write ${params.day}"),
        ("{{ params.day }}", "write ${params.day}"),
        ("$params.day/x", "write ${params.day}"),
        ("$run.date", 'write day = "${run.date}" below [parameters], and ${params.day} here'),
        ("$steps.make.out.t", "write ${steps.make.out.t}"),
    ],
)
def test_what_looks_like_a_reference_is_refused_with_its_line(write, text, fix):
    write(TOML.replace("TEXT", text))
    with pytest.raises(UsageProblem, match=r"is no reference \(r.toml line 6\)") as problem:
        declaration.read("r")
    assert problem.value.fix.startswith(fix)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("$${{ params.day }}", "${{ params.day }}"),
        ("$${params.day", "${params.day"),
        ("$params.month {params.month} $5 {x}", "$params.month {params.month} $5 {x}"),
        ("$day", "2026-01-01"),
    ],
)
def test_another_text_is_what_it_was(write, text, meant):
    write(TOML.replace("TEXT", text))
    (step,) = filling.filled_recipe(declaration.read("r"), {}).steps
    assert step.parameters == {"s": meant}


@pytest.mark.parametrize(
    ("more", "key", "line"),
    [
        ('title = "of ${params.day}"', "title", 1),
        ('[trigger]\non = ["raw/${params.day}/*.csv"]', "on", 2),
        ('[steps.other]\nnotebook = "${params.day}.ipynb"', "notebook", 2),
        ('[alert]\nto = ["file:${params.day}"]', "to", 2),
    ],
)
def test_what_is_not_filled_holds_no_reference(write, more, key, line):
    write(f"{more}\n{TOML}")
    with pytest.raises(UsageProblem, match=rf"`{key}` takes no \$\{{…\}} \(r.toml line {line}\)"):
        declaration.read("r")


@pytest.mark.parametrize("text", ["${{run.date}}", "${run.date", "$run.date", "{run.date}"])
@pytest.mark.parametrize("header", ["parameters", "small", "schedule.parameters"])
def test_nor_is_what_looks_like_the_day_of_a_run(write, text, header):
    text = f'[{header}]\nday = "{text}"\n[steps.use]\nnotebook = "use.ipynb"\n'
    write(text + ("[parameters]\nday = 1" if header == "small" else ""))
    with pytest.raises(UsageProblem, match="is no reference"):
        declaration.read("r")
