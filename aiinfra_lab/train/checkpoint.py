"""Checkpoints: one safetensors file, whose header holds the rest of the state as JSON. Nothing in it can run."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Damaged, UsageProblem
from ..files import writing

FILE = "checkpoint.safetensors"
_HEADER = 100_000_000  # what the safetensors format allows
_PLAIN = (str, int, float, bool, type(None))


class CheckpointProgress(NamedTuple):
    """How far a checkpoint is: the last epoch that it holds whole, counted from 0 (-1: none), and so many steps of the
    next one."""

    epoch: int
    step: int = 0

    def __str__(self) -> str:
        # The code counts its epochs from 0, and everything that is shown of them from 1.
        return f"after step {self.step} of epoch {self.epoch + 2}" if self.step else f"after epoch {self.epoch + 1}"


def save(path: Path, state: Mapping[str, Any], epoch: int, step: int = 0) -> None:
    """Write a state of nested dicts, lists, tuples, numbers, texts and tensors; whole or not at all.

    UsageProblem names what cannot be stored.
    """
    tensors: dict[str, Any] = {}
    skeleton = _flatten(dict(state), tensors, "state")
    save_tensors(path, tensors, {"state": json.dumps(skeleton), "epoch": str(epoch), "step": str(step)})


def progress(path: Path) -> CheckpointProgress | None:
    """How far the checkpoint there is, read from the file's first bytes; None when there is none."""
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            # At most what the format allows: in another kind of file the first bytes may stand for any size.
            notes = json.loads(file.read(min(size, _HEADER)))["__metadata__"]
            return CheckpointProgress(
                int(notes["epoch"]), int(notes.get("step", 0))
            )  # an earlier version wrote no step
    except (OSError, struct.error, ValueError, KeyError, TypeError):
        return None


def load(path: Path) -> dict[str, Any]:
    """The state that was saved. Damaged when the file is not what `save` wrote."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            skeleton = json.loads(file.metadata()["state"])
            state: dict[str, Any] = _restore(skeleton, file)
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as problem:
        raise Damaged(
            f"the checkpoint {path} cannot be read: {problem}", "start the run anew, without --resume or --from"
        ) from problem
    return state


def save_tensors(path: Path, tensors: Mapping[str, Any], notes: Mapping[str, str]) -> None:
    """Write named tensors and texts as a safetensors file, whole or not at all."""
    from safetensors.torch import save_file

    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    copied = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with writing(path) as aside:
        save_file(copied, aside, dict(notes))


def random_state() -> dict[str, Any]:
    """Where the random generators of Python, NumPy and torch stand."""
    import numpy as np
    import torch

    kind, keys, position, has_gauss, gauss = np.random.get_state()  # the global one is what users' code uses
    state = {
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    return {**state, "cuda": torch.cuda.get_rng_state_all()} if torch.cuda.is_available() else state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put the random generators where they stood."""
    import numpy as np
    import torch

    kind, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    # With another number of GPUs there is no saying whose generator is whose; the run goes on with fresh ones.
    if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_all(seed: int) -> None:
    """Seed the random generators of Python, NumPy and torch."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    # This seeds the generators of all GPUs too.
    torch.manual_seed(seed)


def _flatten(value: Any, tensors: dict[str, Any], path: str) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        # As pairs: the keys of a JSON object are texts, and those of an optimizer's state are numbers.
        return {"items": [[_key(key, path), _flatten(item, tensors, f"{path}.{key}")] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_flatten(item, tensors, f"{path}.{index}") for index, item in enumerate(value)]}
    if hasattr(value, "detach"):
        tensors[path] = value
        return {"tensor": path}
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()  # a NumPy number
    raise UsageProblem(
        f"a checkpoint cannot hold {path.removeprefix('state.')}, a {type(value).__name__}",
        "give it tensors, numbers, texts, and lists or dicts of those (state_dict() gives such)",
    )


def _restore(value: Any, file: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return file.get_tensor(inner)
    if kind == "items":
        return {key: _restore(item, file) for key, item in inner}
    made = [_restore(item, file) for item in inner]
    return tuple(made) if kind == "tuple" else made


def _key(key: object, path: str) -> str | int:
    if isinstance(key, str | int):
        return key
    raise UsageProblem(f"a checkpoint cannot hold the key {key!r} of {path}", "use texts or whole numbers as keys")
