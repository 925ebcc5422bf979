"""The score stage: is the answer right, and how good is each step?

Reads the iteration's responses, the golds of their problems and the process reward model, if there is one;
writes the same parts with the judgement. Answers are checked first, and only responses with a right one go
through the process reward model: the others can have no reward. The evaluation's sweep scores all of them,
because Reward-Pass@k ranks without looking at the answer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from types import TracebackType
from typing import Any, Self

import pyarrow.parquet as pq

from mstar.answers import AnswerChecker, Expected
from mstar.config import Config
from mstar.errors import UnusableRequest
from mstar.generation import iteration_parts
from mstar.model_folders import local_prm
from mstar.progress import QUIET, Progress
from mstar.prompts import build_request
from mstar.reads import score_reads
from mstar.records import Problem, Response, Scored
from mstar.response_parts import read_responses, read_unusable, write_responses
from mstar.rundir import RunDir
from mstar.sampling import Part
from mstar.stages import GENERATE, SCORE, WHOLE, Shard
from mstar.steps import aggregate_steps
from mstar.timing import StageClock
from mstar.wording import counted
from mstar.work import Turn, Work, perform


class Scorer:
    """Judges responses. Holds the processes that check answers and, where one is given, the process reward
    model.
    """

    def __init__(self, config: Config, clock: StageClock) -> None:
        self.config = config
        self.clock = clock
        self.checker = AnswerChecker(config.score.deadline_seconds, config.score.workers)
        self.prm = None
        self.unusable: dict[str, str] = {}
        """Problems that the process reward model could not read, and why."""
        if config.score.prm is not None:
            with clock.inside():
                from mstar.prm import ProcessRewardModel

                self.prm = ProcessRewardModel(local_prm(config), config)

    def __enter__(self) -> Self:
        self.checker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.prm = None
        self.checker.__exit__(kind, error, trace)

    def read(self, part: Part, scores: bool) -> tuple[list[Problem], dict[str, Expected]]:
        """The problems of a part, where the process reward model is to see them, and their golds."""
        if self.prm is None or not scores:
            return [], part.problems.golds(part.rows)
        problems = part.problems.read(part.rows)
        return problems, golds(problems)

    def check(self, expected: Mapping[str, Expected], responses: Iterable[Response]) -> list[Response]:
        """The responses with `extracted` and `correct`; `expected` is by problem, and where it says nothing,
        a response stays as it is.
        """
        judged = list(responses)
        places = [place for place, one in enumerate(judged) if one.problem_id in expected]
        pairs = [
            (expected[judged[place].problem_id], "" if judged[place].truncated else judged[place].text)
            for place in places
        ]
        for place, found in zip(places, self.checker.check_many(pairs), strict=True):
            judged[place] = judged[place]._replace(
                extracted=found.extracted,
                correct=found.correct,
                timed_out=found.timed_out,
                failed=found.failed,
            )
        return judged

    def score(
        self, problems: Sequence[Problem], responses: Sequence[Response], everything: bool
    ) -> list[Response]:
        """Checked responses with step scores (of all, or of the correct ones) and rewards."""
        if self.prm is None:
            return [self._reward(one, None) for one in responses]
        wanted = [everything or bool(one.correct) for one in responses]
        texts: dict[str, list[str]] = {problem.id: [] for problem in problems}
        for one, is_wanted in zip(responses, wanted, strict=True):
            if is_wanted:
                texts[one.problem_id].append(one.text)
        found = {id: iter(own) for id, own in self._step_scores(problems, texts).items()}
        nothing: Iterator[tuple[float, ...]] = iter(())
        return [
            self._reward(one, next(found.get(one.problem_id, nothing), None) if is_wanted else None)
            for one, is_wanted in zip(responses, wanted, strict=True)
        ]

    def unusable_among(self, problems: Sequence[Problem]) -> dict[str, str]:
        """Which of these the process reward model could not read, and why."""
        return {problem.id: self.unusable[problem.id] for problem in problems if problem.id in self.unusable}

    def _step_scores(
        self, problems: Sequence[Problem], texts: Mapping[str, Sequence[str]]
    ) -> dict[str, list[tuple[float, ...]]]:
        """By problem the scores of its texts; problems that the process reward model cannot read are left
        out, which gives their responses the reward 0.
        """
        assert self.prm is not None
        asked = [problem for problem in problems if texts[problem.id]]
        while asked:
            requests = [build_request(problem, self.config.prompt) for problem in asked]
            try:
                with self.clock.inside():
                    scores = self.prm.score(requests, [texts[problem.id] for problem in asked])
                return {problem.id: own for problem, own in zip(asked, scores, strict=True)}
            except UnusableRequest as error:
                if self.config.data.unusable == "stop":
                    raise
                self.unusable[error.id] = error.reason
                asked = [problem for problem in asked if problem.id != error.id]
        return {}

    def _reward(self, response: Response, step_scores: tuple[float, ...] | None) -> Response:
        if response.correct is None:
            return response._replace(step_scores=step_scores)
        quality = 1.0 if self.prm is None else aggregate_steps(step_scores or (), self.config.score.aggregate)
        return response._replace(step_scores=step_scores, reward=quality if response.correct else 0.0)


def score(run: RunDir, iteration: int, shard: Shard = WHOLE, progress: Progress = QUIET) -> Scored | None:
    """Judge an iteration's responses, part by part."""

    def work_on(work: Work) -> Scored | None:
        parts = {part.name: part for part in iteration_parts(run, iteration)}
        missing = work.missing(list(parts))
        if missing:
            _judge_parts(work, [parts[name] for name in missing])
        return work.commit(list(parts), lambda: _scored(work, list(parts)))

    return perform(SCORE, Turn(run, iteration, shard, progress), score_reads(run, iteration), work_on)


