"""A long run on a large problem file: how long the next stage command takes to start, and its memory.

    python benchmarks/scale_run.py FOLDER

FOLDER holds the problems that `benchmarks/scale.py FOLDER` makes (200,000 with 50,000 images). A run of 14
finished iterations is made up beside them, its files written by the library itself: two responses to each of
50,000 problems in every stage that has responses, and a checkpoint of the quick start's size. Then
`mstar score --iteration 14` runs as a process of its own, twice; what counts is the time from the end of its
imports to the line with which the stage begins.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mstar.config import Config
from mstar.config_file import parse_config
from mstar.generation import iteration_parts
from mstar.records import Decision, Report, Response, Sampled, Scored, Selected, State, Trained
from mstar.response_parts import write_responses
from mstar.rundir import RunDir
from mstar.selection import SELECTED
from mstar.stage_notes import Begun
from mstar.stagedir import StageDir
from mstar.stages import ADAPT, EVALUATE, GENERATE, SCORE, SELECT, TRAIN, Stage, stage_prefix
from mstar.starting import start_run

BASE = Path(__file__).parent.parent / "examples" / "quickstart" / "base"
ITERATIONS = 14
MAX_SECONDS, MAX_MEBIBYTES = 5.0, 600
COMMAND = """
import sys, time
import pyarrow.parquet, mstar.scoring, mstar.starting, mstar.preflight
from mstar.progress import PlainProgress
from mstar.scoring import score
from mstar.starting import open_run

started = time.perf_counter()

class Watched(PlainProgress):
    def stage(self, name, iteration, total, unit):
        self.began = time.perf_counter() - started
        return super().stage(name, iteration, total, unit)

watched = Watched()
score(open_run(sys.argv[1]), int(sys.argv[2]), progress=watched)
held = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("began", watched.began, int(held.split()[1]) / 1024)
"""


def main() -> None:
    folder = Path(sys.argv[1])
    started = time.perf_counter()
    run = make_run(folder)
    print(f"made a run of {ITERATIONS} iterations in {time.perf_counter() - started:.0f} s")
    for name in ("first", "again"):
        shutil.rmtree(Path(run.config.output) / stage_prefix("score", ITERATIONS), ignore_errors=True)
        seconds, mebibytes = measure(run)
        print(f"{name}: the stage begins after {seconds:.2f} s, at most {mebibytes:.0f} MiB")
    if seconds > MAX_SECONDS or mebibytes > MAX_MEBIBYTES:
        sys.exit(f"it should begin within {MAX_SECONDS} s and stay below {MAX_MEBIBYTES} MiB")


def measure(run: RunDir) -> tuple[float, float]:
    command = [sys.executable, "-c", COMMAND, run.config.output, str(ITERATIONS)]
    environment = {**os.environ, "MSTAR_CACHE": str(Path(run.config.output).parent / "cache")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    _, seconds, mebibytes = done.stdout.splitlines()[-1].split()
    return float(seconds), float(mebibytes)


def make_run(folder: Path) -> RunDir:
    os.environ["MSTAR_CACHE"] = str(folder / "cache")
    run = start_run(configure(folder))
    for iteration in range(ITERATIONS):
        write_responses_of(run, GENERATE, iteration, judged=False)
        write_responses_of(run, SCORE, iteration, judged=True)
        finish(run, SELECT, iteration, Selected(kept=50_000), SELECTED)
        write_checkpoint(run, iteration)
        finish(run, EVALUATE, iteration, Report(iteration))
        finish(run, ADAPT, iteration, Decision(iteration, 1.0, "fixed"))
        run.write_state(State(iteration + 1, run.policy_after(iteration), 1.0, 0))
    write_responses_of(run, GENERATE, ITERATIONS, judged=False)
    return run


def configure(folder: Path) -> Config:
    small = folder / "few.jsonl"
    with (folder / "train.jsonl").open() as file:
        rows = [json.loads(next(file)) for _ in range(50)]
    small.write_text("".join(json.dumps({**row, "id": f"few-{row['id']}"}) + "\n" for row in rows))
    shutil.rmtree(folder / "run", ignore_errors=True)
    tree = {
        "name": "scale",
        "output": str(folder / "run"),
        "model": {"path": str(BASE)},
        "iterations": {"count": ITERATIONS + 1},
        "data": {"train": str(folder / "train.jsonl"), "tests": {"few": str(small)}},
        "prompt": {"version": "question-1"},
        "generate": {"samples_per_problem": 2},
        "adapt": {"policy": "fixed"},
    }
    return parse_config(tree, "scale")


def write_responses_of(
    run: RunDir, stage: Stage[Sampled] | Stage[Scored], iteration: int, judged: bool
) -> None:
    """The parts of an iteration as they are cut, with made-up responses."""
    folder = open_folder(run, stage, iteration)
    parts, ids = iteration_parts(run, iteration), run.problems(run.config.data.train).ids
    correct, reward = (True, 1.0) if judged else (None, None)
    for part in parts:
        with folder.write(part.name) as path:
            rows = (
                Response(ids[row], sample, "Answer: 7", 5, False, 1.0, "7", correct, None, reward)
                for row in part.rows
                for sample in range(2)
            )
            write_responses(path, rows)
    result = Scored(100_000, 100_000, 0, 1.0) if judged else Sampled(50_000, 100_000, 500_000, 0)
    folder.commit(result, [part.name for part in parts])


def write_checkpoint(run: RunDir, iteration: int) -> None:
    folder = open_folder(run, TRAIN, iteration)
    with folder.write_checkpoint(1) as path:
        shutil.copytree(BASE, path)
        (path / "README.md").write_text(f"iteration {iteration}\n")
    folder.commit(Trained(1, 1, iteration + 1, 5, 0.0, 1.0, 1.0), [], folder.newest_checkpoint())


def finish(run: RunDir, stage: Stage[Any], iteration: int, result: object, *names: str) -> None:
    folder = open_folder(run, stage, iteration)
    for name in names:
        with folder.write(name) as path:
            write_responses(path, [])
    folder.commit(result, names)


def open_folder(run: RunDir, stage: Stage[Any], iteration: int) -> StageDir:
    folder = StageDir(run.storage, stage_prefix(stage.name, iteration), Begun({}, stage.version))
    folder.begin()
    return folder


if __name__ == "__main__":
    main()
