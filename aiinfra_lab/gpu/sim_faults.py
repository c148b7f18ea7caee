"""What goes wrong in a real cloud, made to happen in the one in a clock: for workshops, and for notebooks that show it.

`cut("trainer", 10)` cuts the connection to the machine of gpu:trainer for ten seconds; `take("trainer")` takes it away,
as clouds take spot machines when somebody pays more; `take_once(what, "trainer")` does it in the middle of something.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from .. import files, modes
from ..config import settings
from ..errors import LabError, NotFound
from ..host.spec import read_state
from ..uris import Uri
from .record import SessionRecord
from .sim import SimMachines
from .sim_reach import CUT

_GONE_S = 10.0
_LOOK_S = 0.05
_WAITS_S = 300.0


def cut(session: object, seconds: float) -> None:
    """Cut the connection to a session's machine for so long. NotFound when it has none of that cloud."""
    machines = SimMachines(settings())
    path = machines.cloud.folder / _machine(machines, session) / CUT
    files.write_json(path, time.time() + seconds, mode=modes.OWNER_ONLY)


def take(session: object, notice_s: float = 0.0) -> None:
    """Take a session's machine away, so many seconds after saying so; returns when it is gone. NotFound when it has
    none of that cloud."""
    machines = SimMachines(settings())
    machine = _machine(machines, session)
    if notice_s:
        files.write(machines.cloud.folder / machine / "notice", str(time.time() + notice_s), mode=modes.OWNER_ONLY)
        time.sleep(notice_s)
    machines.cloud.change(machine, taken_at=machines.cloud.clock())
    until = time.monotonic() + _GONE_S
    while (state := read_state(machines.cloud.folder / machine)) and state.socket and time.monotonic() < until:
        time.sleep(_LOOK_S)


def take_once(what: Callable[[], object], session: object, notice_s: float = 0.0) -> None:
    """`take`, beside what goes on here, as soon as that is true; not any more after five minutes. An error of ours in
    it counts as not yet."""

    def wait() -> None:
        until = time.monotonic() + _WAITS_S
        while time.monotonic() < until:
            with contextlib.suppress(LabError):
                if what():
                    take(session, notice_s)
                    return
            time.sleep(_LOOK_S)

    threading.Thread(target=wait, daemon=True, name="sim-takes").start()


def _machine(machines: SimMachines, session: object) -> str:
    name = Uri.parse(session, noun=SessionRecord.kind).name
    found = next((each.id for each in machines.instances() if each.session == name), None)
    if found is None:
        raise NotFound(f"gpu:{name} has no machine of the cloud in a clock", f"`%gpu start {name} --on sim` rents one")
    return found
