"""The plan of one run: its problems counted, its finished stages read, its model's size looked up."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mstar.config import Config
from mstar.errors import UserError
from mstar.plan.amounts import Amount, exactly
from mstar.plan.arithmetic import PLANNED, Plan, bound_iterations, finished_iterations, make_plan
from mstar.plan.finished import Finished, checkpoint_size, measure_rates, read_finished
from mstar.plan.needs import Basis, ProblemCounts, Rates
from mstar.preflight import load_encoder
from mstar.resources import FROZEN_BYTES, count_parameters
from mstar.rundir import RunDir
from mstar.stages import ADAPT
from mstar.starting import take_up

NAMES_SHARE, AROUND_BYTES = 0.01, 2**16
"""What a checkpoint takes at most beside its numbers and tokenizer: their names, and configuration files."""


def plan_config(config: Config, with_trial: bool = False) -> Plan:
    """The plan of the run that a configuration starts or goes on with; nothing of it is touched."""
    run = take_up(config)
    finished = read_finished(run)
    trial: Sequence[Finished] = ()
    if with_trial and not is_complete(measure_rates(finished, "")):
        from mstar.plan.trial import try_out

        trial = try_out(run)
    checkpoint = None if checkpoint_size(finished) else bound_checkpoint(run.config)
    return plan_from(run, finished, checkpoint, trial)


def plans_of(run: RunDir) -> tuple[Plan, Plan] | None:
    """The plan as it was after the first iteration, and as it is now; None before that, or where files that
    it follows from are gone.
    """
    try:
        finished = read_finished(run)
        first = [one for one in finished if one.place[0] in (None, 0)]
        if not finished_iterations({one.place: one.need for one in first}):
            return None
        return plan_from(run, first), plan_from(run, finished)
    except (UserError, OSError):
        return None


def plan_from(
    run: RunDir,
    finished: Sequence[Finished],
    checkpoint: Amount | None = None,
    trial: Sequence[Finished] = (),
) -> Plan:
    """The plan that follows from what is finished, which may be less than the run has by now."""
    rates = measure_rates(finished, _origin(finished))
    if trial and not is_complete(rates):
        rates = measure_rates(trial, f"a trial of {trial[0].handled:.0f} responses")
    done = {one.place: one.need for one in finished}
    turns = finished_iterations(done)
    size = checkpoint_size(finished)
    return make_plan(
        Basis(run.config, count_problems(run), rates),
        bound_iterations(run.config, turns, _has_stopped(run, turns)),
        done,
        exactly(size) if size else checkpoint,
    )


def is_complete(rates: Rates) -> bool:
    """Whether hours follow from these."""
    return all(name in rates.seconds_per_response for name in PLANNED)


def count_problems(run: RunDir) -> ProblemCounts:
    """From the indexes of the problem files."""
    data = run.config.data
    train = run.problems(data.train)
    return ProblemCounts(
        train=len(train),
        labelled=len(train) - len(train.unlabelled),
        validation=len(run.problems(data.validation)) if data.validation else 0,
        tests={name: len(run.problems(path)) for name, path in data.tests.items()},
    )


def bound_checkpoint(config: Config) -> Amount:
    """Bytes of a checkpoint, from the model's configuration and tokenizer; its weights are not needed.

    At least the weights are there: a part that no response reaches has no moments.
    """
    encoder = load_encoder(config)
    parameters = count_parameters(config, encoder)
    with tempfile.TemporaryDirectory() as folder:
        encoder.tokenizer.save_pretrained(folder)
        encoder.image_processor.save_pretrained(folder)
        around = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    numbers = parameters.checkpoint_bytes
    return Amount(
        FROZEN_BYTES * (parameters.trained + parameters.saved_frozen),
        (1 + NAMES_SHARE) * parameters.most_checkpoint_bytes + around + AROUND_BYTES,
        numbers + around,
    )


def _origin(finished: Sequence[Finished]) -> str:
    turns = [turn for turn, _ in (one.place for one in finished) if turn is not None]
    return f"this run, up to iteration {max(turns)}" if turns else "the start of this run"


def _has_stopped(run: RunDir, iterations: int) -> bool:
    """Whether the last of so many iterations has ended the run."""
    last = iterations - 1
    return iterations > 0 and run.is_finished(ADAPT.name, last) and run.result(ADAPT, last).stop
