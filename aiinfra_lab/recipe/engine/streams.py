"""What a cell prints as one output, as a notebook shows it, instead of one for each message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class StreamJoiner:
    """Joins what follows each other on one stream. Texts are put together when they are wanted, not one by one: a cell
    may print megabytes in pieces of some kilobytes."""

    def __init__(self) -> None:
        self._output: Any = None
        self._texts: list[str] = []

    def take(self, outputs: list[Any]) -> None:
        """A message has been processed, and these are its cell's outputs now."""
        last = outputs[-1] if outputs else None
        if last is None or last is self._output or last.output_type != "stream":
            if last is not self._output:
                self.flush()
                self._output, self._texts = None, []
            return
        if len(outputs) > 1 and outputs[-2] is self._output and self._output.name == last.name:
            self._texts.append(outputs.pop().text)
            return
        self.flush()
        self._output, self._texts = last, [last.text]

    def flush(self, change: Callable[[str], str] = str) -> None:
        """Put the text together that has come so far. change: what becomes of it."""
        if self._output is not None:
            text = change(overwritten("".join(self._texts)))
            self._output.text, self._texts = text, [text]


def overwritten(text: str) -> str:
    """A text as a terminal shows it: what stands before a carriage return is overwritten by what comes behind it."""
    if "\r" not in text:
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    # The return at the end of a line that is not over yet overwrites nothing so far.
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] + "\r" * line.endswith("\r") for line in lines)
