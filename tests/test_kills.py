"""kill -9 at random moments: what is there in the end is what a run leaves that nobody disturbs."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from mstar.stages import STAGE_NAMES
from tests.commands import at_once, mstar, start
from tests.smoke import fingerprints, prepare_arguments, smoke_arguments

KILLS = int(os.environ.get("MSTAR_KILLS", "4"))


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_like_one_that_was_not(
    problems: Path, finished: Path, tmp_path: Path
) -> None:
    """Set MSTAR_KILLS for more moments; A run that ends first is followed by a new one."""
    chance, landed, runs = random.Random(KILLS), 0, 1
    longest = json.loads((finished / "timing.json").read_text())["wall_clock_seconds"]
    while landed < KILLS:
        process = start(*smoke_arguments(problems, tmp_path / f"killed-{runs}"))
        process.join(chance.uniform(0.5, 1 + longest / 2))
        if process.is_alive():
            landed += 1
            process.kill()
        else:
            runs += 1
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        assert runs <= 5 * KILLS, f"only {landed} kills found a run at work"
    for number in range(1, runs + 1):
        output = tmp_path / f"killed-{number}"
        mstar(*smoke_arguments(problems, output))
        assert fingerprints(output) == fingerprints(finished)


@pytest.mark.slow
def test_killed_shards_with_two_processes_each_end_like_a_run_that_was_not(
    problems: Path, finished: Path, tmp_path: Path
) -> None:
    """One of the processes on a stage is killed, the others go on; then all of them start again."""
    chance, landed = random.Random(KILLS), 0
    runs = -(-KILLS // (1 + 2 * len(STAGE_NAMES)))
    for number in range(runs):
        output = tmp_path / f"shards-{number}"
        mstar(*prepare_arguments(problems, output))
        groups = [["evaluate", "--run", str(output)]]
        groups += [
            [stage, "--run", str(output), "--iteration", str(iteration)]
            for iteration in (0, 1)
            for stage in STAGE_NAMES
        ]
        landed += sum(kill_one(group, chance) for group in groups)
        assert fingerprints(output) == fingerprints(finished)
    assert landed >= 3 * runs, f"{landed} kills found their process at work"


@pytest.mark.slow
def test_verified_and_cleaned_between_and_during_the_kills_it_ends_like_one_that_was_not(
    problems: Path, finished: Path, tmp_path: Path
) -> None:
    """A run at work, or killed anywhere, is never damaged; cleaning it takes nothing that it needs."""
    chance, output = random.Random(KILLS), tmp_path / "run"
    mstar(*prepare_arguments(problems, output))
    for _ in range(KILLS):
        process = start(*smoke_arguments(problems, output))
        until = time.monotonic() + chance.uniform(2, 8)
        while process.is_alive() and time.monotonic() < until:
            found = mstar("verify", str(output), check=False)
            assert found.returncode == 0, found.stdout
            assert mstar("clean", str(output), "--yes", check=False).returncode in (0, 2)
        process.kill()
        process.join()
        found = mstar("verify", str(output), check=False)
        assert found.returncode == 0, found.stdout
        mstar("clean", str(output), "--yes")
    mstar(*smoke_arguments(problems, output))
    assert fingerprints(output) == fingerprints(finished)
    assert mstar("clean", str(output)).stdout.endswith("there is nothing to delete\n")


def kill_one(group: list[str], chance: random.Random) -> bool:
    """Two processes on each shard of a stage, of which one is killed; whether it was still at work."""
    sharded = group[0] in ("generate", "score", "evaluate")
    shards = [["--shard", f"{k}/2"] for k in (1, 1, 2, 2)] if sharded else [[], []]
    started = [start(*group, *shard) for shard in shards]
    time.sleep(chance.uniform(0, 0.4))
    victim = chance.choice(started)
    landed = victim.is_alive()
    victim.kill()
    for process in started:
        process.join()
    assert {process.exitcode for process in started} <= {0, -signal.SIGKILL}
    at_once([*group, *shard] for shard in shards)
    return landed
