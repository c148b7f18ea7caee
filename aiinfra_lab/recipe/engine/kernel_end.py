"""An ipykernel that ends without waiting for itself. Sent as text to a step's kernel: it needs nothing of ours."""

import atexit
from typing import Any

_WITHIN_S = 1.0


def end_control_first(kernel: Any) -> None:
    """Have the thread that answers the request to shut down be through before the one that publishes ends.

    Else, about once in 40 times (ipykernel 7.4), it publishes that it is idle to a thread that has just ended and waits
    for ever. The kernel's end waits for it, until the kernel is killed seconds later. The notebook's own exit handlers
    come before. Nothing in a kernel without such a thread.
    """
    thread = getattr(kernel, "control_thread", None)
    if thread is not None:
        atexit.register(_end, thread)


def _end(thread: Any) -> None:
    if thread.is_alive():
        thread.stop()
        thread.join(_WITHIN_S)