def _judge_parts(work: Work, parts: Sequence[Part]) -> None:
    generated = work.run.finished(GENERATE, work.iteration)
    with (
        work.progress.stage(SCORE.name, work.iteration, len(parts), "parts") as advance,
        Scorer(work.config, work.clock) as scorer,
    ):
        for part in parts:
            problems, expected = scorer.read(part, scores=True)
            with generated.reading(part.name) as path:
                checked = scorer.check(expected, read_responses(path))
            judged = scorer.score(problems, checked, everything=False)
            with work.folder.write(part.name) as path:
                write_responses(path, judged, scorer.unusable_among(problems))
            advance(1)
        tell_troubles(scorer, work.progress)


def golds(problems: Sequence[Problem]) -> dict[str, Expected]:
    """What answers to the labelled problems are compared with, by problem."""
    return {problem.id: problem.expected for problem in problems if problem.answer is not None}


def tell_troubles(scorer: Scorer, progress: Progress) -> None:
    """A line for people where responses have no reward because they could not be judged."""
    checker = scorer.checker
    if checker.timed_out:
        progress.note(f"{counted(checker.timed_out, 'answer checks')} passed score.deadline_seconds: wrong")
    if checker.failed:
        progress.note(f"{counted(checker.failed, 'answer checks')} raised an error, a defect of ours: wrong")
    if scorer.unusable:
        id, reason = next(iter(scorer.unusable.items()))
        said = counted(len(scorer.unusable), "problems")
        progress.note(f"the process reward model cannot read {said}, whose rewards are 0: {id} {reason}")


def by_problem(responses: Iterable[Response]) -> Iterator[list[Response]]:
    """Responses grouped by problem; those of one problem stand together."""
    return (list(own) for _, own in groupby(responses, key=lambda response: response.problem_id))


def _scored(work: Work, names: Sequence[str]) -> Scored:
    """Counted from the parts, whichever process wrote them."""
    import pyarrow.compute as pc  # late, as it takes a twentieth of a second

    totals: dict[str, Any] = dict.fromkeys(
        ("rows", "correct", "timed_out", "failed", "reward", "unjudged"), 0
    )
    unusable: dict[str, str] = {}
    for name in names:
        with work.folder.reading(name) as path:
            table = pq.read_table(path, columns=["correct", "reward", "timed_out", "failed"])
            unusable |= read_unusable(path)
        totals["rows"] += table.num_rows
        totals["unjudged"] += table["correct"].null_count
        for column in ("correct", "timed_out", "failed", "reward"):
            totals[column] += pc.sum(table[column]).as_py() or 0
    return Scored(
        responses=totals["rows"],
        correct=totals["correct"],
        timed_out=totals["timed_out"],
        mean_reward=totals["reward"] / max(1, totals["correct"]),
        unlabelled=totals["unjudged"],
        failed=totals["failed"],
        unusable=unusable,
    )
