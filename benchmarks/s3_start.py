"""How long a stage takes to begin on a run of many iterations in a bucket.

    python benchmarks/s3_start.py WORKDIR [--iterations 1000] [--objects 100000] [--loop]

Makes a run whose stages are finished, with made-up files of the right names and sizes, but for the last
iteration; copies it to a MinIO server of its own, and opens each stage of the last iteration in turn, in a
process of its own: until it has compared what it is made from, noted that it has begun, and would begin its
work. `--loop` is `mstar run` until it comes to its first unfinished stage, and `mstar report` until it has
read what it is made from, as a plan is too. Imports are not counted. Needs
`minio` and `mc` on PATH; everything is made below WORKDIR, which is emptied.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from mstar import estimates, records
from mstar.config_file import dump_config, parse_config
from mstar.evaluation import due_tests
from mstar.fingerprints import settings_of
from mstar.reads import READS, evaluate_reads
from mstar.records import Decision, Report, Sampled, Scored, Selected, State, Trained, to_json
from mstar.rundir import INPUTS, RUN, RunDir
from mstar.stage_notes import MANIFEST, Manifest
from mstar.stages import STAGES, Stage, stage_prefix
from mstar.starting import contents
from mstar.storage import FileEntry, build_storage, write_text
from mstar.stored_names import stored_name
from tests.storage import servers

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"
OUTPUT = "s3://runs/many"
TIMING = {"seconds": 1.0, "inside_seconds": 0.5, "peak_memory_bytes": 1, "finished": "2026-11-26T12:00:00"}
PART, WEIGHTS = 1000, 100
"""Bytes of a made-up part, and of a file of a checkpoint."""

TIMED = """
import sys, time
from mstar.progress import QUIET
from mstar.starting import open_run
import mstar.loop, mstar.storage.s3
from mstar.stages import WHOLE
import mstar.work
class Begun(BaseException): pass
def begun(*_): raise Begun
mstar.work.stage_clock = begun  # the first thing that a stage does when it begins its work
name, iteration = sys.argv[1], int(sys.argv[2])
start = time.perf_counter()
try:
    run = open_run("s3://runs/many")
    if name == "report":
        from mstar.report.history import read_history
        read_history(run)
        raise Begun
    if name == "run":
        from mstar.run_metrics import open_metrics
        from mstar.progress import going_on
        from mstar.starting import finished_iterations, look_at, planned_iterations
        from mstar.tracking import open_tracking
        run = look_at(run.config, QUIET, trains_here=False)
        going_on(run.is_finished, finished_iterations(run), planned_iterations(run))
        with open_metrics(run, None, QUIET) as metrics, open_tracking(run) as tracking:
            mstar.loop.evolve(run, metrics, tracking)
    else:
        stage = getattr(mstar.loop, name)
        stage(run, iteration, WHOLE) if name in ("generate", "score", "evaluate") else stage(run, iteration)
