"""Temperature decisions as a pure function: every policy, ties, holes, and what holding means."""

from typing import Any

import pytest

from mstar.adaptation import best_temperature, decide
from mstar.config import Adapt, Config
from mstar.config_file import parse_config
from mstar.records import Estimate, Report, TemperatureReport

GRID = (0.5, 0.7, 0.9, 1.1)


def config(**sections: Any) -> Config:
    tree = {
        "name": "decide",
        "output": "nowhere",
        "model": {"path": "p"},
        "iterations": {"count": 5},
        "data": {"train": "t", "validation": "v", "tests": {"h": "h"}},
        "evaluate": {"temperatures": list(GRID), "samples_per_problem": 4},
        "adapt": {"policy": "pass_at_k"},
    }
    return parse_config({**tree, **sections}, "test")


def row(
    temperature: float, value: float, reward: float | None = None, balance: float = 0.0
) -> TemperatureReport:
    def estimate(at: float) -> Estimate:
        return Estimate(at, at, at, 100)

    passes = {1: estimate(0.0), 4: estimate(value)}
    return TemperatureReport(
        temperature, 4, passes, passes, None if reward is None else estimate(reward), estimate(balance)
    )


def report(values: dict[float, float]) -> Report:
    return Report(0, {}, tuple(row(temperature, value) for temperature, value in values.items()))


def test_fixed_never_moves() -> None:
    decision = decide(config(adapt={"policy": "fixed"}), 0.8, 3, [report({0.5: 1.0})] * 4)
    assert (decision.temperature, decision.stop) == (0.8, False)


def test_schedule_is_linear_and_ends_at_the_last_iteration() -> None:
    settings = config(adapt={"policy": "schedule", "final_temperature": 0.6}, generate={"temperature": 1.0})
    temperatures = [
        decide(settings, 1.0, iteration, [Report(iteration)]).temperature for iteration in range(5)
    ]
    assert temperatures == [0.9, 0.8, 0.7, 0.6, 0.6]


def test_takes_the_highest() -> None:
    decision = decide(config(), 1.0, 1, [report(dict(zip(GRID, (0.2, 0.9, 0.3, 0.4), strict=True)))])
    assert decision.temperature == 0.7
    assert "0.900" in decision.reason


def test_each_policy_reads_its_own_measure() -> None:
    rows = (
        row(0.5, 0.9, 0.1, 0.1),
        row(0.7, 0.1, 0.9, 0.1),
        row(0.9, 0.1, 0.1, 0.9),
        row(1.1, 0.0, 0.0, 0.0),
    )
    score = {"prm": "p"}
    found = {
        policy: decide(
            config(adapt={"policy": policy}, score=score), 1.0, 0, [Report(0, {}, rows)]
        ).temperature
        for policy in ("pass_at_k", "reward_pass_at_k", "balance")
    }
    assert found == {"pass_at_k": 0.5, "reward_pass_at_k": 0.7, "balance": 0.9}


@pytest.mark.parametrize("present, chosen", [(1.0, 0.9), (0.8, 0.7), (0.3, 0.5), (1.5, 0.9)])
def test_ties_go_to_the_nearest_and_then_to_the_lower(present: float, chosen: float) -> None:
    tied = report({0.5: 0.8, 0.7: 0.8, 0.9: 0.8, 1.1: 0.1})
    assert decide(config(), present, 0, [tied]).temperature == chosen


def test_missing_temperature_means_hold_and_names_it() -> None:
    decision = decide(config(), 1.0, 0, [report({0.5: 0.1, 0.7: 0.9, 0.9: 0.1})])
    assert decision.temperature == 1.0
    assert "1.1" in decision.reason


def test_no_sweep_means_hold() -> None:
    decision = decide(config(), 0.9, 0, [Report(0)])
    assert decision.temperature == 0.9
    assert decision.reason.startswith("held")


def test_reward_pass_missing_at_one_temperature_means_hold() -> None:
    rows = tuple(row(t, 0.1, None if t == 0.9 else 0.5) for t in GRID)
    settings = config(adapt={"policy": "reward_pass_at_k"}, score={"prm": "p"})
    assert decide(settings, 1.0, 0, [Report(0, {}, rows)]).temperature == 1.0


def test_smoothing_ignores_one_lucky_point() -> None:
    grid = [round(0.3 + 0.1 * step, 1) for step in range(14)]
    values = [0.6 - (t - 0.9) ** 2 for t in grid]
    values[-1] = max(values) + 0.05
    raw, _ = best_temperature(grid, values, 1.0, Adapt(policy="pass_at_k"))
    smooth, reason = best_temperature(grid, values, 1.0, Adapt(policy="pass_at_k", smooth=True))
    assert raw == 1.6
    assert abs(smooth - 0.9) <= 0.11
    assert "smoothed" in reason


def test_smoothing_falls_back_where_there_is_no_peak() -> None:
    chosen, reason = best_temperature(GRID, [0.9, 0.1, 0.1, 0.8], 1.0, Adapt(policy="pass_at_k", smooth=True))
    assert chosen == 0.5
    assert "not smoothed" in reason


def test_stops_when_sweeps_go_stale() -> None:
    flat, better = report(dict.fromkeys(GRID, 0.5)), report(dict.fromkeys(GRID, 0.6))
    settings = config(stop={"stale_sweeps": 2})
    empty = Report(0)
    assert not decide(settings, 1.0, 2, [flat, empty, flat]).stop
    assert not decide(settings, 1.0, 4, [flat, empty, flat, empty, better]).stop
    stopped = decide(settings, 1.0, 4, [flat, empty, flat, empty, flat])
    assert stopped.stop
    assert "2 sweeps" in stopped.reason
