"""The measures, against values worked out by hand and against their definitions."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstar import estimates

OUTCOMES = st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=20)


def test_wilson_interval_of_a_known_case() -> None:
    found = estimates.share([True] * 81 + [False] * 182)
    assert found.value == pytest.approx(81 / 263)
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert found.problems == 263


def test_no_problems_means_no_knowledge() -> None:
    assert estimates.share([]) == estimates.mean([])
    assert (estimates.share([]).low, estimates.share([]).high) == (0.0, 1.0)


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_interval_holds_the_value_and_stays_in_range(outcomes: list[bool]) -> None:
    for found in (estimates.share(outcomes), estimates.mean([float(one) for one in outcomes])):
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0


@given(OUTCOMES, st.integers(1, 4))
def test_unbiased_pass_at_k_is_the_mean_over_all_subsets(correct: list[list[bool]], k: int) -> None:
    subsets = list(itertools.combinations(range(4), k))
    expected = [sum(any(own[i] for i in subset) for subset in subsets) / len(subsets) for own in correct]
    assert [estimates.unbiased_pass_at_k(own, k) for own in correct] == pytest.approx(expected)


@given(OUTCOMES)
def test_pass_at_k_rises_with_k_and_ends_at_any(correct: list[list[bool]]) -> None:
    for own in correct:
        values = [estimates.pass_at_k(own, k) for k in (1, 2, 3, 4)]
        assert values == sorted(values)
        assert values[-1] == any(own)
        assert estimates.unbiased_pass_at_k(own, 4) == values[-1]


def test_reward_pass_ranks_without_looking_at_the_answer() -> None:
    assert not estimates.reward_pass_at_k([False, False, True], [0.9, 0.8, 0.1], 2)
    assert estimates.reward_pass_at_k([False, False, True], [0.9, 0.1, 0.8], 2)
    assert estimates.reward_pass_at_k([True, False, False], [0.9, 0.8, 0.1], 2)


def test_reward_pass_takes_earlier_samples_among_equals() -> None:
    assert not estimates.reward_pass_at_k([False, False, True], [0.5, 0.5, 0.5], 2)
    assert estimates.reward_pass_at_k([False, True, False], [0.5, 0.5, 0.5], 2)


def test_balance_counts_unique_correct_among_selected() -> None:
    found = estimates.balance(["a", "a", "b", "c"], [True, True, True, False], 8)
    assert found == pytest.approx(min(2 / 8, 1) * 2 / 4)
    assert estimates.balance(["x"], [False], 8) == estimates.balance([], [], 8) == 0.0
    assert estimates.balance(["a", "b"], [True, True], 2) == 1.0


@pytest.mark.parametrize(
    "samples, expected", [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
)
def test_reported_k(samples: int, expected: list[int]) -> None:
    assert estimates.powers_up_to(samples) == expected


def test_bootstrap_is_about_as_wide_as_theory_says() -> None:
    values = [0.0, 1.0] * 200
    found = estimates.mean(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 400), rel=0.1)


def resample_one_by_one(values: list[float]) -> tuple[float, float]:
    """The percentile bootstrap as textbooks write it."""
    sample = np.asarray(values)
    draws = np.random.default_rng(7).integers(0, len(sample), size=(4000, len(sample)))
    low, high = np.quantile(sample[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("levels", [2, 17, 400, 2000])
@pytest.mark.parametrize("problems", [20, 250, 2000])
def test_bootstrap_is_the_one_of_drawing_every_problem(levels: int, problems: int) -> None:
    """Within the noise of 1,000 resamples: a bound's own standard error is about 0.07 standard deviations
    of the mean, with ties of the sample means on top.
    """
    values = (np.random.default_rng(problems).integers(0, levels, problems) / (levels - 1)).tolist()
    found = estimates.mean(values)
    low, high = resample_one_by_one(values)
    noise = 0.3 * float(np.std(values)) / math.sqrt(problems)
    assert (found.low, found.high) == (pytest.approx(low, abs=noise), pytest.approx(high, abs=noise))


@pytest.mark.parametrize("levels", [17, 50_000])
def test_bootstrap_of_many_problems_needs_little_memory(levels: int) -> None:
    values = np.random.default_rng(0).integers(0, levels, 50_000) / levels
    tracemalloc.start()
    try:
        found = estimates.mean(values.tolist())
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(1 / 12 / 50_000), rel=0.1)


@pytest.mark.parametrize("value", [0.0, 1 / 3, 1.0])
def test_equal_values_leave_no_doubt_about_their_mean(value: float) -> None:
    found = estimates.mean([value] * 49)
    assert (found.low, found.high) == (found.value, found.value) == pytest.approx((value, value))
