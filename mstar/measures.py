"""What is measured of judged responses: accuracy on a test set, exploration and exploitation in a sweep.

Pure functions that go through responses once and keep a number of each problem, not the responses, of which
there may be millions. The estimates and their intervals are in estimates.py.
"""

from array import array
from collections.abc import Iterable, Sequence

from mstar import estimates
from mstar.config import Config
from mstar.engines import Sampling
from mstar.records import Response, TemperatureReport, TestReport
from mstar.steps import aggregate_steps


def measure_test(responses: Iterable[tuple[str, Response]]) -> TestReport:
    """Greedy accuracy, one response to each problem, given with the problem's source; problems without one
    are not counted.
    """
    outcomes, by_source = bytearray(), dict[str, bytearray]()
    tokens = truncated = 0
    for source, one in responses:
        outcomes.append(bool(one.correct))
        by_source.setdefault(source, bytearray()).append(bool(one.correct))
        tokens += one.response_tokens
        truncated += one.truncated
    return TestReport(
        accuracy=estimates.share(outcomes),
        by_source={source: estimates.share(by_source[source]) for source in sorted(by_source)},
        mean_response_tokens=tokens / max(1, len(outcomes)),
        truncated=truncated,
    )


def measure_temperature(
    groups: Iterable[Sequence[Response]], config: Config, sampling: Sampling
) -> TemperatureReport:
    """Pass@K, Reward-Pass@k and balance of the validation problems at one temperature; a group holds the
    responses to one of them.
    """
    powers = estimates.powers_up_to(sampling.samples_per_problem)
    passed, unbiased = {k: bytearray() for k in powers}, {k: array("d") for k in powers}
    rewarded, balances = bytearray(), array("d")
    for own in groups:
        correct = [bool(one.correct) for one in own]
        for k in powers:
            passed[k].append(estimates.pass_at_k(correct, k))
            unbiased[k].append(estimates.unbiased_pass_at_k(correct, k))
        scores = None if config.score.prm is None else [_quality(one, config) for one in own]
        if scores is not None:
            rewarded.append(estimates.reward_pass_at_k(correct, scores, config.adapt.k))
        balances.append(_balance(own, scores, config))
    return TemperatureReport(
        temperature=sampling.temperature,
        samples_per_problem=sampling.samples_per_problem,
        pass_at_k={k: estimates.share(passed[k]) for k in powers},
        unbiased_pass_at_k={k: estimates.mean(unbiased[k]) for k in powers},
        reward_pass_at_k=None if config.score.prm is None else estimates.share(rewarded),
        balance=estimates.mean(balances),
    )


def _balance(own: Sequence[Response], scores: Sequence[float] | None, config: Config) -> float:
    """Selected are the responses whose PRM score passes `select.threshold`; all of them without a PRM."""
    if scores is not None:
        own = [one for one, score in zip(own, scores, strict=True) if score > config.select.threshold]
    texts, correct = [one.text for one in own], [bool(one.correct) for one in own]
    return estimates.balance(texts, correct, config.adapt.balance_target)


def _quality(response: Response, config: Config) -> float:
    return aggregate_steps(response.step_scores or (), config.score.aggregate)
