"""What the pets tell of themselves: each lives, costs a dollar an hour, and needs its cage."""

from collections.abc import Sequence
from typing import ClassVar

from aiinfra_lab.nouns import Notice, Noun, Observation, Reference, Span
from aiinfra_lab.store import Body, Record, open_store
from aiinfra_lab.uris import Uri

stopped: list[str] = []


class Pet(Body, frozen=True, kw_only=True):
    """A pet."""

    kind: ClassVar[str] = "pets"

    sound: str


class Pets(Noun[Pet]):
    """The noun `pets`."""

    name = "pets"
    settings: ClassVar = {"food": "what they eat"}
    kind = Pet
    has_versions = True

    def first(self, name: str) -> str:
        return f"`%pets add {name}` takes one in"

    def aliased(self, name: str, alias: str) -> Uri | None:
        return Uri("pets", name, 1) if alias == "eldest" else None

    def observe(self, records: Sequence[Record[Pet]]) -> Sequence[Observation]:
        return [Observation(each.uri, "purring", is_live=True, started_at=1.0, can_stop=True) for each in records]

    def watched(self, ended: int = 20) -> Sequence[Observation]:
        return self.observe(open_store().list(Pet))

    def stop(self, uri: str) -> Sequence[str]:
        stopped.append(uri)
        return [uri]

    def spans(self, *, with_steps: bool = False) -> Sequence[Span]:
        return [Span(each.uri, 0.0, 3600.0, is_live=True, usd_per_hour=1.0) for each in open_store().list(Pet)]

    def references(self) -> Sequence[Reference]:
        return [Reference("data:cage@1", f"{each.uri} sits in", "let it out") for each in open_store().list(Pet)]

    def notices(self) -> Sequence[Notice]:
        return [Notice(each.uri, "is hungry", "feed it") for each in open_store().list(Pet)]


NOUN = Pets()
