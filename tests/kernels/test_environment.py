"""What a kernel needs is read from the project's lock, and made on a host by uv, once."""

import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from aiinfra_lab.errors import Failed, LabError, Missing, NotFound, Unavailable, UsageProblem
from aiinfra_lab.kernels.environment import HostEnvironment, KernelEnvironment, Skew, installed, packages_of, skew
from aiinfra_lab.kernels.reach import ByteStream, CommandReach, LocalReach, Reach

UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = [("tiny", "1.0", ""), ("tiny", "2.0", ""), ("ipykernel", "7.0", "tiny>=1"), ("other", "0.1", "tiny<2")]

pytestmark = pytest.mark.skipif(not os.access(UV, os.X_OK), reason="uv is not installed: `pip install uv`")

HERE_REACH: Reach = LocalReach(Path("/nowhere"))
"""This machine as the host."""


@pytest.fixture(autouse=True)
def _index(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of a few wheels in a folder, and nothing else."""
    top = tmp_path_factory.mktemp("index")
    for name, version, needs in PACKAGES:
        _wheel(top / "simple" / name, name, version, needs)
    for name in ("UV_FIND_LINKS", "UV_INDEX", "PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", (top / "simple").as_uri())
    monkeypatch.setenv("UV_CACHE_DIR", str(top / "cache"))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    monkeypatch.setenv("UV_NO_CONFIG", "1")


def _wheel(folder: Path, name: str, version: str, needs: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file, about = f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(folder / file, "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(f"{about}/METADATA", metadata + (f"Requires-Dist: {needs}\n" if needs else ""))
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    hashes = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in sorted(folder.glob("*.whl"))}
    links = "".join(f'<a href="{each}#sha256={value}">{each}</a>\n' for each, value in hashes.items())
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{links}</body></html>\n")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def bare(home: str = "/nowhere") -> Reach:
    """A host whose PATH has nothing, not even uv."""
    kept = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("UV_")]
    command = ["/usr/bin/env", "-i", "PATH=/nowhere", f"HOME={home}", *kept]
    return CommandReach(command, "x", shell=False, python=str(Path(sys.base_prefix) / "bin" / f"python{HERE}"))


class Nonsense(LocalReach):
    """A host that answers this, whatever it is asked."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(Path("/nowhere"))
        self.answer = answer

    def serve(self, what: str, folder: str) -> ByteStream:
        ours, theirs = socket.socketpair()
        theirs.sendall(self.answer)
        theirs.shutdown(socket.SHUT_WR)

        def close() -> None:
            ours.close()
            theirs.close()

        return ByteStream(ours.fileno(), ours.fileno(), close, lambda: "ssh: connection lost")


def test_an_environment_is_made_once_and_works_where_it_lies(project: Path, tmp_path: Path) -> None:
    (project / "requirements.txt").write_text("other\n")
    wanted = KernelEnvironment.of_project(project)
    made = wanted.make(HERE_REACH, top=str(tmp_path / "envs"))
    assert made.is_new
    assert made.packages == {"ipykernel": "7.0", "other": "0.1", "tiny": "1.0"} == wanted.packages
    assert skew(wanted.packages, made.packages) == []
    command = [made.python, "-c", "import sys, tiny; print(tiny.version, sys.prefix)"]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env={}).stdout
    assert found.split() == ["1.0", str(tmp_path / "envs" / wanted.digest)]
    again = wanted.make(HERE_REACH, top=str(tmp_path / "envs"))
    assert again == HostEnvironment(made.python, made.packages, is_new=False)
    assert sorted(path.name for path in (tmp_path / "envs").iterdir()) == [wanted.digest, f"{wanted.digest}.lock"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"requirements.txt": "tiny\n"}, {"tiny": "2.0", "ipykernel": "7.0"}),
        ({"requirements.txt": "tiny\n", "constraints.txt": "tiny==1.0\n"}, {"tiny": "1.0", "ipykernel": "7.0"}),
        ({"requirements.txt": "-r more.txt\n", "more.txt": "tiny<2\n"}, {"tiny": "1.0", "ipykernel": "7.0"}),
        ({"constraints.txt": "tiny==1.0 # as ever\n"}, {"tiny": "1.0", "ipykernel": "7.0"}),
        (
            {"pyproject.toml": "[project]\nname='p'\nversion='1'\ndependencies=['other']\n"},
            {"other": "0.1", "tiny": "1.0", "ipykernel": "7.0"},
        ),
    ],
)
def test_each_file_is_resolved_with_a_kernel(project: Path, files: dict[str, str], expected: dict[str, str]) -> None:
    for name, text in files.items():
        (project / name).write_text(text)
    assert KernelEnvironment.of_project(project).packages == expected


