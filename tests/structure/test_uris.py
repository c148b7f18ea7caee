"""uris.py alone takes a URI apart: nobody else splits on what separates its parts."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab.nouns import TABLE

from .source import PACKAGE, modules, short

SPLITS = {"split", "rsplit", "partition", "rpartition", "removeprefix", "removesuffix", "startswith"}
# Colons that separate something else: a provider's `module:Class`, a header line, a time of day.
ELSEWHERE = {
    "providers.py": "module:Class",
    "words.py": "a comment",
    "data/sources.py": "SCHEME:WORDS of --from",
}


def places(path: Path) -> Iterator[str]:
    """Calls that take a text apart at a separator of URIs, or ask whether it begins with a noun."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SPLITS:
            for argument in node.args[:1]:
                if _separates(argument):
                    yield f"{short(path)}:{node.lineno} {ast.unparse(node)}"


def _separates(argument: ast.expr) -> bool:
    texts = [
        part.value for part in ast.walk(argument) if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    return any(text in (":", "@", "#") or (text.rstrip(":") in TABLE and text.endswith(":")) for text in texts) or (
        isinstance(argument, ast.JoinedStr) and any(text in (":", "@", "#") for text in texts)
    )


def taking_apart() -> list[str]:
    """All of them, outside uris.py."""
    known = {PACKAGE / name for name in (*ELSEWHERE, "uris.py")}
    return [place for path in modules() if path not in known for place in places(path)]


def test_no_other_module_takes_a_uri_apart() -> None:
    assert taking_apart() == []


@pytest.mark.parametrize(
    "code", ['x.partition(":")', 'x.split("@")[0]', 'x.removeprefix("gpu:")', 'x.startswith(f"{n}:")']
)
def test_the_probe_sees_it(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = PACKAGE / "uris.py"
    monkeypatch.setattr(Path, "read_text", lambda self, *_: code)
    assert len(list(places(path))) == 1
