"""What an endpoint can say of the versions that serve: their signatures and columns, read from their files once."""

from __future__ import annotations

from ...errors import LabError
from ...train.saved_model import SavedModel
from .predictor import Predictor


class NotServed(Exception):
    """There is nothing to describe; its text says why."""


class Descriptions:
    """Of the versions that serve."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._read: dict[str, SavedModel] = {}

    @property
    def live(self) -> list[str]:
        """The versions that serve, the champion first."""
        return [version.model.uri for version in self._predictor.routes.live]

    def served(self) -> tuple[str, SavedModel]:
        """The version that answers most. NotServed when there is none."""
        if not (live := self.live):
            raise NotServed("no version serves yet")
        return live[0], self.of(live[0])

    def of(self, uri: str) -> SavedModel:
        """That version. NotServed when its files cannot be read."""
        if uri not in self._read:
            folder = next((one.model.folder for one in self._predictor.routes.live if one.model.uri == uri), None)
            if folder is None:
                raise NotServed(f"{uri} serves no more")
            saved = SavedModel(folder)
            try:
                # Its files are read here, and the network itself never.
                _ = saved.signature, saved.rows
            except (OSError, LabError) as problem:
                raise NotServed(f"what {uri} takes cannot be read: {problem}") from None
            # Versions come and go, and nobody asks what those that are gone have been.
            self._read = {kept: self._read[kept] for kept in self.live if kept in self._read} | {uri: saved}
        return self._read[uri]
