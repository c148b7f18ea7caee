"""What an error advises, typed as it stands there."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from aiinfra_lab.errors import LabError
from aiinfra_lab.verbs import Help
from aiinfra_lab.words import split, understand

COMMAND = re.compile(r"`%%?([^`]+)`")
MEANT = re.compile(r"did you mean (\S+)\?")


def run(line: str) -> Any:
    """What a line answers, with or without its `%`."""
    noun, *words = split(line.removeprefix("%"))
    call = understand(str(noun), words)
    return call if isinstance(call, Help) else call.run()


def provoked(step: str | Callable[[], object], kind: type[LabError] = LabError) -> LabError:
    """The error that a line, or a call, ends with."""
    with pytest.raises(kind) as problem:
        run(step) if isinstance(step, str) else step()
    return problem.value


def follow(problem: LabError) -> Any:
    """What the first command of its fix answers."""
    return run(COMMAND.findall(problem.fix)[0])
