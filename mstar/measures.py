"""What is measured of judged responses: accuracy on a test set, exploration and exploitation in a sweep.

Pure functions over records; the estimates and their intervals are in estimates.py.
"""

from collections.abc import Sequence

from mstar import estimates
from mstar.config import Config
from mstar.datasets import ProblemFile
from mstar.engines import Sampling
from mstar.records import Estimate, Response, TemperatureReport, TestReport
from mstar.steps import aggregate_steps


def measure_test(responses: Sequence[Response], problems: ProblemFile) -> TestReport:
    """Greedy accuracy, one response to each problem; problems without one are not counted."""
    source_of = dict(zip(problems.ids, problems.sources, strict=True))
    by_source: dict[str, list[bool]] = {}
    for one in responses:
        by_source.setdefault(source_of[one.problem_id], []).append(bool(one.correct))
    return TestReport(
        accuracy=estimates.share([bool(one.correct) for one in responses]),
        by_source={source: estimates.share(by_source[source]) for source in sorted(by_source)},
        mean_response_tokens=sum(one.response_tokens for one in responses) / max(1, len(responses)),
        truncated=sum(one.truncated for one in responses),
    )


def measure_temperature(
    groups: Sequence[Sequence[Response]], config: Config, sampling: Sampling
) -> TemperatureReport:
    """Pass@K, Reward-Pass@k and balance of the validation problems at one temperature."""
    correct = [[bool(one.correct) for one in own] for own in groups]
    powers = estimates.powers_up_to(sampling.samples_per_problem)
    return TemperatureReport(
        temperature=sampling.temperature,
        samples_per_problem=sampling.samples_per_problem,
        pass_at_k={k: estimates.pass_at_k(correct, k) for k in powers},
        unbiased_pass_at_k={k: estimates.unbiased_pass_at_k(correct, k) for k in powers},
        reward_pass_at_k=_reward_pass(groups, correct, config),
        balance=_balance(groups, config),
    )


def _reward_pass(
    groups: Sequence[Sequence[Response]], correct: list[list[bool]], config: Config
) -> Estimate | None:
    if config.score.prm is None:
        return None
    scores = [[_quality(one, config) for one in own] for own in groups]
    return estimates.reward_pass_at_k(correct, scores, config.adapt.k)


def _balance(groups: Sequence[Sequence[Response]], config: Config) -> Estimate:
    """Selected are the responses whose PRM score passes `select.threshold`; all of them without a PRM."""
    selected = [
        [one for one in own if config.score.prm is None or _quality(one, config) > config.select.threshold]
        for own in groups
    ]
    texts = [[one.text for one in own] for own in selected]
    return estimates.balance(
        texts, [[bool(one.correct) for one in own] for own in selected], config.adapt.balance_target
    )


def _quality(response: Response, config: Config) -> float:
    return aggregate_steps(response.step_scores or (), config.score.aggregate)
