"""What bad requests are worth in keys, and how often the draw of the keys alone gives a canary as many."""

import numpy as np
import pytest

from aiinfra_lab.stats.keys import CHANCE, BadKeys


def taken(codes, share, at=10.0):
    """Requests that are bad: key and whether the canary's, in one stratum."""
    found = BadKeys(share)
    for key, is_canary in codes:
        found.add(key, is_canary=is_canary)
    found.close(at)
    return found


def test_one_key_is_one_whatever_it_asks():
    keys, chance = taken([(7, True)] * 500, 0.05).since(0.0)
    assert (keys, chance) == (1.0, pytest.approx(0.05))


def test_keys_of_equal_weight_are_a_binomial_draw():
    codes = [(key, key < 3) for key in range(4)] * 10
    keys, chance = taken(codes, 0.25).since(0.0)
    assert (keys, chance) == (4.0, pytest.approx(4 * 0.25**3 * 0.75 + 0.25**4))


@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("keys", [3, 30, 1000])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_draw_of_the_keys_alone_is_rarely_called_rare(share, keys, spread):
    """However unequal their parts are: of 2,000 draws of the arms."""
    rng = np.random.default_rng(1)
    rare = 0
    for _ in range(2000):
        counts = np.maximum(1, rng.lognormal(1, spread, keys).astype(int))
        on_canary = rng.random(keys) < share
        codes = np.repeat(np.arange(keys) * 2 + on_canary, counts)
        rare += BadKeys.of_state(share, [[1.0, codes.tolist()]]).since(0.0)[1] <= CHANCE
    assert rare <= 2 * CHANCE * 2000 + 4


def test_what_was_bad_before_the_evidence_began_does_not_count():
    found = taken([(key, False) for key in range(1000)], 0.05)
    for key in range(2000, 2004):
        found.add(key, is_canary=True)
    found.close(20.0)
    assert found.since(10.0) == (4.0, pytest.approx(0.05**4))
    assert found.since(0.0)[1] > 0.5
    assert found.since(20.0) == (0.0, 1.0)


def test_the_latest_are_kept():
    found = BadKeys(0.05)
    for stratum in range(10):
        for key in range(100):
            found.add(1000 * stratum + key, is_canary=False)
        found.close(float(stratum + 1))
    again = BadKeys.of_state(0.05, found.to_state())
    assert sum(len(codes) for _, codes in found.to_state()) == 256
    assert again.since(8.0) == found.since(8.0)
