"""The score stage: is the answer right, and how good is each step?

Answers are checked first, and only the responses with a right one go through the process reward model: the
others can have no reward. The evaluation's sweep scores all of them, because Reward-Pass@k ranks without
looking at the answer.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow.compute as pc
import pyarrow.parquet as pq

from mstar.answers import AnswerChecker
from mstar.config import Config
from mstar.generation import iteration_parts
from mstar.progress import QUIET, Progress
from mstar.records import Problem, Response, read_responses, write_responses
from mstar.rundir import RunDir, model_identity
from mstar.stagedir import WHOLE, Shard
from mstar.steps import aggregate_steps
from mstar.timing import StageClock, stage_clock

WITHOUT_EFFECT = {"prm", "tokens_per_batch", "workers"}
"""Settings of `score` that change no judgement; the process reward model is identified by its files."""


class Scorer:
    """Judges responses. Holds the processes that check answers and, where one is given, the process reward
    model.
    """

    def __init__(self, config: Config, clock: StageClock) -> None:
        self.config = config
        self.clock = clock
        self.checker = AnswerChecker(config.score.deadline_seconds, config.score.workers)
        self.prm = None
        if config.score.prm is not None:
            with clock.inside():
                from mstar.prm import ProcessRewardModel

                self.prm = ProcessRewardModel(Path(config.score.prm), config)

    def __enter__(self) -> Self:
        self.checker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.checker.__exit__(kind, error, trace)

    def check(self, problems: Sequence[Problem], responses: Iterable[Response]) -> list[Response]:
        """The responses with `extracted` and `correct`."""
        expected = {problem.id: problem.expected for problem in problems}
        unjudged = list(responses)
        pairs = [(expected[one.problem_id], "" if one.truncated else one.text) for one in unjudged]
        return [
            one._replace(extracted=found.extracted, correct=found.correct, timed_out=found.timed_out)
            for one, found in zip(unjudged, self.checker.check_many(pairs), strict=True)
        ]

    def score(
        self, problems: Sequence[Problem], responses: Sequence[Response], everything: bool
    ) -> list[Response]:
        """Checked responses with step scores (of all, or of the correct ones) and rewards."""
        if self.prm is None:
            return [one._replace(reward=float(bool(one.correct))) for one in responses]
        wanted = [everything or bool(one.correct) for one in responses]
        texts: dict[str, list[str]] = {problem.id: [] for problem in problems}
        for one, is_wanted in zip(responses, wanted, strict=True):
            if is_wanted:
                texts[one.problem_id].append(one.text)
        with self.clock.inside():
            scores = self.prm.score(problems, [texts[problem.id] for problem in problems])
        found = {problem.id: iter(own) for problem, own in zip(problems, scores, strict=True)}
        return [
            self._reward(one, next(found[one.problem_id]) if is_wanted else None)
            for one, is_wanted in zip(responses, wanted, strict=True)
        ]

    def _reward(self, response: Response, step_scores: tuple[float, ...] | None) -> Response:
        quality = (
            aggregate_steps(step_scores, self.config.score.aggregate) if step_scores is not None else 0.0
        )
        return response._replace(step_scores=step_scores, reward=quality if response.correct else 0.0)


def score(run: RunDir, iteration: int, shard: Shard = WHOLE, progress: Progress = QUIET) -> None:
    """Judge an iteration's responses, part by part."""
    config = run.config
    made_from = {**judged_with(config), "inputs": run.inputs(iteration, "generate")}
    stage = run.stage("score", iteration, made_from, shard)
    if stage.done:
        return
    problems = run.problems(config.data.train)
    parts = iteration_parts(config, len(problems), iteration)
    missing = stage.missing(parts)
    with (
        stage_clock(run, "score", iteration) as clock,
        Scorer(config, clock) as scorer,
        progress.stage("score", iteration, len(missing), "parts") as advance,
    ):
        for name in missing:
            chunk = problems.read(parts[name])
            responses = read_responses(run.stage_file("generate", iteration, name))
            judged = scorer.score(chunk, scorer.check(chunk, responses), everything=False)
            with stage.write_part(name) as path:
                write_responses(path, judged)
            advance(1)
        stage.commit(lambda: _facts(run, iteration, list(parts)), parts)
        if scorer.checker.timed_out:
            progress.note(f"{scorer.checker.timed_out} answer checks passed score.deadline_seconds: wrong")


def judged_with(config: Config) -> dict[str, Any]:
    """The settings that change a judgement."""
    return {
        "score": config.score.model_dump(mode="json", exclude=WITHOUT_EFFECT),
        "prompt": config.prompt.model_dump(mode="json"),
        "prm": model_identity(config.score.prm) if config.score.prm else None,
    }


def by_problem(responses: Iterable[Response]) -> list[list[Response]]:
    """Responses grouped by problem; those of one problem stand together."""
    return [list(own) for _, own in groupby(responses, key=lambda response: response.problem_id)]


def _facts(run: RunDir, iteration: int, names: Sequence[str]) -> dict[str, float]:
    counts = {"responses": 0, "correct": 0, "timed_out": 0}
    rewards = 0.0
    for name in names:
        path = run.stage_file("score", iteration, name)
        table = pq.read_table(path, columns=["correct", "reward", "timed_out"])
        counts["responses"] += table.num_rows
        counts["correct"] += pc.sum(table["correct"]).as_py()
        counts["timed_out"] += pc.sum(table["timed_out"]).as_py()
        rewards += pc.sum(table["reward"]).as_py()
    return {**counts, "mean_reward": rewards / max(1, counts["correct"])}
