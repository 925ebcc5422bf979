"""What the evaluation makes of judged responses, and when what is due."""

from collections.abc import Callable

import pytest

from mstar.config import Config
from mstar.engines import Sampling
from mstar.evaluation import examinations, measure_temperature, measure_test, sweep_is_due
from mstar.records import Response
from mstar.rundir import RunDir
from tests.conftest import PROBLEMS

MakeConfig = Callable[..., Config]


def response(
    problem: str, sample: int, correct: bool, score: float | None = None, text: str = "t"
) -> Response:
    scores = None if score is None else (score, 1.0)
    return Response(problem, sample, f"{text} {sample}", 10, False, 1.0, "x", correct, scores, 0.0)


def test_accuracy_whole_and_by_source() -> None:
    responses = [response(f"p{i}", 0, correct=i % 3 == 0) for i in range(9)]
    found = measure_test(responses, ["a", "b", "b"] * 3)
    assert found.accuracy.value == pytest.approx(1 / 3)
    assert (found.by_source["a"].value, found.by_source["b"].value) == (1.0, 0.0)
    assert (found.by_source["b"].problems, found.mean_response_tokens, found.truncated) == (6, 10.0, 0)


def test_the_sweep_without_and_with_a_prm(make_config: MakeConfig) -> None:
    groups = [
        [response("p1", 0, False, 0.9), response("p1", 1, True, 0.2), response("p1", 2, False, 0.8)],
        [response("p2", 0, True, 0.9), response("p2", 1, False, 0.5), response("p2", 2, True, 0.4)],
    ]
    sampling = Sampling(3, 0.7, 1.0, 60)
    plain = measure_temperature(groups, make_config(), sampling)
    assert (plain.temperature, plain.samples_per_problem, plain.reward_pass_at_k) == (0.7, 3, None)
    assert {k: found.value for k, found in plain.pass_at_k.items()} == {1: 0.5, 2: 1.0, 3: 1.0}
    assert plain.unbiased_pass_at_k[1].value == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert plain.balance.value == pytest.approx((1 / 8 * 1 / 3 + 2 / 8 * 2 / 3) / 2)

    config = make_config(score={"prm": "given"}, select={"threshold": 0.45})
    ranked = measure_temperature(groups, config, sampling)
    assert ranked.reward_pass_at_k is not None
    assert ranked.reward_pass_at_k.value == 0.5
    assert ranked.balance.value == pytest.approx((0.0 + 1 / 8 * 1 / 2) / 2)


def test_what_is_due_when(make_config: MakeConfig) -> None:
    files = {name: str(PROBLEMS / f"{name}.parquet") for name in ("heldout", "six_terms")}
    config = make_config(
        iterations={"count": 6},
        data={"train": files["heldout"], "validation": files["heldout"], "tests": files},
        evaluate={"every": 2, "temperatures": [0.5, 1.0], "out_of_distribution_at": [2]},
    )
    run = RunDir.create(config)
    due = {i: [one.folder for one in examinations(run, i)] for i in (None, 0, 1, 2, 5)}
    sweep, both = ["sweep-0.5", "sweep-1"], ["test-heldout", "test-six_terms"]
    assert due == {None: both + sweep, 0: both[:1], 1: both[:1] + sweep, 2: both, 5: both + sweep}
    assert [sweep_is_due(config, i) for i in (None, 0, 1, 2, 3)] == [True, False, True, False, True]


def test_parts_hold_what_the_engine_answers_at_once(make_config: MakeConfig) -> None:
    config = make_config(generate={"rows_in_flight": 100})
    greedy = examinations(RunDir.create(config), 0)[0].parts(100)
    assert list(greedy)[:2] == ["test-heldout/part-00000.parquet", "test-heldout/part-00001.parquet"]
    assert [len(rows) for rows in greedy.values()] == [100] * 4
    assert [row for rows in greedy.values() for row in rows] == list(range(400))
