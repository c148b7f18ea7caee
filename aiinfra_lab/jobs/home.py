"""Which folder this is, among those that share its store: an id that goes with the folder when it is moved.

A copy of the folder, be it by `cp`, an image or a backup, holds the same id. It is therefore written together with the
folder that it was given to, and a copy that can be told for one gets an id of its own.
"""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
from dataclasses import astuple, dataclass
from pathlib import Path

from .. import files
from ..errors import LabError

ID = "id"
_MACHINE = Path("/etc/machine-id")


@dataclass(frozen=True, slots=True)
class _Fingerprint:
    """The folder that an id was given to. machine: "" where that cannot be told, as in many containers."""

    machine: str
    inode: int
    path: str

    @classmethod
    def of(cls, home: Path) -> _Fingerprint:
        return cls(_machine(), home.stat().st_ino, str(home))


def home_id(home: Path) -> str:
    """The id of this folder; "" when it has begun no job yet, or is a copy that may not be written.

    An id of before is given to the folder that it is found in.
    """
    try:
        file, folder = (home / ID).stat(), home.stat()
    except FileNotFoundError:
        return ""
    return _settled(home, (file.st_ino, file.st_mtime_ns, file.st_size), folder.st_ino)


def make_home_id(home: Path) -> str:
    """The folder's id, made once."""
    return _make(home, renew=False)


def renew_home_id(home: Path) -> str:
    """Another id for a folder whose id another folder has, too."""
    return _make(home, renew=True)


def fingerprint_of(home: Path) -> str:
    """Which folder of which machine this is, as far as that can be told."""
    here = _Fingerprint.of(home)
    return f"{here.machine} {here.inode} {here.path}"


@functools.lru_cache(maxsize=64)
def _settled(home: Path, _file: tuple[int, int, int], _folder: int) -> str:
    """Looked at again only when the file or the folder is another one: whoever lists thousands of jobs asks of each."""
    found, given_to = _read(home)
    here = _Fingerprint.of(home)
    if found and given_to and not _is_copy(found, given_to, here) and not _has_moved(given_to, here):
        return found
    try:
        return _make(home, renew=False)
    except (OSError, LabError):  # it may only be read
        return "" if given_to and _is_copy(found, given_to, here) else found


def _make(home: Path, *, renew: bool) -> str:
    with files.lock(home / ID):
        found, given_to = _read(home)
        here = _Fingerprint.of(home)
        if renew or not found or (given_to and _is_copy(found, given_to, here)):
            found, given_to = secrets.token_hex(8), None
        if given_to is None or _has_moved(given_to, here):
            # Whole or not at all: without its id the folder would know none of its jobs.
            files.write(home / ID, f"{found}\n{json.dumps(astuple(here))}\n")
    return found


def _read(home: Path) -> tuple[str, _Fingerprint | None]:
    """The id and the folder that it was given to; "" and None for what is not there or cannot be read."""
    try:
        first, _, rest = (home / ID).read_text().partition("\n")
        return first, _Fingerprint(*json.loads(rest)) if rest else None
    except FileNotFoundError:
        return "", None
    except (ValueError, TypeError):
        return "", None


def _is_copy(found: str, given_to: _Fingerprint, here: _Fingerprint) -> bool:
    """Whether the id was given to another folder; False where that cannot be told."""
    if _is_other(given_to, here) and _is_there(found, given_to):
        return True
    # The original is out of sight. A volume that is moved from machine to machine keeps its inodes.
    is_remote = bool(given_to.machine and here.machine) and given_to.machine != here.machine
    return is_remote and given_to.inode != here.inode


def _has_moved(given_to: _Fingerprint, here: _Fingerprint) -> bool:
    """Whether the folder itself is at another place now. A volume that several machines see is at all of them."""
    if given_to.inode == here.inode and given_to.machine != here.machine:
        return False
    return given_to.inode != here.inode or _is_other(given_to, here)


def _is_other(given_to: _Fingerprint, here: _Fingerprint) -> bool:
    """Whether two paths are not the same folder; mounted twice, one folder has two."""
    try:
        return given_to.path != here.path and not Path(given_to.path).samefile(here.path)
    except OSError:
        return True


def _is_there(found: str, given_to: _Fingerprint) -> bool:
    """Whether the folder that the id was given to is where it was then."""
    try:
        return Path(given_to.path).stat().st_ino == given_to.inode and _read(Path(given_to.path))[0] == found
    except OSError:
        return False


@functools.cache
def _machine() -> str:
    """This machine, under a name that is of no use elsewhere, as machine-id(5) asks for; "" where it has none."""
    try:
        found = _MACHINE.read_text().strip()
    except OSError:
        return ""
    return hashlib.sha256(f"aiinfra-lab {found}".encode()).hexdigest()[:16] if found else ""
