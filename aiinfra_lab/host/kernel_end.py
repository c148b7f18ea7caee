"""An ipykernel that ends without waiting for itself. Kernels get it as text: it needs nothing of ours."""

from __future__ import annotations

import atexit
from typing import Any

_WITHIN_S = 1.0


def end_control_first(kernel: Any) -> None:
    """Have the thread that answers the request to shut down be through before the one that publishes ends.

    Else, about once in 40 times (ipykernel 7.4), it publishes that it is idle to a thread that has just ended and waits
    for ever. The kernel's end waits for it, until the kernel is killed seconds later. The notebook's own exit handlers
    come before. Nothing in a kernel without such a thread.
    """
    atexit.register(end_control, getattr(kernel, "control_thread", None))


def end_control(thread: Any) -> None:
    """The same now, of that thread, if there is one."""
    if thread is not None and thread.is_alive():
        thread.stop()
        thread.join(_WITHIN_S)
