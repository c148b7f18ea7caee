"""The metrics of a task on labelled rows: each one's value, and what it would be of rows drawn with other weights.

Values are scikit-learn's. Under weights they are computed for many draws at once, as a bootstrap needs them; tests hold
the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import Failed, UsageProblem
from ..features.contract import category_text
from .signature import Signature, Task

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Draws = Callable[["NDArray[Any]"], "NDArray[Any]"]
"""Weights, draws x rows → the metric of each draw; NaN where a draw leaves it undefined."""

SCORED = ("classification", "regression", "ranking")
LEAST_ROWS = 10
"""Of fewer rows no metric says anything."""


class Unscored(Failed):
    """There is no metric of these answers to these rows; what says why."""


class Metric(NamedTuple):
    """One metric of a model's answers. value: None where these rows leave it undefined, and then reason says why.
    output: which of several outputs it is of; empty for one of all.
    """

    name: str
    value: float | None
    draws: Draws
    reason: str = ""
    output: str = ""


class Scoring(NamedTuple):
    """All metrics of a model's answers to some rows, and each row's loss."""

    metrics: tuple[Metric, ...]
    losses: NDArray[Any]


def score(
    signature: Signature,
    outputs: Mapping[str, NDArray[Any]],
    truth: pd.DataFrame,
    groups: pd.Series[Any] | None = None,
) -> Scoring:
    """The task's metrics of these outputs. truth: a column for each label, of class names or of numbers. groups: which
    rows belong together; a ranking is one of each group's rows.

    Unscored for another task, for too few rows, for outputs that are not finite, and where nobody can tell which output
    answers which label.
    """
    if signature.task.name not in SCORED:
        raise Unscored(f"no metric is computed for the task {signature.task.name}", way_to_a_task(signature.task))
    if len(truth) < LEAST_ROWS:
        raise Unscored(f"{len(truth)} rows are too few to measure anything on", f"hold out {LEAST_ROWS} or more")
    if signature.task.name == "classification":
        return _classification(signature, outputs, truth)
    if signature.task.name == "ranking":
        return _ranking(signature, outputs, truth, groups)
    return _regression(signature, outputs, truth)


def way_to_a_task(task: Task) -> str:
    """How a model of no such task gets metrics."""
    if task.name != "custom":
        return "log what matters for it: run.log(…)"
    return "name it: run.save(model, task='regression'), or task='classification' with labels=[…]"


def class_names(column: pd.Series[Any], labels: Sequence[str]) -> pd.Series[Any]:
    """Each row's class, by its name in `labels`: what it is called or, of whole numbers, its place among them.

    Which of the two, the labels alone say: where one of them is a number, numbers are names, and truth values are where
    they are named. What other rows hold must not change what a row means.

    UsageProblem when the column holds a class that `labels` does not name.
    """
    found = [value.item() if hasattr(value, "item") else value for value in column.unique()]
    names = {value: _class_name(value, labels) for value in found}
    if None not in names.values():
        return column.map(names)
    texts = sorted(category_text(value) or str(value) for value in found)
    more = ", …" if len(texts) > _MOST_NAMES else ""
    raise UsageProblem(
        f"{column.name} has {len(texts)} classes, {', '.join(texts[:_MOST_NAMES])}{more}, and labels names others: "
        f"{', '.join(labels[:_MOST_NAMES])}",
        "name each class in labels, in the order of the network's numbers",
    )


def _class_name(value: object, labels: Sequence[str]) -> str | None:
    """The label of one value, None where it has none."""
    if isinstance(value, bool):
        if spelled := next((each for each in _TRUTHS if {*each} <= {*labels}), None):
            return spelled[value]
    elif isinstance(value, int | float):
        if any(map(_is_number, labels)):
            return next((name for name in (category_text(value), str(value)) if name in labels), None)
    else:
        return str(value) if str(value) in labels else None
    return labels[int(value)] if _is_place(value, len(labels)) else None


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


_TRUTHS = (("false", "true"), ("False", "True"), ("0", "1"))
_MOST_NAMES = 5
_MOST_AREAS = 20  # each takes its own order of the rows, in each of a bootstrap's draws


def _is_place(value: float, count: int) -> bool:
    return float(value).is_integer() and 0 <= value < count


def _classification(signature: Signature, outputs: Mapping[str, NDArray[Any]], truth: pd.DataFrame) -> Scoring:
    names = [*truth.columns]
    if len(names) == 1 and not signature.task.labels_by_output:
        output, labels = _answering(signature), signature.task.labels
        return _classes(truth[names[0]], labels, _probabilities(output, outputs[output], labels))
    each: dict[str, Scoring] = {}
    for name in names:
        if not (labels := labels_of(signature, name)):
            shown = ", ".join(map(str, signature.outputs))
            raise Unscored(
                f"it cannot be known which of {shown} answers {name}",
                f"call it so, with its labels: run.save(model, outputs={names}, labels={{{name!r}: ['no', 'yes'], …}})",
            )
        each[name] = _classes(truth[name], labels, _probabilities(name, outputs[name], labels))
    return _together(each)


def labels_of(signature: Signature, name: str) -> tuple[str, ...]:
    """The labels that the output of that name answers: a number for each, or of two the second's; else none."""
    output = next((item for item in signature.outputs if item.name == name), None)
    labels = signature.task.labels_of(name)
    is_one = output is not None and output.is_scalar and len(labels) == 2
    return labels if output is not None and (is_one or signature.has_labels(output)) else ()


