"""What `%recipe export` answers with."""

from __future__ import annotations

from dataclasses import dataclass

from ..show import Card, Fold, Part, Quote, Result, sentence


@dataclass(frozen=True)
class ExportedRecipe(Result):
    """A recipe for another scheduler. text: of its main file, `file`; files: all of them, below the project's folder.

    into: the folder that they were written into, or compared with; empty where they were only shown. use: what is done
    with them. notes: what is to be set up, and what differs.
    """

    kind = "Export"

    uri: str
    to: str
    file: str
    text: str
    files: tuple[str, ...]
    into: str = ""
    use: str = ""
    notes: tuple[str, ...] = ()

    def card(self) -> Card:
        """The main file, and what to do with it."""
        there = f", is in `{self.into}`" if self.into else ""
        text: Part = Fold(self.file, Quote(self.text)) if self.into else Quote(self.text, label=self.file)
        next_ = f"Next: {self.use}" if self.into else "Next: `--into .` writes it into the project's folder"
        return Card(
            kind=self.kind,
            uri=self.uri,
            lead=f"**{self.uri}**, for {self.to}{there}.",
            parts=[text],
            notes=list(map(sentence, self.notes)),
            next=[next_],
        )
