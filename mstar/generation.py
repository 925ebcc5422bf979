"""The generate stage: sample responses to an iteration's share of the problems.

Reads the iteration's policy, temperature and training problems; writes `part-*.parquet`. A part is a chunk of
problems, and what a killed stage loses at most. Shards own disjoint parts, so that several processes can work
on one iteration.
"""

import random

import pyarrow.parquet as pq

from mstar.engines import Sampling
from mstar.errors import UserError
from mstar.progress import QUIET, Progress
from mstar.reads import generate_reads
from mstar.records import Sampled
from mstar.response_parts import read_unusable
from mstar.rundir import RunDir
from mstar.sampling import Part, cut_parts, sample_parts
from mstar.seeds import derive_seed
from mstar.stages import GENERATE, WHOLE, Shard
from mstar.work import Turn, Work, perform


def generate(run: RunDir, iteration: int, shard: Shard = WHOLE, progress: Progress = QUIET) -> Sampled | None:
    """Sample `samples_per_problem` responses to each problem of the iteration, at the iteration's
    temperature.
    """
    state = run.state(iteration)

    def work_on(work: Work) -> Sampled | None:
        parts = iteration_parts(run, iteration)
        names = [part.name for part in parts]
        missing = set(work.missing(names))
        if missing:
            own = [part for part in parts if part.name in missing]
            sample_parts(work, state.policy, own, (state.seed, iteration, GENERATE.name))
        return work.commit(names, lambda: _sampled(work, names))

    return perform(GENERATE, Turn(run, iteration, shard, progress), generate_reads(run, iteration), work_on)


def iteration_parts(run: RunDir, iteration: int) -> list[Part]:
    """The problems of an iteration, part by part, and how they are sampled."""
    config, problems = run.config, run.problems(run.config.data.train)
    section = config.generate
    rows = interval_rows(len(problems), config.iterations.problems_share, config.seed, iteration)
    sampling = Sampling(
        section.samples_per_problem, run.state(iteration).temperature, section.top_p, section.max_tokens
    )
    return cut_parts("", problems, rows, section.problems_per_chunk, sampling)


def interval_rows(total: int, share: float, seed: int, iteration: int) -> list[int]:
    """The rows of the training problems that an iteration takes, rising.

    Each pass over the problems is a fresh random order cut into intervals, so no problem comes twice before
    the pass is over. Rising rows read fastest, and keep questions about one image together.
    """
    size = interval_size(total, share)
    intervals_per_pass = total // size
    passed, place = divmod(iteration, intervals_per_pass)
    order = list(range(total))
    random.Random(derive_seed(seed, "interval", passed)).shuffle(order)
    return sorted(order[place * size : (place + 1) * size])


def interval_size(total: int, share: float) -> int:
    """How many of the training problems an iteration takes."""
    return max(1, min(total, round(total * share)))


def _sampled(work: Work, names: list[str]) -> Sampled:
    """Counted from the parts, whichever process wrote them."""
    import pyarrow.compute as pc  # late, as it takes a twentieth of a second

    responses = problems = tokens = truncated = 0
    unusable: dict[str, str] = {}
    for name in names:
        with work.folder.reading(name) as path:
            table = pq.read_table(path, columns=["sample", "response_tokens", "truncated"])
            unusable |= read_unusable(path)
        responses += table.num_rows
        problems += pc.sum(pc.equal(table["sample"], 0)).as_py() or 0
        tokens += pc.sum(table["response_tokens"]).as_py() or 0
        truncated += pc.sum(table["truncated"]).as_py() or 0
    if not problems:
        id, reason = next(iter(unusable.items()))
        raise UserError(
            f"the model can read none of the {len(unusable)} problems of iteration {work.iteration}: "
            f"{id} {reason}; see data.unusable and prompt.max_tokens, and mstar problems check --model"
        )
    return Sampled(problems, responses, tokens, truncated, unusable)
