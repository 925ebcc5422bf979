"""The adapt stage: the next sampling temperature, and the state that the next iteration starts from.

What is decided, and when the temperature is held instead, is in decisions.py.
"""

from typing import Any

from mstar.decisions import ask, decide, note_saturation, sweep_of
from mstar.progress import QUIET, Progress
from mstar.records import Decision, Report, State, from_json, to_json
from mstar.rundir import RunDir
from mstar.timing import stage_clock

TIE = 1e-9
"""Values closer than this are equal."""


def adapt(run: RunDir, iteration: int, progress: Progress = QUIET) -> None:
    """Decide the temperature of the next iteration, and write what that starts from."""
    config = run.config
    made_from: dict[str, Any] = {
        "adapt": config.adapt.model_dump(mode="json"),
        "stop": config.stop.model_dump(mode="json"),
        "inputs": run.inputs(iteration, "train", "evaluate"),
    }
    if config.adapt.policy == "schedule":
        made_from["iterations"] = config.iterations.count
    stage = run.stage("adapt", iteration, made_from)
    if not stage.done:
        with stage_clock(run, "adapt", iteration):
            decision = _decide(run, iteration, progress)
            with stage.write("decision.json") as path:
                path.write_text(to_json(decision), encoding="utf-8")
            stage.commit(dict)
        progress.note(f"temperature {decision.temperature:g}: {decision.reason}")
    decision = read_decision(run, iteration)
    run.write_state(
        State(iteration + 1, run.policy_after(iteration), decision.temperature, run.state(iteration).seed)
    )


def _decide(run: RunDir, iteration: int, progress: Progress) -> Decision:
    config = run.config
    reports = [read_report(run, number) for number in range(iteration + 1)]
    sweeps = [sweep for report in reports if (sweep := sweep_of(report, config.adapt))]
    validation = config.data.validation
    problems = len(run.problems(validation)) if validation else 0
    decision = decide(
        ask(config, iteration, run.state(iteration).temperature, problems), sweeps, config.adapt, config.stop
    )
    newest = sweeps[-1] if sweeps and sweeps[-1].iteration == iteration else None
    if newest and (note := note_saturation(newest)):
        progress.note(note)
    return decision


def read_report(run: RunDir, iteration: int | None) -> Report:
    """What `evaluate` of that iteration measured."""
    return from_json(Report, run.stage_file("evaluate", iteration, "report.json").read_text(encoding="utf-8"))


def read_decision(run: RunDir, iteration: int) -> Decision:
    """What `adapt` of that iteration decided."""
    return from_json(
        Decision, run.stage_file("adapt", iteration, "decision.json").read_text(encoding="utf-8")
    )
