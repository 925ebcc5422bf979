"""Settings that fit the size of the data, and the warning where too little would happen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstar.config import PAPER_GRID
from mstar.sizing import expected_steps, fit_sizes, fit_sweep, round_up, too_few_steps
from tests.conftest import parse_small


def test_all_defaults_on_small_data_are_warned_about() -> None:
    """4 iterations of 8 steps at 1e-6 moved a model from 52.5 to 53.2 %, at 3e-5 to 79.8 %."""
    small = {"iterations": {"count": 4, "problems_share": 1.0}}
    warned = too_few_steps(parse_small(**small), 1024)
    assert expected_steps(parse_small(**small), 1024) == 32
    assert warned is not None and "about 32 optimizer steps at train.learning_rate 1e-06" in warned
    assert "set train.learning_rate to 5e-05" in warned and "\n" not in warned
    assert too_few_steps(parse_small(**small, train={"learning_rate": 3e-5}), 1024) is None


def test_the_quick_start_and_the_papers_run_are_not_warned_about() -> None:
    quick = {
        "iterations": {"count": 8, "problems_share": 0.125},
        "train": {"learning_rate": 1e-5, "batch_size": 32},
    }
    assert too_few_steps(parse_small(**quick), 2000) is None
    assert too_few_steps(parse_small(iterations={"count": 14, "problems_share": 0.25}), 180_000) is None


def test_the_papers_data_get_the_papers_settings() -> None:
    sizes = fit_sizes(180_000, 8 * 10**9)
    assert (sizes.iterations, sizes.problems_share, sizes.batch_size) == (14, 0.25, 128)
    assert sizes.learning_rate == 1e-6
    assert fit_sweep(250, 45_000) == fit_sweep(250, 10**6)
    assert (
        fit_sweep(250, 45_000).temperatures == PAPER_GRID and fit_sweep(250, 45_000).samples_per_problem == 16
    )


@given(st.integers(10, 10**6), st.one_of(st.none(), st.integers(10**5, 10**11)))
def test_what_is_chosen_is_enough(problems: int, parameters: int | None) -> None:
    sizes = fit_sizes(problems, parameters)
    config = parse_small(
        iterations={"count": sizes.iterations, "problems_share": sizes.problems_share},
        train={"learning_rate": sizes.learning_rate, "batch_size": sizes.batch_size},
    )
    assert too_few_steps(config, problems) is None
    assert expected_steps(config, problems) == pytest.approx(sizes.steps, rel=0.2, abs=sizes.iterations)
    assert problems * sizes.problems_share >= min(problems, 250)
    assert problems * sizes.problems_share <= 50_000


@given(st.integers(50, 2000), st.integers(10, 50_000))
def test_a_sweep_is_whole_and_bounded(validation: int, problems: int) -> None:
    sweep = fit_sweep(validation, problems)
    assert 1.0 in sweep.temperatures and len(sweep.temperatures) >= 3
    cost = len(sweep.temperatures) * validation * sweep.samples_per_problem
    assert cost <= 16 * problems or (len(sweep.temperatures), sweep.samples_per_problem) == (3, 4)


@pytest.mark.parametrize(
    "rate, rounded", [(1.1e-6, 2e-6), (2e-6, 2e-6), (3.1e-5, 5e-5), (6e-5, 1e-4), (1, 1)]
)
def test_rates_are_round(rate: float, rounded: float) -> None:
    assert round_up(rate) == rounded
