"""Cells and counts."""

import numpy as np
import polars as pl
import pytest

from aiinfra_lab.stats.profiles import Profile, category_cells, number_cells, profile


def test_profiles_of_the_same_cells_add_up():
    values = np.random.default_rng(1).normal(size=1000)
    cells = number_cells(values)
    found, block = cells.of(values), np.arange(1000) // 250
    parts = [profile(found[half::2], cells.count, block[half::2]).counts for half in (0, 1)]
    assert (parts[0] + parts[1] == profile(found, cells.count, block).counts).all()


def test_a_value_that_many_rows_have_is_in_one_cell():
    values = np.repeat([0.0, 0.1, 0.2], 100)
    cells = number_cells(values)
    found = cells.of(values)
    assert len(set(found)) == 3
    assert not set(cells.of(np.array([-1e-9, 0.2 + 1e-9, np.nan]))) & set(found)


@pytest.mark.parametrize("values", [[np.nan] * 3, [], [-np.inf, 0.0, np.inf], [2.0**60, 2.0**60 + 2**10]])
def test_each_value_has_a_cell_whatever_the_numbers(values):
    found = number_cells(np.array(values))
    assert (found.of(np.array([*values, -1.0, np.nan])) < found.count).all()
    assert found.of(np.array([np.nan]))[0] == found.count - 1


def test_a_categorys_cells_come_from_both_samples():
    cells = category_cells(pl.Series(["a", "b", None]), pl.Series(["b", "c"]))
    assert cells.values == ("b", "a", "c")
    assert cells.of(pl.Series(["c", "b", None, "never seen"])).tolist() == [2, 0, 4, 3]


def test_a_profile_knows_its_rows_its_blocks_and_what_is_missing():
    found = Profile(np.array([[1, 2, 3], [0, 0, 0], [0, 0, 4]]))
    assert (found.rows.tolist(), found.blocks, found.cells.tolist()) == ([6, 0, 4], 2, [1, 2, 7])
    assert found.known.counts.tolist() == [[1, 2], [0, 0], [0, 0]]
    assert found.grouped(np.array([1, 0, 1])).counts.tolist() == [[2, 4], [0, 0], [0, 4]]


def test_of_keys_that_are_as_rare_those_of_both_samples_become_cells():
    before, after = (pl.Series([f"{sample}{number}" for number in range(2000)]) for sample in "ab")
    found = [value[0] for value in category_cells(before, after).values]
    assert 400 < found.count("a") < 600
    assert len(found) == 1000
