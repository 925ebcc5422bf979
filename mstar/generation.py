"""The generate stage: sample responses to an iteration's share of the problems.

Problems are taken in chunks; a chunk is one Parquet part, one seed, and what a killed stage loses at most.
Shards own disjoint chunks, so that several processes can work on one iteration.
"""

import random
from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from mstar.config import Config
from mstar.engines import Engine, Generated, Sampling, build_engine
from mstar.progress import QUIET, Progress
from mstar.records import Problem, Response, write_responses
from mstar.rundir import RunDir, part_names
from mstar.seeds import derive_seed
from mstar.stagedir import WHOLE, Shard
from mstar.timing import stage_clock


def generate(run: RunDir, iteration: int, shard: Shard = WHOLE, progress: Progress = QUIET) -> None:
    """Sample `samples_per_problem` responses to each problem of the iteration, at the iteration's
    temperature.
    """
    config, state = run.config, run.state(iteration)
    problems = run.problems(config.data.train)
    made_from = {
        **sampled_with(config),
        "generate": config.generate.model_dump(mode="json"),
        "iterations.problems_share": config.iterations.problems_share,
        "temperature": state.temperature,
        "seed": state.seed,
        "policy": run.policy_identity(state.policy),
        "data.train": problems.sha256,
    }
    stage = run.stage("generate", iteration, made_from, shard)
    if stage.done:
        return
    parts = iteration_parts(config, len(problems), iteration)
    missing, total = stage.missing(parts), sum(len(parts[name]) for name in stage.missing(parts))
    sampling = sampling_of(config, state.temperature)
    with stage_clock(run, "generate", iteration) as clock:
        with clock.inside():
            engine = build_engine(config, run.policy_folder(state.policy))
        with engine, progress.stage("generate", iteration, total, "problems") as advance:
            for name in missing:
                chunk = problems.read(parts[name])
                seed = derive_seed(state.seed, iteration, "generate", list(parts).index(name))
                with clock.inside():
                    responses = sample(engine, chunk, sampling, seed)
                with stage.write_part(name) as path:
                    write_responses(path, responses)
                advance(len(chunk))
        stage.commit(lambda: _facts(run, iteration, list(parts)), parts)


def sample(engine: Engine, problems: Sequence[Problem], sampling: Sampling, seed: int) -> list[Response]:
    """Responses of all problems, in order, not yet judged."""
    found = engine.generate(problems, sampling, seed)
    return [
        _response(problem, index, one, sampling.temperature)
        for problem, own in zip(problems, found, strict=True)
        for index, one in enumerate(own)
    ]


def _response(problem: Problem, index: int, one: Generated, temperature: float) -> Response:
    return Response(problem.id, index, one.text, one.tokens, one.truncated, temperature)


def iteration_parts(config: Config, total: int, iteration: int) -> dict[str, list[int]]:
    """The rows of the problems in each Parquet part of an iteration."""
    rows = interval_rows(total, config.iterations.problems_share, config.seed, iteration)
    size = config.generate.problems_per_chunk
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    return dict(zip(part_names(len(chunks)), chunks, strict=True))


def interval_rows(total: int, share: float, seed: int, iteration: int) -> list[int]:
    """The rows of the training problems that an iteration takes, rising.

    Each pass over the problems is a fresh random order cut into intervals, so no problem comes twice before
    the pass is over. Rising rows read fastest, and keep questions about one image together.
    """
    size = max(1, min(total, round(total * share)))
    intervals_per_pass = total // size
    passed, place = divmod(iteration, intervals_per_pass)
    order = list(range(total))
    random.Random(derive_seed(seed, "interval", passed)).shuffle(order)
    return sorted(order[place * size : (place + 1) * size])


def sampling_of(config: Config, temperature: float) -> Sampling:
    """How the generate stage samples."""
    section = config.generate
    return Sampling(section.samples_per_problem, temperature, section.top_p, section.max_tokens)


def sampled_with(config: Config) -> dict[str, Any]:
    """The settings besides a stage's own section that change what an engine says."""
    return {
        "prompt": config.prompt.model_dump(mode="json"),
        "images": config.images.model_dump(mode="json"),
        "model.dtype": config.model.dtype,
        "model.device": config.model.device,
    }


def _facts(run: RunDir, iteration: int, names: Sequence[str]) -> dict[str, int]:
    counts = {"problems": 0, "responses": 0, "response_tokens": 0, "truncated": 0}
    for name in names:
        table = pq.read_table(
            run.stage_file("generate", iteration, name), columns=["sample", "response_tokens", "truncated"]
        )
        counts["responses"] += table.num_rows
        counts["problems"] += pc.sum(pc.equal(table["sample"], 0)).as_py()
        counts["response_tokens"] += pc.sum(table["response_tokens"]).as_py()
        counts["truncated"] += pc.sum(table["truncated"]).as_py()
    return counts
