"""The adapt stage: decide the temperature of the next iteration, and write what that starts from.

Reads what `evaluate` measured after each iteration so far; its result is the decision. How it is decided is
in decisions.py, where a controller asks as well.
"""

from mstar.config import Config
from mstar.decisions import Asked, Sweep, ask, decide, note_saturation, sweep_of
from mstar.looking_ahead import in_turn
from mstar.progress import QUIET, Progress
from mstar.reads import adapt_reads
from mstar.records import Decision, Report, State
from mstar.rundir import RunDir
from mstar.stage_notes import MANIFEST
from mstar.stages import ADAPT, EVALUATE
from mstar.work import Turn, Work, perform


def adapt(run: RunDir, iteration: int, progress: Progress = QUIET) -> Decision | None:
    """Decide the temperature of the next iteration, and write what that starts from."""

    def work_on(work: Work) -> Decision | None:
        turns = in_turn(run, range(iteration + 1), (MANIFEST,), (EVALUATE.name,))
        reports = [run.result(EVALUATE, number) for number in turns]
        decision = decide(
            question(run, iteration, reports[-1]),
            sweeps_of(run.config, reports),
            run.config.adapt,
            run.config.stop,
        )
        tell_saturation(run.config, reports[-1], progress)
        progress.note(f"temperature {decision.temperature:g}: {decision.reason}")
        return work.commit([], lambda: decision)

    decision = perform(ADAPT, Turn(run, iteration, progress=progress), adapt_reads(run, iteration), work_on)
    if decision:
        temperature, seed = decision.temperature, run.state(iteration).seed
        run.write_state(State(iteration + 1, run.policy_after(iteration), temperature, seed))
    return decision


def question(run: RunDir, iteration: int, report: Report) -> Asked:
    """What `decide` is asked; a whole sweep covers every validation problem that the model can read."""
    path = run.config.data.validation
    problems = len(run.problems(path)) - len(report.unusable.get("validation", {})) if path else 0
    return ask(run.config, iteration, run.state(iteration).temperature, problems)


def sweeps_of(config: Config, reports: list[Report]) -> list[Sweep]:
    """The sweeps among the reports, reduced to what the policy reads."""
    return [sweep for report in reports if (sweep := sweep_of(report, config.adapt))]


def tell_saturation(config: Config, report: Report, progress: Progress) -> None:
    """A line for people where the sweep of a report cannot tell temperatures apart."""
    sweep = sweep_of(report, config.adapt)
    if sweep and (line := note_saturation(sweep)):
        progress.note(line)