def lock(project: Path, *dependencies: str) -> None:
    listed = f"[project]\nname='p'\nversion='1'\nrequires-python='>={HERE}'\ndependencies={list(dependencies)}\n"
    (project / "pyproject.toml").write_text(listed)
    subprocess.run([UV, "lock", "--quiet"], cwd=project, check=True)


@pytest.mark.parametrize("dependencies", [("ipykernel", "tiny<2"), ("tiny<2",)])
def test_a_uv_lock_holds_as_it_is(project: Path, tmp_path: Path, dependencies: tuple[str, ...]) -> None:
    lock(project, *dependencies)
    (project / "requirements.txt").write_text("tiny==2.0\n")  # the lock is more exact
    wanted = KernelEnvironment.of_project(project)
    assert "--hash=sha256:" in wanted.text
    assert wanted.make(HERE_REACH, top=str(tmp_path / "envs")).packages == {"ipykernel": "7.0", "tiny": "1.0"}


@pytest.mark.parametrize("dependencies", [("ipykernel", "tiny<2"), ("tiny<2",)])
def test_a_pylock_holds_as_it_is(project: Path, tmp_path: Path, dependencies: tuple[str, ...]) -> None:
    lock(project, *dependencies)
    command = [UV, "export", "--quiet", "--no-emit-project", "-o", "pylock.toml"]
    subprocess.run(command, cwd=project, check=True, stdout=subprocess.DEVNULL)
    (project / "uv.lock").unlink()
    wanted = KernelEnvironment.of_project(project)
    assert wanted.make(HERE_REACH, top=str(tmp_path / "envs")).packages == {"ipykernel": "7.0", "tiny": "1.0"}


def test_the_digest_is_that_of_what_is_installed(project: Path) -> None:
    def digest(text: str, python: str = HERE) -> str:
        (project / "requirements.txt").write_text(text)
        return KernelEnvironment.of_project(project, python=python).digest

    assert digest("tiny==1.0\n") == digest("# a comment\r\n\r\ntiny == 1.0  # why\r\n")
    assert len({digest("tiny==1.0\n"), digest("tiny==2.0\n"), digest("tiny==1.0\n", "3.12")}) == 3


