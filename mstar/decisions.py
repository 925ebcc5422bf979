"""The next sampling temperature, as a pure function of plain values (arXiv 2412.17451, section 4).

`decide` reads what was asked for and what the sweeps measured, and nothing else: the stage on a laptop and
the controller of a cluster ask it the same question and get the same answer. Whatever is missing, broken or
of another iteration means: hold the present temperature, and say why. It never raises and never guesses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mstar.config import Adapt, Config, Stop
from mstar.records import Decision, Estimate, Report, TemperatureReport
from mstar.wording import counted

TIE = 1e-9
"""Values closer than this are equal."""
PLACES = 6
"""Decimals by which temperatures are told apart."""
LAST_RESORT = 1.0
"""Where neither the present nor the first temperature can be sampled with; the paper's first."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one sweep of the validation problems measured of the quantity that the policy maximises."""

    iteration: int | None
    """The policy after this iteration; None is the one that the run started from."""
    values: tuple[tuple[float, float | None], ...]
    """(temperature, value in [0, 1]); None where it was not measured."""
    problems: int
    """Validation problems behind every one of the values; 0 where not all have the same number."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The question: which temperature comes after this iteration, and which sweep may answer it?"""

    iteration: int
    temperature: float
    """The present one."""
    grid: tuple[float, ...]
    """The temperatures of a whole sweep, rising."""
    problems: int
    """Validation problems that a whole sweep covers."""
    iterations: int
    """Turns of the whole run; read by `schedule`."""
    first_temperature: float
    """What the run began with; read by `schedule`."""


class Doubt(Exception):
    """Why an input does not count; its text stands in the decision's reason."""


def ask(config: Config, iteration: int, temperature: float, problems: int) -> Asked:
    """The question of a run; `problems` are the validation problems that its sweeps cover."""
    return Asked(
        iteration,
        temperature,
        config.evaluate.temperatures,
        problems,
        config.iterations.count,
        config.generate.temperature,
    )


def sweep_of(report: Report, adapt: Adapt) -> Sweep | None:
    """The sweep in a report, reduced to what `adapt.policy` maximises; None where nothing was swept."""
    if not report.temperatures:
        return None
    found = [(row.temperature, measured(row, adapt)) for row in report.temperatures]
    values = tuple((temperature, one.value if one else None) for temperature, one in found)
    problems = {one.problems for _, one in found if one}
    return Sweep(report.iteration, values, problems.pop() if len(problems) == 1 else 0)


def measured(row: TemperatureReport, adapt: Adapt) -> Estimate | None:
    """What a policy maximises, at one temperature."""
    match adapt.policy:
        case "reward_pass_at_k":
            return row.reward_pass_at_k
        case "pass_at_k":
            return row.pass_at_k.get(row.samples_per_problem)
        case "balance":
            return row.balance
        case _:
            return None


def decide(asked: Asked, sweeps: Sequence[Sweep], adapt: Adapt, stop: Stop) -> Decision:
    """The decision after `asked.iteration`, from the sweeps so far in any order."""
    try:
        chosen, reason = _choose(asked, sweeps, adapt)
    except Doubt as doubt:
        chosen, reason = _present(asked), f"held: {doubt}"
    stale = stale_sweeps(asked, sweeps, adapt)
    if stop.stale_sweeps is None or stale < stop.stale_sweeps:
        return Decision(asked.iteration, chosen, reason)
    sweeps_without = counted(stale, "sweeps")
    end = f"{adapt.policy} has not risen for {sweeps_without}, stop.stale_sweeps is {stop.stale_sweeps}"
    return Decision(asked.iteration, chosen, f"{reason}; stop: {end}", stop=True)


def best_temperature(
    grid: Sequence[float], values: Sequence[float], temperature: float, adapt: Adapt
) -> tuple[float, str]:
    """The grid point with the highest value; among equals the nearest to the present one, then the lower."""
    label: str = adapt.policy
    heights = list(values)
    if adapt.smooth:
        fitted = _fit_parabola(grid, values)
        if fitted is not None:
            heights, label = fitted, f"{adapt.policy}, smoothed"
        else:
            label = f"{adapt.policy}, not smoothed because no downward parabola fits"
    top = max(heights)
    equals = [point for point, height in zip(grid, heights, strict=True) if height >= top - TIE]
    chosen = min(equals, key=lambda point: (round(abs(point - temperature), 9), point))
    tie = f", nearest of {len(equals)} equals" if len(equals) > 1 else ""
    return chosen, f"highest {label} {top:.3f} of {counted(len(grid), 'temperatures')}{tie}"


def stale_sweeps(asked: Asked, sweeps: Sequence[Sweep], adapt: Adapt) -> int:
    """Sweeps since the best one, by the highest value over temperatures. Doubtful ones do not count, nor
    several of one iteration, nor the one before the first.
    """
    bests: dict[int, list[float]] = {}
    for sweep in sweeps:
        try:
            values = _read(asked, sweep, adapt)
        except Doubt:
            continue
        if sweep.iteration is not None and sweep.iteration <= asked.iteration:
            bests.setdefault(sweep.iteration, []).append(max(values))
    heights = [bests[iteration][0] for iteration in sorted(bests) if len(bests[iteration]) == 1]
    return len(heights) - 1 - heights.index(max(heights)) if heights else 0


