"""Answers first, then steps; and what the reward becomes of both."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image

from mstar.answers import Expected
from mstar.config import Config
from mstar.datasets import open_problems
from mstar.engines import Sampling
from mstar.errors import UnusableRequest
from mstar.generation import iteration_parts
from mstar.records import Response, Sampled, Scored, from_json
from mstar.report.page import write_report
from mstar.response_parts import write_responses
from mstar.rundir import RunDir
from mstar.sampling import cut_parts
from mstar.scoring import Scorer, by_problem, golds, score
from mstar.stages import GENERATE, SCORE
from mstar.starting import start_run
from mstar.steps import aggregate_steps
from mstar.timing import StageClock
from mstar.work import Turn, Work, perform
from tests.conftest import PROBLEMS, ROOT
from tests.test_starting import write_problems
from tests.tiny_models import save_tiny_prm

MakeConfig = Callable[..., Config]


def responses_to(ids: list[str], texts: list[list[str]]) -> list[Response]:
    return [
        Response(problem_id, sample, text, 9, text.endswith("cut"), 1.0)
        for problem_id, own in zip(ids, texts, strict=True)
        for sample, text in enumerate(own)
    ]


def judge(config: Config, everything: bool) -> list[Response]:
    """Two problems, each with a right, a wrong and a truncated response."""
    problems = open_problems(PROBLEMS / "train.parquet").read([0, 1])
    texts = [[f"a;Answer:{p.answer}", "a;b;Answer:no way", f"Answer:{p.answer} cut"] for p in problems]
    responses = responses_to([problem.id for problem in problems], texts)
    with Scorer(config, StageClock()) as scorer:
        return scorer.score(problems, scorer.check(golds(problems), responses), everything)


def test_without_a_prm_the_reward_is_the_outcome(make_config: MakeConfig) -> None:
    judged = judge(make_config(), everything=False)
    assert [one.correct for one in judged] == [True, False, False] * 2
    assert [one.reward for one in judged] == [1.0, 0.0, 0.0] * 2
    assert all(one.step_scores is None for one in judged)


def test_without_a_prm_problems_are_judged_by_their_golds_alone(make_config: MakeConfig) -> None:
    file = open_problems(PROBLEMS / "train.parquet")
    [part] = cut_parts("", file, [2, 3, 4, 9], 8, Sampling(1, 1.0, 1.0, 8))
    with Scorer(make_config(), StageClock()) as scorer:
        problems, expected = scorer.read(part, scores=True)
    assert (problems, expected) == ([], golds(file.read(part.rows)))


@pytest.mark.parametrize("aggregate", ["min", "mean", "product", "last"])
def test_with_a_prm_only_correct_responses_are_scored(
    make_config: MakeConfig,
    prm_folder: Path,
    aggregate: str,
) -> None:
    config = make_config(score={"prm": str(prm_folder), "aggregate": aggregate})
    judged = judge(config, everything=False)
    assert [one.step_scores is not None for one in judged] == [True, False, False] * 2
    for one in judged:
        assert one.reward == (
            aggregate_steps(one.step_scores, config.score.aggregate) if one.step_scores else 0.0
        )
    assert len(judged[0].step_scores or ()) == 2


def test_the_sweep_scores_everything_but_rewards_only_what_is_right(
    make_config: MakeConfig,
    prm_folder: Path,
) -> None:
    judged = judge(make_config(score={"prm": str(prm_folder)}), everything=True)
    assert [len(one.step_scores or ()) for one in judged[:3]] == [2, 3, 1]
    assert [(one.reward or 0) > 0 for one in judged] == [True, False, False] * 2
    assert [len(own) for own in by_problem(judged)] == [3, 3]


def test_what_is_expected_comes_from_outside(make_config: MakeConfig) -> None:
    """So pseudo labels can take the place of golds, and what nothing is expected of stays unjudged."""
    problems = open_problems(PROBLEMS / "train.parquet").read([0, 1])
    responses = responses_to([problem.id for problem in problems], [["Answer:77"], ["Answer:77"]])
    with Scorer(make_config(), StageClock()) as scorer:
        expected = {problems[0].id: Expected("77", "number")}
        judged = scorer.score(problems, scorer.check(expected, responses), everything=False)
    assert [(one.correct, one.reward) for one in judged] == [(True, 1.0), (None, None)]


@pytest.mark.parametrize("unusable", ["skip", "stop"])
def test_what_the_process_reward_model_cannot_read_has_no_reward(
    make_config: MakeConfig, prm_folder: Path, unusable: Literal["skip", "stop"]
) -> None:
    problems = open_problems(PROBLEMS / "train.parquet").read([0, 1])
    problems[0] = replace(problems[0], question="value? " * 100)
    config = make_config(
        score={"prm": str(prm_folder)},
        prompt={"version": "question-1", "step_separator": ";", "max_tokens": 200},
    )
    config = config.model_copy(update={"data": config.data.model_copy(update={"unusable": unusable})})
    texts = [[f"a;Answer:{problem.answer}"] for problem in problems]
    responses = responses_to([problem.id for problem in problems], texts)
    with Scorer(config, StageClock()) as scorer:
        checked = scorer.check(golds(problems), responses)
        if unusable == "stop":
            with pytest.raises(UnusableRequest, match="prompt.max_tokens is 200"):
                scorer.score(problems, checked, everything=False)
            return
        judged = scorer.score(problems, checked, everything=False)
        assert list(scorer.unusable) == [problems[0].id]
    assert [one.correct for one in judged] == [True, True]
    assert (judged[0].step_scores, judged[0].reward) == (None, 0.0)
    assert len(judged[1].step_scores or ()) == 2 and (judged[1].reward or 0) > 0


def test_what_the_process_reward_model_cannot_read_is_counted(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """In whatever part and process: an image of six tiles has a longer prompt than the policy makes of it."""
    prm = save_tiny_prm("internvl", tmp_path / "prm")
    path = write_problems(tmp_path / "data")
    Image.new("RGB", (84, 56)).save(tmp_path / "data" / "1.png")
    config = make_config(
        data={"train": str(path), "tests": {"heldout": str(write_problems(tmp_path / "other", prefix="h"))}},
        iterations={"count": 1, "problems_share": 1.0},
        prompt={"version": "question-1", "step_separator": ";", "max_tokens": 18},
        generate={"samples_per_problem": 1, "max_tokens": 60, "problems_per_chunk": 1},
        score={"prm": str(prm)},
    )
    run = start_run(config)
    answer_by_hand(run)
    scored = score(run, 0)
    assert scored == run.result(SCORE, 0)
    assert scored and (scored.responses, scored.correct) == (3, 3)
    assert list(scored.unusable) == ["p1"] and "prompt.max_tokens is 18" in scored.unusable["p1"]
    write_report(run)
    lines = map(json.loads, (Path(config.output) / "metrics.jsonl").read_text().splitlines())
    assert [line["unusable"] for line in lines if line["stage"] == "score"] == [1]
    page = (Path(config.output) / "report.html").read_text()
    assert "Unusable for the PRM" in page


def answer_by_hand(run: RunDir) -> None:
    """A right response to every problem of the first iteration, as generate would leave it."""

    def work_on(work: Work) -> Sampled | None:
        parts = iteration_parts(run, 0)
        for part in parts:
            with work.folder.write(part.name) as path:
                own = part.problems.read(part.rows)
                write_responses(path, [Response(p.id, 0, f"Answer:{p.answer}", 4, False, 1.0) for p in own])
        return work.commit([part.name for part in parts], lambda: Sampled(len(parts), len(parts), 12, 0))

    perform(GENERATE, Turn(run, 0), {}, work_on)


def test_a_manifest_without_the_count_is_read() -> None:
    """As version 0.1.0 wrote it."""
    manifest = json.loads((ROOT / "tests/runs/0.1.0/run/iterations/000/score/manifest.json").read_text())
    found = from_json(Scored, json.dumps(manifest.get("result") or manifest["facts"]))
    assert found.responses > 0 and found.unusable == {}
