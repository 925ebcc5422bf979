"""The plan of a run from what its places take: pure functions, from the settings to the whole.

Places that are finished take what they took, so the bounds of a plan close while the run goes. Where
`stop.stale_sweeps` may end the run early, lower bounds are those of the shortest run, all else is that of
the longest.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mstar.config import Config
from mstar.evaluation import REST
from mstar.plan.amounts import Amount, Need, exactly
from mstar.plan.needs import Basis, Place, Rates, due_needs
from mstar.resources import IN_HAND, kept_checkpoints
from mstar.stages import ADAPT, EVALUATE, STAGE_NAMES

PLANNED = tuple(name for name in STAGE_NAMES if name != ADAPT.name)


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one stage takes in all turns together; `whole` is `done` and `left`."""

    whole: Need
    done: Need
    left: Need


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run takes."""

    name: str
    iterations: Amount
    finished_stages: int
    """Stages of all turns that `done` counts."""
    finished_iterations: int
    stages: dict[str, StagePlan]
    total: StagePlan
    """The stages together."""
    checkpoint_bytes: Amount | None
    """Of one; None where the model's size is not known."""
    checkpoints_bytes: Amount | None
    """Of all: expected at the end; at most at once, with those in hand."""
    rates: Rates


def make_plan(
    basis: Basis, iterations: Amount, done: Mapping[Place, Need], checkpoint: Amount | None = None
) -> Plan:
    """The plan of a run with so many `iterations`, of which the places of `done` are finished.

    `checkpoint` has the bytes of one.
    """
    fewest, most = (due_needs(basis, int(count), done) for count in (iterations.low, iterations.high))
    stages = {name: _plan_stage(name, fewest, most, done) for name in PLANNED}
    return Plan(
        name=basis.config.name,
        iterations=iterations,
        finished_stages=len(done),
        finished_iterations=finished_iterations(done),
        stages=stages,
        total=StagePlan(
            _sum(stage.whole for stage in stages.values()),
            _sum(stage.done for stage in stages.values()),
            _sum(stage.left for stage in stages.values()),
        ),
        checkpoint_bytes=checkpoint,
        checkpoints_bytes=_all_checkpoints(basis.config, iterations, checkpoint) if checkpoint else None,
        rates=basis.rates,
    )


def bound_iterations(config: Config, finished: int, has_stopped: bool) -> Amount:
    """How many iterations a run has; `stop.stale_sweeps` may end it before `iterations.count`."""
    count, stale = config.iterations.count, config.stop.stale_sweeps
    if has_stopped:
        return exactly(finished)
    if stale is None:
        return exactly(count)
    earliest = (stale + 1) * config.evaluate.every
    return Amount(min(count, max(earliest, finished + 1)), count, count)


def finished_iterations(done: Mapping[Place, Need]) -> int:
    """Turns of the loop that have come to their evaluation."""
    return sum(name == EVALUATE.name and turn is not None for turn, name in done)


def _plan_stage(
    name: str, fewest: Mapping[Place, Need], most: Mapping[Place, Need], done: Mapping[Place, Need]
) -> StagePlan:
    def between(is_meant: Callable[[Place], bool]) -> Need:
        low, high = (
            _sum(need for place, need in needs.items() if _stage_of(place) == name and is_meant(place))
            for needs in (fewest, most)
        )
        return high.down_to(low)

    return StagePlan(
        whole=between(lambda place: True),
        done=between(lambda place: place in done),
        left=between(lambda place: place not in done),
    )


def _stage_of(place: Place) -> str:
    return EVALUATE.name if place[1] == REST else place[1]


def _all_checkpoints(config: Config, iterations: Amount, one: Amount) -> Amount:
    """None is left of a run that selects nothing."""
    kept = kept_checkpoints(config, int(iterations.high))
    expected = None if one.expected is None else kept * one.expected
    return Amount(0, (kept + IN_HAND) * one.high, expected)


def _sum(needs: Iterable[Need]) -> Need:
    return sum(needs, Need())
