"""When what is due, what a report is made of, and that engine and process reward model do not meet."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mstar.config import Config
from mstar.datasets import ProblemFile, open_problems
from mstar.engines import Sampling
from mstar.evaluation import due_tests, evaluate, read_report, sweep_is_due
from mstar.measures import measure_temperature, measure_test
from mstar.records import Problem, Response
from mstar.response_parts import read_responses
from mstar.stages import EVALUATE, Shard
from mstar.starting import start_run
from tests.conftest import PROBLEMS

MakeConfig = Callable[..., Config]
HELDOUT = open_problems(PROBLEMS / "heldout.parquet")


def response(
    problem: str, sample: int, correct: bool, score: float | None = None, text: str = "t"
) -> Response:
    scores = None if score is None else (score, 1.0)
    return Response(problem, sample, f"{text} {sample}", 10, False, 1.0, "x", correct, scores, 0.0)


def test_accuracy_whole_and_by_source() -> None:
    responses = [response(id, 0, correct=place % 3 == 0) for place, id in enumerate(HELDOUT.ids[:9])]
    found = measure_test(zip(HELDOUT.sources, responses, strict=False))
    assert found.accuracy.value == pytest.approx(1 / 3)
    assert (found.accuracy.problems, found.mean_response_tokens, found.truncated) == (9, 10.0, 0)
    right = dict.fromkeys(HELDOUT.sources[:9], 0)
    for place, source in enumerate(HELDOUT.sources[:9]):
        right[source] += place % 3 == 0
    assert {source: round(one.value * one.problems) for source, one in found.by_source.items()} == right


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
    due = {iteration: due_tests(config, iteration) for iteration in (None, 0, 2, 5)}
    both = ["heldout", "six_terms"]
    assert due == {None: both, 0: ["heldout"], 2: both, 5: ["heldout"]}
    rest = {iteration: due_tests(config, iteration, rest=True) for iteration in (None, 0, 2, 5)}
    assert rest == {None: [], 0: ["six_terms"], 2: [], 5: ["six_terms"]}
    assert [sweep_is_due(config, i) for i in (None, 0, 1, 2, 3)] == [True, False, True, False, True]


def small(make_config: MakeConfig, problems: Path, **sections: object) -> Config:
    files = {name: str(problems / f"{name}.parquet") for name in ("validation", "heldout")}
    return make_config(
        data={"train": files["heldout"], "validation": files["validation"], "tests": files},
        generate={"samples_per_problem": 2, "max_tokens": 12},
        evaluate={"temperatures": [0.5, 1.0], "samples_per_problem": 2, "problems_per_part": 12},
        **sections,
    )


def test_the_policy_of_the_start_is_examined_part_by_part(make_config: MakeConfig, problems: Path) -> None:
    run = start_run(small(make_config, problems))
    report = evaluate(run, None)
    assert report is not None
    assert report == read_report(run, None)
    assert {name: test.accuracy.problems for name, test in report.tests.items()} == {
        "validation": 16,
        "heldout": 32,
    }
    assert [row.temperature for row in report.temperatures] == [0.5, 1.0]
    assert {row.balance.problems for row in report.temperatures} == {16}
    finished = run.finished(EVALUATE, None)
    assert sum(name.startswith("test-heldout/") for name in finished.parts) == 3
    assert sum(name.startswith("sweep-0.5/") for name in finished.parts) == 2
    with finished.reading("sweep-1/part-00001.parquet") as path:
        assert len(list(read_responses(path))) == 2 * 4
    left = [path.name for path in Path(run.config.output).glob("start/evaluate/**/*unjudged*")]
    assert left == []


def test_a_sweep_of_several_parts_reads_its_problems_once(
    make_config: MakeConfig, problems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    read_rows = ProblemFile.read

    def reading(self: ProblemFile, rows: Sequence[int], images: bool = True) -> list[Problem]:
        read.append(len(rows))
        return read_rows(self, rows, images)

    monkeypatch.setattr(ProblemFile, "read", reading)
    assert evaluate(start_run(small(make_config, problems)), None) is not None
    assert read == [12, 4, 12, 12, 8, 12, 4], "two test sets, then both temperatures of either part"


def test_the_engine_is_gone_before_the_process_reward_model_comes(
    make_config: MakeConfig, problems: Path, prm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mstar.engines.transformers import TransformersEngine
    from mstar.prm import ProcessRewardModel

    seen: list[str] = []
    leave, come = TransformersEngine.__exit__, ProcessRewardModel.__init__

    def leaving(self: TransformersEngine, *error: object) -> None:
        leave(self, *error)  # type: ignore[arg-type]
        seen.append("engine left")

    def coming(self: ProcessRewardModel, *given: object) -> None:
        seen.append("model came")
        come(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(TransformersEngine, "__exit__", leaving)
    monkeypatch.setattr(ProcessRewardModel, "__init__", coming)
    report = evaluate(start_run(small(make_config, problems, score={"prm": str(prm_folder)})), None)
    assert report is not None and all(row.reward_pass_at_k for row in report.temperatures)
    assert seen == ["engine left", "model came"]


def test_a_shard_with_nothing_to_do_loads_no_model(
    make_config: MakeConfig, problems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mstar.engines.transformers import TransformersEngine

    run = start_run(small(make_config, problems))
    loaded: list[Path] = []
    load = TransformersEngine.__init__

    def loading(self: TransformersEngine, policy: Path, config: Config) -> None:
        loaded.append(policy)
        load(self, policy, config)

    monkeypatch.setattr(TransformersEngine, "__init__", loading)
    assert evaluate(run, None, Shard(1, 2)) is None
    assert evaluate(run, None, Shard(1, 2)) is None
    assert len(loaded) == 1
    assert evaluate(run, None, Shard(2, 2)) is not None
    assert evaluate(run, None, Shard(2, 2)) is not None
    assert len(loaded) == 2


def test_temperatures_that_differ_in_the_sixth_decimal_are_swept_apart(make_config: MakeConfig) -> None:
    grid = {"temperatures": [1.0, 1.000001], "samples_per_problem": 1}
    run = start_run(make_config(evaluate=grid, generate={"max_tokens": 3}))
    report = evaluate(run, None)
    assert report is not None and [row.temperature for row in report.temperatures] == grid["temperatures"]
    folders = {name.partition("/")[0] for name in run.finished(EVALUATE, None).parts}
    assert folders == {"test-heldout", "sweep-1", "sweep-1.000001"}
