"""What must be the same in a process that asks for a fork and in the one that forks; and what a fork can take over.

Imported by the command line before anything else: the standard library alone, and little of it.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import zlib

TYPE_CHECKING = False  # `typing` takes as long to import as all of this
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VERSION = 4
VARIABLE = "AIINFRA_POOL"
OFF = {"off", "0", "false", "no"}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# What Python, the loader and libraries read once, when they start.
_READ_AT_START = re.compile(
    "(PYTHON|LD_|LC_|MPL|MATPLOTLIBRC|MALLOC_|GLIBC_|OMP_|MKL_|OPENBLAS_|KMP_|GOMP_|NUMEXPR_|POLARS_|ARROW_|TORCH_"
    "|PYTORCH_|TORCHDYNAMO_|TORCHINDUCTOR_|MLFLOW_CONFIGURE_LOGGING|MLFLOW_LOGGING_|PANDAS_|NPY_|NUMPY_|SCIPY_|SKLEARN_"
    "|JOBLIB_|LOKY_MAX_DEPTH|LOKY_PICKLER|PROTOCOL_BUFFERS_|TQDM_|HF_(?!TOKEN$|HUB_DISABLE_TELEMETRY$)|TRANSFORMERS_"
    "|OTEL_PYTHON_|OTEL_PROPAGATORS|PILLOW_|XDG_CONFIG_|XDG_CACHE_|XDG_DATA_HOME|JUPYTER_PLATFORM_DIRS|COVERAGE_).*"
    "|LANG|LANGUAGE|HOME"
)
_OF_PACKAGES = (".dist-info", ".egg-info", ".pth", ".egg-link")
OWN_FOLDER = "aiinfra-pool-"
"""How the name of a pool's folder begins."""
_LONGEST = 60  # of a folder for sockets, whose paths may have 107 bytes
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
# Of memory: a fork has in its own what the pool has imported, as much of it as it needs or not.
_OF_MEMORY = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT)


def folder() -> str:
    """Where this user's pool of this interpreter has its socket; the folder need not be there."""
    root = os.environ.get("TMPDIR", "/tmp")  # noqa: S108
    if len(root) > _LONGEST:
        root = "/tmp"  # noqa: S108
    interpreter = f"{sys.executable}\0{sys.prefix}\0{sys.version}".encode()
    return os.path.join(root, f"{OWN_FOLDER}{os.getuid()}-{zlib.crc32(interpreter):08x}")


def is_private(place: str) -> bool:
    """Whether a folder is there, and is this user's alone: in a shared directory another may have made it first."""
    try:
        found = os.lstat(place)
    except OSError:
        return False
    is_folder = (found.st_mode & 0o170000) == 0o040000
    return is_folder and found.st_uid == os.getuid() and not found.st_mode & 0o077


def fixed(env: Mapping[str, str]) -> dict[str, Any]:
    """What no fork can take over: where it differs, a process is spawned. As JSON gives it back."""
    root = os.stat("/")
    return {
        "version": VERSION,
        "env": read_at_start(env),
        "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), *sorted(os.getgroups())],
        "limits": [resource.getrlimit(each)[1] for each in _LIMITS],
        "memory": [resource.getrlimit(each)[0] for each in _OF_MEMORY],
        "place": [_link(f"/proc/self/ns/{each}") for each in ("mnt", "net", "pid", "user", "ipc")],
        "group": _text("/proc/self/cgroup"),
        "root": [root.st_dev, root.st_ino],
    }


def read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that Python, the loader and libraries read once, when they start."""
    return {name: env[name] for name in sorted(env) if _READ_AT_START.fullmatch(name) and name not in THREADS}


def adjustable() -> dict[str, Any]:
    """What a fork takes over from who asks."""
    return {
        "limits": [resource.getrlimit(each)[0] for each in _LIMITS],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "cpus": sorted(os.sched_getaffinity(0)),
        "ignored": [int(each) for each in _IGNORED if signal.getsignal(each) is signal.SIG_IGN],
    }


def adjust(wanted: Mapping[str, Any]) -> None:
    """Take them over. OSError or ValueError where that is not allowed."""
    for each, soft in zip(_LIMITS, wanted["limits"], strict=True):
        now, hard = resource.getrlimit(each)
        if soft != now:
            resource.setrlimit(each, (soft, hard))
    if wanted["nice"] != os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, wanted["nice"])
    if set(wanted["cpus"]) != os.sched_getaffinity(0):
        os.sched_setaffinity(0, wanted["cpus"])
    for each in _IGNORED:
        usual = signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL
        signal.signal(each, signal.SIG_IGN if int(each) in wanted["ignored"] else usual)


def installed(preload: str = "") -> str:
    """A digest of the packages that are installed here and of our own source: what was imported before they changed is
    none that a new process would import."""
    check = zlib.crc32(preload.encode())
    for place in dict.fromkeys(sys.path):
        for name, state in _entries(place):
            check = zlib.crc32(f"{place}/{name}{state}".encode(), check)
    ours = os.path.dirname(os.path.dirname(__file__))
    if "site-packages" not in ours:  # a checkout: elsewhere it is a package that is installed
        for name, state in sorted(_sources(ours)):
            check = zlib.crc32(f"{name}{state}".encode(), check)
    return f"{check:08x}"


def _entries(place: str) -> list[tuple[str, int]]:
    try:
        with os.scandir(place or ".") as found:
            named = [each for each in found if each.name.endswith(_OF_PACKAGES)]
            return sorted((each.name, each.stat().st_mtime_ns) for each in named)
    except OSError:
        return []


def _sources(place: str) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    with os.scandir(place) as entries:
        for each in entries:
            if each.name.endswith(".py"):
                found.append((each.path, each.stat().st_mtime_ns))
            elif each.is_dir() and each.name not in ("labextension", "static", "__pycache__"):
                found += _sources(each.path)
    return found


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def total_bytes() -> int:
    """The memory of the machine or of its container, whichever is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _text("/sys/fs/cgroup/memory.max").strip()
    return min(total, int(limit)) if limit.isdigit() else total
