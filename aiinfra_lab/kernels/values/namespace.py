"""In a kernel whose machine is taken away: its namespace as a file; and in the kernel that follows: that namespace.

The file holds the names in groups, the small ones first, so that the beginning of a file is of use too. In a group are
names that share something, which they share afterwards; of all others each is for itself, and missing by itself.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import json
import random
import struct
import sys
import time
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from .arrays import has_device
from .cell import shell, write
from .packing import APART, Packed, ValueWriter, kind_of, pack
from .unpacking import unpack

_LOOK_S = 0.05
_SILENT_S = 60.0  # after which a file that does not grow is one that does not come
_NAMED = 5


def save(path: str, most_bytes: int, until: float) -> str:
    """Write the namespace into a file, as far as it can be before `until`, in epoch seconds, and has room. The answer,
    in JSON: the `size` of the file, or a `problem`."""
    namespace = shell().user_ns
    # What the values themselves hold is read by their own code: whatever that raises.
    try:
        found = _Found(namespace, until)
        packed = [*found.groups(most_bytes)]
        head = {"groups": [[[*each.sizes], each.size] for each in packed], "modules": found.modules}
        head.update(
            lost=found.lost,
            changed={name: why for name, why in found.changed.items() if name not in found.lost},
            devices=found.devices,
        )
        size = write(Path(path), _file(json.dumps(head).encode(), packed))
    except Exception as problem:  # noqa: BLE001
        return json.dumps({"problem": f"{type(problem).__name__}: {problem}", "size": 0})
    return json.dumps({"problem": "", "size": size})


def _file(head: bytes, groups: Sequence[Packed]) -> Iterator[bytes | memoryview]:
    yield struct.pack("<Q", len(head)) + head
    for each in groups:
        yield from each


@dataclass
class _Found:
    """What there is to save. modules: the imports, by name. lost: why a name is not among the groups. changed: what of
    one that is does not come back. devices: the accelerators on which tensors of one are."""

    namespace: dict[str, Any]
    until: float
    modules: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    devices: dict[str, list[str]] = field(default_factory=dict)

    def groups(self, most_bytes: int) -> Iterator[Packed]:
        """Each is packed again with what it shares: nothing may run in between."""
        values, sizes, shared = self._values(), {}, _Shared()
        for name, value in values.items():
            if time.time() >= self.until:
                self.lost[name] = "no time was left"
                continue
            writer = ValueWriter(self.namespace)
            try:
                writer.variable(name, value, may_pickle=True)
                sizes[name] = writer.size
                shared.add(name, writer.reached(), writer.touched)
                self._changed([name], writer.changes)
                if writer.devices:
                    self.devices[name] = sorted(writer.devices)
            except Exception:  # noqa: BLE001
                self.lost[name] = kind_of(value)
            finally:
                vars(writer).clear()  # it is in a cycle with its pickler, and may hold copies
        states = {f"{_STATE}{name}": state for name, state in _random_states()}
        if states:
            yield pack(states)
        left = most_bytes
        for names in sorted(shared.groups(), key=lambda names: sum(sizes[name] for name in names)):
            try:
                packed = pack({name: values[name] for name in names}, self.namespace)
            except Exception:  # noqa: BLE001  # it has changed since
                self.lost.update((name, kind_of(values[name])) for name in names)
                continue
            left -= packed.size
            if left >= 0:
                if APART in packed.changes:
                    self._changed(names, [APART])
                yield packed
            else:
                self.lost.update((name, f"{_in_words(sizes[name])}, for which there is no room") for name in names)

    def _changed(self, names: Sequence[str], changes: Collection[str]) -> None:
        for name in names if changes else ():
            self.changed[name] = " and ".join([*filter(None, [self.changed.get(name)]), *sorted(changes)])

    def _values(self) -> dict[str, Any]:
        """What somebody has set, but for the imports."""
        hidden, found = shell().user_ns_hidden, {}
        for name, value in [*self.namespace.items()]:
            is_pythons = name[:2] == name[-2:] == "__" or name == "_"
            if is_pythons or hidden.get(name, self) is value:
                continue
            if isinstance(value, types.ModuleType) and sys.modules.get(value.__name__) is value:
                self.modules[name] = value.__name__
            else:
                found[name] = value
        return found


class _Shared:
    """Which names share something."""

    def __init__(self) -> None:
        self._of: dict[int, str] = {}
        self._group: dict[str, list[str]] = {}
        self._alive: list[object] = []  # an id is another object's once its own is gone
        self._touched: list[tuple[int, int, str]] = []

    def add(self, name: str, reached: Mapping[int, object], touched: Sequence[tuple[int, int]]) -> None:
        """reached: objects by id. touched: the memory of its arrays, which others may look at too."""
        self._group[name] = [name]
        for id_ in reached:
            self._join(self._of.setdefault(id_, name), name)
        self._alive.append(reached)
        self._touched += [(low, high, name) for low, high in touched if low < high]

    def _join(self, one: str, other: str) -> None:
        group, more = self._group[one], self._group[other]
        if group is not more:
            group += more
            self._group.update(dict.fromkeys(more, group))

    def groups(self) -> list[list[str]]:
        end, last = 0, ""
        for low, high, name in sorted(self._touched):
            if low < end:
                self._join(last, name)
            if high > end:
                end, last = high, name
        return [*{id(group): group for group in self._group.values()}.values()]


def _in_words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


_STATE = " "  # no name of a namespace begins so


def _random_states() -> Iterator[tuple[str, Any]]:
    """Where the generators stand that code draws from without making one."""
    yield "random", random.getstate()
    if numpy := sys.modules.get("numpy"):
        yield "numpy", numpy.random.get_state()
    if torch := sys.modules.get("torch"):
        yield "torch", torch.get_rng_state()
        if torch.cuda.is_initialized():
            yield "torch.cuda", torch.cuda.get_rng_state_all()


def _set_random(name: str, state: Any) -> None:
    if name == "random":
        random.setstate(state)
    elif name == "numpy":
        importlib.import_module("numpy").random.set_state(state)
    elif name == "torch":
        importlib.import_module("torch").set_rng_state(state)
    elif len(state) == (cuda := importlib.import_module("torch.cuda")).device_count():  # else whose is whose?
        cuda.set_rng_state_all(state)


def restore(path: str, size: int, where: str) -> None:
    """Put a namespace back that was saved, once its file has come, and have the next cell say how far that went.

    size: of the file; 0 for none. where: what is to be said before
    """
    restored = _Restored()
    try:
        if size:
            restored.read(Path(path).expanduser(), size)
    except KeyboardInterrupt:
        restored.problem = "it was interrupted while its names were put back"
    except (OSError, ValueError, struct.error) as problem:
        restored.problem = f"what was saved cannot be read: {problem}"
    _announce(f"[{where}; {restored.text()}]\n")


@dataclass
class _Restored:
    """How far it went. lost: why a name was not saved; kept: why one that was saved could not be put back.
    changed: what is not as it was of one that is back."""

    back: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    def read(self, path: Path, size: int) -> None:
        _await(path, size)
        with path.open("rb") as file:
            path.unlink()
            head = json.loads(file.read(*struct.unpack("<Q", file.read(8))))
            self.lost, changed = head["lost"], head["changed"]
            for name, module in head["modules"].items():
                with self._noting([name]):
                    self._set({name: importlib.import_module(module)})
            states: dict[str, Any] = {}
            for names, length in head["groups"]:
                if names[0].startswith(_STATE):
                    states = unpack(_part(file, length), pickles=True)
                    continue
                with self._noting(names):
                    self._set(unpack(_part(file, length), pickles=True, to_devices=True))
            for name, devices in head["devices"].items():
                # Of what is not back nobody knows: there may be no torch to ask.
                if name in self.back and (gone := [each for each in devices if not has_device(each)]):
                    why = f"it is in the processor's memory: there is no {', '.join(gone)}"
                    changed[name] = " and ".join(filter(None, [changed.get(name), why]))
            self.changed = {name: why for name, why in changed.items() if name in self.back}
            for name, state in states.items():  # last: to make the values may have drawn
                with contextlib.suppress(Exception):
                    _set_random(name.removeprefix(_STATE), state)

    def text(self) -> str:
        if not (self.back or self.lost or self.kept):
            return f"its kernel begins empty{f': {self.problem}' if self.problem else ''}"
        every = len(self.back) + len(self.lost) + len(self.kept)
        back = f"{len(self.back)} of {every} names {'is' if every == 1 else 'are'} back"
        saved = f"; could not be saved: {_listed(self.lost)}" if self.lost else ""
        if len(self.lost) == 1:
            [(name, why)] = self.lost.items()
            saved = f"; `{name}` could not be saved ({why})"
        kept = f"; could not be put back: {_listed(self.kept)}" if self.kept else ""
        changed = f"; not as before: {_listed(self.changed)}" if self.changed else ""
        return f"{back}{saved}{kept}{changed}{f'; {self.problem}' if self.problem else ''}"

    def _set(self, values: dict[str, Any]) -> None:
        shell().push(values)
        shell().user_ns["__builtins__"] = builtins  # which functions that are unpacked bring along as a dict
        self.back += values

    @contextlib.contextmanager
    def _noting(self, names: Collection[str]) -> Iterator[None]:
        try:
            yield
        except Exception as problem:  # noqa: BLE001  # whatever the objects' own code raises
            what = str(problem).partition("\n")[0]
            self.kept.update(dict.fromkeys(names, what.rpartition(": ")[2] or type(problem).__name__))


def _await(path: Path, size: int) -> None:
    """Until the file is there, as far as it was saved. OSError when it does not come."""
    has, since = -1, time.monotonic()
    while has < size:
        with contextlib.suppress(OSError):
            now = path.stat().st_size
            if now != has:
                has, since = now, time.monotonic()
        if time.monotonic() - since > _SILENT_S:
            raise OSError("it has not come")
        if has < size:
            time.sleep(_LOOK_S)


def _part(file: BinaryIO, length: int) -> bytearray:
    """Memory that becomes that of the values. ValueError when not all of it has come before the machine was gone."""
    data = bytearray(length)
    if file.readinto(data) < length:  # type: ignore[attr-defined]
        raise ValueError("it had not come in time")
    return data


def _listed(names: Mapping[str, str]) -> str:
    listed = [f"`{name}` ({why})" for name, why in [*names.items()][:_NAMED]]
    more = len(names) - len(listed)
    return ", ".join(listed) + (f" and {more} more" if more else "")


def _announce(text: str) -> None:
    """Have the next cell that somebody runs begin with this line."""

    def show(_info: Any = None) -> None:
        shell().events.unregister("pre_run_cell", show)
        sys.stderr.write(text)
        sys.stderr.flush()  # before what the cell itself puts out

    shell().events.register("pre_run_cell", show)
