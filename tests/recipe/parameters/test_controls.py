"""The parameters of a notebook as ipywidgets."""

import datetime as dt

import pytest

from aiinfra_lab import recipe as verbs
from aiinfra_lab.errors import NotFound
from tests.structure.source import modules_loaded_by

CELL = """
from datetime import date, datetime, timezone
from typing import Annotated, Literal, Optional
from pathlib import Path
from aiinfra_lab.recipe import Range, Secret
trees: Annotated[int, Range(1, 100), "how many"] = 80
share: Annotated[float, Range(0, 1)] = 0.5
lr: Annotated[float, Range(1e-5, 1)] = 3e-4
least: Annotated[int, Range(low=0)] = 3
day: date = date(2026, 1, 1)
until: Optional[date] = None
june: Annotated[date, Range(date(2026, 6, 1), date(2026, 6, 30))] = date(2026, 6, 2)
at: datetime = datetime(2026, 1, 1)
zoned: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc)
size: Literal["small", "base"] = "small"
level: Optional[Literal[1, 2]] = 2
end: bool = True
count: int = 3
huge: int = 10**1
rate: float = 1.5
where: Path = Path("a")
token: Secret = Secret("HF_TOKEN")
words: list[str] = ["a", "b"]
""".replace("10**1", str(2**60))

KINDS = {
    "trees": "IntSlider",
    "share": "FloatSlider",
    "lr": "FloatLogSlider",
    "least": "IntText",
    "day": "DatePicker",
    "until": "DatePicker",
    "june": "DatePicker",
    "at": "NaiveDatetimePicker",
    "zoned": "Text",
    "size": "Dropdown",
    "level": "Dropdown",
    "end": "Checkbox",
    "count": "IntText",
    "huge": "Text",
    "rate": "FloatText",
    "where": "Text",
    "token": "Text",
    "words": "Text",
}


def test_every_parameter_has_a_control_that_fits(notebook):
    made = verbs.controls(notebook("a", CELL))
    assert {name: type(control).__name__ for name, control in made.items()} == KINDS
    assert (made["trees"].min, made["trees"].max, made["trees"].value, made["trees"].tooltip) == (
        1,
        100,
        80,
        "how many",
    )
    assert (made["lr"].value, round(made["lr"].min, 6), made["lr"].max) == (pytest.approx(3e-4), -5, 0)
    assert (made["june"].min, made["june"].max) == (dt.date(2026, 6, 1), dt.date(2026, 6, 30))
    assert (made["size"].value, [value for _, value in made["level"].options]) == ("small", [None, 1, 2])
    assert (made["words"].value, made["token"].value) == ("a,b", "HF_TOKEN")
    assert {control.description for control in made.values()} == {*KINDS}


def test_interact_takes_them(notebook):
    from ipywidgets import interactive

    made = verbs.controls(str(notebook("a", CELL)))
    found: list[dict[str, object]] = []
    panel = interactive(lambda **values: found.append(values), **made)
    panel.update()
    made["trees"].value = 7
    assert (found[0]["trees"], found[-1]["trees"], found[-1]["day"]) == (80, 7, dt.date(2026, 1, 1))


def test_without_a_cell_of_parameters_there_are_none(workspace, notebook):
    path = notebook("a", "x = 1")
    path.write_text(path.read_text().replace('"parameters"', '"other"'))
    assert verbs.controls(path) == {}
    with pytest.raises(NotFound):
        verbs.controls("none.ipynb")


def test_widgets_are_loaded_by_nothing_else():
    code = "from aiinfra_lab.recipe import Range, Secret, controls\nfrom aiinfra_lab.recipe import declaration"
    assert not {"ipywidgets", "nbformat", "numpy"} & {name.partition(".")[0] for name in modules_loaded_by(code)}