def test_two_at_once_make_it_once(project: Path, tmp_path: Path) -> None:
    (project / "requirements.txt").write_text("tiny\n")
    wanted, made = KernelEnvironment.of_project(project), list[HostEnvironment]()
    threads = [
        threading.Thread(target=lambda: made.append(wanted.make(HERE_REACH, top=str(tmp_path / "envs"))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.is_new for each in made) == [False, False, True]


def test_what_was_killed_or_lost_its_interpreter_is_made_again(project: Path, tmp_path: Path) -> None:
    (project / "requirements.txt").write_text("tiny\n")
    wanted, top = KernelEnvironment.of_project(project), tmp_path / "envs"
    left = top / f".{wanted.digest}.123" / "made"
    left.mkdir(parents=True)
    made = wanted.make(HERE_REACH, top=str(top))
    assert not left.exists()
    Path(made.python).unlink()
    assert wanted.make(HERE_REACH, top=str(top)).is_new
    assert Path(made.python).exists()


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    wanted = KernelEnvironment("requirements.txt", "tiny==3.0\n", HERE)
    with pytest.raises(Failed, match=r"cannot be made on box: .*tiny==3\.0"):
        wanted.make(HERE_REACH, top=str(tmp_path / "envs"), host="box")
    assert [path.name for path in (tmp_path / "envs").iterdir()] == [f"{wanted.digest}.lock"]


@pytest.mark.parametrize(
    ("reach", "python", "what", "fix"),
    [
        (bare(), HERE, "box has no uv", "~/.uv/bin/pip install uv"),
        (HERE_REACH, "3.99", "box has no Python 3.99", "uv python install 3.99"),
    ],
)
def test_a_host_that_lacks_something(reach: Reach, python: str, what: str, fix: str, tmp_path: Path) -> None:
    with pytest.raises(Missing) as problem:
        KernelEnvironment("requirements.txt", "tiny==1.0\n", python).make(reach, top=str(tmp_path / "envs"), host="box")
    assert problem.value.what == what
    assert fix in problem.value.fix


def test_uv_is_found_where_the_fix_puts_it(tmp_path: Path) -> None:
    (tmp_path / ".uv/bin").mkdir(parents=True)
    (tmp_path / ".uv/bin/uv").symlink_to(UV)
    wanted = KernelEnvironment("requirements.txt", "tiny==1.0\n", str(Path(sys.base_prefix) / "bin" / f"python{HERE}"))
    assert wanted.make(bare(str(tmp_path)), top="~/envs").python == str(
        tmp_path / "envs" / wanted.digest / "bin/python"
    )


@pytest.mark.parametrize("head", [b"", b"[]", b"{}", b"5", b"null", b"\xff", json.dumps({"python": 1}).encode()])
def test_a_host_that_answers_nonsense(head: bytes) -> None:
    with pytest.raises(Unavailable, match="the host did not answer: ssh: connection lost"):
        KernelEnvironment("requirements.txt", "", HERE).make(Nonsense(struct.pack("!II", len(head), 0) + head))


@pytest.mark.parametrize(
    ("files", "kind", "what"),
    [
        ({}, NotFound, "has none of uv.lock"),
        ({"requirements.txt": "nothing-like-it\n"}, Failed, "nothing-like-it"),
        ({"requirements.txt": "tiny\n-e .\n"}, UsageProblem, "'-e .'"),
        ({"requirements.txt": "./lib\n"}, UsageProblem, "'./lib'"),
        ({"requirements.txt": "lib @ file:///somewhere/lib\n"}, UsageProblem, "file:///somewhere/lib"),
        ({"pylock.toml": "packages = 5"}, UsageProblem, "pylock.toml cannot be read"),
        ({"pylock.toml": "["}, UsageProblem, "pylock.toml cannot be read"),
    ],
)
def test_a_project_that_cannot_be_made_elsewhere(
    project: Path, files: dict[str, str], kind: type[LabError], what: str
) -> None:
    for name, text in files.items():
        (project / name).write_text(text)
    with pytest.raises(kind) as problem:
        KernelEnvironment.of_project(project)
    assert what in problem.value.what
    assert problem.value.fix


def test_without_uv_here_it_says_how_to_get_it(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (project / "requirements.txt").write_text("tiny\n")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(Missing) as problem:
        KernelEnvironment.of_project(project)
    assert "pip install uv" in problem.value.fix


def test_skew_is_by_name_and_by_release() -> None:
    ours = {"Torch": "2.6.0", "numpy": "2.1", "scikit_learn": "1.5.0", "only-here": "1"}
    theirs = {"torch": "2.5.1", "numpy": "2.1.0", "scikit-learn": "1.5", "only-there": "3"}
    assert skew(ours, theirs) == [
        Skew("only-here", "1", ""),
        Skew("only-there", "", "3"),
        Skew("torch", "2.6.0", "2.5.1"),
    ]
    assert skew(installed(), installed()) == []


def test_pins_are_read_with_extras_markers_and_hashes() -> None:
    text = "a[x,y]==1.0 ; python_version < '4' \\\n    --hash=sha256:00\nB_c == 2+cpu\n-c x\nd>=1\n"
    assert packages_of(text) == {"a": "1.0", "b-c": "2+cpu"}
