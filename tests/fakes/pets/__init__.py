"""Pets that are kept: a noun of somebody else's, one folder and one row in the table of nouns."""

from dataclasses import dataclass
from typing import Annotated

from aiinfra_lab.resolve import resolve
from aiinfra_lab.show import Listing, Result
from aiinfra_lab.store import Event, add_version, open_store
from aiinfra_lab.verbs import Live, Name, verb

from .noun import Pet


@dataclass(frozen=True)
class PetCard(Result):
    """One pet."""

    uri: str
    sound: str


@verb("pets")
def add(name: Annotated[Name, Live("pets")], *, sound: str = "purr") -> PetCard:
    """Take in a pet; every one of that name becomes a version.

    name: what to call it
    sound: what it says
    """
    body = Pet(sound=sound)
    record = add_version(open_store(), str(name), body, lambda uri: Event("pets add", uri, (), (uri,)))
    return PetCard(record.uri, sound)


@verb("pets")
def ls() -> Listing:
    """List the pets, the last taken in first."""
    cards = tuple(PetCard(record.uri, record.body.sound) for record in open_store().list(Pet))
    return Listing("pets", cards, ("uri", "sound"))


@verb("pets")
def show(name: Annotated[Name, Live("pets")]) -> PetCard:
    """Show one pet.

    name: e.g. tom or tom@1
    """
    record = resolve(name, Pet)
    return PetCard(record.uri, record.body.sound)
