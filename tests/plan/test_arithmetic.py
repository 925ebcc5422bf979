"""What a run takes, from its settings: counted by hand, and bounds that hold whatever the settings."""

from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mstar.plan.amounts import Amount, Need, exactly
from mstar.plan.arithmetic import Plan, StagePlan, bound_iterations, make_plan
from mstar.plan.needs import Basis, Place, ProblemCounts, Rates
from tests.conftest import parse_small

COUNTS = ProblemCounts(train=1000, labelled=900, validation=50, tests={"heldout": 40, "other": 30})
RATES = Rates(
    "a test",
    seconds_per_response={"generate": 2.0, "score": 0.5, "select": 0.1, "train": 4.0, "evaluate": 3.0},
    bytes_per_response=dict.fromkeys(("generate", "score", "select", "evaluate"), 100.0),
    tokens_per_response=10.0,
    tokens_per_learned=20.0,
    kept_per_response=0.1,
)
TESTS = {"train": "train", "validation": "validation", "tests": {"heldout": "heldout", "other": "other"}}
SMALL = {
    "data": TESTS,
    "iterations": {"count": 3, "problems_share": 0.1},
    "generate": {"samples_per_problem": 4, "max_tokens": 64},
    "train": {"batch_size": 32, "epochs": 2},
    "evaluate": {"every": 2, "temperatures": [0.5, 1.0], "samples_per_problem": 8},
}


def plan_of(rates: Rates = RATES, done: dict[Place, Need] | None = None, **sections: Any) -> Plan:
    config = parse_small(**{**SMALL, **sections})
    return make_plan(Basis(config, COUNTS, rates), bound_iterations(config, 0, False), done or {})


def test_counted_by_hand() -> None:
    plan = plan_of()
    assert plan.stages["generate"].whole.responses == exactly(3 * 100 * 4)
    assert plan.stages["generate"].whole.response_tokens == Amount(1200, 1200 * 64, 12_000)
    assert plan.stages["select"].whole.responses == Amount(0, 3 * 100 * 2, 120)
    assert plan.stages["train"].whole.responses == Amount(0, 1200, 240)
    assert plan.stages["train"].whole.train_steps == Amount(0, 3 * 2 * 7, 3 * 2 * 2)
    sweep = 2 * 50 * 8
    start, first, second, last = 40 + 30 + sweep, 40, 40 + sweep, 40 + 30
    assert plan.stages["evaluate"].whole.responses == exactly(start + first + second + last)
    assert plan.stages["train"].whole.seconds == Amount(0, 4800, 960)
    assert plan.total.left == plan.total.whole and plan.total.done == Need()


def test_all_that_was_selected_so_far_where_nothing_is_inherited() -> None:
    plan = plan_of(train={"batch_size": 32, "inherit": "none"})
    assert plan.stages["train"].whole.responses == Amount(0, 200 + 400 + 600, 40 + 80 + 120)


def test_problems_without_an_answer_are_sampled_and_not_kept() -> None:
    plan = plan_of(iterations={"count": 1, "problems_share": 1.0})
    assert plan.stages["generate"].whole.responses == exactly(4000)
    assert plan.stages["select"].whole.responses.high == 2 * 900


def test_nothing_is_expected_of_what_was_not_measured() -> None:
    plan = plan_of(Rates())
    assert plan.total.whole.seconds is None
    assert plan.stages["generate"].whole.response_tokens.expected is None
    assert plan.stages["train"].whole.train_steps == Amount(0, 42, None)


def test_what_is_finished_counts_as_it_was() -> None:
    kept = Need(exactly(70), part_bytes=exactly(5000), seconds=exactly(1))
    plan = plan_of(done={(0, "select"): kept})
    assert plan.stages["select"].done == kept
    assert plan.stages["select"].left.responses == Amount(0, 400, 80)
    assert plan.stages["train"].whole.train_steps == Amount(2 * 3, 2 * (3 + 7 + 7), 2 * (3 + 2 + 2))


def test_a_stop_rule_bounds_the_iterations() -> None:
    config = parse_small(
        iterations={"count": 9}, evaluate={"every": 2, "temperatures": [1.0]}, stop={"stale_sweeps": 1}
    )
    assert bound_iterations(config, 0, False) == Amount(4, 9, 9)
    assert bound_iterations(config, 5, False) == Amount(6, 9, 9)
    assert bound_iterations(config, 5, True) == exactly(5)
    assert bound_iterations(parse_small(iterations={"count": 9}), 5, False) == exactly(9)
    plan = plan_of(iterations={"count": 9, "problems_share": 0.1}, stop={"stale_sweeps": 1})
    assert plan.stages["generate"].whole.responses == Amount(4 * 400, 9 * 400, 9 * 400)


def test_checkpoints_that_are_kept_and_in_hand() -> None:
    config = parse_small(**{**SMALL, "train": {"keep_checkpoints": 1}})
    plan = make_plan(Basis(config, COUNTS, RATES), exactly(3), {}, Amount(50, 110, 100))
    assert plan.checkpoints_bytes == Amount(0, 4 * 110, 200)


@given(
    st.integers(1, 5),
    st.sampled_from(["optimizer", "none"]),
    st.one_of(st.none(), st.integers(1, 3)),
    st.integers(1, 40),
    st.floats(0, 1),
)
def test_bounds_are_bounds(count: int, inherit: str, stale: int | None, batch: int, kept: float) -> None:
    rates = Rates(
        "a test", RATES.seconds_per_response, RATES.bytes_per_response, 10.0, 20.0, kept_per_response=kept
    )
    plan = plan_of(
        rates,
        iterations={"count": count, "problems_share": 0.01},
        train={"batch_size": batch, "inherit": inherit},
        stop={"stale_sweeps": stale},
    )
    for stage in (*plan.stages.values(), plan.total):
        for amount in amounts(stage):
            assert amount.low <= amount.high
            assert amount.expected is None or amount.low <= amount.expected <= amount.high * (1 + 1e-9)


def amounts(stage: StagePlan) -> list[Amount]:
    return [
        amount
        for need in (stage.whole, stage.done, stage.left)
        for field in fields(need)
        if (amount := getattr(need, field.name)) is not None
    ]
