"""The select stage: which responses are trained on, H( 1[a = a*] * min step score ) of arXiv 2412.17451,
section 2.

Reads the iteration's scored parts, writes `selected.parquet`. `choose` is a pure function over the responses
of one problem. The stage around it streams one Parquet part at a time, so its memory does not grow with the
number of responses.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mstar.config import Select
from mstar.progress import QUIET, Progress
from mstar.reads import select_reads
from mstar.records import Selected
from mstar.response_parts import RESPONSE_SCHEMA
from mstar.rundir import Finished, RunDir
from mstar.seeds import derive_seed
from mstar.stages import SCORE, SELECT
from mstar.work import Turn, Work, perform

SELECTED = "selected.parquet"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A correct response as `choose` sees it; `place` is its row in the part."""

    place: int
    text: str
    reward: float


def select(run: RunDir, iteration: int, progress: Progress = QUIET) -> Selected | None:
    """Write the kept responses of an iteration to `selected.parquet`."""

    def work_on(work: Work) -> Selected | None:
        selected = _select(work, run.finished(SCORE, iteration))
        return work.commit([SELECTED], lambda: selected)

    return perform(SELECT, Turn(run, iteration, progress=progress), select_reads(run, iteration), work_on)


def _select(work: Work, scored: Finished) -> Selected:
    config, seed = work.config, derive_seed(work.config.seed, work.number, SELECT.name)
    shuffler, selected, parts = random.Random(seed), Selected(), scored.parts
    with (
        work.progress.stage(SELECT.name, work.iteration, len(parts), "parts") as advance,
        work.folder.write(SELECTED) as path,
        pq.ParquetWriter(path, RESPONSE_SCHEMA, compression="zstd") as writer,
    ):
        for name in parts:
            with scored.reading(name) as part:
                table, found = select_part(part, config.select, shuffler)
            writer.write_table(table)
            selected += found
            advance(1)
    return selected


def select_part(part: Path, config: Select, shuffler: random.Random) -> tuple[pa.Table, Selected]:
    """The kept rows of one part, in their order there, and what became of all that were correct."""
    table = pq.read_table(part, schema=RESPONSE_SCHEMA)
    kept: list[int] = []
    selected = Selected()
    for candidates in _correct_by_problem(table):
        chosen, found = choose(candidates, config, shuffler)
        kept += sorted(candidate.place for candidate in chosen)
        selected += found
    return table.take(pa.array(kept, type=pa.int64())), selected


def choose(
    candidates: Sequence[Candidate], config: Select, shuffler: random.Random
) -> tuple[list[Candidate], Selected]:
    """The kept ones among the correct responses of one problem, and what became of the others.

    Ties go to the earlier sample.
    """
    unique = _without_duplicates(candidates)
    eligible = unique if config.rule == "all" else [one for one in unique if one.reward > config.threshold]
    match config.rule:
        case "top_k":
            ranked = sorted(eligible, key=lambda one: -one.reward)
        case "random_k":
            ranked = shuffler.sample(eligible, len(eligible))
        case "all" | "threshold":
            ranked = eligible
    kept = ranked[: config.keep_per_problem]
    return kept, Selected(
        correct=len(candidates),
        problems_with_kept=int(bool(kept)),
        duplicates=len(candidates) - len(unique),
        below_threshold=len(unique) - len(eligible),
        not_chosen=len(eligible) - len(kept),
        kept=len(kept),
    )


def _without_duplicates(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first of every text; texts that differ only in white space are the same."""
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(" ".join(candidate.text.split()), candidate)
    return list(first.values())


def _correct_by_problem(table: pa.Table) -> Iterator[list[Candidate]]:
    """The correct responses of each problem; a problem's responses stand together in a part."""
    correct = table["correct"].to_numpy(zero_copy_only=False).astype(bool)
    places = correct.nonzero()[0]
    rows = table.select(["problem_id", "text", "reward"]).take(pa.array(places))
    columns = (rows[name].to_pylist() for name in ("problem_id", "text", "reward"))
    group: list[Candidate] = []
    present = None
    for place, problem_id, text, reward in zip(places.tolist(), *columns, strict=True):
        if problem_id != present and group:
            yield group
            group = []
        present = problem_id
        group.append(Candidate(place, text, reward))
    if group:
        yield group
