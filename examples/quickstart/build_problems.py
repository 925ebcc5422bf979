"""Draws the problem sets of the quick start: `python build_problems.py` (seconds), into `problems/`.

`heldout`, `six_terms` and `distorted` use handwritten digits that no other set and no training of the base
ever shows. Each set has its own seed, so one can be drawn again, or made larger, without the others.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from strips import KINDS, StripProblem, encode_png, make_problem


@dataclass(frozen=True)
class ProblemSet:
    """A set of problems: its size, the lengths of its strips and what they are drawn with."""

    name: str
    family: str  # the first part of `source`
    size: int
    seed: int
    term_counts: tuple[int, ...] = (3, 4, 5)
    held_out: bool = False
    distorted: bool = False


SETS = (
    ProblemSet("train", "strips", 2000, 201),
    ProblemSet("validation", "strips", 150, 202),
    ProblemSet("heldout", "strips", 400, 203, held_out=True),
    ProblemSet("six_terms", "six_terms", 400, 204, term_counts=(6,), held_out=True),
    ProblemSet("distorted", "distorted", 400, 205, held_out=True, distorted=True),
)
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("question", pa.string()),
        ("images", pa.list_(IMAGE)),
        ("answer", pa.string()),
        ("answer_type", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("precision", pa.int32()),
        ("unit", pa.string()),
        ("source", pa.string()),
    ]
)


def draw_set(problem_set: ProblemSet) -> list[StripProblem]:
    """The problems of a set: kinds and lengths in equal shares, in random order."""
    rng = np.random.default_rng(problem_set.seed)
    counts, kinds = problem_set.term_counts, len(KINDS)
    problems = [
        make_problem(
            counts[index // kinds % len(counts)],
            KINDS[index % kinds],
            rng,
            problem_set.held_out,
            problem_set.distorted,
        )
        for index in range(problem_set.size)
    ]
    return [problems[index] for index in rng.permutation(problem_set.size)]


def as_row(problem: StripProblem, problem_set: ProblemSet, number: int) -> dict[str, object]:
    """A problem in the columns that `mstar` reads."""
    return {
        "id": f"{problem_set.name}-{number:04d}",
        "question": problem.question,
        "images": [{"bytes": encode_png(problem.levels), "path": None}],
        "answer": problem.answer,
        "answer_type": problem.kind,
        "choices": [str(value) for value in problem.options] if problem.kind == "choice" else [],
        "precision": None,
        "unit": None,
        "source": f"{problem_set.family}/{problem.kind}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("problems"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for problem_set in SETS:
        rows = [as_row(problem, problem_set, number) for number, problem in enumerate(draw_set(problem_set))]
        file = arguments.out / f"{problem_set.name}.parquet"
        pq.write_table(
            pa.Table.from_pylist(rows, schema=SCHEMA), file, compression="none", row_group_size=250
        )
        print(f"{file.name}: {len(rows)} problems, {file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
