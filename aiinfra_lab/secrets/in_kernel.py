"""How a kernel has the process that runs its notebook know of its secrets. Sent as text: it needs nothing of ours.

Variables of the environment that are set there, as dotenv and `%env` do it, are known before a cell can print them.
"""

import json
import os
import re
import select
import sys
import time

WITHIN_S = 10.0


def report(pipe: str, name: str, value: str) -> None:
    """Write a secret into that pipe; nothing where nobody reads, as on another machine. TimeoutError: it stays full."""
    line, until = (json.dumps([name, value]) + "\n").encode(), time.monotonic() + WITHIN_S
    keep(f"{pipe}.kept", line)
    try:
        handle = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        while line:
            try:
                line = line[os.write(handle, line) :]
            except BlockingIOError:
                if not select.select([], [handle], [], max(0.0, until - time.monotonic()))[1]:
                    raise TimeoutError from None
            except OSError:  # who read has ended
                return
    finally:
        os.close(handle)


def keep(file: str, line: bytes) -> None:
    """Add a line to what is left for whoever comes after a reader that was killed; nothing where there is no such file.

    One that does not take it is emptied: who finds no beginning in it knows that it lacks something.
    """
    try:
        handle = os.open(file, os.O_WRONLY | os.O_APPEND)
    except OSError:
        return
    try:
        is_whole = os.write(handle, line) == len(line)
    except OSError:
        is_whole = False
    try:
        if not is_whole:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def watch(pipe: str, pattern: str, password: str, names: list[str], public: list[str]) -> None:
    """Report the secrets in variables, those there are and those that are set from now on.

    pattern: of the names of secret variables. password: of one in a URL, whatever its variable. names: others that are
    secret. public: those that are not all the same.
    """
    known: set[tuple[str, str]] = set()

    def look(name: str, value: str) -> None:
        if name in public or (name, value) in known:
            return
        known.add((name, value))
        is_whole = name in names or re.search(pattern, name, re.IGNORECASE)
        for each in [*([value] if is_whole else []), *re.findall(password, value)]:
            report(pipe, name, each)

    def take(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.putenv":
            try:
                look(*(os.fsdecode(each) for each in arguments))  # type: ignore[arg-type]
            except (OSError, TypeError, ValueError):
                return  # whatever it is, the notebook may set it

    for name, value in os.environ.items():
        look(name, value)
    sys.addaudithook(take)
