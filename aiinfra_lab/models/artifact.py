"""A version's folder: files that can be read without trust, and the digest of every byte of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from ..errors import Conflict, Damaged, Failed
from ..files import building, publish, retry
from ..files import differences as differences  # noqa: PLC0414  # an endpoint's worker has it without the store
from ..resolve import files_of
from ..store import Event, Record, canonical_digest, next_version, open_store
from .record import ModelVersion, folder

# What can be read without trust: no pickle, no code. A model whose run lacks one of these cannot be served.
FROM_RUN = ("environment.txt", "example.json", "model.onnx", "signature.json", "weights.safetensors")


@contextmanager
def built(name: str, source: Path, card: str, recorded: Mapping[str, str] = MappingProxyType({})) -> Iterator[Path]:
    """A folder aside with the run's files and the card, until it is published; Failed when the run lacks one, or one is
    not what it was at the run's end. recorded: the digests of then, as far as they were kept.
    """
    from ..train.saved_model import SavedModel

    again = "train it again: the files of the run were touched"
    wanted = [*FROM_RUN, *SavedModel(source).row_files]
    if missing := [file for file in wanted if not (source / file).is_file()]:
        raise Failed(f"the run's model lacks {', '.join(missing)}", again)
    if recorded and (off := differences(source, recorded)):
        raise Failed(f"the run's model is not what it saved: {'; '.join(off)}", again)
    with building(folder(name)) as aside:
        for file in wanted:
            # Copied, not linked: a version stays as it is, whatever happens to the run's folder.
            shutil.copy2(source / file, aside / file)
        (aside / "card.md").write_text(card, "utf-8")
        yield aside


def publish_next(aside: Path, name: str) -> str:
    """Give the folder the next free version's name, which thereby is taken; the version's label."""

    def take() -> str:
        # Asked anew each time: who loses the race finds the winner's folder there, and takes the next number.
        label = f"{name}@{next_version(open_store(), ModelVersion, name)}"
        publish(aside, folder(label))
        return label

    return retry(take, Conflict(f"too many versions of {name} are added at once", "repeat in a moment"))


def commit_next(aside: Path, name: str, version: ModelVersion, event: Callable[[str], Event]) -> Record[ModelVersion]:
    """Publish the folder as the next version, and commit its record with the event of its URI, both or neither."""
    # The folder takes the number: of two at once, a file system lets one rename succeed.
    made = Record.new(publish_next(aside, name), version)
    try:
        return open_store().commit([made], event(made.uri))[0]
    except BaseException:
        # Only where nobody heard of it: a commit may have succeeded before what is raised now.
        if open_store().get(ModelVersion, made.name) is None:
            shutil.rmtree(folder(made.name), ignore_errors=True)
        raise


def verified(version: Record[ModelVersion]) -> Path:
    """The folder of a version's files, every one as it was recorded. Damaged when it is not, NotFound where none is."""
    path = files_of(version.uri, folder(version.name))
    if off := differences(path, version.body.files):
        raise Damaged(f"the files of {version.uri} are not what was registered: {'; '.join(off)}", added_again(version))
    return path


def digest(recorded: Mapping[str, str]) -> str:
    """One digest of all files, given each one's."""
    return canonical_digest(dict(recorded))


def added_again(version: Record[ModelVersion]) -> str:
    """What helps where a version's files are no longer what they were."""
    body = version.body
    origin = f"--from {body.source.path}" if body.source else f"--run {body.run}"
    return f"add the model again, as a new version: `%models add {version.base} {origin}`"


def size(path: Path) -> int:
    """Bytes of all files in the folder."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else 0