def _classes(truth: pd.Series[Any], labels: Sequence[str], chances: NDArray[Any]) -> Scoring:
    import numpy as np
    from sklearn import metrics

    if strange := sorted({*truth} - {*labels}):
        raise Unscored(f"the model has no label {strange[0]!r}", "compare models of the same labels")
    at = truth.map({label: place for place, label in enumerate(labels)}).to_numpy(dtype="int64")
    rows, every = np.arange(len(at)), range(len(labels))
    one_hot = np.eye(len(labels))[at]
    losses = -np.log(np.clip(chances[rows, at], np.finfo(float).eps, 1.0))
    squares = ((chances - one_hot) ** 2).sum(1) / (2 if len(labels) == 2 else 1)
    return Scoring(
        (
            Metric("log_loss", float(metrics.log_loss(at, chances, labels=[*every])), _mean(losses)),
            _areas(at, chances, labels),
            Metric(
                "accuracy",
                float(metrics.accuracy_score(at, chances.argmax(1))),
                _mean((chances.argmax(1) == at).astype(float)),
            ),
            Metric("brier", float(metrics.brier_score_loss(at, chances, labels=[*every])), _mean(squares)),
        ),
        losses,
    )


def _areas(at: NDArray[Any], chances: NDArray[Any], labels: Sequence[str]) -> Metric:
    """The area under the curve of two labels; of more the mean of each one against all others."""
    from sklearn import metrics

    places = [1] if len(labels) == 2 else [*range(len(labels))]
    draws = _mean_of([_auc(chances[:, place], at == place) for place in places])
    reason = next((f"no row is {label}" for place, label in enumerate(labels) if place not in at), "")
    if len(labels) > _MOST_AREAS:
        reason = f"it is computed of {_MOST_AREAS} labels at most"
    if reason:
        return Metric("roc_auc", None, draws, reason)
    given = chances[:, 1] if len(labels) == 2 else chances
    value = metrics.roc_auc_score(at, given, multi_class="ovr", average="macro", labels=[*range(len(labels))])
    return Metric("roc_auc", float(value), draws)


def _answering(signature: Signature) -> str:
    """The one output that answers the label."""
    wide = [item.name for item in signature.outputs if signature.has_labels(item)]
    alone = [item.name for item in signature.outputs if item.is_scalar] if len(signature.task.labels) == 2 else []
    if len(wide or alone) != 1:
        raise Unscored(
            f"it cannot be known which of {', '.join(item.name for item in signature.outputs)} answers the label",
            "give one output a number for each label",
        )
    (name,) = wide or alone
    return name


