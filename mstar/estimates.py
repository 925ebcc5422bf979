"""Shares of problems with their 95 % intervals, and the measures of exploration and exploitation.

All pure functions over counts and booleans. Intervals: Wilson's for shares of yes and no, the percentile
bootstrap over problems for means of anything else. Measures, of one problem each: pass@k in both forms,
Reward-Pass@k (arXiv 2412.17451, section 4), the balance score (arXiv 2412.17256).
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


def share(outcomes: Sequence[int]) -> Estimate:
    """The share of true outcomes (or ones among zeros) with Wilson's interval."""
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


def pass_at_k(correct: Sequence[bool], k: int) -> bool:
    """Whether one of the first k responses to a problem is correct (the paper's form)."""
    return any(correct[:k])


def unbiased_pass_at_k(correct: Sequence[bool], k: int) -> float:
    """1 - C(n-c, k) / C(n, k) for a problem: n samples, of which c are correct (arXiv 2107.03374)."""
    return 1.0 - math.comb(len(correct) - sum(correct), k) / math.comb(len(correct), k)


def reward_pass_at_k(correct: Sequence[bool], scores: Sequence[float], k: int) -> bool:
    """Whether one of the k responses of highest score to a problem is correct; equal scores keep the sample
    order.
    """
    order = sorted(range(len(correct)), key=lambda index: -scores[index])
    return any(correct[index] for index in order[:k])


def balance(texts: Sequence[str], correct: Sequence[bool], target: int) -> float:
    """min(n'/n*, 1) * n'/n for a problem: n responses are selected, n' of them correct and unlike each other.

    `texts` and `correct` are those of the selected responses; 0 where none is selected.
    """
    unique = len({text for text, is_right in zip(texts, correct, strict=True) if is_right})
    return min(unique / target, 1.0) * unique / len(texts) if texts else 0.0


def powers_up_to(samples: int) -> list[int]:
    """The k of pass@k that are reported: 1, 2, 4, ... and the number of samples."""
    powers = [2**exponent for exponent in range(samples.bit_length()) if 2**exponent < samples]
    return [*powers, samples]
