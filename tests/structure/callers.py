"""Every documented call as Python: the magics of README, docs and notebooks, in the form that a type checker reads."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from aiinfra_lab.errors import LabError
from aiinfra_lab.nouns import TABLE
from aiinfra_lab.verbs import Help, Parameter, Verb
from aiinfra_lab.words import Given, split, understand

from .source import ROOT, short

_LINE = re.compile(rf"^\s*(?:([A-Za-z_]\w*) = )?%%?({'|'.join(TABLE)})\s+(.+)$")
_CODE_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
HEAD = f"from aiinfra_lab import {', '.join(sorted(TABLE))}\n"
# Calls that need saying because no document writes them as Python.
ALSO = """
session = gpu.start("trainer", gpu="A10G", for_="2h", budget="5usd")
gpu.stop(session)
workspace = lab.start("ws")
first, second = train.show("delay@1"), train.show("delay@2")
train.diff(second, first)
train.run("delay", rows="features:delay@1", code="...", params={"epochs": 3, "lr": 0.1}, on=session)
version = models.add("delay", run=first)
models.get(version, into="here")
deploy.start("delay", model=version, canary="5%", rollback_if="p95_ms > 80")
deploy.run("delay", rows={"any": "object"}, for_=20)
data.add("flights", "flights.csv", text="flight")
data.check("flights", key=["id"], max_missing="5%")
drift.check("delay", against="data:flights@1", alpha=0.05)
recipe.run("flight-delays", param={"epochs": 2})
cost.show(session)
lab.log(version)
"""


# A document gives a variable another type further on. For these modules alone: an option that `mypy` does not have for
# the package would have all of it checked anew, here and the next time there.
_OPTIONS = """
[[tool.mypy.overrides]]
module = "documented.*"
allow_redefinition = true
"""


def check(folder: Path) -> tuple[list[str], int]:
    """What mypy, strict as for the package, says of all documented calls, as programs there; and how many there are."""
    # By the whole path: several documents are called README.md.
    programs = {short(document): script(document) for document in documents()} | {"also.py": HEAD + ALSO}
    package = folder / "documented"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in programs.items():
        if text:
            (package / f"{re.sub('[^A-Za-z0-9]', '_', name)}.py").write_text(text)
    options = folder / "pyproject.toml"
    options.write_text((ROOT / "pyproject.toml").read_text() + _OPTIONS)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file", str(options)]
    done = subprocess.run([*command, str(package)], cwd=ROOT, capture_output=True, text=True, check=False)
    found = (done.stdout + done.stderr).replace(f"{package}/", "").splitlines()
    return found, sum(text.count("(") for text in programs.values())


class _Variables(dict[str, object]):
    """Every `$name` stands for itself."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> object:
        return _Variable(name)


class _Variable:
    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"\0{self.name}\0"


def documents() -> list[Path]:
    """What shows calls to people."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "notebooks").rglob("*.ipynb"))]


def script(document: Path) -> str:
    """The document's calls as a Python program; empty when it has none."""
    calls = list(_calls(document))
    text = "\n".join(calls)
    assigned = re.findall(r"^(\w+)(?:: [^=\n]+)? = ", text, re.MULTILINE)
    # A notebook may give a variable a noun's name, or a parameter's variable a new value, as it does in a kernel.
    hidden = {*assigned} & {*TABLE}
    text = re.sub(r"\x01(\w+)\x01", lambda found: f"aiinfra_lab.{found[1]}" if found[1] in hidden else found[1], text)
    for name in {name for name in assigned if assigned.count(name) > 1}:
        text = re.sub(rf"^{name}: [^=\n]+ = ", f"{name} = ", text, flags=re.MULTILINE)
    known = {*assigned, *TABLE}
    free = sorted(set(re.findall(r"\0(\w+)\0", text)) - known)
    declared = "".join(f'{name}: str = ""\n' for name in free)
    head = "import aiinfra_lab\n" + "".join(f"from aiinfra_lab import {noun}\n" for noun in TABLE if noun not in hidden)
    return head + declared + text.replace("\0", "") + "\n" if calls else ""


def _calls(document: Path) -> Iterator[str]:
    for block in _blocks(document):
        if block.startswith("python\n"):
            yield block.removeprefix("python\n")
            continue
        for line in block.splitlines():
            if match := _LINE.match(line):
                yield from _as_python(match[1], match[2], match[3])


def _blocks(document: Path) -> Iterator[str]:
    """Its cells, or its text; what is Python already is marked."""
    text = document.read_text("utf-8")
    if document.suffix != ".ipynb":
        yield from (f"python\n{code}" for code in _CODE_BLOCK.findall(text))
        yield text
        return
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and "parameters" in cell["metadata"].get("tags", []):
            yield f"python\n{source}"
        elif cell["cell_type"] == "code":
            yield source


def _as_python(target: str | None, noun: str, line: str) -> Iterator[str]:
    try:
        call = understand(noun, split(line, _Variables()), body=None, names=_Variables())
    except LabError:
        return  # a line that shows a form (`NAME`, `…`) and not a call
    if isinstance(call, Help):
        return
    values = dict(call.values)
    if call.verb.code is not None:
        values.setdefault(call.verb.code.name, "…")
    known = {item.name: item for item in call.verb.parameters}
    # The code of a cell comes last there.
    ordered = sorted(values, key=lambda name: not known[name].positional)
    written = ", ".join(_argument(known[name], values[name]) for name in ordered)
    bound = target or call.bind
    yield f"{f'{bound} = ' if bound else ''}{_function(call.verb)}({written})"


def _function(verb: Verb) -> str:
    return f"\x01{verb.noun}\x01.{verb.name}"


def _argument(item: Parameter, value: object) -> str:
    if item.kind in ("int", "float") and isinstance(value, str):  # in Python one writes the number
        value = item.read(value)
    return _value(value) if item.positional else f"{item.name}={_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, _Variable):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Given):
        return _value(value.value)
    if isinstance(value, str) and "\0" in value:
        return 'f"' + re.sub(r"\0(\w+)\0", lambda match: "{\0" + match[1] + "\0}", value) + '"'
    return repr(value)
