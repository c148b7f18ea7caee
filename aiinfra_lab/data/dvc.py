"""Content under DVC: its cache, its `.dvc` files, its lock, in this process. The only file that imports dvc."""

from __future__ import annotations

import contextlib
import filecmp
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import files, modes
from ..config import Settings, opt_out
from ..errors import Failed, NotFound, Unavailable
from ..files import write
from ..units import counted

_CONFIG = "[core]\n    no_scm = True\n    analytics = False\n    check_update = False\n"
_TREE = ".dir"
_IGNORED = "/.aiinfra"
_INNER = ".dvcignore"
_ASIDE = f"/{files.ASIDE}"  # what a killed process had not finished, until it is cleared away


class Dvc:
    """Versions in the workspace's `.dvc/cache`; plain `dvc` commands work on the newest ones under `data/`."""

    def __init__(self, where: Settings) -> None:
        self.workspace = where.workspace

    def ingest(self, folder: Path) -> str:
        """Build DVC's tree of the folder and move its files into the cache as hard links."""
        _refuse_inner_ignore(folder)
        with self._repo() as repo:
            from dvc_data.hashfile.build import build
            from dvc_data.hashfile.transfer import transfer

            cache = repo.cache.local
            # DVC's `add` would work on `data/NAME` itself; its parts work on any folder, before there is a version.
            staged, _, tree = build(cache, str(folder), repo.fs, "md5")
            # Not shallow: else DVC takes it for granted that all files of a tree that it has are there too.
            moved = transfer(staged, cache, {tree.hash_info}, shallow=False, hardlink=True)
            if moved.failed:
                raise Failed(
                    f"{counted(len(moved.failed), 'file')} could not be stored by DVC", "look at the disk's free space"
                )
            return str(tree.hash_info.value)

    def repair(self, folder: Path) -> str:
        """Take away what the cache has in the place of the folder's files with other bytes, then ingest."""
        _refuse_inner_ignore(folder)
        with self._repo() as repo:
            cache, tree = repo.cache.local, _built(repo, folder, None)
            for path, _, oid in tree:
                stored = Path(cache.oid_to_path(oid.value))
                if stored.exists() and not filecmp.cmp(stored, folder.joinpath(*path), shallow=False):
                    stored.unlink()
            # The list of the files is made anew from what it lists.
            Path(cache.oid_to_path(tree.hash_info.value)).unlink(missing_ok=True)
        return self.ingest(folder)

    def checkout(self, key: str, into: Path) -> None:
        """Check the tree out as hard links to the cache; where links cannot be made, as copies."""
        with self._repo() as repo:
            self._checkout(repo, self._tree(repo, key), into, ["reflink", "hardlink", "copy"])

    def publish(self, name: str, key: str) -> None:
        """Write `data/NAME.dvc`, then put the folder in the place of the one before, in one step.

        After a kill the folder is the old one or the new one, never some files of each.
        """
        target = self.workspace / "data" / name
        with self._repo() as repo:
            tree = self._tree(repo, key)
            sizes = [Path(repo.cache.local.oid_to_path(entry.value)).stat().st_size for _, _, entry in tree]
            files.ignore_in_git(target.parent, f"/{name}", _ASIDE)
            # The pointer first: after a crash, `dvc checkout` brings the folder to it.
            write(target.with_name(name + ".dvc"), _pointer(key, sum(sizes), len(sizes), name))
            files.clear_left_of(target)
            before = _built(repo, target, None) if target.is_dir() else None
            if before is None or before.hash_info != tree.hash_info:
                with modes.as_the_user():
                    self._replace(repo, target, before, tree)

    def withdraw(self, name: str) -> None:
        """Remove the pointer first, so that a crash leaves an untracked folder and no broken pointer."""
        target = self.workspace / "data" / name
        with self._repo():
            target.with_name(f"{name}.dvc").unlink(missing_ok=True)
            files.clear_left_of(target)
            if target.exists():
                # Out of sight in one step: a kill while files are deleted must not leave some of them as `data/NAME`.
                with files.building(target) as aside:
                    files.publish(target, aside / name, flush=False)
            tracked = any(target.parent.glob("*.dvc"))
            files.show_to_git(target.parent, f"/{name}", *(() if tracked else (_ASIDE,)))

    def is_modified(self, name: str) -> bool:
        """Whether the folder's tree is one that the cache does not hold."""
        target = self.workspace / "data" / name
        if not target.exists():
            return False
        with self._repo() as repo:
            # Files that the user's `.dvcignore` names are part of a version when they were added, and else no change.
            trees = [_built(repo, target, ignore) for ignore in (repo.dvcignore, None)]
            return not any(repo.cache.local.exists(tree.hash_info.value) for tree in trees)

    def forget(self, key: str, keep: Sequence[str]) -> None:
        """Remove the tree's objects that no kept tree and no `.dvc` file of the workspace uses."""
        with self._repo() as repo:
            # What the user tracks with plain `dvc add` shares the cache and is not ours to delete.
            kept = {info.value for infos in repo.used_objs(all_branches=False).values() for info in infos}
            for other in keep:
                with contextlib.suppress(NotFound):
                    kept |= _objects(other, self._tree(repo, other))
            try:
                gone = _objects(key, self._tree(repo, key)) - kept
            except NotFound:
                return
            for oid in gone:
                Path(repo.cache.local.oid_to_path(oid)).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _repo(self) -> Iterator[Any]:
        """DVC's repository of the workspace, locked and quiet."""
        opt_out()
        with _quiet(), modes.owner_only():
            with modes.as_the_user():  # DVC reads the umask once, at its import, and gives it to working copies
                from dvc.repo import Repo, lock_repo

            self._initialise()
            # DVC's own default is a folder below /var/tmp that every user of the machine may write to.
            private = {"core": {"site_cache_dir": str(self.workspace / ".dvc" / "tmp" / "site")}}
            # Opening it takes disk space, too.
            with _lab_errors(), contextlib.closing(Repo(str(self.workspace), config=private)) as repo:
                if not repo.config["cache"].get("shared"):
                    # It is linked to the versions that are ours, and DVC would let everybody read it.
                    repo.cache.local.CACHE_MODE = 0o400
                with lock_repo(repo):
                    yield repo

    def _initialise(self) -> None:
        # As `dvc init --no-scm` writes them, without its check for a Git repository and its message.
        config = self.workspace / ".dvc" / "config"
        if not config.exists():
            write(config, _CONFIG)
            for name in ("cache", "tmp"):
                config.with_name(name).mkdir(mode=modes.OWNERS_FOLDER, exist_ok=True)
            write(config.with_name(".gitignore"), "/config.local\n/tmp\n/cache\n")
        # Else `dvc status` walks through our own files, which change all the time.
        ignore = self.workspace / ".dvcignore"
        lines = ignore.read_text("utf-8").splitlines() if ignore.exists() else []
        if _IGNORED not in lines:
            write(ignore, "\n".join([*lines, _IGNORED, ""]))

    def _tree(self, repo: Any, key: str) -> Any:
        from dvc_data.hashfile import load
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_objects.errors import ObjectFormatError

        if not key.endswith(_TREE):
            # DVC would take it for a file's, and find out only when somebody reads the tree.
            raise NotFound(
                f"{key[:12]} is no content of DVC: another store took it in",
                'choose that store again: in aiinfra.toml, `[data]` with `versions = "NAME"`',
            )
        try:
            return load(repo.cache.local, HashInfo("md5", key))
        except (FileNotFoundError, ObjectFormatError) as problem:
            raise _not_here(key) from problem

    def _checkout(self, repo: Any, tree: Any, target: Path, links: list[str] | None) -> None:
        from dvc_data.hashfile.checkout import CheckoutError, checkout

        cache = repo.cache.local
        # A working copy gets the link types that the user configured; DVC's default may be written to.
        cache.cache_types = links or cache.cache_types
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            checkout(str(target), repo.fs, tree, cache, force=True, old=_tree_of(()))
        except (CheckoutError, FileNotFoundError) as problem:
            raise _not_here(tree.hash_info.value) from problem

    def _replace(self, repo: Any, target: Path, before: Any, tree: Any) -> None:
        """Make the folder aside, of what the one before has already and what the cache has, and exchange the two."""
        there = {} if before is None else {path: oid for path, _, oid in before}
        with files.building(target) as aside:
            lacking = [
                (path, meta, oid)
                for path, meta, oid in tree
                if there.get(path) != oid or not _link(target.joinpath(*path), aside.joinpath(*path))
            ]
            self._checkout(repo, _tree_of(lacking), aside, None)
            files.publish(aside, target, replace=True)
        # Else DVC would read every file once more to know what it is.
        repo.state.save_many(((str(target.joinpath(*path)), oid, None) for path, _, oid in tree), repo.fs)


