"""`python -m aiinfra_lab.jobs.unit`: installs the systemd user unit that keeps this workspace's supervisor alive.

Without it a supervisor is started on demand: after the machine was started again nobody brings the endpoints back.
"""

from __future__ import annotations

import os
import shlex
import string
import sys
from pathlib import Path

from .. import files
from ..config import Settings, settings
from ..errors import Missing
from ..store import open_store
from .record import Folder, JobRecord

TEMPLATE = "aiinfra-lab@.service"
_PACKAGE = Path(__file__).parents[1]
# In the wheel, and in a checkout.
_FOLDERS = (_PACKAGE / "systemd", _PACKAGE.parent / "infra" / "systemd")
_INTERPRETER = "/usr/bin/env python3"
_KEPT = {*string.ascii_letters, *string.digits, *":_."}


def escaped(path: Path) -> str:
    """A folder as the name of a unit's instance, as `systemd-escape --path` writes it."""
    text = str(path).strip("/")
    shown = ["-" if byte == "/" else byte if byte in _KEPT else _hex(byte) for byte in text]
    return "".join([_hex("."), *shown[1:]] if text.startswith(".") else shown) or "-"


def name(where: Settings) -> str:
    """What the workspace's unit is called."""
    return TEMPLATE.replace("@", f"@{escaped(where.workspace)}")


def text(where: Settings) -> str:
    """The unit, for this interpreter and workspace."""
    found = next((folder / TEMPLATE for folder in _FOLDERS if (folder / TEMPLATE).is_file()), None)
    if found is None:
        raise Missing(
            f"{TEMPLATE} is not in this installation", "`pip install --force-reinstall --no-deps aiinfra-lab`"
        )
    unit = found.read_text("utf-8").replace(_INTERPRETER, _quoted(sys.executable))
    project = f'"AIINFRA_PROJECT={_literal(where.project)}"'
    return unit if where.project == where.workspace else unit.replace('"AIINFRA_PROJECT=%f"', project)


def has_user_sessions() -> bool:
    """Whether systemd runs this user's services."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return bool(runtime) and Path(runtime or "", "systemd").is_dir()


def is_enabled(where: Settings) -> bool:
    """Whether the workspace's unit is started with the machine, or with the user's first session."""
    return os.path.lexists(_units() / "default.target.wants" / name(where))


def should_live() -> int:
    """How many jobs of this folder go on that would have to come back."""
    folder = Folder()
    found = open_store().list(JobRecord, is_open=True, skip_unreadable=True)
    return sum(record.body.restart and folder.has(record) for record in found)


def command() -> str:
    """What installs the unit, in a shell."""
    return shlex.join([sys.executable, "-m", "aiinfra_lab.jobs.unit"])


def install(where: Settings) -> Path:
    """Write the unit where systemd looks for it."""
    path = _units() / name(where)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, text(where), mode=0o644)
    return path


def _units() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _hex(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


def _literal(path: object) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def _quoted(path: str) -> str:
    return f'"{_literal(path)}"' if set(path) & set(' "\\;') else _literal(path)


def main() -> None:
    """Install it, and say what is left to do."""
    path = install(settings())
    sys.stdout.write(
        f"{path} is written; two commands are left:\n"
        f"  systemctl --user enable --now {shlex.quote(path.name)}\n"
        "  loginctl enable-linger    # so that it starts with the machine, and not when you log in\n"
    )


if __name__ == "__main__":
    main()