except Begun:
    print(time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--loop", action="store_true", help="also the whole loop, and a report")
    options = parser.parse_args()
    shutil.rmtree(options.workdir, ignore_errors=True)
    (options.workdir / "server").mkdir(parents=True)
    os.environ |= servers.VARIABLES | {"MSTAR_CACHE": str(options.workdir / "cache")}
    server = servers.MinioServer(options.workdir / "server")
    try:
        os.environ["AWS_ENDPOINT_URL_S3"] = servers.ready(server.port)
        last = options.iterations - 1
        made = Made(options.workdir / "run", options.objects // options.iterations)
        for iteration in range(last):
            made.iteration(iteration)
        server.mc("mirror", str(made.folder), "tests/runs/many")
        print(f"{options.iterations} iterations, {len(made.run.storage.keys(''))} objects", flush=True)
        if options.loop:
            time_stage("run", last)
            time_stage("report", last)
        for stage in STAGES:
            time_stage(stage.name, last)
            made.stage(stage, last)
            place = f"iterations/{last:03d}"
            server.mc("mirror", "--overwrite", str(made.folder / place), f"tests/runs/many/{place}")
    finally:
        server.stop()
        shutil.rmtree(options.workdir, ignore_errors=True)


def time_stage(name: str, iteration: int) -> None:
    """Twice: what is remembered on this machine helps the second start."""
    seconds = [
        float(subprocess.check_output([sys.executable, "-c", TIMED, name, str(iteration)], text=True))
        for _ in range(2)
    ]
    what = "has read all" if name == "report" else "begins"
    print(f"{name}: {what} after {seconds[0]:.2f} s, the second time {seconds[1]:.2f} s", flush=True)


class Made:
    """A run with made-up files, in a folder; what is in its manifests is as the stages would write it."""

    def __init__(self, folder: Path, objects: int) -> None:
        self.folder = folder
        self.parts = (objects - 30) // 2
        problems = QUICKSTART / "problems"
        tree = {
            "name": "many",
            "output": OUTPUT,
            "model": {"path": str(QUICKSTART / "base")},
            "iterations": {"count": 10_000, "problems_share": 0.125},
            "data": {
                "train": str(problems / "train.parquet"),
                "tests": {"heldout": str(problems / "heldout.parquet")},
            },
            "prompt": {"version": "question-1", "step_separator": ";"},
            "train": {"learning_rate": 1e-4},
            "adapt": {"policy": "fixed"},
        }
        config = parse_config(tree, "benchmark")
        self.run = RunDir(build_storage(str(folder)), config)
        write_text(self.run.storage, RUN, dump_config(config))
        write_text(self.run.storage, INPUTS, json.dumps(contents(self.run)))
        self._finish(next(stage for stage in STAGES if stage.name == "evaluate"), None)

    def iteration(self, number: int) -> None:
        for stage in STAGES:
            self._finish(stage, number)
        state = State(number + 1, self.run.policy_after(number), 1.0, self.run.config.seed)
        (self.folder / f"iterations/{number + 1:03d}").mkdir(parents=True, exist_ok=True)
        (self.folder / f"iterations/{number + 1:03d}/state.json").write_text(to_json(state))

    def stage(self, stage: Stage, number: int) -> None:
        self._finish(stage, number)

    def _finish(self, stage: Stage, iteration: int | None) -> None:
        run, files = self.run, dict(self._files(stage.name))
        reads = evaluate_reads(run, None) if iteration is None else READS[stage.name](run, iteration)
        result = json.loads(to_json(self._result(stage.name, iteration)))
        fingerprint = settings_of(run.config, stage.name) | reads
        manifest = Manifest(fingerprint, files, result, {}, stage.version)
        place = self.folder / stage_prefix(stage.name, iteration)
        for name, entry in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(bytes(entry.size))
        place.mkdir(parents=True, exist_ok=True)
        (place / MANIFEST).write_text(to_json(manifest))
        (place / "timing.json").write_text(json.dumps(TIMING))

    def _files(self, name: str) -> dict[str, FileEntry]:
        part = FileEntry(PART, hashlib.sha256(bytes(PART)).hexdigest())
        weights = FileEntry(WEIGHTS, hashlib.sha256(bytes(WEIGHTS)).hexdigest())
        plain = {
            "generate": [f"part-{number:05d}.parquet" for number in range(self.parts)],
            "score": [f"part-{number:05d}.parquet" for number in range(self.parts)],
            "select": ["selected.parquet"],
            "train": [],
            "evaluate": ["test-heldout/part-00000.parquet"],
            "adapt": [],
        }[name]
        files = {stored_name(one, part.sha256): part for one in plain}
        if name == "train":
            folder = stored_name("checkpoint", weights.sha256)
            files |= {f"{folder}/file-{number}": weights for number in range(9)}
        return files

    def _result(self, name: str, iteration: int | None) -> object:
        right = estimates.share([True, False])
        tests = {
            test: records.TestReport(right, {}, 1.0, 0) for test in due_tests(self.run.config, iteration)
        }
        return {
            "generate": Sampled(1, 1, 1, 0),
            "score": Scored(1, 1, 0, 1.0),
            "select": Selected(),
            "train": Trained(1, 1, 1, 10, 0.0, 1.0, 1.0),
            "evaluate": Report(iteration, tests),
            "adapt": Decision(iteration or 0, 1.0, "as a benchmark says"),
        }[name]


if __name__ == "__main__":
    main()
