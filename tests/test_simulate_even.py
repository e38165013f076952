"""Numbers spread evenly over a group: every slice once, whatever is asked for."""

import numpy as np
import pytest
from simulate.even import Even, even

GROUPS = np.array(list("abcabcab" * 7))


def members(count, key=(1, 2)):
    return [Even(key, place, count) for place in range(count)]


def test_each_slice_of_each_group_has_one_member():
    numbers = even(GROUPS, np.random.default_rng(0))
    for group in "abc":
        own = numbers[group == GROUPS]
        assert sorted(np.floor(own * len(own))) == [*range(len(own))]


def test_the_slices_are_dealt_in_random_order():
    first, other = (even(GROUPS, np.random.default_rng(seed)) for seed in (0, 1))
    assert not np.array_equal(first, np.sort(first))
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.4


def test_every_number_that_members_ask_for_is_even_over_their_group():
    asked = np.array([
        [m.uniform(0, 9), m.random(), *m.uniform(0, 9, 2), *m.normal(0, (1.0, 2.0))]
        for m in members(9)
    ])  # fmt: skip
    for column in (0, 2, 3):
        assert sorted(np.floor(asked[:, column])) == [*range(9)]
    assert sorted(np.floor(9 * asked[:, 1])) == [*range(9)]
    ranks = asked.argsort(axis=0).T
    assert len({tuple(column) for column in ranks}) == 6  # no two numbers go together


def test_normal_numbers_have_their_mean_and_deviation():
    drawn = np.array([m.normal(5.0, 2.0) for m in members(200)])
    assert drawn.mean() == pytest.approx(5, abs=0.02)
    assert drawn.std() == pytest.approx(2, abs=0.05)


def test_a_member_is_the_same_every_time_and_no_seed_is_another_member_s():
    first, again = (Even((3,), 4, 20) for _ in range(2))
    assert [first.random(), first.integers(2**31)] == [again.random(), again.integers(2**31)]
    assert len({m.integers(2**31) for m in members(50)}) == 50


def test_twins_differ_in_their_seeds_only():
    one, two = (Even((3,), 4, 20, twin) for twin in (0, 1))
    assert one.random() == two.random()
    assert one.integers(2**31) != two.integers(2**31)
