"""The packages that a version needs where its network runs, and the environment that is made of them.

`requirements.txt` in a version's folder names what was asked for, `environment.txt` all that was installed when it was
added. Where what was asked for is installed here, the version runs like any other. Else it runs in an environment of
its own, which is made once below `.aiinfra/environments`, and made again whenever it is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from .. import files
from ..config import HOME, settings
from ..errors import Conflict, Damaged, Failed, NotFound, UsageProblem
from ..leftovers import temporary

REQUIREMENTS, PACKAGES = "requirements.txt", "environment.txt"
FOLDER = "environments"
BUILD_S = 1800.0
MOST_LINES, MOST_CHARACTERS = 8, 900  # of what the installer prints
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[A-Za-z0-9,._ -]+\])?\s*==\s*([0-9][A-Za-z0-9.!+_-]*)")
_COMMENT = re.compile(r"#.*")
# What registers further operators with the runtime → its module.
_OPERATORS = {"onnxruntime-extensions": "onnxruntime_extensions"}
# The installer has these under two names.
_OF_UV = {
    "UV_FIND_LINKS": "PIP_FIND_LINKS",
    "UV_DEFAULT_INDEX": "PIP_INDEX_URL",
    "UV_INDEX": "PIP_EXTRA_INDEX_URL",
}
_NOT_HANDED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX")
_PACKAGE = Path(__file__).parents[1]
# Our own package alone is found there by its path: none of those beside it.
_LAUNCH = """
import importlib.util, runpy, sys
_, place, module, *words = sys.argv
spec = importlib.util.spec_from_file_location("aiinfra_lab", place + "/__init__.py", submodule_search_locations=[place])
sys.modules["aiinfra_lab"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
sys.argv = [module, *words]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""

Pins = Mapping[str, str]


def installed() -> str:
    """The packages that are installed here with their versions, one a line."""
    # Each `metadata`, and each `version`, reads the file of a package anew.
    found = {about["Name"]: about["Version"] for about in (each.metadata for each in distributions()) if about["Name"]}
    return "".join(f"{name}=={number}\n" for name, number in sorted(found.items(), key=lambda item: item[0].lower()))


def read(path: Path) -> str:
    """The lines of a user's file of requirements, each pinned. UsageProblem for any other."""
    pin = f"uv pip compile {path} -o pinned.txt"
    try:
        text = path.expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise NotFound(f"{path} cannot be read: {problem}", "give the path of a requirements file") from None
    lines = [line for each in text.splitlines() if (line := _COMMENT.sub("", each).strip())]
    if not lines:
        raise UsageProblem(f"{path} names no package", "name at least one, e.g. onnxruntime==1.20.1")
    for line in lines:
        if not _PINNED.fullmatch(line):
            fix = f"pin it, and give pinned.txt: {pin}; each line has the form onnxruntime==1.20.1, and nothing else"
            raise UsageProblem(f"{path} has {line[:100]!r}, which does not name one version", fix)
    names = [_name(line) for line in lines]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UsageProblem(f"{path} names {twice} twice", "leave one of the lines out")
    return "".join(f"{line}\n" for line in sorted(lines, key=str.lower))


def required(folder: Path) -> Pins:
    """What a version's network needs: package → version; empty for one that asks for nothing."""
    path = folder / REQUIREMENTS
    return pins(path.read_text("utf-8")) if path.is_file() else {}


def pins(text: str) -> Pins:
    """Package → version of lines that name one each."""
    found = (_PINNED.fullmatch(line) for line in text.splitlines())
    return {_normalized(line[1]): line[2] for line in found if line}


def shown(required: Pins) -> str:
    """These packages with their versions, in a line."""
    return ", ".join(f"{name} {number}" for name, number in required.items())


def operators(required: Pins) -> list[str]:
    """The modules among these packages that bring operators of their own."""
    return [module for name, module in _OPERATORS.items() if name in required]


def are_installed(required: Pins) -> bool:
    """Whether all of these are what is installed here."""
    return all(_is_installed(name, number) for name, number in required.items())


def _is_installed(name: str, number: str) -> bool:
    try:
        return _release(version(name)) in (_release(number), f"{_release(number)}+{version(name).partition('+')[2]}")
    except PackageNotFoundError:
        return False


def _release(number: str) -> str:
    """1.20 and 1.20.0 are the same."""
    release, plus, local = number.lower().partition("+")
    return re.sub(r"(\.0+)+$", "", release) + plus + local


def _name(line: str) -> str:
    found = _PINNED.fullmatch(line)
    return _normalized(found[1]) if found else ""


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Environment:
    """An environment of its own, there or not yet. requirements, packages: the texts of a version's two files."""

    requirements: str
    packages: str

    @classmethod
    def of(cls, folder: Path) -> Environment | None:
        """That of the version in a folder; None where it can run here. Damaged when a file of it is missing."""
        required = folder / REQUIREMENTS
        # In an environment of its own everything runs here.
        if not required.is_file() or Path(sys.prefix).parts[-3:-1] == (HOME, FOLDER):
            return None
        text = required.read_text("utf-8")
        if are_installed(pins(text)):
            return None
        try:
            return cls(text, (folder / PACKAGES).read_text("utf-8"))
        except OSError as problem:
            raise Damaged(f"{folder / PACKAGES} cannot be read: {problem.strerror}", "add the model again") from None

    @classmethod
    def made(cls, requirements: str, *, with_texts: bool = False) -> Environment | None:
        """One for these requirements, built now unless there is one of them; None where all of them are installed here.
        Failed when it cannot be built.
        """
        if are_installed(pins(requirements)):
            return None
        needed = _needed(pins(requirements), with_texts=with_texts)
        for place in _places():
            with contextlib.suppress(OSError):
                known = cls((place / REQUIREMENTS).read_text("utf-8"), (place / PACKAGES).read_text("utf-8"))
                has = pins(known.packages)
                if known.requirements == requirements and known.place == place and not needed.keys() - has.keys():
                    return known
        with files.building(_top() / "new") as aside:
            made = cls(requirements, _install(aside, requirements, [*needed.values()]))
            made._publish(aside)
        return made

    @property
    def names(self) -> str:
        """What was asked for, in a line."""
        return shown(pins(self.requirements))

    @property
    def place(self) -> Path:
        """Its folder, by the digest of what is to be in it."""
        python = f"{sys.implementation.cache_tag}\n"
        digest = hashlib.sha256("\0".join((python, self.requirements, self.packages)).encode()).hexdigest()
        return _top() / digest[:16]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.place / "bin" / "python"

    @property
    def is_built(self) -> bool:
        """Whether it is there."""
        return self.python.exists()

    def build(self) -> None:
        """Make it, unless it is there: one process at a time does. Failed when it cannot be made; nothing is left then,
        and the next one who needs it tries again.
        """
        if self.is_built:
            return
        with files.lab_errors(self.place), files.lock(self.place.with_suffix(".lock")):
            if not self.python.exists():  # somebody may have built it meanwhile
                self._build()

    def _build(self) -> None:
        with_texts = "tokenizers" in pins(self.packages)
        needed = [*_needed(pins(self.requirements), with_texts=with_texts)]
        with files.building(self.place) as aside:
            _install(aside, self.requirements, needed, self.packages)
            self._publish(aside)

    def command(self, module: str, *words: str) -> list[str]:
        """What runs one of our modules in it."""
        return [str(self.python), "-I", "-c", _LAUNCH, str(_PACKAGE), module, *words]

    def _publish(self, aside: Path) -> None:
        (aside / REQUIREMENTS).write_text(self.requirements, "utf-8")
        (aside / PACKAGES).write_text(self.packages, "utf-8")
        with contextlib.suppress(Conflict):  # somebody else has made the same meanwhile
            files.publish(aside, self.place, replace=not self.is_built)


def _top() -> Path:
    return settings().home / FOLDER


def _places() -> list[Path]:
    """Every environment that is there."""
    return [path.parent.parent for path in sorted(_top().glob("[0-9a-f]*/bin/python"))]


def _needed(required: Pins, *, with_texts: bool) -> dict[str, str]:
    """What a process that runs a network needs besides: package → what is asked for."""
    found = {"msgspec": f"msgspec=={version('msgspec')}", "numpy": "numpy"}
    # There are several builds of the runtime, all of them with the same module.
    if not any(name.startswith("onnxruntime") and name not in _OPERATORS for name in required):
        found["onnxruntime"] = f"onnxruntime=={version('onnxruntime')}"
    if with_texts:
        found["tokenizers"] = f"tokenizers=={version('tokenizers')}"
    return {name: line for name, line in found.items() if name not in required}


def _install(place: Path, requirements: str, needed: Sequence[str], constraints: str = "") -> str:
    """Make an environment in an empty folder; the packages in it. Failed with the installer's last lines."""
    asked = shown(pins(requirements))
    python = str(place / "bin" / "python")
    with temporary() as folder:
        given, bounds = folder / REQUIREMENTS, folder / "constraints.txt"
        given.write_text(requirements + "".join(f"{line}\n" for line in needed), "utf-8")
        bounds.write_text(constraints, "utf-8")
        # No package is built here: that would run its code, and need its compilers.
        packages = ["--only-binary", ":all:", "-r", str(given), "-c", str(bounds)]
        if uv := _uv():
            # Copied: what is changed in it, modes included, must not change what others have from the same cache.
            copied = ["--link-mode", "copy"]
            _run(asked, [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(place)])
            _run(asked, [uv, "pip", "install", "--quiet", "--python", python, *copied, *packages])
        else:
            _run(asked, [sys.executable, "-m", "venv", str(place)])
            _run(asked, [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    module = "aiinfra_lab.train.remote_network"
    return _run(asked, [python, "-I", "-c", _LAUNCH, str(_PACKAGE), module, "packages"])


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    return shutil.which("uv") or (str(beside) if beside.is_file() else "")


def _run(asked: str, command: Sequence[str]) -> str:
    cannot = f"the environment with {asked} cannot be built"
    try:
        done = subprocess.run(
            command,
            env=_handed_on(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{cannot}: it takes longer than {BUILD_S:g} s", "look at the network, and repeat") from None
    except OSError as problem:
        raise Failed(f"{cannot}: {problem}", "see to it that Python can be started here, and repeat") from None
    if done.returncode:
        printed = done.stderr.strip() or done.stdout.strip() or f"it ended with {done.returncode}"
        raise Failed(f"{cannot}: {_last_lines(printed)}", _fix(printed, asked))
    return done.stdout


def _last_lines(printed: str) -> str:
    lines = [re.sub(r"[╰─▶×│├]+", "", line).strip() for line in printed.splitlines()]
    return " ".join([line for line in lines if line][-MOST_LINES:])[-MOST_CHARACTERS:]


def _fix(printed: str, asked: str) -> str:
    if "No space left" in printed or "os error 28" in printed:
        return "free some space on that disk, and repeat: nothing of it was left"
    if "NumPy 1.x" in printed:
        return "pin a NumPy that it was made for as well: add the line numpy==1.26.4"
    if any(word in printed for word in ("dns error", "error sending request", "Connection refused", "network")):
        return "look at the network, or at where packages come from (UV_DEFAULT_INDEX, UV_FIND_LINKS), and repeat"
    python, first = ".".join(map(str, sys.version_info[:2])), asked.partition(" ")[0]
    return f"pin versions that there are for Python {python}; what names them: echo {first} | uv pip compile -"


def _handed_on() -> dict[str, str]:
    """The variables of the installer: it takes packages from where pip does."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON}
    return {**{uv: kept[pip] for uv, pip in _OF_UV.items() if pip in kept}, **kept}


def unneeded(folders: Iterable[Path]) -> list[Path]:
    """The environments that none of the versions in these folders needs."""
    needed = {found.place for folder in folders if (found := _recorded(folder))}
    return [place for place in _places() if place not in needed]


def _recorded(folder: Path) -> Environment | None:
    """That of a version's files, also where it can run here at present."""
    with contextlib.suppress(OSError):
        return Environment((folder / REQUIREMENTS).read_text("utf-8"), (folder / PACKAGES).read_text("utf-8"))
    return None
