"""What a form gives: files, and how they are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ... import files
from ...errors import Conflict, Missing

ALONE = "a kernel is brought by the session that has asked for it: alone it ends by itself after 15 min"
OURS = (
    "it carries this workspace's name: `%gpu check` lists it as kept by no session, and `%gpu stop --orphans` ends it"
)
BY_HAND = "no queue moves the group's desired capacity there: that is yours; a pool of `%gpu start` does it by itself"
_PACKAGE = Path(__file__).parents[2]
# In the wheel, and in a checkout.
_INFRA = (_PACKAGE / "infra", _PACKAGE.parent / "infra")


@dataclass(frozen=True, slots=True)
class PoolSize:
    """How many machines there are to be."""

    min: int
    max: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """files: path → content. main: which of them is the session's own; the others are alike for all. use: commands,
    run in that one's folder, `cd` left out. notes: what is to be given, or differs from what `%gpu start` does."""

    files: Mapping[str, str]
    main: str
    use: str
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The session's own file."""
        return self.files[self.main]

    def write(self, into: Path) -> None:
        """All files, into a new folder or an empty one, or none. Conflict when something is there."""
        if into.is_dir() and not any(into.iterdir()):
            into.rmdir()
        if into.exists() or into.is_symlink():
            raise Conflict(f"{into} is there and not empty", "name another folder with --into, or take it away first")
        with files.building(into) as aside:
            for name, text in self.files.items():
                path = aside / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
            files.publish(aside, into)


def infra(*parts: str) -> dict[str, str]:
    """Files of `infra/`, each with its path there: those that are named, and all in the folders that are."""
    root = next((folder for folder in _INFRA if (folder / "terraform").is_dir()), None)
    if root is None:
        raise Missing("infra/ is not in this installation", "`pip install --force-reinstall --no-deps aiinfra-lab`")
    return {str(path.relative_to(root)): path.read_text("utf-8") for part in parts for path in _files(root / part)}


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        # Besides our own, only what tools have left: caches, states, lock files.
        kept = (".tf", ".tftpl", ".py", ".yaml", ".txt", ".json", ".sh")
        yield from sorted(each for each in path.rglob("*") if each.suffix in kept and "/." not in str(each))
