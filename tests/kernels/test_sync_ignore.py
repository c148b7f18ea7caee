"""`.aiinfraignore` obeys gitignore's rules, of which git itself is the judge, on both sides."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.host.sync.tree import Tree
from aiinfra_lab.kernels.sync.ignore import Ignore

from .two_sides import TwoSides, tree, write

NAMES = st.sampled_from(["a", "b", "ab", "c.pyz", "d.log", "x y", "!n", "#h", "two\nlines"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PIECES = st.sampled_from(["a", "b", "*", "**", "?", "*.log", "[ab]", "[!a]", "ab", r"\!n", r"\#h", "x y", "c.*"])
LINES = st.builds(
    lambda negated, start, pieces, end: negated + start + "/".join(pieces) + end,
    st.sampled_from(["", "", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(PIECES, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", "  "]),
)


def by_git(folder: Path) -> set[str]:
    """The files that git takes, by rules of that name."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    if not (folder / ".git").exists():
        subprocess.run(["git", "init", "-q", folder], check=True, env=environment)
    command = ["git", "-C", folder, "ls-files", "-z", "-o", "--exclude-per-directory=.aiinfraignore"]
    found = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
    names = {os.fsdecode(name) for name in found.split(b"\0") if name}
    return {name for name in names if name.rpartition("/")[2] != ".aiinfraignore"}


def by_us(folder: Path) -> set[str]:
    """The files that a sync takes."""
    ignore, found = Ignore(), Tree(str(folder), 0o022, {})
    found.scan(ignore.rules, 1 << 20, ignore.read)
    files = {path for path, entry in found.entries.items() if entry.kind == "f"}
    found.close()
    return files


@settings(max_examples=40)
@given(
    paths=st.lists(PATHS, min_size=3, max_size=12),
    rules=st.lists(LINES, min_size=1, max_size=5),
    nested=st.lists(LINES, max_size=3),
)
@example(paths=["a/b/c.pyz", "a/d.log", "d.log"], rules=["*.log", "!a/"], nested=["!d.log"])
@example(paths=["a/b", "a/ab", "b"], rules=["a/**", "!a/b"], nested=[])
@example(paths=["a/b", "a/ab", "b"], rules=["/*", "!/a"], nested=[])
@example(paths=["a/b", "b"], rules=["[z-a]*", "b"], nested=[])
def test_it_takes_what_git_takes(paths: list[str], rules: list[str], nested: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in paths:
            try:
                write(folder / path, "x")
            except OSError:
                continue  # a file stands where it would have its folder
        write(folder / ".aiinfraignore", "\n".join(rules))
        if (folder / "a").is_dir():
            write(folder / "a/.aiinfraignore", "\n".join(nested))
        assert by_us(folder) == by_git(folder)


@pytest.fixture(name="both")
def _both(tmp_path: Path) -> TwoSides:
    return TwoSides(tmp_path)


@pytest.mark.parametrize("side", ["near", "far"])
def test_what_nobody_wants_stays_by_itself(both: TwoSides, side: str) -> None:
    wanted = ["a.py", ".env.example", "src/b.py"]
    others = [".git/config", ".venv/bin/python", "src/__pycache__/b.pyc", ".ipynb_checkpoints/n", "node_modules/m/i.js"]
    for path in (*wanted, *others, ".aiinfra/store.sqlite", "src/.aiinfra/x"):
        write(getattr(both, side) / path, "x")
    report = both.sync()
    other = both.far if side == "near" else both.near
    assert {path for path, each in tree(other).items() if each[0] == "f"} == set(wanted)
    assert report.left_out == ()


def test_a_rule_may_take_back_what_is_left_out_anyway_but_never_our_own(both: TwoSides) -> None:
    write(both.near / ".aiinfraignore", "!node_modules\n!.aiinfra\n")
    write(both.near / "node_modules/a.js", "x")
    write(both.near / ".aiinfra/x", "x")
    both.sync()
    assert set(tree(both.far)) == {"node_modules", "node_modules/a.js"}
    assert not (both.far / ".aiinfra/x").exists()


@pytest.mark.parametrize("kind", ["a link", "no file"])
def test_rules_that_cannot_be_read_are_an_error_and_nothing_goes(both: TwoSides, kind: str) -> None:
    write(both.near / "src/secret", "x")
    rules = both.near / "src/.aiinfraignore"
    rules.symlink_to("/etc/hosts") if kind == "a link" else rules.mkdir()
    with pytest.raises(UsageProblem, match=f"src/.aiinfraignore is {kind}: its rules are not read"):
        both.sync()
    assert tree(both.far) == {}


def test_one_character_is_one_whatever_its_bytes_are(both: TwoSides) -> None:
    write(both.near / ".aiinfraignore", "?.txt\nsüß*\n")
    for name in ("é.txt", "süßes", "ab.txt"):
        write(both.near / name, "x")
    both.sync()
    assert set(tree(both.far)) == {"ab.txt"}


def test_rules_of_settings_come_before_the_folders_own(both: TwoSides) -> None:
    write(both.near / ".aiinfraignore", "!keep.ckpt\r\n")
    for name in ("a.ckpt", "keep.ckpt"):
        write(both.far / name, "x")
    both.sync(ignore=["*.ckpt"])
    assert set(tree(both.near)) == {"keep.ckpt"}


def test_the_rules_of_the_host_count_for_nothing(both: TwoSides) -> None:
    write(both.far / ".aiinfraignore", "*.py\n")
    write(both.far / "a.py", "x")
    both.sync()
    assert set(tree(both.near)) == {"a.py"}
    assert not (both.near / ".aiinfraignore").exists()


def test_what_is_ignored_from_now_on_stays_on_both_sides(both: TwoSides) -> None:
    write(both.near / "big/a", "x")
    both.sync()
    write(both.near / ".aiinfraignore", "big/\n")
    (both.near / "big/a").unlink()
    both.sync()
    assert (both.far / "big/a").exists()
    (both.near / ".aiinfraignore").unlink()
    both.sync()
    assert (both.near / "big/a").read_text() == "x"
