"""A version's own environment: what may be asked for, when it is needed, and that it is built whole or not at all."""

import json
import os
import signal
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import pytest

from aiinfra_lab import leftovers
from aiinfra_lab.config import HOME, settings
from aiinfra_lab.errors import Damaged, Failed, NotFound, UsageProblem
from aiinfra_lab.train import environments
from aiinfra_lab.train.environments import Environment
from tests.conftest import until
from tests.fakes import installer

OURS = version("onnxruntime")
OLD = f"onnxruntime=={installer.OLD}\n"


@pytest.fixture
def asked(workspace, tmp_path, monkeypatch):
    """Has the installer of the tests first on PATH; gives what it was asked for."""
    log = tmp_path / "uv.jsonl"
    monkeypatch.setenv("PATH", f"{installer.FOLDER}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_UV_LOG", str(log))
    return lambda: [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def there():
    """What lies in the workspace's folder of environments, locks aside."""
    folder = settings().home / "environments"
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") if folder.is_dir() else []


def put(folder, requirements, packages="msgspec==1\n"):
    (folder / environments.REQUIREMENTS).write_text(requirements)
    (folder / environments.PACKAGES).write_text(packages)
    return folder


# ---- what may be asked for ----


def test_pinned_lines_are_read_whatever_their_order_and_comments(tmp_path):
    path = tmp_path / "r.txt"
    path.write_text("# made by uv\nonnxruntime==1.20.1\n    # via me\nNumPy == 1.26.4\nhf[all]==2.0.post1  # why\n\n")
    text = environments.read(path)
    assert text == "hf[all]==2.0.post1\nNumPy == 1.26.4\nonnxruntime==1.20.1\n"
    assert environments.pins(text) == {"hf": "2.0.post1", "numpy": "1.26.4", "onnxruntime": "1.20.1"}


@pytest.mark.parametrize(
    "line",
    [
        "onnxruntime",
        "onnxruntime>=1.20",
        "onnxruntime==1.*",
        "onnxruntime==1.20.1,<2",
        "onnxruntime===1.20.1",
        "onnxruntime==1.20.1; python_version > '3'",
        "onnxruntime==1.20.1 --hash=sha256:00",
        "onnxruntime @ file:///tmp/x.whl",
        "-r others.txt",
        "--index-url https://example.org/simple",
        "-e .",
        "./here.whl",
        "onnxruntime==1.20.1 \\",
        "--onnxruntime==1.2",
    ],
)
def test_a_line_that_names_no_one_version_is_refused_with_the_command_that_pins(tmp_path, line):
    path = tmp_path / "r.txt"
    path.write_text(f"numpy==2.0.0\n{line}\n")
    with pytest.raises(UsageProblem) as raised:
        environments.read(path)
    assert line in raised.value.what
    assert f"uv pip compile {path} -o pinned.txt" in raised.value.fix


@pytest.mark.parametrize(("text", "why"), [("\n# nothing\n", "no package"), ("a==1\nA==2\n", "twice")])
def test_a_file_of_nothing_or_of_the_same_twice_is_refused(tmp_path, text, why):
    path = tmp_path / "r.txt"
    path.write_text(text)
    with pytest.raises(UsageProblem, match=why):
        environments.read(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    for content in (None, b"\xff\xfe\x00"):
        if content:
            (tmp_path / "r.txt").write_bytes(content)
        with pytest.raises(NotFound, match="cannot be read"):
            environments.read(tmp_path / "r.txt")


# ---- whether it is needed ----


@pytest.mark.parametrize(
    ("asked", "are"),
    [
        ({"onnxruntime": OURS}, True),
        ({"onnxruntime": f"{OURS}.0"}, True),
        ({"onnxruntime": OURS, "numpy": version("numpy")}, True),
        ({"onnxruntime": installer.OLD}, False),
        ({"onnxruntime": OURS, "no-such-package": "1"}, False),
        ({"torch": version("torch").partition("+")[0]}, True),
        ({}, True),
    ],
)
def test_what_is_installed_here_needs_no_other_environment(asked, are):
    assert environments.are_installed(asked) is are


def test_a_version_runs_here_unless_it_asks_for_something_else(workspace, tmp_path):
    assert Environment.of(tmp_path) is None
    assert Environment.of(put(tmp_path, f"onnxruntime=={OURS}\n")) is None
    assert Environment.of(put(tmp_path, OLD)) == Environment(OLD, "msgspec==1\n")
    (tmp_path / environments.PACKAGES).unlink()
    with pytest.raises(Damaged, match=environments.PACKAGES):
        Environment.of(tmp_path)


def test_within_its_own_environment_a_version_runs_here(workspace, tmp_path, monkeypatch):
    put(tmp_path, OLD)
    monkeypatch.setattr(sys, "prefix", str(workspace / HOME / "environments" / "0123"))
    assert Environment.of(tmp_path) is None


# ---- building it ----


def test_it_has_what_was_asked_for_what_a_process_needs_and_nothing_of_ours(asked):
    made = Environment.made(OLD)
    assert there() == [made.place.name]
    assert environments.pins(made.packages) == {
        "flatbuffers": "25.1",
        "msgspec": version("msgspec"),
        "numpy": version("numpy"),
        "onnxruntime": installer.OLD,
    }
    code = "import importlib.metadata as m, sys; print(m.version('onnxruntime')); import aiinfra_lab"
    ran = subprocess.run([made.python, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout == f"{installer.OLD}\n"
    assert "No module named 'aiinfra_lab'" in ran.stderr
    assert made.place.stat().st_mode & 0o077 == 0


def test_the_same_once_more_is_the_one_that_is_there(asked):
    made = Environment.made(OLD)
    assert Environment.made(OLD) == made
    assert len(asked()) == 1


def test_a_model_of_texts_needs_its_tokenizer_there(asked):
    plain, with_texts = Environment.made(OLD), Environment.made(OLD, with_texts=True)
    assert environments.pins(with_texts.packages)["tokenizers"] == version("tokenizers")
    assert plain.place != with_texts.place
    assert Environment.made(OLD, with_texts=True) == with_texts


def test_what_only_adds_to_the_runtime_is_beside_ours(asked):
    made = Environment.made("flatbuffers==25.1\n") if not _has("flatbuffers", "25.1") else None
    assert made is not None
    assert environments.pins(made.packages)["onnxruntime"] == OURS


def _has(name, number):
    return environments.are_installed({name: number})


def test_one_that_is_gone_is_built_again_exactly(asked, tmp_path):
    made = Environment.made(OLD)
    subprocess.run(["rm", "-r", made.place], check=True)
    assert not made.is_built
    again = Environment.of(put(tmp_path, made.requirements, made.packages))
    again.build()
    again.build()
    assert made.is_built
    first, second = asked()
    assert second["asked"] == {"onnxruntime": installer.OLD, "msgspec": "", "numpy": ""}
    assert second["bounds"] == environments.pins(made.packages)
    assert first["bounds"] == {}


def test_one_whose_python_is_gone_is_built_again(asked):
    made = Environment.made(OLD)
    made.python.unlink()
    made.python.symlink_to("/no/such/python")
    made.build()
    assert made.is_built
    assert there() == [made.place.name]


def test_packages_come_from_where_pip_takes_them(asked, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.setenv("PYTHONPATH", "/ours")
    Environment.made(OLD)
    assert (asked()[0]["links"], asked()[0]["path"]) == ("/wheels", None)


@pytest.mark.parametrize(
    ("line", "what", "fix"),
    [
        ("onnxruntime==9.9.9", "there is no version of onnxruntime==9.9.9", "echo onnxruntime | uv pip compile -"),
        ("no-such==1.0", "no-such was not found in the package registry", "for Python 3."),
        ("onnxruntime==9.0.0", "no wheels with a matching Python ABI tag", "for Python 3."),
    ],
)
def test_what_cannot_be_installed_is_refused_by_the_installers_words(asked, line, what, fix):
    with pytest.raises(Failed) as raised:
        Environment.made(f"{line}\n")
    assert what in raised.value.what
    assert raised.value.what.startswith(f"the environment with {line.replace('==', ' ')} cannot be built: error:")
    assert fix in raised.value.fix
    assert there() == []


def test_a_full_disk_leaves_nothing_and_is_tried_again(asked, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_UV_FAULT", "full")
    with pytest.raises(Failed, match="No space left") as raised:
        Environment.made(OLD)
    assert "free some space" in raised.value.fix
    assert there() == []
    monkeypatch.delenv("FAKE_UV_FAULT")
    made = Environment.made(OLD)
    subprocess.run(["rm", "-r", made.place], check=True)
    monkeypatch.setenv("FAKE_UV_FAULT", "full")
    with pytest.raises(Failed, match="No space left"):
        made.build()
    assert there() == []
    monkeypatch.delenv("FAKE_UV_FAULT")
    made.build()
    assert there() == [made.place.name]


def test_what_a_killed_builder_left_is_no_environment_and_goes(asked, monkeypatch):
    code = f"from aiinfra_lab.train.environments import Environment; Environment.made({OLD!r})"
    killed = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "FAKE_UV_FAULT": "hang"})
    until(lambda: len(asked()) == 2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    os.kill(asked()[1]["hangs"], signal.SIGKILL)
    [left] = there()
    assert left.endswith(".part")
    made = Environment.made(OLD)
    assert there() == [made.place.name]


def test_a_later_verb_removes_what_a_killed_builder_left(asked, monkeypatch):
    left = settings().home / "environments" / ".0123456789abcdef.01234567.part"
    (left / "bin").mkdir(parents=True)
    leftovers._sweep_workspace(settings())
    assert not left.exists()


def test_of_two_that_need_it_at_once_one_builds_it(asked, monkeypatch):
    made = Environment.made(OLD)
    subprocess.run(["rm", "-r", made.place], check=True)
    monkeypatch.setenv("FAKE_UV_PAUSE", "0.5")
    builders = [threading.Thread(target=made.build) for _ in range(2)]
    code = f"from aiinfra_lab.train.environments import Environment; Environment({OLD!r}, {made.packages!r}).build()"
    with subprocess.Popen([sys.executable, "-c", code]) as other:
        for each in builders:
            each.start()
        for each in builders:
            each.join()
    assert other.returncode == 0
    assert len(asked()) == 2
    assert there() == [made.place.name]


def test_those_that_no_version_needs_are_found(asked, tmp_path):
    needed, other = Environment.made(OLD), Environment.made("flatbuffers==25.1\n")
    folder = put(tmp_path, needed.requirements, needed.packages)
    assert environments.unneeded([folder, Path(tmp_path, "gone")]) == [other.place]
