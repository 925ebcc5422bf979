"""The real command: what a run leaves, and what a second start does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from mstar.config import Config
from mstar.datasets import open_problems
from mstar.engines import Chunk, Sampling, build_engine
from mstar.evaluation import read_report
from mstar.loop import evolve
from mstar.progress import Progress
from mstar.prompts import build_request
from mstar.response_parts import read_responses
from mstar.run_metrics import open_metrics
from mstar.stages import ADAPT, EVALUATE, STAGE_NAMES
from mstar.starting import finished_iterations, open_run, start_run
from mstar.storage import build_storage
from mstar.tracking import open_tracking
from tests.commands import mstar
from tests.smoke import file_of, fingerprints, result_of, smoke_arguments


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    assert yaml.safe_load((finished / "run.yaml").read_text())["name"] == "smoke"
    for iteration in ("000", "001"):
        for stage in STAGE_NAMES:
            folder = finished / "iterations" / iteration / stage
            manifest = json.loads((folder / "manifest.json").read_text())
            assert manifest["result"] and (manifest["files"] or stage == "adapt"), folder
            assert json.loads((folder / "timing.json").read_text())["seconds"] >= 0
    generated = [
        response
        for part in sorted((finished / "iterations/000/generate").glob("*.parquet"))
        for response in read_responses(part)
    ]
    assert len(generated) == 32 * 4
    assert len({response.problem_id for response in generated}) == 32
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
    tested = open_problems(run.config.data.tests["heldout"])
    requests = [build_request(problem, run.config.prompt) for problem in tested.read(range(len(tested)))]

    def greedy(policy: str) -> list[str]:
        with run.policy_folder(policy) as folder, build_engine(run.config, folder) as engine:
            (found,) = engine.generate([Chunk(requests, Sampling(1, 0.0, 1.0, 80))])
        return [own[0].text for own in found]

    evaluated = run.finished(EVALUATE, 1)
    with evaluated.reading("test-heldout/part-00000.parquet") as path:
        texts = [one.text for one in read_responses(path)]
    assert texts == greedy(run.policy_after(1))
    assert texts != greedy(run.policy_after(0))


def test_a_sweep_that_goes_stale_ends_the_loop_and_nothing_is_left_unmeasured(
    problems: Path, tmp_path: Path
) -> None:
    output = tmp_path / "stops"
    settings = (
        "iterations.count=8",
        "iterations.problems_share=0.0625",
        "train.learning_rate=1.0e-12",
        "stop.stale_sweeps=1",
        "evaluate.temperatures=[1.0]",
        f"data.tests={{heldout: {problems}/heldout.parquet, six_terms: {problems}/six_terms.parquet}}",
    )
    first = mstar(*smoke_arguments(problems, output, *settings))
    run = open_run(str(output))
    last = finished_iterations(run) - 1
    assert last < 7
    assert run.result(ADAPT, last).stop and "; stop: reward_pass_at_k has not risen" in first.stdout
    assert set(run.result(EVALUATE, last).tests) == {"heldout"}
    assert set(read_report(run, last).tests) == {"heldout", "six_terms"}
    summary = json.loads((output / "summary.json").read_text())
    assert summary["tests"]["six_terms"]["last"]["iteration"] == last
    again = mstar(*smoke_arguments(problems, output, *settings))
    assert "all iterations are finished already" in again.stdout
    beyond = mstar("generate", "--run", str(output), "--iteration", str(last + 1), check=False)
    assert beyond.returncode == 2
    assert (
        f"--iteration is {last + 1}, and stop.stale_sweeps ended {output} after iteration {last}"
        in beyond.stderr
    )
    assert not (output / f"iterations/{last + 1:03d}/generate").exists()


class Listener(Progress):
    """Remembers what was said, and whether there was a page by then."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.said: list[tuple[str, bool]] = []

    def note(self, text: str) -> None:
        self.said.append((text, self.page.is_file()))


