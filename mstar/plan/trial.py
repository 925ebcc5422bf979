"""A trial of about a minute: sample a few problems and learn from them, with the configured parts.

All is done in a scratch folder that goes again; nothing of the run is read but its settings and problems.
Sampling goes in rounds of twice as many problems until one takes long enough to tell the speed; its responses
are then judged, selected and trained on. What a stage took is noted as of a finished one, so that rates
follow as they do from a run. An evaluation is taken as sampling and judging, with every response scored.
"""

import math
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from mstar.config import Config
from mstar.datasets import Reading
from mstar.engines import Chunk, Engine, Sampling, build_engine
from mstar.errors import UnusableRequest, UserError
from mstar.generation import interval_rows
from mstar.plan.amounts import Amount, Need, exactly
from mstar.plan.finished import Finished
from mstar.prompts import Request, build_request
from mstar.records import Problem, Response
from mstar.response_parts import write_responses
from mstar.rundir import FIRST_POLICY, RunDir
from mstar.sampling import to_responses
from mstar.scoring import Scorer, golds
from mstar.seeds import derive_seed
from mstar.selection import select_part
from mstar.stages import EVALUATE, GENERATE, SCORE, SELECT, TRAIN
from mstar.timing import StageClock
from mstar.trainers import Lesson, build_trainer

SAMPLED, JUDGED, SELECTED, LEARNED = (
    "sampled.parquet",
    "judged.parquet",
    "selected.parquet",
    "learned.parquet",
)
LONG_ENOUGH = 10.0
"""Seconds of a round after which no larger one is tried."""
TRAIN_STEPS = 3
"""The first of several is not counted: it makes what the others find."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The largest round of sampling."""

    problems: list[Problem]
    responses: list[Response]
    seconds: float


def try_out(run: RunDir) -> list[Finished]:
    """What the stages took in the trial; UserError where the model can read none of its problems."""
    with (
        tempfile.TemporaryDirectory(prefix="mstar-trial-") as scratch,
        run.policy_folder(FIRST_POLICY) as policy,
    ):
        folder = Path(scratch)
        sample = _sample(run, policy)
        sampled = _sampled(sample, folder)
        scored, evaluated = _judge(run.config, sample, folder)
        selected = _select(run.config, sampled.handled, folder)
        return [sampled, scored, selected, _train(run, policy, folder), evaluated]


def _sample(run: RunDir, policy: Path) -> Sample:
    """The last round: of 1, 2, 4 ... problems, until one takes long enough or is as large as a part.

    The first is the last only where there are no more: an engine that starts late starts in it.
    """
    config, file = run.local_config, run.problems(run.config.data.train)
    rows = interval_rows(len(file), config.iterations.problems_share, config.seed, 0)
    size, sample = 1, None
    with build_engine(config, policy) as engine:
        while True:
            problems = file.read(rows[:size])
            sample = _ask(config, engine, problems) or sample
            is_largest = size >= min(len(rows), config.generate.problems_per_chunk)
            if is_largest or (size > 1 and sample and sample.seconds >= LONG_ENOUGH):
                break
            size *= 2
    if sample is None:
        raise UserError(
            f"the model can read none of the first {size} problems of iteration 0; see "
            "mstar problems check --model"
        )
    return sample


def _ask(config: Config, engine: Engine, problems: Sequence[Problem]) -> Sample | None:
    """One round; None where the model can read none of the problems."""
    start = time.perf_counter()
    section = config.generate
    sampling = Sampling(section.samples_per_problem, section.temperature, section.top_p, section.max_tokens)
    usable: list[Problem] = []
    requests: list[Request] = []
    for problem in problems:
        request = build_request(problem, config.prompt, derive_seed(config.seed, "trial", problem.id))
        try:
            engine.check(request)
        except UnusableRequest:
            continue
        usable.append(problem)
        requests.append(request)
    if not requests:
        return None
    (found,) = engine.generate([Chunk(requests, sampling)])
    return Sample(usable, list(to_responses(requests, found, sampling)), time.perf_counter() - start)


def _sampled(sample: Sample, folder: Path) -> Finished:
    write_responses(folder / SAMPLED, sample.responses)
    tokens = exactly(sum(one.response_tokens for one in sample.responses))
    need = Need(exactly(len(sample.responses)), tokens, part_bytes=_size(folder / SAMPLED))
    return Finished((0, GENERATE.name), need, len(sample.responses), sample.seconds)


def _judge(config: Config, sample: Sample, folder: Path) -> tuple[Finished, Finished]:
    """score, and evaluate, which has every response scored."""
    count, judged = len(sample.responses), folder / JUDGED
    with Scorer(config, StageClock()) as scorer:
        start = time.perf_counter()
        checked = scorer.check(golds(sample.problems), sample.responses)
        everything = scorer.score(sample.problems, checked, everything=True)
        evaluating = sample.seconds + time.perf_counter() - start
        write_responses(judged, everything)
        evaluate = Finished(
            (None, EVALUATE.name), Need(exactly(count), part_bytes=_size(judged)), count, evaluating
        )
        start = time.perf_counter()
        scored = scorer.score(
            sample.problems, scorer.check(golds(sample.problems), sample.responses), everything=False
        )
        scoring = time.perf_counter() - start
    write_responses(judged, scored)
    return Finished((0, SCORE.name), Need(exactly(count), part_bytes=_size(judged)), count, scoring), evaluate


def _select(config: Config, sampled: float, folder: Path) -> Finished:
    start = time.perf_counter()
    table, found = select_part(folder / JUDGED, config.select, random.Random(0))
    pq.write_table(table, folder / SELECTED, compression="zstd")
    need = Need(exactly(found.kept), part_bytes=_size(folder / SELECTED))
    return Finished((0, SELECT.name), need, sampled, time.perf_counter() - start)


def _train(run: RunDir, policy: Path, folder: Path) -> Finished:
    """A few steps on what was selected, or on all samples where that makes no batch. Nothing is saved."""
    batch, ids = run.config.train.batch_size, run.problems(run.config.data.train).ids
    kept, sampled = (pq.read_table(folder / name) for name in (SELECTED, SAMPLED))
    learned = (kept if kept.num_rows >= batch else sampled).slice(0, TRAIN_STEPS * batch)
    pq.write_table(learned, folder / LEARNED)
    row_of = {problem_id: row for row, problem_id in enumerate(ids)}
    rows = tuple(row_of[problem_id] for problem_id in learned["problem_id"].to_pylist())
    problems, reading = run.config.data.train, Reading.of(run.config)
    lesson = Lesson(policy, False, None, problems, (folder / LEARNED,), rows, seed=0, reading=reading)
    steps = math.ceil(len(rows) / batch)
    once = {"epochs": 1, "checkpoint_every": steps + 1, "checkpoint_minutes": math.inf}
    config = run.local_config.model_copy(update={"train": run.config.train.model_copy(update=once)})
    reached = islice(build_trainer(config).train(lesson, partial(_save_to, folder)), steps + 1)
    clock, tokens = zip(*((time.perf_counter(), now.response_tokens) for now in reached), strict=True)
    first = 1 if steps > 1 else 0
    handled, seconds = len(rows) - first * batch, clock[-1] - clock[first]
    need = Need(exactly(len(rows)), exactly(tokens[-1]), exactly(steps))
    return Finished((0, TRAIN.name), need, handled, seconds)


@contextmanager
def _save_to(folder: Path, steps: int) -> Iterator[Path]:
    """Where a trainer that saves on its own may do so."""
    yield folder / f"checkpoint-{steps}"


def _size(path: Path) -> Amount:
    return exactly(path.stat().st_size)
