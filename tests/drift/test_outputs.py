"""What a model answers besides one score, as drift sees it: several numbers, classes with their shares, embeddings."""

import numpy as np
import polars as pl
import pytest

from aiinfra_lab.drift import exports, values
from aiinfra_lab.drift.shapes import shapes
from aiinfra_lab.drift.verdict import judge, overall
from aiinfra_lab.train.signature import Signature, Task, Tensor

ROWS = 1500
INPUTS = (Tensor("x", "FP32", (-1,)),)


def answers(signature: Signature, **given: np.ndarray) -> pl.DataFrame:
    rows = len(next(iter(given.values())))
    return values.frame(signature.answered, signature.answers(given, rows))


def compared(reference: pl.DataFrame, current: pl.DataFrame):
    both = values.projected(reference, current)
    changes = judge(*both, 0.05, None, both[0].columns)
    return {one.column: one for one in changes}, changes, both


def looks(changes, both) -> dict[str, str]:
    return {name: shape.change for name, shape in shapes(exports.keep(*both), changes).items()}


PAIR = Signature(INPUTS, (Tensor("price", "FP32", (-1,)), Tensor("rent", "FP32", (-1,))), Task("regression"))


def test_of_several_numbers_each_is_a_column_and_the_one_that_moved_is_named():
    draw = np.random.default_rng(0)
    before = answers(PAIR, price=draw.normal(size=ROWS), rent=draw.normal(size=ROWS))
    now = answers(PAIR, price=draw.normal(size=ROWS), rent=draw.normal(0.7, size=ROWS))
    found, _, _ = compared(before, now)
    assert {name: one.drifted for name, one in found.items()} == {"price": False, "rent": True}


def classified(draw, shares: list[float], labels=("a", "b", "c")) -> pl.DataFrame:
    """Answers of which so many are of each class."""
    signature = Signature(INPUTS, (Tensor("kind", "FP32", (-1, len(labels))),), Task("classification", labels))
    at = draw.choice(len(labels), ROWS, p=shares)
    chances = 0.1 + 0.7 * np.eye(len(labels))[at] + draw.uniform(0, 0.02, (ROWS, len(labels)))
    return answers(signature, kind=(chances / chances.sum(1, keepdims=True)).astype(np.float32))


def test_a_class_that_was_never_answered_before_is_found_and_named(workspace):
    draw = np.random.default_rng(0)
    found, changes, both = compared(classified(draw, [0.5, 0.5, 0]), classified(draw, [0.45, 0.45, 0.1]))
    assert found["kind"].drifted
    assert found["kind"].unseen == pytest.approx(0.1, abs=0.03)
    assert "never seen: c" in looks(changes, both)["kind"]


def test_a_class_whose_share_moves_is_found_and_named(workspace):
    draw = np.random.default_rng(0)
    found, changes, both = compared(classified(draw, [0.6, 0.2, 0.2]), classified(draw, [0.4, 0.2, 0.4]))
    assert {name for name, one in found.items() if one.drifted} == {"kind", "kind_probabilities"}
    assert looks(changes, both)["kind"].startswith(("a 6", "a 5", "c 2", "c 1"))


def test_classes_with_the_same_shares_do_not_drift():
    draw = np.random.default_rng(0)
    _, changes, _ = compared(classified(draw, [0.6, 0.2, 0.2]), classified(draw, [0.6, 0.2, 0.2]))
    assert overall(changes) == "no drift"


EMBEDDING = Signature(INPUTS, (Tensor("embedding", "FP32", (-1, 16)),), Task("embedding"))


def test_an_embedding_is_judged_by_one_number_that_is_the_same_each_time():
    draw = np.random.default_rng(0)
    spread = np.linspace(3, 0.5, 16)
    before, same, other = (draw.normal(shift, 1, (ROWS, 16)) * spread for shift in (0, 0, 0.5))
    frames = [answers(EMBEDDING, embedding=each.astype(np.float32)) for each in (before, same, other)]
    assert values.vectors(*frames[:2]) == ("embedding",)
    assert overall(compared(*frames[:2])[1]) == "no drift"
    assert compared(frames[0], frames[2])[0]["embedding"].drifted
    again = values.projected(frames[0], frames[2])
    assert again[1].equals(values.projected(frames[0], frames[2])[1])


def test_a_report_tells_vectors_from_numbers():
    frame = pl.DataFrame({"v": [[1.0, 2.0]], "n": [1.0], "words": [["a"]]})
    assert values.vectors(frame, frame) == ("v",)
    assert values.vectors(frame, frame.clear()) == ("v",)
