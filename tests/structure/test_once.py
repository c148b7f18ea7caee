"""What one module does for all: files.py replaces, flushes and locks files, jobs/process.py signals processes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from .source import PACKAGE, imports, modules, short, tree

ONE = PACKAGE / "files.py"
# On hosts nothing else of ours is: what is copied there has its own, and the loader comes before even that.
ON_HOSTS = [PACKAGE / "host" / name for name in ("files.py", "loader.py")]
ON_HOSTS += (PACKAGE / "host" / "sync").glob("*.py")
OTHERS = [path for path in modules() if path not in (ONE, *ON_HOSTS)]
# What renames, flushes or makes a file that is to be renamed; `os.replace` and `shutil.move` are among them.
CALLS = {"fsync", "fdatasync", "flock", "lockf", "mkstemp", "NamedTemporaryFile", "move", "renames"}


def by_hand(module: ast.Module) -> Iterator[int]:
    """Lines of a module that replace, flush or lock a file by themselves."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_replacement(node, node.func):
            yield node.lineno
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".part"):
            yield node.lineno


def _is_replacement(call: ast.Call, function: ast.Attribute) -> bool:
    module = getattr(function.value, "id", "")
    if function.attr in ("replace", "rename"):
        # Texts take two arguments; dataclasses, dates and data frames take keywords or a mapping.
        plain = len(call.args) == 1 and not call.keywords and not isinstance(call.args[0], ast.Dict | ast.DictComp)
        return module == "os" or (plain and not _is_text(call.args[0]))
    return function.attr in CALLS and module in ("os", "fcntl", "tempfile", "shutil")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)


@pytest.mark.parametrize("path", OTHERS, ids=short)
def test_no_other_module_replaces_or_locks_files_by_hand(path: Path) -> None:
    assert list(by_hand(tree(path))) == []
    assert not any(name.partition(".")[0] == "fcntl" for name in imports(path))


@pytest.mark.parametrize(
    "code",
    [
        "aside.replace(path)",
        "folder.rename(folder_of(label))",
        "os.replace(a, b)",
        "os.fsync(3)",
        "tempfile.mkstemp(dir=d)",
        "shutil.move(a, b)",
        "fcntl.flock(f, 2)",
        "x = path.with_suffix('.part')",
        "x = f'{path}.part'",
    ],
)
def test_a_replacement_by_hand_is_found(code: str) -> None:
    assert list(by_hand(ast.parse(code))) == [1]


@pytest.mark.parametrize(
    "code", ["text.replace('a', 'b')", "time.replace(tzinfo=UTC)", "frame.rename({'a': 'b'})", "rows.rename('row')"]
)
def test_what_only_sounds_like_it_is_not(code: str) -> None:
    assert list(by_hand(ast.parse(code))) == []


# The others on hosts, in jobs and in pods, where nothing else of ours is.
SIGNALLING = ("jobs/process.py", "host/processes.py", "gpu/kubernetes_pod.py", "gpu/slurm_job.py")


@pytest.mark.parametrize(
    "path", [path for path in modules() if short(path).removeprefix("aiinfra_lab/") not in SIGNALLING], ids=short
)
def test_no_other_module_signals_a_process(path: Path) -> None:
    calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    signalling = {"kill", "killpg", "send_signal"}
    assert [call.lineno for call in calls if isinstance(call, ast.Attribute) and call.attr in signalling] == []


# Where output is meant for the person who runs the command or the cell.
# `jobs/process.py`: the traceback of a fork of the user's own code, for the cell that forked.
PRINTING = {
    "cli.py", "host/__main__.py", "jobs/process.py", "kernels/client.py", "kernels/values/namespace.py", "logs.py",
    "pool/entry.py", "recipe/engine/client.py", "recipe/progress.py",
    "show/live.py",
}  # fmt: skip


@pytest.mark.parametrize("path", modules(), ids=short)
def test_what_a_process_notes_for_itself_is_logged(path: Path) -> None:
    text = path.read_text()
    printing = "sys.stderr" in text or "print_exc" in text
    assert not printing or path.relative_to(PACKAGE).as_posix() in PRINTING
