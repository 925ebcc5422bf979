"""Temperature decisions as a pure function: every policy, ties, every doubt, and what holding means."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstar.config import Adapt, Stop
from mstar.decisions import (
    Asked,
    Sweep,
    ask,
    best_temperature,
    decide,
    note_saturation,
    stale_sweeps,
    sweep_of,
)
from mstar.records import Estimate, Report, TemperatureReport
from tests.conftest import parse_small

GRID = (0.5, 0.7, 0.9, 1.1)
ASKED = Asked(3, 1.0, GRID, problems=100, iterations=5, first_temperature=1.0)
PASS = Adapt(policy="pass_at_k")
NEVER = Stop()
POLICIES = get_args(Adapt.model_fields["policy"].annotation)


def sweep(values: Mapping[float, float | None] | None = None, iteration: int | None = 3) -> Sweep:
    found = values if values is not None else dict(zip(GRID, (0.2, 0.9, 0.3, 0.4), strict=True))
    return Sweep(iteration, tuple(found.items()), 100)


def row(
    temperature: float, passed: float, reward: float | None = None, balance: float = 0.0
) -> TemperatureReport:
    def estimate(at: float) -> Estimate:
        return Estimate(at, at, at, 100)

    passes = {1: estimate(0.0), 4: estimate(passed)}
    rewarded = None if reward is None else estimate(reward)
    return TemperatureReport(temperature, 4, passes, passes, rewarded, estimate(balance))


def test_fixed_never_moves() -> None:
    decision = decide(replace(ASKED, temperature=0.8), [sweep()], Adapt(policy="fixed"), NEVER)
    assert (decision.iteration, decision.temperature, decision.stop) == (3, 0.8, False)


def test_schedule_is_linear_and_ends_at_the_last_iteration() -> None:
    adapt = Adapt(policy="schedule", final_temperature=0.6)
    found = [decide(replace(ASKED, iteration=i), [], adapt, NEVER).temperature for i in range(5)]
    assert found == [0.9, 0.8, 0.7, 0.6, 0.6]


def test_takes_the_highest() -> None:
    decision = decide(ASKED, [sweep({0.5: 1.0, 0.7: 0.0, 0.9: 0.0, 1.1: 0.0}, 1), sweep()], PASS, NEVER)
    assert decision.temperature == 0.7
    assert "0.900" in decision.reason


def test_the_order_of_temperatures_and_sweeps_does_not_matter() -> None:
    turned = replace(sweep(), values=tuple(reversed(sweep().values)))
    assert decide(ASKED, [turned, sweep(iteration=1)], PASS, NEVER) == decide(ASKED, [sweep()], PASS, NEVER)


@pytest.mark.parametrize("present, chosen", [(1.0, 0.9), (0.8, 0.7), (0.3, 0.5), (1.5, 0.9)])
def test_ties_go_to_the_nearest_and_then_to_the_lower(present: float, chosen: float) -> None:
    tied = sweep({0.5: 0.8, 0.7: 0.8, 0.9: 0.8, 1.1: 0.1})
    assert decide(replace(ASKED, temperature=present), [tied], PASS, NEVER).temperature == chosen


@pytest.mark.parametrize(
    "sweeps, doubt",
    [
        ([], "no sweep of iteration 3"),
        (
            [sweep(iteration=1), sweep(iteration=None)],
            "no sweep of iteration 3, the newest is of iteration 1",
        ),
        ([sweep(iteration=4)], "no sweep of iteration 3, the newest is of iteration 4"),
        ([sweep(), sweep()], "there are 2 sweeps of iteration 3"),
        ([sweep({})], "lacks the temperatures 0.5, 0.7, 0.9, 1.1"),
        ([sweep({0.5: 0.1, 0.7: 0.9, 0.9: 0.1})], "lacks the temperatures 1.1"),
        ([sweep({**dict(sweep().values), 1.3: 1.0})], "outside evaluate.temperatures: 1.3"),
        ([sweep({**dict(sweep().values), math.nan: 1.0})], "outside evaluate.temperatures: nan"),
        ([sweep({**dict(sweep().values), 0.9: None})], "pass_at_k at temperature 0.9 is None"),
        ([sweep({**dict(sweep().values), 0.9: math.nan})], "pass_at_k at temperature 0.9 is nan"),
        ([sweep({**dict(sweep().values), 0.9: math.inf})], "pass_at_k at temperature 0.9 is inf"),
        ([sweep({**dict(sweep().values), 0.9: 74.5})], "pass_at_k at temperature 0.9 is 74.5"),
        ([sweep({**dict(sweep().values), 0.9: -0.1})], "pass_at_k at temperature 0.9 is -0.1"),
        ([Sweep(3, (*sweep().values, (0.5, 1.0)), 100)], "has a temperature twice"),
        ([replace(sweep(), problems=99)], "covers 99 problems, a whole sweep is 100"),
        ([replace(sweep(), problems=-1)], "covers -1 problems"),
        ([replace(sweep(), problems=101)], "covers 101 problems, a whole sweep is only 100"),
    ],
)
def test_a_doubtful_sweep_means_hold_and_says_why(sweeps: list[Sweep], doubt: str) -> None:
    decision = decide(ASKED, sweeps, PASS, NEVER)
    assert (decision.temperature, decision.stop) == (1.0, False)
    assert decision.reason.startswith("held: ") and doubt in decision.reason


@pytest.mark.parametrize(
    "asked, doubt",
    [
        (replace(ASKED, problems=20), "covers 20 problems, adapt.min_problems is 50"),
        (replace(ASKED, grid=()), "evaluate.temperatures is empty"),
        (replace(ASKED, grid=(0.7, 0.5, 0.9, 1.1)), "does not rise"),
        (replace(ASKED, grid=(0.5, 0.5, 0.7, 0.9, 1.1)), "does not rise"),
        (replace(ASKED, grid=(0.5, 0.7, 0.9, math.nan)), "has nan, outside (0, 2]"),
        (replace(ASKED, grid=(0.0, 0.7, 0.9, 1.1)), "has 0, outside (0, 2]"),
    ],
)
def test_a_doubtful_question_means_hold_and_says_why(asked: Asked, doubt: str) -> None:
    decision = decide(asked, [replace(sweep(), problems=asked.problems)], PASS, NEVER)
    assert decision.temperature == 1.0
    assert decision.reason.startswith("held: ") and doubt in decision.reason


@pytest.mark.parametrize("present", [math.nan, math.inf, 0.0, -1.0, 2.1])
def test_a_present_temperature_that_cannot_be_sampled_with_gives_way_to_the_first(present: float) -> None:
    asked = replace(ASKED, temperature=present, first_temperature=0.8)
    for policy in POLICIES:
        decision = decide(asked, [sweep()], Adapt(policy=policy), NEVER)
        assert decision.temperature == 0.8 and decision.reason.startswith("held: the present temperature is")


def test_stops_when_sweeps_go_stale() -> None:
    flat, better = dict.fromkeys(GRID, 0.5), dict.fromkeys(GRID, 0.6)
    stop = Stop(stale_sweeps=2)

    def after(iteration: int, *found: dict[float, float]) -> Any:
        sweeps = [sweep(values, 2 * place) for place, values in enumerate(found)]
        return decide(replace(ASKED, iteration=iteration), sweeps, PASS, stop)

    assert not after(2, flat, flat).stop
    assert not after(4, flat, flat, better).stop
    stopped = after(4, flat, flat, flat)
    assert stopped.stop and "2 sweeps" in stopped.reason


def test_one_is_not_many() -> None:
    high, low = {t: 0.9 for t in GRID}, {t: 0.1 for t in GRID}
    stopped = decide(ASKED, [sweep(high, 2), sweep(low, 3)], PASS, Stop(stale_sweeps=1))
    assert "has not risen for 1 sweep, stop.stale_sweeps is 1" in stopped.reason
    thin = decide(replace(ASKED, problems=1), [replace(sweep(), problems=1)], PASS, NEVER)
    assert "the sweep covers 1 problem, adapt.min_problems is" in thin.reason


def test_doubtful_sweeps_and_those_of_other_times_do_not_count_as_stale() -> None:
    high, low = dict.fromkeys(GRID, 0.9), dict.fromkeys(GRID, 0.5)
    doubtful = [sweep({**low, 0.7: math.nan}, 1), replace(sweep(low, 2), problems=3), sweep({0.5: 0.5}, 3)]
    assert stale_sweeps(ASKED, [sweep(high, 0), *doubtful], PASS) == 0
    assert stale_sweeps(ASKED, [sweep(high, None), sweep(low, 1), sweep(low, 9)], PASS) == 0
    assert stale_sweeps(ASKED, [sweep(high, 0), *doubtful, sweep(low, 3)], PASS) == 1


def test_two_sweeps_of_one_iteration_stop_nothing_whichever_comes_first() -> None:
    high, low = sweep(dict.fromkeys(GRID, 0.9), 2), sweep(dict.fromkeys(GRID, 0.5), 2)
    for pair in ([high, low], [low, high]):
        found = [sweep(dict.fromkeys(GRID, 0.6), 0), *pair, sweep(dict.fromkeys(GRID, 0.7), 3)]
        assert stale_sweeps(ASKED, found, PASS) == 0


TEMPERATURES = st.one_of(st.sampled_from(GRID), st.floats())
SWEEPS = st.lists(
    st.builds(
        Sweep,
        iteration=st.one_of(st.none(), st.integers(-1, 5)),
        values=st.lists(
            st.tuples(TEMPERATURES, st.one_of(st.none(), st.floats(0, 1), st.floats())), max_size=6
        ).map(tuple),
        problems=st.integers(-1, 200),
    )
    | st.builds(
        Sweep,
        iteration=st.integers(2, 3),
        values=st.tuples(*(st.tuples(st.just(t), st.floats(0, 1)) for t in GRID)),
        problems=st.integers(90, 200),
    ),
    max_size=5,
)
QUESTIONS = st.builds(
    Asked,
    iteration=st.integers(-1, 6),
    temperature=TEMPERATURES,
    grid=st.one_of(st.just(GRID), st.lists(TEMPERATURES, max_size=5).map(tuple)),
    problems=st.integers(-1, 200),
    iterations=st.integers(-1, 6),
    first_temperature=TEMPERATURES,
)
RULES = st.builds(
    Adapt, policy=st.sampled_from(POLICIES), smooth=st.booleans(), min_problems=st.integers(1, 150)
)
STOPS = st.builds(Stop, stale_sweeps=st.one_of(st.none(), st.integers(1, 3)))


@given(QUESTIONS, SWEEPS, RULES, STOPS)
def test_whatever_is_asked_the_answer_is_a_temperature(
    asked: Asked, sweeps: list[Sweep], adapt: Adapt, stop: Stop
) -> None:
    decision = decide(asked, sweeps, adapt, stop)
    assert decision.iteration == asked.iteration and decision.reason
    assert 0 < decision.temperature <= 2
    if 0 < asked.temperature <= 2 and adapt.policy != "schedule":
        assert decision.temperature in (asked.temperature, *asked.grid)
    if "held" in decision.reason and 0 < asked.temperature <= 2:
        assert decision.temperature == asked.temperature
    assert decide(asked, sweeps[::-1], adapt, stop) == decision


@given(QUESTIONS, SWEEPS, RULES)
def test_only_a_sound_sweep_moves_the_temperature(asked: Asked, sweeps: list[Sweep], adapt: Adapt) -> None:
    decision = decide(asked, sweeps, adapt, NEVER)
    if adapt.policy in ("fixed", "schedule") or decision.temperature == asked.temperature:
        return
    if not 0 < asked.temperature <= 2:
        return
    own = next(one for one in sweeps if one.iteration == asked.iteration)
    assert sorted(round(t, 6) for t, _ in own.values) == [round(t, 6) for t in asked.grid]
    assert own.problems == asked.problems >= adapt.min_problems
    values = {round(t, 6): value for t, value in own.values}
    if not adapt.smooth:
        best = values[round(decision.temperature, 6)]
        assert best is not None and best >= max(v for v in values.values() if v is not None) - 1e-9


def test_smoothing_ignores_one_lucky_point() -> None:
    grid = [round(0.3 + 0.1 * step, 1) for step in range(14)]
    values = [0.6 - (t - 0.9) ** 2 for t in grid]
    values[-1] = max(values) + 0.05
    raw, _ = best_temperature(grid, values, 1.0, PASS)
    smooth, reason = best_temperature(grid, values, 1.0, Adapt(policy="pass_at_k", smooth=True))
    assert raw == 1.6
    assert abs(smooth - 0.9) <= 0.11
    assert "smoothed" in reason


def test_smoothing_falls_back_where_there_is_no_peak() -> None:
    chosen, reason = best_temperature(GRID, [0.9, 0.1, 0.1, 0.8], 1.0, Adapt(policy="pass_at_k", smooth=True))
    assert chosen == 0.5
    assert "not smoothed" in reason


def test_each_policy_reads_its_own_measure() -> None:
    rows = (
        row(0.5, 0.9, 0.1, 0.1),
        row(0.7, 0.1, 0.9, 0.1),
        row(0.9, 0.1, 0.1, 0.9),
        row(1.1, 0.0, 0.0, 0.0),
    )
    found = {}
    for policy in ("pass_at_k", "reward_pass_at_k", "balance"):
        adapt = Adapt.model_validate({"policy": policy})
        own = sweep_of(Report(3, {}, rows), adapt)
        assert own is not None and own.problems == 100
        found[policy] = decide(ASKED, [own], adapt, NEVER).temperature
    assert found == {"pass_at_k": 0.5, "reward_pass_at_k": 0.7, "balance": 0.9}


def test_what_was_not_measured_is_none_and_no_sweep_is_none() -> None:
    adapt = Adapt(policy="reward_pass_at_k")
    own = sweep_of(Report(3, {}, tuple(row(t, 0.1, None if t == 0.9 else 0.5) for t in GRID)), adapt)
    assert own is not None and dict(own.values) == {0.5: 0.5, 0.7: 0.5, 0.9: None, 1.1: 0.5}
    assert decide(ASKED, [own], adapt, NEVER).temperature == 1.0
    assert sweep_of(Report(3), adapt) is None


@pytest.mark.parametrize("problems", [3, -5, 10**6])
@pytest.mark.parametrize("policy", ["pass_at_k", "reward_pass_at_k", "balance"])
def test_the_problems_are_those_behind_the_values_that_the_policy_reads(policy: str, problems: int) -> None:
    adapt = Adapt.model_validate({"policy": policy})
    other = row(0.7, 0.9, 0.9, 0.9)
    fields = {
        "pass_at_k": {
            "pass_at_k": {k: replace(one, problems=problems) for k, one in other.pass_at_k.items()}
        },
        "reward_pass_at_k": {"reward_pass_at_k": replace(other.balance, problems=problems)},
        "balance": {"balance": replace(other.balance, problems=problems)},
    }
    rows = (
        row(0.5, 0.1, 0.1, 0.1),
        replace(other, **fields[policy]),
        *(row(t, 0.1, 0.1, 0.1) for t in GRID[2:]),
    )
    own = sweep_of(Report(3, {}, rows), adapt)
    assert own is not None
    decision = decide(ASKED, [own], adapt, NEVER)
    assert decision.temperature == 1.0 and "covers 0 problems, a whole sweep is 100" in decision.reason


def test_a_run_asks_for_its_own_grid() -> None:
    config = parse_small(evaluate={"temperatures": [0.4, 0.8]}, generate={"temperature": 0.9})
    assert ask(config, 1, 0.7, 150) == Asked(1, 0.7, (0.4, 0.8), 150, 2, 0.9)


def test_a_saturated_sweep_is_noted_and_decided_as_any_tie() -> None:
    full = sweep({0.5: 0.9, 0.7: 1.0, 0.9: 1.0, 1.1: 1.0})
    note = note_saturation(full)
    assert note is not None and "3 of 4 temperatures share the highest value 1.000" in note
    assert decide(ASKED, [full], PASS, NEVER).temperature == 0.9
    none = note_saturation(sweep(dict.fromkeys(GRID, 0.0)))
    assert none is not None and "4 of 4 temperatures have the value 0; easier validation problems" in none
    assert note_saturation(sweep()) is None
    assert note_saturation(sweep(dict.fromkeys(GRID))) is None
