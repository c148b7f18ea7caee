"""How far a shadow agrees with who answered."""

import pytest

from aiinfra_lab.deploy.agreement import Agreement, agreements


def row(arm, outputs, request_id="r", row_id="1"):
    return {"at": 1.0, "request_id": request_id, "row_id": row_id, "model": "m", "arm": arm, "latency_ms": 1.0,
            "inputs": {}, "outputs": outputs}  # fmt: skip


def agreement(*pairs):
    rows = [
        row(arm, outputs, str(at)) for at, pair in enumerate(pairs) for arm, outputs in zip(ARMS, pair, strict=True)
    ]
    return agreements(rows)


ARMS = ("champion", "shadow")


def test_probabilities_are_compared_label_by_label():
    one, other = {"p": {"cat": 0.9, "dog": 0.1}}, {"p": {"dog": 0.1, "cat": 0.9}}
    assert agreement((one, other)) == (Agreement("p", 1, 1, 0.0, 0.0),)
    [another] = agreement((one, {"p": {"cat": 0.9, "fox": 0.1}}))
    assert (another.same, another.largest) == (0, pytest.approx(0.1))


def test_small_numbers_are_the_same_only_where_they_are():
    [found] = agreement(({"y": 1e-7}, {"y": 9e-7}), ({"y": 9e-7}, {"y": 9e-7}))
    assert (found.same, found.largest) == (1, pytest.approx(8e-7))
    [near] = agreement(({"y": 1000.0}, {"y": 1000.0}), ({"y": 0.0}, {"y": 1e-7}))
    assert near.same == 2


def test_one_large_row_hides_no_difference_of_the_others():
    others = [({"y": float(at)}, {"y": 1.5 * at}) for at in range(1, 10)]
    [found] = agreement(*others, ({"y": 1e9}, {"y": 1e9 + 1}))
    assert (found.same, found.largest) == (1, 4.5)


def test_rows_of_one_request_that_are_called_alike_are_all_compared():
    rows = [
        row(arm, {"y": value}) for arm, values in zip(ARMS, ((1.0, 2.0), (5.0, 2.0)), strict=True) for value in values
    ]
    [found] = agreements(rows)
    assert (found.rows, found.same, found.largest) == (2, 1, 4.0)


def test_a_label_is_the_same_or_not_and_a_row_that_failed_is_not():
    [found] = agreement(({"label": "a"}, {"label": "a"}), ({"label": "a"}, {"label": "b"}), (None, {"label": "a"}))
    assert found == Agreement("label", 3, 1)


def test_only_rows_that_both_were_asked_for_are_compared():
    assert agreements([row("shadow", {"y": 1.0}), row("champion", {"y": 1.0}, "other")]) == ()
