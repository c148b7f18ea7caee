"""What is shown while a session starts: what has been done to get its machine and its kernel, with the times."""

from __future__ import annotations

import time

from ..kernels import KeptKernel
from ..show import StateMark, Table
from ..units import show_duration
from ..uris import Uri

_DONE, _NOW = StateMark("✓", "done", "good"), StateMark("◐", "now", "busy")


class StartSteps:
    """The steps of a session's start, from this moment on."""

    def __init__(self, name: str) -> None:
        self._kernel, self._began_at = KeptKernel.of(Uri("gpu", name)), time.time()

    def parts(self) -> list[Table]:
        """A row for each, the last one as far as it has come; nothing before the first."""
        steps = [step for step in self._kernel.state().steps if step.at >= self._began_at]
        ends = [*(step.at for step in steps[1:]), time.time()]
        rows = [
            (_NOW if step is steps[-1] else _DONE, step.what, show_duration(max(0.0, end - step.at)))
            for step, end in zip(steps, ends, strict=False)
        ]
        return [Table((), rows)] if rows else []
