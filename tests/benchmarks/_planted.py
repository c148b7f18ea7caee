"""Six planted secrets, put out by a recipe's notebook in every form and to every sink: how often each is found there.

    python -m tests.benchmarks._planted FOLDER

in an empty folder, which becomes a project; prints as JSON {sink: {secret: [found, taken out]}} of a recipe's run, and
behind it how often all of them are found in what papermill leaves, with its own engine and with ours.
"""

import base64
import html
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab.secrets import RedactedStream, Redactor

# Put together here, so that no scanner takes this file for one that holds a secret.
_END = "7Kx-93hLp_4mTw"
PLANTED = {
    "MY_API_KEY": "sk" + _END,
    "DB_PASSWORD": "p w'd\"é<&>/+9" + _END,
    "PRIVATE_KEY": "-----BEGIN KEY-----\n" + "\n".join(f"{at}MIIB{at}{_END}{_END}" for at in range(3)),
    "DATABASE_URL": f"postgresql://ann:db{_END}@db.example.org/flights",
    "file": "fi" + _END,
    "LATE_TOKEN": "la" + _END,
}
AT_START = ("MY_API_KEY", "DB_PASSWORD", "PRIVATE_KEY", "DATABASE_URL")
"""Those of the environment of whoever runs it; `file` is resolved in the kernel, `LATE_TOKEN` is set there."""

_SETUP = """
import base64, contextlib, html, json, logging, os, sys, urllib.parse
from aiinfra_lab import logs, secrets
from aiinfra_lab.alerts import Alert, deliver
from aiinfra_lab.store import Event, open_store
from IPython.display import HTML, JSON, Markdown, display
os.environ["LATE_TOKEN"] = "".join(reversed({late!r}))
names = ["MY_API_KEY", "DB_PASSWORD", "PRIVATE_KEY", "DATABASE_URL", "LATE_TOKEN"]
values = [os.environ[name] for name in names] + [secrets.resolve("file:{file}")]
"""
_STREAMS = """
for value in values:
    encoded = value.encode()
    print(value, repr(value), json.dumps(value), base64.b64encode(b"u:" + encoded).decode(), encoded.hex())
    print(urllib.parse.quote(value), html.escape(value), file=sys.stderr)
    for part in (value[:7], value[7:]):
        print(part, end="", flush=True)
        sys.stderr.write(".")
        sys.stderr.flush()
    print()
print(token)
"""
_DISPLAYS = """
for value in values:
    display(HTML(f"<b>{html.escape(value)}</b>"), JSON({"key": [value]}), Markdown(value), display_id=True)
values
"""
_OTHERS = """
open_store().commit([], Event("recipe run", "recipe:planted", detail={"values": values, "more": {"a": values[0]}}))
for value in values:
    deliver(Alert("failed", "recipe:planted", f"it printed {value}", facts={"value": value}), ["file:alerts.jsonl"])
with open("log.txt", "w") as file, contextlib.redirect_stderr(file):
    logs.configure()
    for value in values:
        try:
            raise ValueError(value)
        except ValueError:
            logging.getLogger("aiinfra_lab.planted").exception("it failed with %s", value)
"""
_RAISES = "raise ValueError(' '.join(values))"


def plant() -> None:
    """Make the current folder a project with the recipe `planted`, and the environment one with secrets."""
    Path("notebooks").mkdir()
    Path("recipes").mkdir()
    Path("aiinfra.toml").touch()
    mounted = Path("mounted").absolute()
    mounted.write_text(PLANTED["file"])
    mounted.chmod(0o600)
    setup = _SETUP.replace("{late!r}", repr(PLANTED["LATE_TOKEN"][::-1])).replace("{file}", str(mounted))
    first = new_code_cell("token: str = ''", metadata={"tags": ["parameters"]})
    cells = [first, *map(new_code_cell, (setup, _STREAMS, _DISPLAYS, _OTHERS, _RAISES))]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), "notebooks/planted.ipynb")
    step = (
        '[parameters]\ntoken = ""\n[steps.p]\nnotebook = "planted.ipynb"\nparameters = { token = "${params.token}" }\n'
    )
    Path("recipes/planted.toml").write_text(step)
    os.environ.update({name: PLANTED[name] for name in AT_START})


