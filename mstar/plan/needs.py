"""What the stages of one turn of the loop take, as pure functions of settings, counts and measured rates.

Most follows from the settings. What does not is given as bounds: how long responses become, how many of them
are right and kept. adapt is left out, it takes next to nothing. Problems that the model cannot read are
counted as if it could.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil

from mstar.config import Config
from mstar.evaluation import REST, due_tests, sweep_is_due
from mstar.generation import interval_size
from mstar.plan.amounts import NOTHING, Amount, Need, exactly
from mstar.stages import EVALUATE, GENERATE, SCORE, SELECT, TRAIN
from mstar.training import planned_steps

Place = tuple[int | None, str]
"""A stage of one turn: (iteration, folder); iteration None is the start."""
ROW_BYTES, TOKEN_BYTES, PART_BYTES = 256, 8, 16_384
"""At most in a Parquet file: for a response, for each of its tokens (again for the scores of its steps), and
once for a part. Text takes about 4 bytes a token before it is compressed.
"""


@dataclass(frozen=True, slots=True)
class ProblemCounts:
    """How many problems there are."""

    train: int
    labelled: int
    """Of the training problems, those with an answer."""
    validation: int
    tests: dict[str, int]


@dataclass(frozen=True, slots=True)
class Rates:
    """What was measured; by stage where stages differ, absent or None where nothing was."""

    origin: str = ""
    """What it was measured on, for people."""
    seconds_per_response: dict[str, float] = field(default_factory=dict)
    bytes_per_response: dict[str, float] = field(default_factory=dict)
    tokens_per_response: float | None = None
    tokens_per_learned: float | None = None
    """Response tokens of what is trained on."""
    kept_per_response: float | None = None
    """Responses that are kept for each that was sampled."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What needs follow from."""

    config: Config
    counts: ProblemCounts
    rates: Rates

    @property
    def problems(self) -> int:
        """Of one iteration."""
        return interval_size(self.counts.train, self.config.iterations.problems_share)

    @property
    def has_prm(self) -> bool:
        return self.config.score.prm is not None


def due_needs(basis: Basis, iterations: int, done: Mapping[Place, Need]) -> dict[Place, Need]:
    """What every place of a run with so many iterations takes; places that are `done` what they took."""
    needs: dict[Place, Need] = {(None, EVALUATE.name): evaluate_need(basis, None)}
    kept = NOTHING
    for iteration in range(iterations):
        needs[iteration, GENERATE.name] = generate_need(basis)
        needs[iteration, SCORE.name] = score_need(basis)
        selected = done.get((iteration, SELECT.name)) or select_need(basis)
        needs[iteration, SELECT.name] = selected
        kept = kept + selected.responses if basis.config.train.inherit == "none" else selected.responses
        needs[iteration, TRAIN.name] = train_need(basis, kept)
        needs[iteration, EVALUATE.name] = evaluate_need(basis, iteration)
    if iterations and due_tests(basis.config, iterations - 1, rest=True):
        needs[iterations - 1, REST] = evaluate_need(basis, iterations - 1, rest=True)
    return {place: _with_expected(basis, need) for place, need in (needs | dict(done)).items()}


def generate_need(basis: Basis) -> Need:
    sampling = basis.config.generate
    responses = exactly(basis.problems * sampling.samples_per_problem)
    parts = ceil(basis.problems / sampling.problems_per_chunk)
    return Need(
        responses,
        _tokens(basis, responses),
        part_bytes=_part_bytes(basis, GENERATE.name, responses, parts),
        seconds=_seconds(basis, GENERATE.name, responses),
    )


def score_need(basis: Basis) -> Need:
    sampled = generate_need(basis)
    parts = ceil(basis.problems / basis.config.generate.problems_per_chunk)
    return Need(
        sampled.responses,
        part_bytes=_part_bytes(basis, SCORE.name, sampled.responses, parts),
        seconds=_seconds(basis, SCORE.name, sampled.responses),
    )


def select_need(basis: Basis) -> Need:
    """All may be wrong; at most every problem with an answer keeps as many as it may."""
    samples, keep = basis.config.generate.samples_per_problem, basis.config.select.keep_per_problem
    most = min(basis.problems, basis.counts.labelled) * min(samples, keep or samples)
    sampled, share = basis.problems * samples, basis.rates.kept_per_response
    kept = Amount(0, most, None if share is None else min(most, share * sampled))
    parts = ceil(basis.problems / basis.config.generate.problems_per_chunk)
    return Need(
        kept,
        part_bytes=_part_bytes(basis, SELECT.name, kept, parts),
        seconds=_seconds(basis, SELECT.name, exactly(sampled)),
    )


def train_need(basis: Basis, kept: Amount) -> Need:
    """Training on so many kept responses."""
    section, learned_tokens = basis.config.train, basis.rates.tokens_per_learned
    learned = kept.times(section.epochs)
    expected = None if kept.expected is None else planned_steps(section, round(kept.expected))
    tokens = None if learned.expected is None or learned_tokens is None else learned.expected * learned_tokens
    return Need(
        learned,
        Amount(learned.low, learned.high * basis.config.generate.max_tokens, tokens),
        Amount(planned_steps(section, int(kept.low)), planned_steps(section, int(kept.high)), expected),
        seconds=_seconds(basis, TRAIN.name, learned),
    )


def evaluate_need(basis: Basis, iteration: int | None, rest: bool = False) -> Need:
    """A greedy response to every problem of the due test sets, and the temperature sweep where it is due."""
    config, size = basis.config, basis.config.evaluate.problems_per_part
    tests = [basis.counts.tests[name] for name in due_tests(config, iteration, rest)]
    problems, parts = sum(tests), sum(ceil(test / size) for test in tests)
    if sweep_is_due(config, iteration) and not rest:
        grid, validation = len(config.evaluate.temperatures), basis.counts.validation
        problems += grid * validation * config.evaluate.samples_per_problem
        parts += grid * ceil(validation / size)
    responses = exactly(problems)
    return Need(
        responses,
        _tokens(basis, responses),
        part_bytes=_part_bytes(basis, EVALUATE.name, responses, parts),
        seconds=_seconds(basis, EVALUATE.name, responses),
    )


def _tokens(basis: Basis, responses: Amount) -> Amount:
    """Sampled ones: at least the end token of every response."""
    each = basis.rates.tokens_per_response
    expected = None if each is None else responses.high * each
    return Amount(responses.low, responses.high * basis.config.generate.max_tokens, expected)


def _with_expected(basis: Basis, need: Need) -> Need:
    """A finished sweep's tokens are only bounded: what is expected of them follows from the rates as well."""
    tokens = need.response_tokens
    if tokens.expected is not None or need.responses.expected is None:
        return need
    expected = _tokens(basis, need.responses).expected
    if expected is None:
        return need
    within = min(max(expected, tokens.low), tokens.high)
    return replace(need, response_tokens=replace(tokens, expected=within))


def _part_bytes(basis: Basis, stage: str, responses: Amount, parts: int) -> Amount:
    has_scores = basis.has_prm and stage != GENERATE.name
    row = ROW_BYTES + TOKEN_BYTES * basis.config.generate.max_tokens * (2 if has_scores else 1)
    each = basis.rates.bytes_per_response.get(stage)
    most = responses.high * row + parts * PART_BYTES
    if each is None or responses.expected is None:
        return Amount(0, most, None)
    return Amount(0, most, min(most, responses.expected * each))


def _seconds(basis: Basis, stage: str, responses: Amount) -> Amount | None:
    rate = basis.rates.seconds_per_response.get(stage)
    return None if rate is None else responses.times(rate)
