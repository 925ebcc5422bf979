"""Which problems an iteration takes."""

from hypothesis import given
from hypothesis import strategies as st

from mstar.generation import interval_rows
from mstar.seeds import derive_seed


@given(st.integers(1, 400), st.floats(0.01, 1.0), st.integers(0, 5))
def test_a_pass_takes_no_problem_twice(total: int, share: float, seed: int) -> None:
    size = max(1, round(total * share))
    intervals = [interval_rows(total, share, seed, iteration) for iteration in range(total // size)]
    rows = [row for interval in intervals for row in interval]
    assert all(len(interval) == size and interval == sorted(interval) for interval in intervals)
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(total))


def test_the_next_pass_is_another_order() -> None:
    first, later = interval_rows(100, 0.25, 0, 0), interval_rows(100, 0.25, 0, 4)
    assert first != later
    assert interval_rows(100, 0.25, 1, 0) != first
    assert interval_rows(100, 0.25, 0, 0) == first


def test_seeds_differ_by_what_they_are_for() -> None:
    seeds = {derive_seed(0, iteration, "generate", chunk) for iteration in range(20) for chunk in range(20)}
    assert len(seeds) == 400
    assert derive_seed(1, 2, "train") == derive_seed(1, 2, "train") != derive_seed(1, 2, "select")
    assert all(0 <= seed < 2**63 for seed in seeds)
