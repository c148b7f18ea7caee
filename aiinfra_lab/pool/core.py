"""A host core out of the pool, with its kernel."""

from __future__ import annotations

import os
import select
from pathlib import Path

from ..host.spec import LISTENING, HostSpec
from ..modes import users_umask
from . import asking

_BEGIN_S = 30.0


def keep(spec: HostSpec) -> bool:
    """Have a core of the pool keep the kernel of that spec; returns whether an owner may connect. What does not listen
    has ended, or finds the one that is spawned instead."""
    try:
        folder = str(Path.cwd())
    except FileNotFoundError:  # it was removed
        return False
    answer, report = os.pipe()
    with os.fdopen(answer, "rb", buffering=0) as reader:
        with os.fdopen(report, "wb", buffering=0):
            words = ["aiinfra-keep", spec.dump().decode()]
            core = asking.fork("keep", words, env=spec.env, cwd=folder, umask=users_umask(), descriptors=[report])
        if core is None:
            return False
        core.leave()
        poller = select.poll()
        poller.register(reader, select.POLLIN)
        return bool(poller.poll(_BEGIN_S * 1000)) and reader.read(64) == LISTENING
