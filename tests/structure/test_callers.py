"""What we document type-checks where it is called: `py.typed` is a promise to the caller."""

from pathlib import Path

from . import callers
from .source import ROOT


def test_every_documented_call_type_checks_under_strict(tmp_path: Path) -> None:
    errors, calls = callers.check(tmp_path)
    assert errors == []
    assert calls > 50


def test_the_readmes_calls_are_found_and_written_as_python() -> None:
    text = callers.script(ROOT / "README.md")
    assert "gpu.start('trainer', gpu='cpu', spot=True, for_='2h', budget='5')" in text
    assert "rows = data.add('flights', from_='example:nycflights13/2013-01..03')" in text
    assert "train.diff(run, 'delay@champion')" in text