@contextlib.contextmanager
def _lab_errors() -> Iterator[None]:
    """DVC's problems as our own."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    try:
        yield
    except LockError as problem:
        raise Unavailable("another DVC command is at work in this workspace", "repeat when it is done") from problem
    except sqlite3.Error as problem:
        raise Unavailable(
            f"DVC cannot write its own notes: {problem}", "free space on the disk of the workspace, then repeat"
        ) from problem
    except DvcException as problem:
        raise Failed(f"DVC says: {problem}", "`dvc status` in the workspace shows how it stands") from problem


def _built(repo: Any, folder: Path, ignore: Any) -> Any:
    """DVC's tree of a folder; what it has hashed before it does not read again."""
    from dvc_data.hashfile.build import build

    _refuse_inner_ignore(folder)
    return build(repo.cache.local, str(folder), repo.fs, "md5", dry_run=True, ignore=ignore)[2]


def _tree_of(entries: Iterable[tuple[Any, Any, Any]]) -> Any:
    from dvc_data.hashfile.tree import Tree

    tree: Any = Tree()  # type: ignore[no-untyped-call]
    for path, meta, oid in entries:
        tree.add(path, meta, oid)
    tree.digest()
    return tree


def _refuse_inner_ignore(folder: Path) -> None:
    """Failed for a folder that DVC takes for a repository's own: it stores none with such a file in it."""
    if inner := next(folder.rglob(_INNER), None):
        name = inner.relative_to(folder)
        raise Failed(f"{name} is among the files, and DVC stores no folder with a {_INNER}", f"take {name} out of it")


def _link(source: Path, target: Path) -> bool:
    """Whether the file has that name too now: no byte is copied, and the first name goes in a moment."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without links, or somebody has just taken it away
        return False
    return True


def _not_here(key: str) -> NotFound:
    return NotFound(
        f"content {key[:12]} is not in this workspace's DVC cache", "`dvc pull` brings it, where a remote has it"
    )


def _objects(key: str, tree: Any) -> set[str]:
    return {key, *(str(entry.value) for _, _, entry in tree)}


def _pointer(key: str, size: int, files: int, name: str) -> str:
    # Without `hash: md5` DVC takes it for a file of DVC 2, and looks for the content in another folder.
    return f"outs:\n- md5: {key}\n  size: {size}\n  nfiles: {files}\n  hash: md5\n  path: {name}\n"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep DVC's own log lines and progress bars out of the notebook while we hold it."""
    import dvc  # noqa: F401  # its import sets up its loggers, so it must come before they are lowered

    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
