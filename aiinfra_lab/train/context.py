"""What training code sees as `run`: its parameters, its rows, and where it puts what it learned."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import LabError, UsageProblem
from ..host.notice import MachineNotice
from . import checkpoint
from .code import Stopped
from .history import FILE, MetricLog, Point
from .parameters import Parameters
from .record import MODEL

if TYPE_CHECKING:
    from ..features.contract import Columns
    from .given import SavedWith
    from .heldout import HoldoutScores
    from .table import Tensors, TrainingTable


Batch = TypeVar("Batch")


class Context:
    """The object `run` inside a training cell.

    uri: the run, e.g. train:delay@3. params: what was passed with -p. seed: what all generators were seeded with.
    resumed: the state of the checkpoint that this run goes on from, or None. went_on: whether the code put it back.
    """

    def __init__(
        self,
        uri: str,
        folder: Path,
        *,
        params: Mapping[str, bool | int | float | str],
        seed: int,
        open_rows: Callable[[], Any],
        stop_requested: Callable[[], bool],
        resumed: dict[str, Any] | None = None,
        logged: Callable[[Sequence[Point]], None] = lambda points: None,
    ) -> None:
        self.uri = uri
        self.params = Parameters(params)
        self.seed = seed
        self.resumed = resumed
        self.went_on = False
        self._kept: list[int] = []
        self._learning: tuple[Any, Any] | None = None  # the model and the optimizer, once the code has shown them
        self._epoch_began: dict[str, Any] = {}  # where the random generators stood
        self._within = 0  # so many steps of the epoch in progress are in the checkpoint that it goes on from
        self._more: frozenset[str] = frozenset()
        self._notice = MachineNotice()
        self.history = MetricLog(folder / FILE, (resumed or {}).get("steps"))
        self._folder = folder
        self._open_rows = open_rows
        self._stop_requested = stop_requested
        self._logged = logged

    def __repr__(self) -> str:
        return f"{self.uri} ({self.params!r})"

    @cached_property
    def rows(self) -> Any:
        """The rows' handle: `.df()` reads them, `.columns`, `.label` and `.timestamp` name their parts."""
        return self._open_rows()

    @property
    def columns(self) -> Columns:
        """The columns contract. `.numbers` and `.categories` are its columns, `.sizes` the embeddings' sizes."""
        return self._table.columns()

    @property
    def labels(self) -> tuple[str, ...] | dict[str, tuple[str, ...]]:
        """The classes of a label of texts, in the order that `y` counts them in; of several labels those of each, by
        its column. Empty for numbers.
        """
        return self._table.labels

    def tensors(self) -> Tensors:
        """All rows as (numbers, codes, y), in their order."""
        return self._table.tensors()

    def split(self, holdout: float = 0.2, *, group: str = "") -> tuple[Tensors, Tensors]:
        """The rows to learn from, and a share of them as a hold-out that nothing was fitted on; the card says which.

        The latest where the rows have a time, else some at random, of each class alike. group: a column whose rows with
        one value stay together, such as a customer's.
        """
        return self._table.split(holdout, group=group, seed=self.seed)

    @property
    def holdout(self) -> str:
        """How the hold-out was chosen; empty when there is none."""
        return self._table.holdout if "_table" in self.__dict__ else ""

    def log(self, step: int | None = None, **metrics: Any) -> None:
        """Record numbers: `run.log(loss=loss, auc=…)`. Without a step each metric counts its own.

        Here the run also ends when somebody asked it to stop.
        """
        points = self.history.add(step, metrics)
        self._logged(points)  # before the stop: what was measured is kept
        self._stop_if_asked()

    @property
    def checkpointed(self) -> int | None:
        """The epoch of its last checkpoint, counted from 0; None unless it keeps one of each epoch."""
        first = int(self.resumed["epoch"]) + 1 if self.resumed else 0
        return self._kept[-1] if self._kept and self._kept == [*range(first, first + len(self._kept))] else None

    def checkpoint(self, model: Any, optimizer: Any = None, *, epoch: int, **more: Any) -> None:
        """Keep the state after an epoch, in place of the one before: weights, optimizer, random generators and `more`.

        `more` may hold tensors, numbers, texts and state dicts, such as a scheduler's.
        """
        self._learning, self._more = (model, optimizer), frozenset(more)
        state = self._state(int(epoch))
        if clash := state.keys() & more.keys():
            raise UsageProblem(f"run.checkpoint keeps {min(clash)!r} already", "give yours another name")
        checkpoint.save(self._folder / checkpoint.FILE, {**state, **more}, int(epoch))
        self._kept.append(int(epoch))
        self._epoch_began = state["random"]
        # After the save: what this epoch learned is kept.
        self._stop_if_asked()

    def steps(self, batches: Iterable[Batch], **more: Callable[[], Any]) -> Iterator[Batch]:
        """The batches of an epoch, a step of it with each: `for numbers, codes, y in run.steps(loader):`.

        Once its provider has announced that it takes the machine, the state after each step is kept too, of the model
        and the optimizer that `resume` was given, and a run that goes on from there begins with the next step: it draws
        the same batches again and passes over those that it has learned from.

        more: what else `checkpoint` keeps, as functions that give it: `scheduler=scheduler.state_dict`
        UsageProblem where `checkpoint` has kept more than that.
        """
        if lacking := sorted(self._more - more.keys()):
            example = f"run.steps(batches, {lacking[0]}={lacking[0]}.state_dict)"
            raise UsageProblem(f"run.checkpoint keeps {', '.join(lacking)} too", f"name it here, e.g. `{example}`")
        done, saved_s, saved_at = self._within, 0.0, 0.0
        self._within = 0
        for step, batch in enumerate(batches, 1):
            if step < done:
                continue
            if step == done and self.resumed is not None:
                checkpoint.set_random_state(self.resumed["random"])
                continue
            yield batch
            if not (self._learning and self._notice.is_heard()):
                continue
            now = time.monotonic()
            # Nobody knows which step is the last one; no more than half of the time goes into keeping them.
            if now - saved_at >= saved_s:
                self._keep_step(step, {name: give() for name, give in more.items()})
                saved_at = time.monotonic()
                saved_s = saved_at - now

    def _keep_step(self, step: int, more: Mapping[str, Any]) -> None:
        before = self._kept[-1] if self._kept else int(self.resumed["epoch"]) if self.resumed and self.went_on else -1
        state = {**self._state(before), "step": step, "epoch_began": self._epoch_began, **more}
        checkpoint.save(self._folder / checkpoint.FILE, state, before, step)

    def _state(self, epoch: int) -> dict[str, Any]:
        assert self._learning is not None
        model, optimizer = self._learning
        return {
            "epoch": epoch,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict() if optimizer is not None else None,
            # Both, so that a resumed run draws and counts as an uninterrupted one would have.
            "random": checkpoint.random_state(),
            "steps": self.history.steps,
        }

    def resume(self, model: Any, optimizer: Any = None) -> int:
        """Put back what the last checkpoint holds, and return the epoch to go on with; 0 without --resume."""
        self._learning = model, optimizer
        self._epoch_began = checkpoint.random_state()
        if self.resumed is None:
            return 0
        try:
            model.load_state_dict(self.resumed["model"])
            if optimizer is not None and self.resumed["optimizer"] is not None:
                optimizer.load_state_dict(self.resumed["optimizer"])
        except (RuntimeError, ValueError) as problem:
            first = str(problem).partition("\n")[0]
            raise UsageProblem(
                f"the checkpoint is of another network: {first}",
                "resume with the network it was made with, or start anew without --resume or --from",
            ) from problem
        # Last: building the model and the optimizer has drawn random numbers.
        self._within = int(self.resumed.get("step", 0))
        self._epoch_began = self.resumed["epoch_began"] if self._within else self.resumed["random"]
        checkpoint.set_random_state(self._epoch_began)
        self.went_on = True
        return int(self.resumed["epoch"]) + 1

    def save(
        self,
        model: Any,
        *,
        inputs: Mapping[str, Any] | None = None,
        tokenizer: Any = None,
        outputs: Sequence[str] = (),
        task: str = "custom",
        labels: Sequence[object] | Mapping[str, Sequence[object]] = (),
    ) -> None:
        """Export the trained network: ONNX that is checked against torch, weights, contract, signature, an example.

        Its `forward(numbers, codes)` gives one score a row, a tensor of shape (rows,); or, named in `outputs`, one or
        several tensors whose first dimension is the rows, also as a dict of names. Of several label columns it gives a
        tensor of shape (rows, labels), or one for each of them, and the outputs are called like them.

        inputs: a few rows of each array that it takes instead of columns, in forward's order, `{"image": images[:4]}`;
        `NAME_mask` beside NAME says where a sequence has values, and makes its length one that may vary.
        tokenizer: makes tokens of an input of texts, `{"text": ["first", "second"]}`: one of the library tokenizers, or
        of transformers. The network's `forward(input_ids, attention_mask)` takes whole numbers, (rows, tokens); texts
        are cut at the length that the tokenizer cuts at, else at 512 tokens. Of several texts, `{"title": …, "body":
        …}`, forward takes the tokens and the mask of each in turn; one tokenizer reads all, or `{"title": …, "body":
        …}` has one for each. Of a generation, an output of whole numbers, (rows, tokens), is answered as the text that
        the first text's tokenizer makes of them.
        task: what they mean: classification, regression, ranking, embedding, generation or custom. labels: of a
        classification, in the order of its numbers; an output with a number for each of them is answered as the most
        likely label and `NAME_probabilities`, by softmax where they are no probabilities. Each output may have its own,
        `labels={"carrier": ["AA", "UA"], "late": ["no", "yes"]}`. Those of a label column of texts are known, and where
        forward gives a number for each of them, `run.save(model)` is enough: the output is called like the label; of
        several such columns forward gives a tensor for each. A classification or regression is measured on the hold-out
        of `run.split()` once the code has run, as it will be served: `holdout_log_loss`, `holdout_rmse`, …, of several
        outputs the mean and each one's own, `holdout_log_loss_carrier`; a ranking on that of `run.split(group=…)`, by
        the order within each group: `holdout_ndcg`.
        """
        from . import export, signature
        from .given import OfArrays, OfTable, OfTexts
        from .scoring import class_names

        is_unnamed = task == "classification" and not labels
        table = self._table if inputs is None else self._known_table() if is_unnamed else None
        known = table.labels if table and is_unnamed else labels
        meant = signature.task_of(task, known, table.classes if table and is_unnamed else ())
        if task == "classification" and inputs is None:
            alone = self._table.targets[0] if len(self._table.targets) == 1 else ""
            for target, named in ({alone: meant.labels} if alone else meant.labels_by_output).items():
                if target in self._table.targets:
                    class_names(self._table.frame[target], named)  # a class without a name is refused
        if tokenizer is not None:
            given: SavedWith = OfTexts(inputs or {}, tokenizer, has_mask=export.takes_masks(model, inputs or {}))
        else:
            given = OfTable(self._table) if inputs is None else OfArrays(inputs)
        label = table.targets[0] if table and len(table.targets) == 1 else ""
        usual = table.labels_by_target if table and inputs is None and not outputs else {}
        if table and len(table.targets) > 1:
            outputs = outputs or table.targets
        export.save(model, given, self._folder / MODEL, outputs, meant, label, usual)

    def measure(self) -> HoldoutScores:
        """Measure the saved model on the hold-out, once the code has run. The metrics are logged, the rest is kept."""
        from . import heldout

        found = heldout.measure(self._table if "_table" in self.__dict__ else None, self._folder)
        for name, value in found.metrics.items():
            # In the place of the last that the code logged by that name: it is no further epoch. And not by `log`,
            # where a run that was asked to stop ends: it has come to its end.
            step = max(0, self.history.steps.get(name, 0) - 1)
            self._logged(self.history.add(step, {name: value}))
        return found

    @cached_property
    def _table(self) -> TrainingTable:
        from .table import TrainingTable

        return TrainingTable(self.rows)

    def _known_table(self) -> TrainingTable | None:
        """The rows as a table with a label; None where they are none, as those of arrays need not be."""
        with contextlib.suppress(LabError):
            return self._table
        return None

    def _stop_if_asked(self) -> None:
        if self._stop_requested():
            raise Stopped
