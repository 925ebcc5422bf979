"""Shares of problems with their 95 % intervals, and the measures of exploration and exploitation.

All pure functions over counts and booleans. Intervals: Wilson's for shares of yes and no, the percentile
bootstrap over problems for means of anything else. Measures: pass@k in both forms, Reward-Pass@k (arXiv
2412.17451, section 4), the balance score (arXiv 2412.17256).
"""

import math
from collections.abc import Sequence

import numpy as np

from mstar.records import Estimate

Z = 1.959963984540054
"""Two-sided 95 % of the normal distribution."""
RESAMPLES = 1000
MOST_LEVELS = 250
"""Different values that are resampled as they are; of more, their neighbours count as one."""


def share(outcomes: Sequence[bool]) -> Estimate:
    """The share of true outcomes with Wilson's interval."""
    total = len(outcomes)
    if total == 0:
        return Estimate(0.0, 0.0, 1.0, 0)
    value = sum(outcomes) / total
    middle = (value + Z**2 / (2 * total)) / (1 + Z**2 / total)
    reach = Z * math.sqrt(value * (1 - value) / total + Z**2 / (4 * total**2)) / (1 + Z**2 / total)
    return Estimate(value, max(0.0, min(middle - reach, value)), min(1.0, max(middle + reach, value)), total)


def mean(values: Sequence[float]) -> Estimate:
    """The mean of values in [0, 1], one per problem, with a bootstrap interval that is always the same."""
    if len(values) == 0:
        return Estimate(0.0, 0.0, 1.0, 0)
    sample = np.asarray(values, dtype=np.float64)
    value = float(sample.mean())
    low, high = np.quantile(value + _resampled_errors(sample), [0.025, 0.975])
    return Estimate(value, max(0.0, min(float(low), value)), min(1.0, max(float(high), value)), len(sample))


def _resampled_errors(sample: np.ndarray) -> np.ndarray:
    """How far the means of bootstrap samples lie from the mean of the sample.

    Values that recur are drawn together: how often each one comes up is multinomial. So the work and the
    memory are those of the few values that measures take, not of the problems.
    """
    levels, counts = np.unique(sample, return_counts=True)
    if len(levels) > MOST_LEVELS:
        levels, counts = np.unique(np.round(sample * MOST_LEVELS) / MOST_LEVELS, return_counts=True)
    draws = np.random.default_rng(0).multinomial(len(sample), counts / len(sample), size=RESAMPLES)
    errors: np.ndarray = (draws - counts) @ levels / len(sample)
    return errors


def pass_at_k(correct: Sequence[Sequence[bool]], k: int) -> Estimate:
    """Share of problems with a correct response among the first k (the paper's form)."""
    return share([any(own[:k]) for own in correct])


def unbiased_pass_at_k(correct: Sequence[Sequence[bool]], k: int) -> Estimate:
    """Mean over problems of 1 - C(n-c, k) / C(n, k): n samples, of which c are correct (arXiv 2107.03374)."""
    return mean([1.0 - math.comb(len(own) - sum(own), k) / math.comb(len(own), k) for own in correct])


def reward_pass_at_k(
    correct: Sequence[Sequence[bool]], scores: Sequence[Sequence[float]], k: int
) -> Estimate:
    """Share of problems with a correct response among the k of highest score; equal scores keep the sample
    order.
    """
    best = []
    for own, ranks in zip(correct, scores, strict=True):
        order = sorted(range(len(own)), key=lambda index, ranks=ranks: -ranks[index])  # type: ignore[misc]
        best.append(any(own[index] for index in order[:k]))
    return share(best)


def balance(texts: Sequence[Sequence[str]], correct: Sequence[Sequence[bool]], target: int) -> Estimate:
    """Mean of min(n'/n*, 1) * n'/n over problems: n responses were selected, n' of them correct and unlike
    each other.

    `texts` and `correct` hold the selected responses of each problem; a problem with none selected counts 0.
    """
    values = []
    for own, right in zip(texts, correct, strict=True):
        unique = len({text for text, is_right in zip(own, right, strict=True) if is_right})
        values.append(min(unique / target, 1.0) * unique / len(own) if own else 0.0)
    return mean(values)


def powers_up_to(samples: int) -> list[int]:
    """The k of pass@k that are reported: 1, 2, 4, ... and the number of samples."""
    powers = [2**exponent for exponent in range(samples.bit_length()) if 2**exponent < samples]
    return [*powers, samples]
