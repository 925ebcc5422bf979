"""Selecting from 720,000 responses: time and memory of the real select stage, in a process of its own.

Makes a run folder whose score stage holds 45,000 problems with 16 judged responses each, as one iteration
at the paper's size leaves it, and runs `mstar select` on it.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mstar.config_file import load_config
from mstar.records import Response, Scored
from mstar.response_parts import write_responses
from mstar.rundir import RunDir
from mstar.stage_notes import Begun
from mstar.stagedir import StageDir
from mstar.stages import SCORE, SELECT, part_names, stage_prefix
from mstar.starting import start_run

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"
PROBLEMS, SAMPLES, PROBLEMS_PER_PART = 45_000, 16, 64
MAX_SECONDS, MAX_BYTES = 60, 1 << 30
COMMAND = """
import atexit
from mstar.cli import main

status = open("/proc/self/status")
atexit.register(lambda: print(next(line for line in status if line.startswith("VmHWM"))))
main()
"""
"""The command, which says at its end what memory it has held itself (VmHWM: 1234 kB)."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        settings = [f"output={output}", "select.rule=top_k", "select.keep_per_problem=2"]
        run = start_run(load_config(QUICKSTART / "quickstart.yaml", settings))
        write_score(run)
        start = time.perf_counter()
        arguments = ["select", "--run", str(output), "--iteration", "0"]
        done = subprocess.run([sys.executable, "-c", COMMAND, *arguments], check=True, capture_output=True)
        seconds = time.perf_counter() - start
        used = 1024 * int(done.stdout.split()[-2])
        selected = run.result(SELECT, 0)
        print(
            f"selected from {PROBLEMS * SAMPLES} responses: {seconds:.1f} s, at most {used / 2**20:.0f} MiB"
        )
        print(selected)
    if seconds > MAX_SECONDS or used > MAX_BYTES:
        sys.exit(f"it should take at most {MAX_SECONDS} s and {MAX_BYTES >> 20} MiB")


def write_score(run: RunDir) -> None:
    """Judged responses of some 600 characters, a third of them correct, some twice."""
    words = random.Random(0)
    names = part_names(-(-PROBLEMS // PROBLEMS_PER_PART))
    stage = StageDir(run.storage, stage_prefix(SCORE.name, 0), Begun({}, SCORE.version))
    stage.begin()
    problems = iter(range(PROBLEMS))
    for name in names:
        rows = [problem for problem, _ in zip(problems, range(PROBLEMS_PER_PART), strict=False)]
        with stage.write(name) as path:
            write_responses(
                path, [judged(problem, sample, words) for problem in rows for sample in range(SAMPLES)]
            )
    stage.commit(Scored(PROBLEMS * SAMPLES, PROBLEMS * SAMPLES // 3, 0, 0.5), names)


def judged(problem: int, sample: int, words: random.Random) -> Response:
    text = f"{'one step of reasoning after the other; ' * 15}{words.randrange(40)}. Answer: {problem % 7}"
    correct = words.random() < 1 / 3
    score = words.random()
    reward = score if correct else 0.0
    return Response(
        f"p{problem}", sample, text, 150, False, 1.0, str(problem % 7), correct, (score, 1.0), reward
    )


if __name__ == "__main__":
    main()
