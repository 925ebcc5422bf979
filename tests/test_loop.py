"""The real command: what a run leaves, what a second start does, and what damage and kills cost."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from mstar.datasets import open_problems
from mstar.engines import Chunk, Sampling, build_engine
from mstar.evaluation import read_report
from mstar.prompts import build_request
from mstar.records import read_responses
from mstar.stages import ADAPT, EVALUATE
from mstar.starting import finished_iterations, open_run
from mstar.storage import build_storage
from tests.conftest import PROBLEMS, QUICKSTART

STAGES = ("generate", "score", "select", "train", "evaluate", "adapt")
VARIES = ("timing.json", "summary.json", "metrics.jsonl", "report.html", "run.yaml")
"""What may differ between two equal runs: times, and paths of the output."""
SMALL = (
    "iterations.problems_share=0.02",
    "generate.problems_per_chunk=16",
    "train.batch_size=8",
    "train.checkpoint_every=2",
    "model.threads=1",
    "data.tests={heldout: problems/validation.parquet}",
)


def mstar(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mstar", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=check)


def arguments_for(output: Path, *overrides: str) -> list[str]:
    settings = [f"output={output}", *SMALL, *overrides]
    pairs = [part for setting in settings for part in ("--set", setting)]
    return ["run", str(QUICKSTART / "smoke.yaml"), *pairs]


def fingerprints(output: Path) -> dict[str, str]:
    """The hash of every file that must not vary."""
    paths = [path for path in output.rglob("*") if path.is_file() and "/." not in path.as_posix()]
    kept = [path for path in paths if path.name not in VARIES]
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(kept)
    }


def result_of(output: Path, iteration: int, stage: str) -> dict[str, Any]:
    """What the manifest of a stage says."""
    manifest = (output / f"iterations/{iteration:03d}/{stage}/manifest.json").read_text()
    found: dict[str, Any] = json.loads(manifest)["result"]
    return found


def file_of(folder: Path, name: str) -> Path:
    """A file by the beginning of its name; the rest says what is in it."""
    (found,) = folder.glob(f"{name}-*.parquet")
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    mstar(*arguments_for(output))
    return output


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    assert yaml.safe_load((finished / "run.yaml").read_text())["name"] == "smoke"
    for iteration in ("000", "001"):
        for stage in STAGES:
            folder = finished / "iterations" / iteration / stage
            manifest = json.loads((folder / "manifest.json").read_text())
            assert manifest["result"] and (manifest["files"] or stage == "adapt"), folder
            assert json.loads((folder / "timing.json").read_text())["seconds"] >= 0
    generated = [
        response
        for part in sorted((finished / "iterations/000/generate").glob("*.parquet"))
        for response in read_responses(part)
    ]
    assert len(generated) == 40 * 4
    assert len({response.problem_id for response in generated}) == 40
    assert all(response.correct is None and response.reward is None for response in generated)
    state = json.loads((finished / "iterations/002/state.json").read_text())
    assert state["policy"].startswith("iterations/001/train/checkpoint-")
    assert (finished / state["policy"] / "model.safetensors").is_file()


def test_only_distinct_correct_responses_are_learned(finished: Path) -> None:
    kept = result_of(finished, 0, "select")["kept"]
    selected = list(read_responses(file_of(finished / "iterations/000/select", "selected")))
    assert 0 < len(selected) == kept
    assert all(response.correct and 0 < (response.reward or 0) <= 1 for response in selected)
    assert all(min(response.step_scores or (0,)) == response.reward for response in selected)
    assert len({(response.problem_id, response.text) for response in selected}) == len(selected)
    trained = result_of(finished, 0, "train")
    assert trained["examples"] == len(selected)
    assert trained["padding_ratio"] <= 0.1


def test_the_optimizer_goes_on_into_the_second_iteration(finished: Path) -> None:
    first, second = (result_of(finished, iteration, "train") for iteration in (0, 1))
    assert second["train_step"] == first["train_steps"] + second["train_steps"]


def test_the_summary_says_what_the_responses_say(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    last = summary["tests"]["heldout"]["last"]
    parts = sorted((finished / "iterations/001/evaluate/test-heldout").glob("*.parquet"))
    responses = [response for part in parts for response in read_responses(part)]
    assert last["problems"] == len(responses)
    assert last["accuracy"] == pytest.approx(sum(bool(r.correct) for r in responses) / len(responses))
    assert last["low"] < last["accuracy"] < last["high"]


def test_what_is_evaluated_is_the_policy_that_was_trained(finished: Path) -> None:
    """Its greedy answers are those of the checkpoint, and not those of the policy before it."""
    run = open_run(str(finished))
    problems = open_problems(PROBLEMS / "validation.parquet").read(range(48))
    requests = [build_request(problem, run.config.prompt) for problem in problems]

    def greedy(policy: str) -> list[str]:
        with run.policy_folder(policy) as folder, build_engine(run.config, folder) as engine:
            (found,) = engine.generate([Chunk(requests, Sampling(1, 0.0, 1.0, 80))])
        return [own[0].text for own in found]

    evaluated = run.finished(EVALUATE, 1)
    with evaluated.reading("test-heldout/part-00000.parquet") as path:
        texts = [one.text for one in read_responses(path)][:48]
    assert texts == greedy(run.policy_after(1))
    assert texts != greedy(run.policy_after(0))


def test_a_sweep_that_goes_stale_ends_the_loop_and_nothing_is_left_unmeasured(tmp_path: Path) -> None:
    output = tmp_path / "stops"
    settings = (
        "iterations.count=8",
        "iterations.problems_share=0.005",
        "train.learning_rate=1.0e-12",
        "stop.stale_sweeps=1",
        "evaluate.temperatures=[1.0]",
        "data.tests={heldout: problems/validation.parquet, six_terms: problems/six_terms.parquet}",
    )
    first = mstar(*arguments_for(output, *settings))
    run = open_run(str(output))
    last = finished_iterations(run) - 1
    assert last < 7
    assert run.result(ADAPT, last).stop and "; stop: reward_pass_at_k has not risen" in first.stdout
    assert set(run.result(EVALUATE, last).tests) == {"heldout"}
    assert set(read_report(run, last).tests) == {"heldout", "six_terms"}
    summary = json.loads((output / "summary.json").read_text())
    assert summary["tests"]["six_terms"]["last"]["iteration"] == last
    again = mstar(*arguments_for(output, *settings))
    assert "all iterations are finished already" in again.stdout
    assert not (output / f"iterations/{last + 1:03d}/generate").exists()


def test_a_second_start_changes_nothing(finished: Path) -> None:
    before = fingerprints(finished)
    mstar(*arguments_for(finished))
    assert fingerprints(finished) == before


def test_the_stages_one_by_one_and_in_shards_leave_the_same_files(finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "stages"
    mstar(*arguments_for(output), "--prepare")
    mstar("evaluate", "--run", str(output))
    at = ["--run", str(output), "--iteration", "0"]
    for shard in ("2/2", "1/2"):
        mstar("generate", *at, "--shard", shard)
    for shard in ("1/2", "2/2"):
        mstar("score", *at, "--shard", shard)
    for stage in ("select", "train", "evaluate", "adapt"):
        mstar(stage, *at)
    whole = fingerprints(finished)
    kept = ("start/", "iterations/000/", "inputs.json")
    expected = {name: value for name, value in whole.items() if name.startswith(kept)}
    found = fingerprints(output)
    assert found.pop("iterations/001/state.json") == whole["iterations/001/state.json"]
    assert found == expected


def test_two_processes_on_every_shard_leave_the_same_files(finished: Path, tmp_path: Path) -> None:
    """As a scheduler that starts a task again while the first one still runs."""
    output = tmp_path / "twice"
    mstar(*arguments_for(output), "--prepare")
    at = ["--run", str(output), "--iteration", "0"]
    shards = [["--shard", "1/2"], ["--shard", "1/2"], ["--shard", "2/2"], ["--shard", "2/2"]]
    at_once(["evaluate", "--run", str(output), *shard] for shard in shards)
    for stage in ("generate", "score"):
        at_once([stage, *at, *shard] for shard in shards)
    for stage in ("select", "train", "evaluate", "adapt"):
        at_once([stage, *at] for _ in range(2))
    whole, found = fingerprints(finished), fingerprints(output)
    kept = ("start/", "iterations/000/", "iterations/001/state.json", "inputs.json")
    assert found == {name: value for name, value in whole.items() if name.startswith(kept)}
    assert not list((output / ".scratch").iterdir())


def at_once(commands: Iterable[list[str]]) -> None:
    """Start all of these and wait for them; each must end well."""
    started = [
        subprocess.Popen([sys.executable, "-m", "mstar", *command], stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    for process in started:
        _, errors = process.communicate()
        assert process.returncode == 0, errors


def test_a_second_loop_on_one_run_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "held"
    with build_storage(str(output)).hold():
        refused = mstar(*arguments_for(output), check=False)
    assert refused.returncode == 2
    assert f"another mstar is at work in {output}; wait for it" in refused.stderr


def test_a_stage_out_of_order_says_what_comes_first(tmp_path: Path) -> None:
    output = tmp_path / "order"
    mstar(*arguments_for(output), "--prepare")
    at = ["--run", str(output), "--iteration"]
    for stage, iteration, remedy in (
        ("score", "0", "mstar generate"),
        ("generate", "1", "decision of iteration 0"),
    ):
        failed = mstar(stage, *at, iteration, check=False)
        assert failed.returncode == 2
        assert remedy in failed.stderr and "Traceback" not in failed.stderr


def test_damaged_parts_are_named_and_made_again(finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "damaged"
    shutil.copytree(finished, output)
    before = fingerprints(output)
    part = file_of(output / "iterations/000/generate", "part-00001")
    part.write_bytes(part.read_bytes()[:100])
    (weights,) = output.glob("iterations/001/train/checkpoint-*/model.safetensors")
    flipped = bytearray(weights.read_bytes())
    flipped[5000] ^= 1
    weights.write_bytes(flipped)
    again = mstar(*arguments_for(output))
    assert f"iterations/000/generate/{part.name} is damaged (size" in again.stderr
    assert f"{weights.relative_to(output)} is damaged (sha256" in again.stderr
    assert fingerprints(output) == before


@pytest.mark.parametrize("setting", ["seed=1", "generate.max_tokens=70", "select.rule=all"])
def test_another_configuration_is_refused(finished: Path, setting: str) -> None:
    before = fingerprints(finished)
    refused = mstar(*arguments_for(finished, setting), check=False)
    assert refused.returncode == 2
    assert setting.split("=")[0] in refused.stderr and setting.split("=")[1] in refused.stderr
    assert fingerprints(finished) == before


def test_more_iterations_go_on_from_the_last(finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "longer"
    shutil.copytree(finished, output)
    shutil.rmtree(output / "iterations/002")
    mstar(*arguments_for(output, "iterations.count=3"))
    before, after = fingerprints(finished), fingerprints(output)
    assert {name: after[name] for name in before} == before
    assert "iterations/002/adapt/manifest.json" in after


KILLS = int(os.environ.get("MSTAR_KILLS", "4"))


def test_killed_at_random_moments_it_ends_like_one_that_was_not(finished: Path, tmp_path: Path) -> None:
    """Set MSTAR_KILLS for more moments; `make kills` takes 20."""
    output, chance = tmp_path / "killed", random.Random(KILLS)
    longest = json.loads((finished / "timing.json").read_text())["wall_clock_seconds"]
    landed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "mstar", *arguments_for(output)], stdout=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(2, 4 + longest / 2))
        landed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    mstar(*arguments_for(output))
    assert landed >= min(2, KILLS)
    assert fingerprints(output) == fingerprints(finished)


@pytest.mark.slow
def test_killed_shards_with_two_processes_each_end_like_a_run_that_was_not(
    finished: Path, tmp_path: Path
) -> None:
    """One of the processes on a stage is killed, the others go on; then all of them start again."""
    output, chance = tmp_path / "shards", random.Random(KILLS)
    mstar(*arguments_for(output), "--prepare")
    groups = [["evaluate", "--run", str(output)]]
    groups += [
        [stage, "--run", str(output), "--iteration", str(iteration)]
        for iteration in (0, 1)
        for stage in STAGES
    ]
    landed, rounds = 0, -(-KILLS // len(groups))
    for group in groups:
        sharded = group[0] in ("generate", "score", "evaluate")
        shards = [["--shard", f"{k}/2"] for k in (1, 1, 2, 2)] if sharded else [[], []]
        for _ in range(rounds):
            started = [start(*group, *shard) for shard in shards]
            time.sleep(chance.uniform(1, 6))
            landed += started[0].poll() is None
            chance.choice(started).kill()
            assert {process.wait() for process in started} <= {0, -signal.SIGKILL}
        at_once([*group, *shard] for shard in shards)
    assert landed >= 2
    assert fingerprints(output) == {
        name: value for name, value in fingerprints(finished).items() if "evaluate-rest" not in name
    }


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "mstar", *arguments], stdout=subprocess.DEVNULL)


def test_parquet_parts_say_what_they_hold(finished: Path) -> None:
    schema = pq.read_schema(file_of(finished / "iterations/000/score", "part-00000"))
    assert [field.name for field in schema][:4] == ["problem_id", "sample", "text", "response_tokens"]
    assert not schema.field("text").nullable