def test_what_a_run_can_know_early_it_says_early(
    make_config: Callable[..., Config], problems: Path, tmp_path: Path
) -> None:
    """That its sweep tells nothing, before the first iteration; and there is a page after each."""
    table = pq.read_table(problems / "train.parquet")
    table = table.filter([kind == "number" for kind in table["answer_type"].to_pylist()]).slice(0, 3)
    golds = table.set_column(table.schema.get_field_index("answer"), "answer", [["987654321"] * 3])
    pq.write_table(golds, tmp_path / "never.parquet")
    run = start_run(
        make_config(
            data={**make_config().data.model_dump(), "validation": str(tmp_path / "never.parquet")},
            generate={"samples_per_problem": 2, "max_tokens": 40},
            evaluate={"every": 1, "temperatures": [0.5, 1.0, 1.5], "samples_per_problem": 2},
            adapt={"policy": "pass_at_k", "min_problems": 1},
        )
    )
    listener = Listener(Path(run.config.output) / "report.html")
    with open_metrics(run, None) as metrics, open_tracking(run) as tracking:
        evolve(run, metrics, tracking, listener)
    lines = [line.partition(":")[0] for line, _ in listener.said]
    assert lines.count("the sweep tells nothing") == 3
    assert lines[:3] == ["start", "the sweep tells nothing", "the sweep tells nothing"]
    assert dict(zip(lines, (is_there for _, is_there in listener.said), strict=True))["1 of 2 iterations"]


def test_a_second_start_changes_nothing(problems: Path, finished: Path) -> None:
    before = fingerprints(finished)
    mstar(*smoke_arguments(problems, finished))
    assert fingerprints(finished) == before


def test_a_second_loop_on_one_run_is_refused(problems: Path, tmp_path: Path) -> None:
    output = tmp_path / "held"
    with build_storage(str(output)).hold():
        refused = mstar(*smoke_arguments(problems, output), check=False)
    assert refused.returncode == 2
    assert f"another mstar is at work in {output}; wait for it" in refused.stderr


def test_damaged_parts_are_named_and_made_again(problems: Path, finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "damaged"
    shutil.copytree(finished, output)
    before = fingerprints(output)
    part = file_of(output / "iterations/000/generate", "part-00001")
    part.write_bytes(part.read_bytes()[:100])
    (weights,) = output.glob("iterations/001/train/checkpoint-*/model.safetensors")
    flipped = bytearray(weights.read_bytes())
    flipped[5000] ^= 1
    weights.write_bytes(flipped)
    again = mstar(*smoke_arguments(problems, output))
    assert f"iterations/000/generate/{part.name} is damaged (size" in again.stderr
    assert f"{weights.relative_to(output)} is damaged (sha256" in again.stderr
    assert fingerprints(output) == before


@pytest.mark.parametrize("setting", ["seed=1", "generate.max_tokens=70", "select.rule=all"])
def test_another_configuration_is_refused(problems: Path, finished: Path, setting: str) -> None:
    before = fingerprints(finished)
    refused = mstar(*smoke_arguments(problems, finished, setting), check=False)
    assert refused.returncode == 2
    assert setting.split("=")[0] in refused.stderr and setting.split("=")[1] in refused.stderr
    assert fingerprints(finished) == before


def test_more_iterations_go_on_from_the_last(problems: Path, finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "longer"
    shutil.copytree(finished, output)
    shutil.rmtree(output / "iterations/002")
    mstar(*smoke_arguments(problems, output, "iterations.count=3"))
    before, after = fingerprints(finished), fingerprints(output)
    assert {name: after[name] for name in before} == before
    assert "iterations/002/adapt/manifest.json" in after


def test_parquet_parts_say_what_they_hold(finished: Path) -> None:
    schema = pq.read_schema(file_of(finished / "iterations/000/score", "part-00000"))
    assert [field.name for field in schema][:4] == ["problem_id", "sample", "text", "response_tokens"]
    assert not schema.field("text").nullable
