"""Settings that fit the size of the data, as pure functions: what `mstar init` writes and a run warns about.

AdamW moves a weight by about the learning rate in every step, so `learning rate x steps`, the reach, tells
whether training can change a policy at all, whatever the model's size. Seen: 3.2e-5 (32 steps at 1e-6) moved
a small model from 52.5 to 53.2 %, 9.6e-4 (32 steps at 3e-5) to 79.8 %; the quick start reaches 1e-3, the
paper's runs 1e-2 (10,000 steps at 1e-6).
"""

import math
from dataclasses import dataclass

from mstar.config import PAPER_GRID, Adapt, Config

KEPT_OF_WANTED = 0.5
"""Share of `keep_per_problem` that an iteration really keeps; seen: 0.3 to 0.8."""
LEAST_REACH = 2e-4
"""Below this a run is warned about."""
GOOD_REACH = 1e-3
PAPER_PROBLEMS = 45_000
"""The paper's problems per iteration, 25 % of its 180,000."""
FEWEST_PROBLEMS = 250
"""Per iteration, as long as there are so many."""
STEPS_PER_ITERATION = 8
"""With fewer, every batch is a large share of what an iteration learns from."""
SWEEP_SHARE = 0.5
"""Most responses of the sweeps for one of the iterations."""
FEWEST_FOR_A_SWEEP = Adapt().min_problems
LARGEST_RATES = ((1e8, 1e-4), (1e9, 3e-5), (math.inf, 1e-5))
"""(parameters, learning rate): what models up to that size bear in fine-tuning."""
GRIDS = (PAPER_GRID, tuple(round(0.4 + 0.2 * step, 1) for step in range(7)), (0.7, 1.0, 1.3))


@dataclass(frozen=True, slots=True)
class Sizes:
    """The settings that depend on how much data there is."""

    iterations: int
    problems_share: float
    batch_size: int
    learning_rate: float
    steps: int
    """Optimizer steps of the whole run that these lead to, about."""


@dataclass(frozen=True, slots=True)
class SweepSizes:
    """The settings of the temperature sweep."""

    temperatures: tuple[float, ...]
    samples_per_problem: int


def fit_sizes(train_problems: int, parameters: int | None) -> Sizes:
    """Iterations, batch and learning rate with which a run can get somewhere; the paper's for large data."""
    share = _fit_share(train_problems)
    iterations = 14 if train_problems >= 20_000 else 8
    kept = max(1, round(share * train_problems * 2 * KEPT_OF_WANTED))
    batch = min(128, max(4, 2 ** int(math.log2(max(1, kept // STEPS_PER_ITERATION)))))
    steps = iterations * math.ceil(kept / batch)
    largest = next(rate for most, rate in LARGEST_RATES if (parameters or 10**9) <= most)
    rate = min(largest, max(1e-6, round_up(GOOD_REACH / steps)))
    return Sizes(iterations, share, batch, rate, steps)


def fit_sweep(validation_problems: int, problems_per_iteration: int, samples: int = 16) -> SweepSizes:
    """The finest grid whose sweep, every second iteration, costs at most half of what sampling costs."""
    most = 2 * SWEEP_SHARE * problems_per_iteration * samples
    for grid in GRIDS:
        for own_samples in (16, 8):
            if len(grid) * validation_problems * own_samples <= most:
                return SweepSizes(grid, own_samples)
    return SweepSizes(GRIDS[-1], 4)


def expected_steps(config: Config, train_problems: int) -> int:
    """About how many optimizer steps the last policy will have behind it."""
    problems = math.ceil(config.iterations.problems_share * train_problems)
    kept = problems * min(
        config.generate.samples_per_problem,
        config.select.keep_per_problem or config.generate.samples_per_problem,
    )
    per_iteration = math.ceil(KEPT_OF_WANTED * kept / config.train.batch_size) * config.train.epochs
    return per_iteration * config.iterations.count


def too_few_steps(config: Config, train_problems: int) -> str | None:
    """A warning where a run will hardly change its policy, with what would help; None where it can."""
    steps, rate = expected_steps(config, train_problems), config.train.learning_rate
    if steps * rate >= LEAST_REACH:
        return None
    enough = min(1.0, round_up(GOOD_REACH / steps))
    return (
        f"about {steps} optimizer steps at train.learning_rate {rate:g} will hardly change the policy "
        f"(learning rate x steps is {steps * rate:.1e}; runs that learned had {GOOD_REACH:g} and more): "
        f"set train.learning_rate to {enough:g}, or take more steps with a smaller train.batch_size "
        f"({config.train.batch_size}), more train.epochs, iterations.count or iterations.problems_share"
    )


def round_up(rate: float) -> float:
    """The next of 1, 2, 3, 5 times a power of ten."""
    size = 10.0 ** math.floor(math.log10(rate))
    digit = next(digit for digit in (1, 2, 3, 5, 10) if rate <= digit * size * (1 + 1e-9))
    return float(f"{digit * size:.0e}")


def _fit_share(train_problems: int) -> float:
    """A quarter, but enough problems to learn from, and not more than the paper's."""
    if train_problems * 0.25 > PAPER_PROBLEMS:
        return float(f"{PAPER_PROBLEMS / train_problems:.2g}")
    return next((share for share in (0.25, 0.5) if train_problems * share >= FEWEST_PROBLEMS), 1.0)
