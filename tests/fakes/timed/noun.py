"""What took time is a list that a test fills."""

from collections.abc import Sequence
from dataclasses import replace

from aiinfra_lab.nouns import Noun, Span
from aiinfra_lab.store import Body


class Timed(Noun[Body]):
    """The noun `timed`."""

    name = "timed"

    def __init__(self) -> None:
        self.took: list[Span] = []

    def spans(self, *, with_steps: bool = False) -> Sequence[Span]:
        return self.took if with_steps else [replace(span, steps=()) for span in self.took]


NOUN = Timed()