def sinks() -> dict[str, str]:
    """Run it, and read what it left: sink → all of its text."""
    from nbconvert import HTMLExporter

    from aiinfra_lab import recipe
    from aiinfra_lab.store import encode, open_store

    given = " ".join(PLANTED[name] for name in AT_START)
    run: Any = recipe.run("planted", param={"token": given}, report=True)
    archive = nbformat.read(run.steps["p"]["archive"], as_version=4)
    outputs = [output for cell in archive.cells for output in cell.get("outputs", ())]
    cards = [thing.card().html() for thing in (recipe.show(run.uri), recipe.show("planted"))]
    pages = [*cards, str(recipe.log("planted")), HTMLExporter().from_notebook_node(archive)[0]]
    record = _record(run.uri)
    return {
        "streams": "".join(output.text for output in outputs if output.output_type == "stream"),
        "tracebacks": "".join(json.dumps(output) for output in outputs if output.output_type == "error"),
        "displays": "".join(json.dumps(output.data, ensure_ascii=False) for output in outputs if "data" in output),
        "parameters": json.dumps([record.body.parameters, archive.metadata, [cell.source for cell in archive.cells]]),
        "record": "".join(map(encode, (record.body, *(step.body for step in record.by_step.values())))),
        "audit log": "".join(json.dumps(event.event.detail, ensure_ascii=False) for event in open_store().events()),
        "pages": "".join(pages),
        "alerts and logs": Path("alerts.jsonl").read_text() + Path("notebooks/log.txt").read_text(),
    }


def _record(uri: str) -> Any:
    from aiinfra_lab.recipe.history import recorded_run

    return recorded_run(uri)


def forms(name: str) -> list[str]:
    """What may stand nowhere: a secret as it is, and as programs write it; of a URL its password."""
    value = PLANTED[name].partition("ann:")[2].partition("@")[0] or PLANTED[name]
    content = value.encode()
    inner = base64.b64encode(b"u:" + content + b"??").decode()[4:-8]
    written = [value, html.escape(value), json.dumps(value)[1:-1], repr(value)[1:-1]]
    return [*written, content.hex(), quote(value), inner, *value.split("\n")[1:]]


def count() -> dict[str, dict[str, list[int]]]:
    """Sink → secret → how often it is found there, and how often its name stands in its place."""
    texts = sinks()
    marks = {**{name: f"[secret {name}]" for name in PLANTED}, "file": f"[secret file:{Path('mounted').absolute()}]"}
    return {
        sink: {name: [sum(map(text.count, set(forms(name)))), text.count(marks[name])] for name in PLANTED}
        for sink, text in texts.items()
    }


def by_papermill(*options: str) -> int:
    """How often a secret is found in the notebook that papermill's command leaves, and in what it prints."""
    given = ["-p", "token", PLANTED["MY_API_KEY"], "--log-output", *options]
    command = [sys.executable, "-m", "papermill", "notebooks/planted.ipynb", "out.ipynb", *given]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    outputs = nbformat.read("out.ipynb", as_version=4)
    texts = [done.stdout, done.stderr, json.dumps(outputs), json.dumps(outputs, ensure_ascii=False)]
    return sum(text.count(form) for name in PLANTED for form in set(forms(name)) for text in texts)


def known() -> Redactor:
    """One that knows ten secrets."""
    return Redactor((f"S{at}", f"{at}{_END}{at * 7919}") for at in range(10))


def large() -> str:
    """8 MB of a log."""
    return "".join(f"2026-11-28 12:00:00 INFO train: step {at} loss 0.{at}\n" for at in range(170_000))[:8_000_000]


def stream(redactor: Redactor, text: str) -> None:
    """The same text as a kernel sends it."""
    pieces = RedactedStream(redactor)
    for at in range(0, len(text), 4096):
        pieces.feed(text[at : at + 4096])
    pieces.flush()


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    plant()
    print(json.dumps({"recipe": count(), "papermill": by_papermill(), "lab": by_papermill("--engine", "lab")}))
