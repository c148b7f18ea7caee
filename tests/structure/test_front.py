"""The front end's style sheets: all of them are loaded, as text, and none styles what nobody makes."""

import re
from typing import get_args

from aiinfra_lab.show.states import Tone

from .source import PACKAGE, ROOT

STYLE = ROOT / "widgets/style"
CLASS = re.compile(r"aiinfra-[A-Za-z][\w-]*")


def sheets() -> dict[str, str]:
    return {path.name: path.read_text() for path in STYLE.glob("*.css")}


def test_every_sheet_is_loaded_as_text() -> None:
    loaded = re.findall(r"import \w+ from '\./(.+\.raw\.css)'", (STYLE / "index.js").read_text())
    assert sorted(loaded) == sorted(sheets())


def test_every_class_that_is_styled_is_made_somewhere() -> None:
    made_in = [*(ROOT / "widgets/src").glob("*.ts"), *(PACKAGE / "show").glob("*.py")]
    made = {name for path in made_in for name in CLASS.findall(path.read_text())}
    of_tones = {f"aiinfra-{tone}" for tone in get_args(Tone)}
    styled = {name for text in sheets().values() for name in re.findall(rf"\.({CLASS.pattern})", text)}
    # `aiinfra-Key-${role}` is found as `aiinfra-Key-`.
    assert {name for name in styled - made - of_tones if f"{name.rpartition('-')[0]}-" not in made} == set()
