"""One folder as one side of a sync has it: what lies in it, what arrives for it, and how it is changed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from . import handles
from .entries import AREA, NEVER, Levels, Rules, TreeEntry, moved, problem_of_path, same, stays_inside

CHUNK = 1 << 20
# Twice the granularity of a clock of 100 Hz: what was changed later may have the same time.
_RACY_NS, _COARSE_RACY_NS, _SECOND_NS = 20_000_000, 3_000_000_000, 1_000_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CHANGED = "it was changed meanwhile; the next sync takes it"


class NotDone(Exception):
    """One step is not done, and why."""


class Full(Exception):
    """No space is left here."""


class Tree:
    """The folder of one side: what lies in it, and how it is changed.

    entries, left_out: as the last `scan` found them; steps keep them current. hashed: how many files it had to read.
    cache: path → [size, mtime_ns, ctime_ns, inode, SHA-256], kept by the caller from one sync to the next.
    """

    def __init__(self, root: str, umask: int, cache: dict[str, list[Any]]) -> None:
        self.root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        about = os.fstat(self.root)
        self.device, self.inode = about.st_dev, about.st_ino
        self.umask, self.cache = umask, cache
        self.entries: dict[str, TreeEntry] = {}
        self.left_out: list[list[str]] = []
        self.hashed = 0
        self.is_full = False
        self._signs: dict[str, tuple[int, int, int]] = {}
        self._hashers: dict[str, Any] = {}
        self._sizes: dict[str, tuple[int, int]] = {}  # digest → bytes that are here, bytes in all
        self._replaced: list[tuple[str, str, Any]] = []
        self._area = self._incoming = self._writing = -1
        self._writes = ""
        self._parent_of: tuple[str, int] = ("", -1)
        self._asides = 0

    def close(self, *, is_done: bool = False) -> None:
        """Let go of it. is_done: nothing is to be resumed, so what arrived in part goes."""
        self._stop_writing()
        if is_done:
            self.clear()
            for names in ((*AREA, "incoming"), AREA, AREA[:1]):
                with contextlib.suppress(OSError):
                    os.rmdir("/".join(names), dir_fd=self.root)
        self._forget_parent()
        for handle in (self._incoming, self._area, self.root):
            if handle >= 0:
                os.close(handle)
        self._incoming = self._area = self.root = -1

    def clear(self) -> None:
        """Remove what arrived in part."""
        if self._incoming < 0:
            try:
                os.stat("/".join((*AREA, "incoming")), dir_fd=self.root)
            except OSError:
                return  # nothing ever arrived, and no folder is to be made for that
        self._clear("")

    def area(self) -> int:
        """The folder for our own files, made when it is first needed, for its owner only."""
        if self._area < 0:
            outer = handles.make_and_open(AREA[0], self.root)
            try:
                self._area = handles.make_and_open(AREA[1], outer)
            finally:
                os.close(outer)
        return self._area

    def incoming(self) -> int:
        """The folder for what arrives, on the same file system as what it becomes."""
        if self._incoming < 0:
            self._incoming = handles.make_and_open("incoming", self.area())
            self._clear("old-")
            self._clear("new-")
        return self._incoming

    def _clear(self, start: str) -> None:
        for name in os.listdir(self.incoming()):
            if name.startswith(start):
                handles.unlink(name, self._incoming)

    # ---- what is there ----

    def scan(self, rules: Rules, largest: int, on_folder: Callable[[str, int], object] | None = None) -> None:
        """Find all that lies in the folder. on_folder: told each folder and its handle before its names are judged."""
        self.entries, self.left_out, self._signs = {}, [], {}
        before, self.cache = self.cache, {}
        self._walk(self.root, "", (), (rules, largest, on_folder, before))

    def _walk(self, handle: int, folder: str, levels: Levels, given: tuple[Any, ...]) -> None:
        rules, _, on_folder, _ = given
        if on_folder:
            on_folder(folder, handle)
        levels = rules.below(folder, levels)
        with os.scandir(handle) as found:
            items = sorted(found, key=lambda item: item.name)
        for item in items:
            path, is_folder = folder + item.name, item.is_dir(follow_symlinks=False)
            if item.name.casefold() not in NEVER and not rules.ignores(path + "/" if is_folder else path, levels):
                try:
                    self._take(item, path, handle, levels, given)
                except NotDone as why:
                    self.entries.pop(path, None)
                    self.left_out.append([path, str(why)])
                except FileNotFoundError:
                    self.entries.pop(path, None)  # it went meanwhile
                except OSError as problem:
                    self.entries.pop(path, None)
                    self.left_out.append([path, f"it may not be read: {os.strerror(problem.errno or 0)}"])

    def _take(self, item: os.DirEntry[str], path: str, handle: int, levels: Levels, given: tuple[Any, ...]) -> None:
        if why := problem_of_path(path):
            raise NotDone(why)
        about = item.stat(follow_symlinks=False)
        if stat.S_ISDIR(about.st_mode):
            if about.st_dev != self.device:
                raise NotDone("another file system is mounted there")
            self.entries[path] = TreeEntry("d", mode=about.st_mode & 0o777)
            inner = os.open(item.name, handles.FOLDER, dir_fd=handle)
            try:
                self._walk(inner, path + "/", levels, given)
            finally:
                os.close(inner)
        elif stat.S_ISLNK(about.st_mode):
            target = os.readlink(item.name, dir_fd=handle)
            if not stays_inside(path, target):
                raise NotDone("it is a link that leads out of the folder")
            self.entries[path] = TreeEntry("l", target)
        elif stat.S_ISREG(about.st_mode):
            self._take_file(item.name, path, about, handle, given)
        else:
            raise NotDone("it is neither a file, a folder nor a link")

    def _take_file(self, name: str, path: str, about: os.stat_result, handle: int, given: tuple[Any, ...]) -> None:
        _, largest, _, before = given
        if about.st_size > largest:
            raise NotDone(f"it has {about.st_size / 2**20:.0f} MiB, and at most {largest / 2**20:.0f} go over")
        known = before.get(path)
        if isinstance(known, list) and len(known) == 5 and tuple(known[:4]) == handles.stamp(about):
            digest = known[4]
        else:
            digest, about = self._hash(name, handle)
        self._note(path, TreeEntry("f", digest, about.st_mode & 0o777, about.st_size, about.st_mtime_ns), about)

    def _note(self, path: str, entry: TreeEntry, about: os.stat_result) -> None:
        self.entries[path], self._signs[path] = entry, handles.sign(about)
        margin = _RACY_NS if about.st_mtime_ns % _SECOND_NS else _COARSE_RACY_NS
        if abs(time.time_ns() - about.st_mtime_ns) > margin:
            self.cache[path] = [*handles.stamp(about), entry.value]

    def _hash(self, name: str, handle: int) -> tuple[str, os.stat_result]:
        for _ in range(3):
            file = os.open(name, handles.FILE, dir_fd=handle)
            try:
                before, hasher = os.fstat(file), hashlib.sha256()
                while part := os.read(file, CHUNK):
                    hasher.update(part)
                after = os.fstat(file)
            finally:
                os.close(file)
            self.hashed += 1
            if handles.stamp(before) == handles.stamp(after):
                return hasher.hexdigest(), after
        raise NotDone("it changes while it is read")

    def chunks(self, files: Iterable[Sequence[Any]]) -> Iterator[tuple[str, int, bytes]]:
        """What is in these, [path, digest, from where]; one that is not what was scanned ends early."""
        for path, digest, start in files:
            try:
                with self._in_parent(path) as (parent, name):
                    file = os.open(name, handles.FILE, dir_fd=parent)
            except (OSError, NotDone):
                continue
            try:
                if (
                    same(self.entries.get(path), TreeEntry("f", digest))
                    and handles.sign(os.fstat(file)) == self._signs[path]
                ):
                    at = os.lseek(file, start, os.SEEK_SET)
                    while part := os.read(file, CHUNK):
                        yield digest, at, part
                        at += len(part)
            finally:
                os.close(file)

    # ---- what arrives ----

    def held(self, files: Iterable[Sequence[Any]]) -> list[int]:
        """How much of each is here already, [digest, size, a path that has the same or None], from another try or from
        elsewhere in the folder."""
        return [self._held(*each) for each in files]

    def _held(self, digest: str, size: int, like: str | None) -> int:
        self._stop_writing()
        hasher, have = hashlib.sha256(), 0
        try:
            file = os.open(digest, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self.incoming())
            try:
                while part := os.read(file, CHUNK):
                    hasher.update(part)
                    have += len(part)
                if have > size or (have == size and hasher.hexdigest() != digest):
                    os.ftruncate(file, 0)
                    hasher, have = hashlib.sha256(), 0
                if not have and like is not None:
                    hasher, have = self._copied(like, digest, file)
            finally:
                os.close(file)
        except OSError as problem:
            self._blame(problem)
        self._hashers[digest], self._sizes[digest] = hasher, (have, size)
        return have

    def _copied(self, like: str, digest: str, file: int) -> tuple[Any, int]:
        hasher, have = hashlib.sha256(), 0
        os.lseek(file, 0, os.SEEK_SET)
        for _, _, part in self.chunks([(like, digest, 0)]):
            handles.write(file, part)
            hasher.update(part)
            have += len(part)
        if hasher.hexdigest() == digest:
            return hasher, have
        os.ftruncate(file, 0)
        return hashlib.sha256(), 0

    def receive(self, digest: str, at: int, data: bytes) -> None:
        """Take the next bytes of a file; anything else than the next ones is passed over."""
        have, size = self._sizes.get(digest, (-1, -1))
        if at != have or have + len(data) > size or self.is_full:
            return
        try:
            if self._writes != digest:
                self._stop_writing()
                self._writing = os.open(digest, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, dir_fd=self.incoming())
                self._writes = digest
            handles.write(self._writing, data)
        except OSError as problem:
            self._blame(problem)
            del self._sizes[digest]
            return
        self._hashers[digest].update(data)
        self._sizes[digest] = (have + len(data), size)

    def _blame(self, problem: OSError) -> None:
        if problem.errno not in _FULL:
            raise problem
        self.is_full = True

    def _stop_writing(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
        self._writing, self._writes = -1, ""

    # ---- what is changed ----

    def commit(self, steps: Sequence[Sequence[Any]]) -> list[list[str]]:
        """Do these in their order: [what, path, value, mode, mtime_ns, size, expected kind or "", expected value], of
        which what is f, l or d to have that there, x to delete, m for the mode. Returns [path, why] of each not done.

        All of it is on the disk when this returns. Full when no space is left; then none of it is done.
        """
        self._stop_writing()
        if self.is_full:
            raise Full
        refused, staged = [], self._staged(steps)
        try:
            for place, step in enumerate(steps):
                if why := self._try(step, staged.get(place)):
                    refused.append([step[1], why])
        finally:
            refused += self._drop_replaced()
        done = {step[1] for step in steps} - {path for path, _ in refused}
        self._flush_folders({path.rpartition("/")[0] for path in done})
        return refused

    def _staged(self, steps: Sequence[Sequence[Any]]) -> dict[int, str]:
        """Where the new content of each lies, with its mode and time, and on the disk."""
        left = Counter(step[2] for step in steps if step[0] == "f")
        found: dict[int, str] = {}
        for place, (what, _, value, mode, mtime_ns, *_) in enumerate(steps):
            if what != "f":
                continue
            left[value] -= 1
            have, size = self._sizes.get(value, (-1, 0))
            if have != size or self._hashers[value].hexdigest() != value:
                continue
            name = value if not left[value] else self._copy(value)
            os.chmod(name, (mode & 0o777 | 0o400) & ~self.umask, dir_fd=self.incoming())
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=self.incoming())
            found[place] = name
        handles.flush_files(found.values(), self.incoming() if found else -1)
        return found

    def _copy(self, name: str) -> str:
        """A file of its own: two paths must not be one."""
        new, source = self._new_name("new-"), os.open(name, handles.FILE, dir_fd=self.incoming())
        try:
            target = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._incoming)
            try:
                while part := os.read(source, CHUNK):
                    handles.write(target, part)
            finally:
                os.close(target)
        except OSError as problem:
            if problem.errno in _FULL:
                raise Full from problem
            raise
        finally:
            os.close(source)
        return new

    def _new_name(self, start: str) -> str:
        self._asides += 1
        return f"{start}{os.getpid()}-{self._asides}"

    def _try(self, step: Sequence[Any], staged: str | None) -> str:
        """Why it was not done, or nothing."""
        try:
            self._do(step, staged)
        except NotDone as why:
            return str(why)
        except OSError as problem:
            if problem.errno in _FULL:
                raise Full from problem
            return os.strerror(problem.errno or 0)
        return ""

    def _do(self, step: Sequence[Any], staged: str | None) -> None:
        what, path, value, mode, _, _, *expected = step
        if why := problem_of_path(path):
            raise NotDone(why)
        now = self.entries.get(path)
        if (list(now[:2]) if now else ["", ""]) != expected:
            raise NotDone(_CHANGED)
        with self._in_parent(path) as (parent, name):
            if what == "x":
                self._delete(path, name, parent, now)
            elif what == "d":
                self._make_folder(path, name, parent, now, mode)
            elif what == "m":
                self._set_mode(path, name, parent, now, mode)
            elif what == "l":
                link = self._new_name("new-")
                os.symlink(value, link, dir_fd=self.incoming())
                self._install(link, path, name, parent, now)
                self.entries[path] = TreeEntry("l", value)
            elif staged is None:
                raise NotDone("it was changed on the other side meanwhile, or did not arrive whole")
            else:
                self._install(staged, path, name, parent, now)
                about = os.stat(name, dir_fd=parent, follow_symlinks=False)
                self._note(path, TreeEntry("f", value, about.st_mode & 0o777, about.st_size, about.st_mtime_ns), about)
                if staged == value:
                    del self._sizes[value]

    def _install(self, new: str, path: str, name: str, parent: int, now: TreeEntry | None) -> None:
        if now is not None and now.kind != "d":
            self._check(path, name, parent, now)
            handles.rename(new, self.incoming(), name, parent, handles.EXCHANGE)
            try:
                self._check(path, new, self._incoming, now, is_moved=True)
            except NotDone:  # somebody wrote it in this very moment: theirs comes back
                handles.rename(new, self._incoming, name, parent, handles.EXCHANGE)
                raise
            old = self._new_name("old-")
            os.rename(new, old, src_dir_fd=self._incoming, dst_dir_fd=self._incoming)
            self._replaced.append((old, path, self._signs.get(path)))
            return
        if now is not None:
            self._remove_empty(name, parent)
        try:
            handles.rename(new, self.incoming(), name, parent, handles.NOREPLACE)
        except FileExistsError:
            raise NotDone("something is there by now, perhaps by a name that differs in case alone") from None

    def _check(self, path: str, name: str, parent: int, entry: TreeEntry, *, is_moved: bool = False) -> None:
        """NotDone unless what lies there is what was compared. is_moved: it may have another inode then."""
        try:
            about = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if entry.kind == "l":
                is_same = stat.S_ISLNK(about.st_mode) and os.readlink(name, dir_fd=parent) == entry.value
            else:
                compared = 2 if is_moved else 3
                is_same = stat.S_ISREG(about.st_mode)
                is_same = is_same and handles.sign(about)[:compared] == self._signs[path][:compared]
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise NotDone(_CHANGED)

    def _move_away(self, path: str, name: str, parent: int, entry: TreeEntry) -> None:
        self._check(path, name, parent, entry)
        old = self._new_name("old-")
        os.rename(name, old, src_dir_fd=parent, dst_dir_fd=self.incoming())
        try:
            self._check(path, old, self._incoming, entry, is_moved=True)
        except NotDone:
            handles.rename(old, self._incoming, name, parent, handles.NOREPLACE)
            raise
        self._replaced.append((old, path, self._signs.get(path)))

    def _remove_empty(self, name: str, parent: int) -> None:
        try:
            os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            raise NotDone(_CHANGED) from None
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise NotDone("the folder still holds what is left out, or is new") from None

    def _delete(self, path: str, name: str, parent: int, now: TreeEntry | None) -> None:
        if now is None:
            return
        if now.kind == "d":
            self._remove_empty(name, parent)
        else:
            self._move_away(path, name, parent, now)
        for known in (self.entries, self._signs, self.cache):
            known.pop(path, None)

    def _make_folder(self, path: str, name: str, parent: int, now: TreeEntry | None, mode: int) -> None:
        if now is not None and now.kind != "d":
            self._move_away(path, name, parent, now)
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode & 0o777 | 0o700, dir_fd=parent)
        os.close(os.open(name, handles.FOLDER, dir_fd=parent))  # a folder, and no link to one
        self.entries[path] = TreeEntry("d", mode=mode & 0o777)

    def _set_mode(self, path: str, name: str, parent: int, now: TreeEntry | None, mode: int) -> None:
        if now is None or now.kind != "f":
            raise NotDone(_CHANGED)
        file = os.open(name, handles.FILE, dir_fd=parent)
        try:
            about = os.fstat(file)
            if handles.sign(about) != self._signs[path]:
                raise NotDone(_CHANGED)
            readable = about.st_mode & 0o777 & ~0o111
            os.fchmod(file, readable | (readable & 0o444) >> 2 if mode & 0o100 else readable)
            about = os.fstat(file)
        finally:
            os.close(file)
        self._note(path, now._replace(mode=about.st_mode & 0o777), about)

    def rename(self, source: str, target: str) -> str:
        """Give something another name in the same folder, with all below it; why it was not done, or nothing."""
        now = self.entries.get(source)
        try:
            if now is None or problem_of_path(target) or source.rpartition("/")[0] != target.rpartition("/")[0]:
                return _CHANGED
            with self._in_parent(source) as (parent, name):
                if now.kind != "d":
                    self._check(source, name, parent, now)
                handles.rename(name, parent, target.rpartition("/")[2], parent, handles.NOREPLACE)
        except NotDone as why:
            return str(why)
        except OSError as problem:
            return os.strerror(problem.errno or 0)
        self._forget_parent()
        for known in (self.entries, self._signs, self.cache):
            moved(known, source, target)
        self._flush_folders({source.rpartition("/")[0]})
        return ""

    def _drop_replaced(self) -> list[list[str]]:
        """Remove what was replaced or deleted; what somebody went on writing to is kept, under another name."""
        kept = []
        for old, path, sign in self._replaced:
            if sign is None or handles.sign(os.stat(old, dir_fd=self._incoming, follow_symlinks=False))[:2] == sign[:2]:
                handles.unlink(old, self._incoming)
                continue
            other = f"{path}.conflict-written-{time.time_ns()}"
            with self._in_parent(path) as (parent, _):
                handles.rename(old, self._incoming, other.rpartition("/")[2], parent, handles.NOREPLACE)
            kept.append([other, "it was written while its new content was put in its place; the next sync takes it"])
        self._replaced = []
        return kept

    # ---- folders by handle: no link is followed on the way ----

    @contextlib.contextmanager
    def _in_parent(self, path: str) -> Iterator[tuple[int, str]]:
        folder, _, name = path.rpartition("/")
        if self._parent_of[1] < 0 or self._parent_of[0] != folder:
            self._forget_parent()
            self._parent_of = (folder, self._open_folder(folder))
        yield self._parent_of[1], name

    def _forget_parent(self) -> None:
        if self._parent_of[1] >= 0:
            os.close(self._parent_of[1])
        self._parent_of = ("", -1)

    def _open_folder(self, folder: str) -> int:
        handle = os.dup(self.root)
        for part in folder.split("/") if folder else ():
            try:
                inner = os.open(part, handles.FOLDER, dir_fd=handle)
            except OSError as problem:
                if problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise NotDone("its folder is not there, or is a link") from None
                raise
            finally:
                os.close(handle)
            handle = inner
        return handle

    def _flush_folders(self, folders: Iterable[str]) -> None:
        handles.flush_many([*folders], self._flush_folder)

    def _flush_folder(self, folder: str) -> None:
        with contextlib.suppress(NotDone, OSError):
            handle = self._open_folder(folder)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
