"""What the names of metrics say of them, and which were measured once an epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .history import Point

# What is known to be better when it is higher, or lower, what says most first; of any other metric nobody can say which
# is the best value.
HIGHER = ("auc", "accuracy", "acc", "precision", "recall", "f1", "r2", "ap", "map", "ndcg", "bleu")
LOWER = ("loss", "brier", "error", "rmse", "mae", "mse", "perplexity", "nll")
# What is measured over many rows at once, and hardly ever of a batch.
_OF_MANY = ("auc", "ap", "map", "bleu", "r2", "f1")
_HELD_OUT = ("val", "valid", "validation", "holdout", "heldout", "test", "eval", "dev")

# What a run measures of itself once its code has run; of several outputs with their names behind it.
_AT_THE_END = tuple(
    f"holdout_{name}" for name in ("log_loss", "roc_auc", "accuracy", "brier", "rmse", "mae", "r2", "ndcg")
)


def is_lower_better(name: str) -> bool | None:
    """Whether less of the metric is better; None when its name does not say."""
    found = words(name)
    return True if found & {*LOWER} else False if found & {*HIGHER} else None


def is_held_out(name: str) -> bool:
    """Whether it is measured on rows that nothing was learned from, by its name."""
    return bool(words(name) & {*_HELD_OUT})


def is_of_the_end(points: Sequence[Point], name: str) -> bool:
    """Whether it was measured once only, on the hold-out of a run whose code had run: it is no curve."""
    return name.startswith(_AT_THE_END) and sum(point.name == name for point in points) == 1


def is_loss(name: str) -> bool:
    """Whether it is a loss, by its name."""
    return "loss" in words(name)


def words(name: str) -> set[str]:
    """The words of a metric's name, in lower case."""
    return {*name.lower().replace("-", "_").replace("/", "_").replace(".", "_").replace(" ", "_").split("_")}


def epochs_of(params: Mapping[str, object]) -> int | None:
    """How many epochs the run is to have, as far as its parameters say it in the usual word."""
    found = params.get("epochs")
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


class Epochs(NamedTuple):
    """How far a run is, by what it has measured. wanted: how many it is to have. done: how many have ended.

    Either is None where nobody can tell. by: the metric that tells it.
    """

    wanted: int | None = None
    done: int | None = None
    by: str = ""

    def has(self, reached: int) -> bool:
        """Whether what has reached that step, counted from 1, was measured once an epoch."""
        # The epoch that goes on may have measured it already.
        return self.done is not None and reached in (self.done, self.done + 1)


def count_epochs(
    points: Sequence[Point], wanted: int | None, *, is_over: bool, checkpoint: int | None = None
) -> Epochs:
    """The epochs of a run. checkpoint: the epoch, counted from 0, of the last one, where the code keeps one of each: so
    it states how far it is.

    What reached as many steps as there were to be epochs was measured once in each, once the run is over. Until then
    as many batches may have been measured in the first epoch: what is measured on held-out rows or over many, or more
    rarely than something else, tells.
    """
    if wanted is None:
        return Epochs()
    ends = {name for name in {point.name for point in points} if is_of_the_end(points, name)}
    points = [point for point in points if point.name not in ends]
    reached = {point.name: point.step + 1 for point in points}
    if checkpoint is not None and checkpoint < wanted:
        # While the next epoch goes on, what was measured in it already has reached one step more.
        by = next((name for name, step in reached.items() if step in (checkpoint + 1, checkpoint + 2)), "")
        return Epochs(wanted, checkpoint + 1, by)
    if is_over and (all_of_them := [name for name, step in reached.items() if step == wanted]):
        return Epochs(wanted, wanted, all_of_them[0])
    counts = Counter(point.name for point in points)
    most = max(counts.values(), default=0)
    telling = [name for name in counts if _is_of_many(name) or (counts[name] < most and _is_judged(name))]
    telling = [name for name in telling if reached[name] <= wanted]
    by = max(telling, key=lambda name: reached[name], default="")
    return Epochs(wanted, reached[by], by) if by else Epochs(wanted)


def _is_of_many(name: str) -> bool:
    return is_held_out(name) or bool(words(name) & {*_OF_MANY})


def _is_judged(name: str) -> bool:
    # What is logged once, like a number of parameters, says nothing of epochs, and has no better or worse.
    return is_lower_better(name) is not None