def note_saturation(sweep: Sweep) -> str | None:
    """A line for people where a sweep cannot tell most of its temperatures apart; None where it can."""
    known = [value for _, value in sweep.values if value is not None and _is_share(value)]
    equals = sum(value >= max(known) - TIE for value in known) if known else 0
    if equals < 3 or equals * 2 < len(sweep.values):
        return None
    if max(known) < TIE:
        return (
            f"the sweep tells nothing: {equals} of {len(sweep.values)} temperatures have the value 0; easier "
            "validation problems or a larger evaluate.samples_per_problem would tell more"
        )
    return (
        f"the sweep is saturated: {equals} of {len(sweep.values)} temperatures share the highest value "
        f"{max(known):.3f}; harder validation problems, a smaller evaluate.samples_per_problem or fewer "
        "evaluate.temperatures would tell more or cost less"
    )


def _choose(asked: Asked, sweeps: Sequence[Sweep], adapt: Adapt) -> tuple[float, str]:
    if not _is_temperature(asked.temperature):
        raise Doubt(
            f"the present temperature is {asked.temperature}, outside (0, 2]; {_present(asked):g} takes over"
        )
    if adapt.policy == "fixed":
        return asked.temperature, "fixed"
    if adapt.policy == "schedule":
        return _scheduled(asked, adapt)
    return best_temperature(asked.grid, _read(asked, _find(asked, sweeps), adapt), asked.temperature, adapt)


def _scheduled(asked: Asked, adapt: Adapt) -> tuple[float, str]:
    first, final = asked.first_temperature, adapt.final_temperature
    if not _is_temperature(first):
        raise Doubt(f"the first temperature is {first}, outside (0, 2]")
    done = max(0.0, min(1.0, (asked.iteration + 1) / max(1, asked.iterations - 1)))
    reason = f"schedule, {done:.0%} of the way from {first:g} to {final:g}"
    return max(10**-PLACES, round(first + (final - first) * done, PLACES)), reason


def _find(asked: Asked, sweeps: Sequence[Sweep]) -> Sweep:
    """The sweep of the iteration that was asked about."""
    own = [sweep for sweep in sweeps if sweep.iteration == asked.iteration]
    if len(own) > 1:
        raise Doubt(f"there are {len(own)} sweeps of iteration {asked.iteration}")
    if not own:
        others = [sweep.iteration for sweep in sweeps if sweep.iteration is not None]
        newest = f", the newest is of iteration {max(others)}" if others else ""
        raise Doubt(f"no sweep of iteration {asked.iteration}{newest}")
    return own[0]


def _read(asked: Asked, sweep: Sweep, adapt: Adapt) -> list[float]:
    """The sweep's values in the order of the grid, if all is as it was asked for."""
    _check_grid(asked.grid)
    found = {_rounded(temperature): value for temperature, value in sweep.values}
    wanted = [round(temperature, PLACES) for temperature in asked.grid]
    if len(found) < len(sweep.values):
        raise Doubt("the sweep has a temperature twice")
    foreign = [temperature for temperature in found if temperature not in wanted]
    if foreign:
        raise Doubt(f"the sweep has temperatures outside evaluate.temperatures: {_listed(foreign)}")
    missing = [temperature for temperature in wanted if temperature not in found]
    if missing:
        raise Doubt(f"the sweep lacks the temperatures {_listed(missing)}")
    values = [found[temperature] for temperature in wanted]
    known = [value for value in values if value is not None and _is_share(value)]
    if len(known) < len(values):
        place = next(
            t for t, value in zip(wanted, values, strict=True) if value is None or not _is_share(value)
        )
        raise Doubt(f"{adapt.policy} at temperature {place:g} is {found[place]}, no share in [0, 1]")
    fewest = max(asked.problems, adapt.min_problems)
    if not sweep.problems >= fewest:
        which = "adapt.min_problems" if adapt.min_problems >= asked.problems else "a whole sweep"
        raise Doubt(f"the sweep covers {counted(sweep.problems, 'problems')}, {which} is {fewest}")
    if sweep.problems > asked.problems:
        raise Doubt(f"the sweep covers {sweep.problems} problems, a whole sweep is only {asked.problems}")
    return known


def _check_grid(grid: Sequence[float]) -> None:
    """A grid that can be searched: temperatures that rise, told apart by six decimals."""
    if not grid:
        raise Doubt("evaluate.temperatures is empty")
    unusable = [temperature for temperature in grid if not _is_temperature(temperature)]
    if unusable:
        raise Doubt(f"evaluate.temperatures has {_listed(unusable)}, outside (0, 2]")
    rounded = [round(temperature, PLACES) for temperature in grid]
    if rounded != sorted(set(rounded)):
        raise Doubt("evaluate.temperatures does not rise, or repeats itself")


def _present(asked: Asked) -> float:
    """The temperature that holding means: the present one, if it can be sampled with at all."""
    candidates = (asked.temperature, asked.first_temperature, LAST_RESORT)
    return next(temperature for temperature in candidates if _is_temperature(temperature))


def _is_temperature(value: float) -> bool:
    """Also false for NaN, as `_is_share`."""
    return 0 < value <= 2


def _is_share(value: float) -> bool:
    return -TIE <= value <= 1 + TIE


def _rounded(temperature: float) -> float:
    """Unusable ones stay as they are; they are in no grid."""
    return round(temperature, PLACES) if _is_temperature(temperature) else temperature


def _listed(temperatures: Sequence[float]) -> str:
    return ", ".join(f"{temperature:g}" for temperature in temperatures[:5])


def _fit_parabola(grid: Sequence[float], values: Sequence[float]) -> list[float] | None:
    """Least-squares parabola at the grid points; None where it has no peak or there are fewer than four
    points.
    """
    if len(grid) < 4:
        return None
    curve = np.polynomial.Polynomial.fit(grid, values, 2)
    if curve.coef[-1] >= 0:
        return None
    return [float(curve(point)) for point in grid]
