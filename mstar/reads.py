"""What each stage is made from besides its settings: problems, policies and earlier stages, by identity.

One function per stage, on one page, because this is how the stages of a run hang together: the tables become
part of fingerprints, and `mstar verify` asks whether they still hold.
"""

from collections.abc import Callable

from mstar.config import Config
from mstar.fingerprints import Fingerprint
from mstar.inputs import problem_files
from mstar.rundir import FIRST_POLICY, RunDir
from mstar.stages import ADAPT, EVALUATE, GENERATE, SCORE, SELECT, TRAIN


def generate_reads(run: RunDir, iteration: int) -> Fingerprint:
    state = run.state(iteration)
    return {
        "temperature": state.temperature,
        "policy.content": run.policy_identity(state.policy),
        "problems.train": run.identity("data.train"),
    }


def score_reads(run: RunDir, iteration: int) -> Fingerprint:
    return {
        **run.inputs(iteration, GENERATE),
        "prm.content": run.prm_identity(),
        "problems.train": run.identity("data.train"),
    }


def select_reads(run: RunDir, iteration: int) -> Fingerprint:
    return dict(run.inputs(iteration, SCORE))


def train_reads(run: RunDir, iteration: int) -> Fingerprint:
    return {
        "policy.content": run.policy_identity(lesson_policy(run, iteration)),
        "problems.train": run.identity("data.train"),
        **{
            f"inputs.{number}": run.stage_identity(SELECT, number)
            for number in lesson_iterations(run.config, iteration)
        },
    }


def evaluate_reads(run: RunDir, iteration: int | None) -> Fingerprint:
    policy = FIRST_POLICY if iteration is None else run.policy_after(iteration)
    return {
        "policy.content": run.policy_identity(policy),
        "prm.content": run.prm_identity(),
        **{
            f"problems.{key.removeprefix('data.')}": run.identity(key)
            for key, _ in problem_files(run.config)
            if key != "data.train"
        },
    }


def adapt_reads(run: RunDir, iteration: int) -> Fingerprint:
    reads: Fingerprint = dict(run.inputs(iteration, TRAIN, EVALUATE))
    if run.config.adapt.policy == "schedule":
        reads["iterations"] = run.config.iterations.count
    return reads


def lesson_policy(run: RunDir, iteration: int) -> str:
    """The policy that an iteration's training starts from (`train.inherit`)."""
    return FIRST_POLICY if run.config.train.inherit == "none" else run.state(iteration).policy


def lesson_iterations(config: Config, iteration: int) -> range:
    """The iterations whose selected responses it trains on."""
    return range(0 if config.train.inherit == "none" else iteration, iteration + 1)


READS: dict[str, Callable[[RunDir, int], Fingerprint]] = {
    GENERATE.name: generate_reads,
    SCORE.name: score_reads,
    SELECT.name: select_reads,
    TRAIN.name: train_reads,
    EVALUATE.name: evaluate_reads,
    ADAPT.name: adapt_reads,
}
"""By the stage's name, for an iteration; the start has `evaluate_reads(run, None)`."""