def _probabilities(name: str, values: NDArray[Any], labels: Sequence[str]) -> NDArray[Any]:
    """Each label's probability, rows x labels."""
    import numpy as np

    found = _finite(name, values)
    if found.ndim == 1:
        if found.min() < 0 or found.max() > 1:
            raise Unscored(f"{name} is no probability of {labels[1]}: it leaves 0 to 1", "end forward with sigmoid")
        return np.column_stack([1 - found, found])
    # As float32 they sum to 1 but for the last digits, which scikit-learn minds.
    shares: NDArray[Any] = found / found.sum(1, keepdims=True)
    return shares


def _regression(signature: Signature, outputs: Mapping[str, NDArray[Any]], truth: pd.DataFrame) -> Scoring:
    if texts := next((name for name in truth.columns if truth[name].dtype == object), ""):
        raise Unscored(f"{texts} is texts, and a regression answers numbers", "write task='classification'")
    answers = {name: _finite(name, values) for name, values in _answers_by_label(signature, outputs, truth)}
    wanted = {name: truth[name].to_numpy(dtype="float64") for name in truth.columns}
    return _together(
        {
            name: Scoring(tuple(_of_numbers(wanted[name], answers[name])), (wanted[name] - answers[name]) ** 2)
            for name in wanted
        }
    )


def _together(each: Mapping[str, Scoring]) -> Scoring:
    """That of the only label; of several the mean of each metric, and each label's own."""
    import numpy as np

    if len(each) == 1:
        return next(iter(each.values()))
    means = [_mean_metric(together) for together in zip(*(found.metrics for found in each.values()), strict=True)]
    named = [
        one._replace(name=f"{one.name}_{_word(name)}", output=name)
        for name, found in each.items()
        for one in found.metrics
    ]
    return Scoring((*means, *named), np.mean([found.losses for found in each.values()], axis=0))


def _ranking(
    signature: Signature, outputs: Mapping[str, NDArray[Any]], truth: pd.DataFrame, groups: pd.Series[Any] | None
) -> Scoring:
    """The mean over groups of the discounted gain of the order that the model gives, as a share of the best order's.

    A group of one row, or in which no row is relevant, has no order to get wrong, and does not count.
    """
    import numpy as np

    if groups is None:
        raise Unscored(
            "a ranking is measured within groups, and nothing says which rows belong together",
            "hold out whole groups: run.split(group='COLUMN')",
        )
    name, gains = _gains(truth)
    answers = _finite(name, next(values for _, values in _answers_by_label(signature, outputs, truth)))
    places = groups.groupby(groups, dropna=False, sort=False).indices.values()
    ranked = [(at, _ndcg(gains[at], answers[at])) for at in places if len(at) > 1 and gains[at].any()]
    losses = np.full(len(gains), np.nan)
    for at, value in ranked:
        losses[at] = 1 - value
    if not ranked:
        metric = Metric("ndcg", None, lambda weights: np.full(len(weights), np.nan), "no group has an order to judge")
        return Scoring((metric,), losses)
    # Rows of one group are drawn together: the first one's weight is the group's.
    firsts, values = np.array([at[0] for at, _ in ranked]), np.array([value for _, value in ranked])

    def drawn(weights: NDArray[Any]) -> NDArray[Any]:
        of_groups = weights[:, firsts]
        with np.errstate(divide="ignore", invalid="ignore"):
            found: NDArray[Any] = of_groups @ values / of_groups.sum(1)
        return found

    return Scoring((Metric("ndcg", float(values.mean()), drawn),), losses)


def _gains(truth: pd.DataFrame) -> tuple[str, NDArray[Any]]:
    """How relevant each row is, from 0 on."""
    if len(truth.columns) > 1 or truth.iloc[:, 0].dtype == object:
        raise Unscored("a ranking has one label, of numbers that say how relevant a row is", "log a metric: run.log(…)")
    name, gains = str(truth.columns[0]), truth.iloc[:, 0].to_numpy(dtype="float64")
    if gains.min() < 0:
        raise Unscored(
            f"{name} is below 0, and says how relevant a row is", "let it begin at 0, for what is irrelevant"
        )
    return name, gains


