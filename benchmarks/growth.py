"""How the time and the memory of every stage grow with the problems: 10,000, 100,000, ... up to LARGEST.

    python benchmarks/growth.py [LARGEST] [FOLDER] [SETTING=VALUE ...]

For every size a run is made up (in a temporary folder, or in the one that is named, which is kept; a folder
in memory takes the disk out of it): as many training problems and as many test problems, two responses to
each, a sweep of the same number of responses, an image to every hundredth problem. Each stage runs in a
process of its own, with a model side that needs no time (see growth_stages.py); the smallest size before and
after the larger ones. Settings replace the run's (without a process reward model: score.prm=null
adapt.policy=pass_at_k). What counts is the processor's time, which other work on the machine disturbs least.
The exponent is that of its growth from the smallest size to the largest.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from growth_stages import ANSWERS, STAGES
from scale import pictures

SMALLEST, LARGEST = 10_000, 1_000_000
REPEATED = 2
"""Processes of the smallest size before the others, and after."""
PROBLEMS_PER_IMAGE, PROBLEMS_PER_ROW_GROUP = 100, 5_000
QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"
MOST_GROWTH, MOST_MEBIBYTES, TRAIN_MEBIBYTES = 1.10, 1024, 2048
"""Time per problem, the largest size against the smallest; memory at the largest, and a lesson's, which keeps
1 GiB of prompts and all of its texts.
"""
CONFIG: dict[str, Any] = {
    "name": "growth",
    "output": "run",
    "model": {"path": str(QUICKSTART / "base")},
    "iterations": {"count": 1, "problems_share": 1.0},
    "data": {
        "train": "train.jsonl",
        "validation": "validation.jsonl",
        "tests": {"heldout": "heldout.parquet"},
    },
    "prompt": {"version": "question-1", "step_separator": ";"},
    "generate": {"samples_per_problem": 2},
    "score": {"prm": str(QUICKSTART / "prm")},
    "select": {"keep_per_problem": 1, "threshold": 0.75},
    "evaluate": {"every": 1, "temperatures": [0.7, 1.3], "samples_per_problem": 4},
    "adapt": {"policy": "reward_pass_at_k"},
}
Found = dict[str, float]


def main() -> None:
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else LARGEST
    sizes = [size for size in (SMALLEST * 10**power for power in range(6)) if size <= largest]
    missed = []
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(scratch)
        for size in sizes:
            make_inputs(kept / str(size), size)
        print(f"| stage | microseconds a problem, {sizes} problems | growth | exponent | MiB |")
        for name in STAGES:
            missed += tell(name, measure(name, {size: kept / str(size) for size in sizes}))
    if missed:
        sys.exit("the bars are not reached: " + "; ".join(missed))


def tell(name: str, found: dict[int, Found]) -> list[str]:
    """Prints one stage's row; returns what is too much, if something is."""
    first, last = min(found), max(found)
    per_problem = {size: 1e6 * one["worked"] / size for size, one in found.items()}
    growth = per_problem[last] / per_problem[first]
    exponent = 1 + math.log(growth) / math.log(last / first) if last > first else 1.0
    times = " | ".join(f"{one:.1f}" for one in per_problem.values())
    memory = " | ".join(f"{one['MiB']:.0f}" for one in found.values())
    print(f"| {name} | {times} | {growth:.2f} | {exponent:.2f} | {memory} |", flush=True)
    room = TRAIN_MEBIBYTES if name == "train" else MOST_MEBIBYTES
    too_much = growth > MOST_GROWTH or found[last]["MiB"] > room
    return [f"{name} takes {growth:.2f} times as long, {found[last]['MiB']:.0f} MiB"] if too_much else []


def measure(name: str, folders: dict[int, Path]) -> dict[int, Found]:
    """Of every size; the smallest is the median of some processes before the others and some after them."""
    smallest, *larger = folders
    every = [measure_once(name, folders[smallest]) for _ in range(REPEATED)]
    found = {size: measure_once(name, folders[size]) for size in larger}
    every += [measure_once(name, folders[smallest]) for _ in range(REPEATED)]
    return {smallest: {key: statistics.median(one[key] for one in every) for key in every[0]}, **found}


def measure_once(name: str, folder: Path) -> Found:
    stages = Path(__file__).with_name("growth_stages.py").absolute()
    command = [sys.executable, str(stages), name, str(folder), *sys.argv[3:]]
    environment = {**os.environ, "MSTAR_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def make_inputs(folder: Path, size: int) -> None:
    """The problems, their images and the configuration; what is there already stays."""
    if (folder / "growth.yaml").exists():
        return
    (folder / "images").mkdir(parents=True)
    for number, picture in zip(range(size // PROBLEMS_PER_IMAGE), pictures(), strict=False):
        (folder / f"images/{number:06}.png").write_bytes(picture)
    for name, total in (("train", size), ("validation", size // 8)):
        with (folder / f"{name}.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in problems(name, total))
    rows = pa.Table.from_pylist(list(problems("heldout", 1)))
    with pq.ParquetWriter(folder / "heldout.parquet", rows.schema) as writer:
        for start in range(0, size, PROBLEMS_PER_ROW_GROUP):
            own = list(problems("heldout", min(size, start + PROBLEMS_PER_ROW_GROUP), start))
            writer.write_table(pa.Table.from_pylist(own, rows.schema))
    tree = {**CONFIG, "output": str(folder.absolute() / "run")}
    (folder / "growth.yaml").write_text(yaml.safe_dump(tree))


def problems(name: str, end: int, start: int = 0) -> Iterator[dict[str, object]]:
    for number in range(start, end):
        image = [f"images/{number // PROBLEMS_PER_IMAGE:06}.png"] if number % PROBLEMS_PER_IMAGE == 0 else []
        yield {
            "id": f"{name}-{number:07}",
            "question": f"How many shapes has field {number} of {name}, squares and circles together?",
            "images": image,
            "answer": str(number % ANSWERS),
            "answer_type": "number",
            "source": ("bars", "grids", "lines")[number % 3],
        }


if __name__ == "__main__":
    main()
