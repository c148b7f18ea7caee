"""Our package on its way to a kernel that trains, and what that kernel must have besides."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement

from ..errors import Missing
from ..kernels import KeptKernel
from ..kernels.cells import ask
from ..kernels.client import connected
from ..kernels.environment import Skew, skew
from ..kernels.exchange import exchanging
from ..show import working

NEEDED = (
    "msgspec",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pandas",
    "polars",
    "pyarrow",
    "safetensors",
    "torch",
)
"""What training imports, by the names of their distributions."""
_DISTRIBUTION = "aiinfra-lab"
_OLDEST_PYTHON = (3, 11)
_NAME = "aiinfra_train"
_PACKAGE = Path(__file__).parents[1]
# What stands to the right of training, and what needs this machine.
_LEFT_OUT = ("cost", "deploy", "drift", "gpu", "jupyter", "kernels", "lab", "models", "recipe", "testing")
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)


class FarPackages(NamedTuple):
    """What a kernel has. is_there: our package of this very text. packages: name → version, and `python`."""

    is_there: bool
    packages: Mapping[str, str]


def look(kernel: KeptKernel, client: Any) -> FarPackages:
    """What the kernel has, after what it runs now. It can be asked to train from then on."""
    found = json.loads(ask(kernel, client, _loading(), f"__import__({_NAME!r}).look({digest()!r}, {[*NEEDED]!r})"))
    return FarPackages(bool(found["is_there"]), dict(found["packages"]))


def check(kernel: KeptKernel) -> list[Skew]:
    """What differs there from here and may change what is learned. Missing for what it cannot train without."""
    with working("Session", str(kernel.uri), "looks at what it has for training"), connected(kernel) as client:
        found = look(kernel, client).packages
    if lacking := _lacking(found):
        install = " ".join(f"{name}=={_here(name)}" for name in lacking if name != "python")
        named = "; ".join(_named(name, found.get(name, "")) for name in lacking)
        fix = f"run `%pip install {install}` below `%%gpu run {kernel.name}`"
        if "python" in lacking:
            fix = "start it with another Python: `gpu.ssh_python` of the settings names that of machines behind ssh"
        raise Missing(f"{kernel.uri} cannot train: {named}", fix)
    ours = {name: _here(name) for name in NEEDED}
    return skew(ours, {name: found[name] for name in NEEDED})


def bring(kernel: KeptKernel, client: Any, part: str) -> None:
    """Have our package be there. part: the name of an exchange for it."""
    if look(kernel, client).is_there:
        return
    with exchanging(kernel, part) as exchange:
        exchange.send([_archive()])
        ask(kernel, client, f"__import__({_NAME!r}).unpack({digest()!r}, {exchange.paths['in']!r})")


def request(inputs: str, outputs: str, name: str, uri: str) -> str:
    """The code that trains there, see `far_boot.train`."""
    return f"__import__({_NAME!r}).train({digest()!r}, {inputs!r}, {outputs!r}, {name!r})  # {uri}"


@functools.cache
def digest() -> str:
    """Of our package's text."""
    return hashlib.sha256(_archive()).hexdigest()[:16]


@functools.cache
def _archive() -> bytes:
    """Our package as far as training needs it, always the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_PACKAGE.rglob("*.py")):
            name = path.relative_to(_PACKAGE)
            if name.parts[0] not in _LEFT_OUT:
                entry = zipfile.ZipInfo(f"{_PACKAGE.name}/{name.as_posix()}", _FIRST_DATE)
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _loading() -> str:
    text = (Path(__file__).parent / "far_boot.py").read_text("utf-8")
    return f"""
def _aiinfra_train(name, text):
    import hashlib, sys, types
    digest = hashlib.sha256(text.encode()).hexdigest()
    if getattr(sys.modules.get(name), "DIGEST", "") == digest:
        return
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, "<" + name + ">", "exec"), vars(module))
    module.DIGEST = digest
_aiinfra_train({_NAME!r}, {text!r})
del _aiinfra_train
"""


def _lacking(found: Mapping[str, str]) -> list[str]:
    """What is not there, or in a version that our package does not work with."""
    python = tuple(int(part) for part in found["python"].split(".")[:2])
    bounds = {each.name: each.specifier for each in map(Requirement, _requirements()) if each.marker is None}

    def is_fine(name: str) -> bool:
        return name in found and (name not in bounds or bounds[name].contains(found[name], prereleases=True))

    return [*(["python"] if python < _OLDEST_PYTHON else []), *(name for name in NEEDED if not is_fine(name))]


def _requirements() -> Sequence[str]:
    try:
        return requires(_DISTRIBUTION) or ()
    except PackageNotFoundError:  # run from its sources alone
        return ()


def _named(name: str, there: str) -> str:
    if name == "python":
        return f"its Python is {there}, and 3.11 or later is needed"
    return f"{name} is {there} there, {_here(name)} here" if there else f"{name} is not installed there"


def _here(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