def _ndcg(gains: NDArray[Any], answers: NDArray[Any]) -> float:
    from sklearn import metrics

    return float(metrics.ndcg_score(gains[None], answers[None]))


def _answers_by_label(
    signature: Signature, outputs: Mapping[str, NDArray[Any]], truth: pd.DataFrame
) -> Iterator[tuple[str, NDArray[Any]]]:
    """What answers each label: the output that is called like it, else the only ones that there are, in their order."""
    names, alone = [*truth.columns], [item.name for item in signature.outputs if item.is_scalar]
    wide = [item.name for item in signature.outputs if item.row_shape == (len(names),)]
    if {*names} <= {*alone}:
        yield from ((name, outputs[name]) for name in names)
    elif len(wide) == 1 and len(signature.outputs) == 1:
        yield from ((name, outputs[wide[0]][:, at]) for at, name in enumerate(names))
    elif len(alone) == len(names) == len(signature.outputs):
        yield from zip(names, (outputs[name] for name in alone), strict=True)
    else:
        shown = ", ".join(str(item) for item in signature.outputs)
        raise Unscored(
            f"it cannot be known which of {shown} answers {', '.join(names)}",
            f"call it so: run.save(model, outputs={names})",
        )


def _of_numbers(wanted: NDArray[Any], given: NDArray[Any]) -> Iterator[Metric]:
    from sklearn import metrics

    off = (wanted - given) ** 2
    mean_square = _mean(off)
    yield Metric(
        "rmse", float(metrics.root_mean_squared_error(wanted, given)), lambda weights: mean_square(weights) ** 0.5
    )
    yield Metric("mae", float(metrics.mean_absolute_error(wanted, given)), _mean(abs(wanted - given)))
    is_constant = bool((wanted == wanted[0]).all())
    value = None if is_constant else float(metrics.r2_score(wanted, given))
    yield Metric("r2", value, _r2(wanted, off), "all rows have the same label" if is_constant else "")


def _mean_metric(together: Sequence[Metric]) -> Metric:
    """The mean of one metric of several outputs; undefined where one of them is."""
    values = [one.value for one in together if one.value is not None]
    value = sum(values) / len(values) if len(values) == len(together) else None
    reason = next((one.reason for one in together if one.reason), "")
    return Metric(together[0].name, value, _mean_of([one.draws for one in together]), reason)


def _finite(name: str, values: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    found = np.asarray(values, np.float64)
    if off := int((~np.isfinite(found)).reshape(len(found), -1).any(1).sum()):
        raise Unscored(f"{name} of {off} of {len(found)} rows is not finite", "look at these rows' columns")
    return found


def _word(name: str) -> str:
    """A column's name as part of a metric's, which bounds can name."""
    return re.sub(r"\W", "_", name)


def _mean(values: NDArray[Any]) -> Draws:
    return lambda weights: weights @ values / weights.sum(1)


def _mean_of(draws: Sequence[Draws]) -> Draws:
    import numpy as np

    return lambda weights: np.mean([each(weights) for each in draws], axis=0)


def _r2(wanted: NDArray[Any], off: NDArray[Any]) -> Draws:
    import numpy as np

    centred = wanted - wanted.mean()  # of large numbers with a small spread the squares lose their digits

    def drawn(weights: NDArray[Any]) -> NDArray[Any]:
        total = weights.sum(1)
        spread = weights @ centred**2 - (weights @ centred) ** 2 / total
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > 0, 1 - weights @ off / spread, np.nan)

    return drawn


def _auc(scores: NDArray[Any], is_one: NDArray[Any]) -> Draws:
    """The share of pairs of a row of the class and another in which the former has the higher score; ties are half."""
    import numpy as np

    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    ones = is_one[order]

    def drawn(weights: NDArray[Any]) -> NDArray[Any]:
        sorted_ = weights[:, order]
        above = np.add.reduceat(sorted_ * ones, starts, axis=1)
        below = np.add.reduceat(sorted_ * ~ones, starts, axis=1)
        pairs = above.sum(1) * below.sum(1)
        won = (above * (below.cumsum(1) - below / 2)).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(pairs > 0, won / pairs, np.nan)

    return drawn
