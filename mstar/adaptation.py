"""The next sampling temperature, decided from the sweep of the validation problems (arXiv 2412.17451, section
4).

`decide` is a pure function of its arguments, so a laptop and a controller that ask the same question get the
same answer. Whatever is missing means: hold the temperature, and say why. `adapt` is the stage around it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mstar.config import Adapt, Config, Stop
from mstar.progress import QUIET, Progress
from mstar.records import Decision, Report, State, TemperatureReport, from_json, to_json
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
            reports = [read_report(run, number) for number in range(iteration + 1)]
            decision = decide(config, run.state(iteration).temperature, iteration, reports)
            with stage.write("decision.json") as path:
                path.write_text(to_json(decision), encoding="utf-8")
            stage.commit(dict)
        progress.note(f"temperature {decision.temperature:g}: {decision.reason}")
    decision = read_decision(run, iteration)
    run.write_state(
        State(iteration + 1, run.policy_after(iteration), decision.temperature, run.state(iteration).seed)
    )


def read_report(run: RunDir, iteration: int | None) -> Report:
    """What `evaluate` of that iteration measured."""
    return from_json(Report, run.stage_file("evaluate", iteration, "report.json").read_text(encoding="utf-8"))


def read_decision(run: RunDir, iteration: int) -> Decision:
    """What `adapt` of that iteration decided."""
    return from_json(
        Decision, run.stage_file("adapt", iteration, "decision.json").read_text(encoding="utf-8")
    )


def decide(config: Config, temperature: float, iteration: int, reports: Sequence[Report]) -> Decision:
    """The decision after `iteration`; `reports` are those of iterations 0 to `iteration`, `temperature` the
    present one.
    """
    chosen, reason = _choose(config, temperature, iteration, reports[-1])
    stale = _stale_sweeps(config.adapt, reports)
    if config.stop.stale_sweeps is not None and stale >= config.stop.stale_sweeps:
        return Decision(
            iteration, chosen, f"{reason}; stop: {_stop_reason(config.stop, config.adapt, stale)}", stop=True
        )
    return Decision(iteration, chosen, reason)


def _choose(config: Config, temperature: float, iteration: int, report: Report) -> tuple[float, str]:
    policy = config.adapt.policy
    if policy == "fixed":
        return temperature, "fixed"
    if policy == "schedule":
        last = max(1, config.iterations.count - 1)
        done = min(1.0, (iteration + 1) / last)
        first, final = config.generate.temperature, config.adapt.final_temperature
        return round(
            first + (final - first) * done, 6
        ), f"schedule, {done:.0%} of the way from {first:g} to {final:g}"
    if not report.temperatures:
        return temperature, f"held: no sweep after this iteration, evaluate.every is {config.evaluate.every}"
    missing = sorted(set(config.evaluate.temperatures) - {row.temperature for row in report.temperatures})
    if missing:
        return temperature, f"held: the sweep lacks the temperatures {', '.join(f'{t:g}' for t in missing)}"
    values = [measured(row, config.adapt) for row in report.temperatures]
    if any(value is None for value in values):
        return temperature, f"held: the sweep has no {policy} at every temperature"
    grid = [row.temperature for row in report.temperatures]
    known = [value for value in values if value is not None]
    return best_temperature(grid, known, temperature, config.adapt)


def best_temperature(
    grid: Sequence[float], values: Sequence[float], temperature: float, config: Adapt
) -> tuple[float, str]:
    """The grid point with the highest value; among equals the nearest to the present one, then the lower."""
    label: str = config.policy
    heights = list(values)
    if config.smooth:
        fitted = _fit_parabola(grid, values)
        if fitted is not None:
            heights, label = fitted, f"{config.policy}, smoothed"
        else:
            label = f"{config.policy}, not smoothed because no downward parabola fits"
    top = max(heights)
    equals = [point for point, height in zip(grid, heights, strict=True) if height >= top - TIE]
    chosen = min(equals, key=lambda point: (round(abs(point - temperature), 9), point))
    tie = f", nearest of {len(equals)} equals" if len(equals) > 1 else ""
    return chosen, f"highest {label} {top:.3f} of {len(grid)} temperatures{tie}"


def measured(row: TemperatureReport, config: Adapt) -> float | None:
    """The value that a policy maximises, at one temperature."""
    match config.policy:
        case "reward_pass_at_k":
            return row.reward_pass_at_k.value if row.reward_pass_at_k else None
        case "pass_at_k":
            return row.pass_at_k[row.samples_per_problem].value
        case "balance":
            return row.balance.value
        case _:
            return None


def _fit_parabola(grid: Sequence[float], values: Sequence[float]) -> list[float] | None:
    """Least-squares parabola at the grid points; None where it has no peak or there are fewer than four
    points.
    """
    if len(grid) < 4:
        return None
    curve = np.polynomial.Polynomial.fit(grid, values, 2)
    if curve.convert().coef[-1] >= 0:
        return None
    return [float(curve(point)) for point in grid]


def _stale_sweeps(config: Adapt, reports: Sequence[Report]) -> int:
    """Sweeps since the best one, by the highest value over temperatures."""
    bests = []
    for report in reports:
        values = [value for row in report.temperatures if (value := measured(row, config)) is not None]
        if values:
            bests.append(max(values))
    return len(bests) - 1 - bests.index(max(bests)) if bests else 0


def _stop_reason(stop: Stop, config: Adapt, stale: int) -> str:
    return f"{config.policy} has not risen for {stale} sweeps, stop.stale_sweeps is {stop.stale_sweeps}"
