"""A run folder as a real run leaves it: written through RunDir, StageDir and the records, responses made up.

The policy of iteration i solves a problem when the problem's difficulty is below the policy's skill, but for
some noise, so accuracies, sweeps and single responses all tell one story. All test sets are one file.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from mstar import estimates, records
from mstar.config import Config
from mstar.config_file import dump_config, parse_config
from mstar.records import Decision, Estimate, Report, Response, State
from mstar.response_parts import write_responses
from mstar.rundir import RunDir
from mstar.stage_notes import Begun
from mstar.stagedir import StageDir
from mstar.stages import STAGES, stage_prefix
from mstar.storage import build_storage, write_text

Question = Callable[[int], str]
Answer = Callable[[str, bool], str]


def ask(number: int) -> str:
    return f"What is the value of the strip? (#{number})"


def reason(gold: str, right: bool) -> str:
    said = gold if right else str(int(gold) + 1)
    return f"Read: {int(gold) - 3} + 3\n{int(gold) - 3} + 3 = {said}\nAnswer: {said}"


@dataclass(frozen=True)
class Plan:
    """What kind of run to make."""

    iterations: int = 4
    unfinished: tuple[str, ...] = ()
    """Stages that one more iteration has finished."""
    tests: tuple[str, ...] = ("strips", "six-terms")
    falling: tuple[str, ...] = ()
    """Test sets that the policy gets worse at."""
    sources: tuple[str, str, str] = ("number", "yes or no", "choice")
    problems: int = 90
    sweep: bool = True
    prm: bool = True
    temperatures: tuple[float, ...] = (0.7, 1.0, 1.3)
    start: bool = True
    question: Question = ask
    answer: Answer = reason
    image_size: tuple[int, int] = (140, 28)
    settings: dict[str, Any] = field(default_factory=dict)


def make_run(folder: Path, plan: Plan) -> RunDir:
    """The run on disk, below `folder`."""
    config = _config(folder, plan)
    run = RunDir(build_storage(config.output), config)
    write_text(run.storage, "run.yaml", dump_config(config))
    _write_problems(folder / "problems", plan)
    if plan.start:
        _evaluate(run, plan, None)
    for iteration in range(plan.iterations):
        _turn(run, plan, iteration, ("generate", "score", "select", "train", "evaluate", "adapt"))
    _turn(run, plan, plan.iterations, plan.unfinished)
    if plan.iterations:
        timing = {"wall_clock_seconds": 25.0 * plan.iterations + 20, "peak_memory_bytes": 3 * 2**30}
        write_text(run.storage, "timing.json", json.dumps(timing))
    return run


def _config(folder: Path, plan: Plan) -> Config:
    policy = "reward_pass_at_k" if plan.prm and plan.sweep else "pass_at_k" if plan.sweep else "fixed"
    tree = {
        "name": "strips",
        "output": str(folder / "run"),
        "model": {"path": "policy"},
        "iterations": {"count": max(1, plan.iterations + bool(plan.unfinished))},
        "data": {
            "train": "train.jsonl",
            "validation": "validation.jsonl" if plan.sweep else None,
            "tests": {test: str(folder / "problems" / "problems.jsonl") for test in plan.tests},
        },
        "score": {"prm": "prm" if plan.prm else None},
        "evaluate": {"temperatures": list(plan.temperatures), "every": 1, "samples_per_problem": 8},
        "adapt": {"policy": policy},
        **plan.settings,
    }
    return parse_config(tree, "test")


def _write_problems(folder: Path, plan: Plan) -> None:
    (folder / "images").mkdir(parents=True)
    for gold in {_gold(number) for number in range(plan.problems)}:
        noisy = max(plan.image_size) > 400
        image = Image.effect_noise(plan.image_size, 90) if noisy else Image.new("L", plan.image_size, 255)
        ImageDraw.Draw(image).text((4, 8), f"{gold - 3} + 3", fill=0)
        image.save(folder / "images" / f"{gold}.png", compress_level=1)
    lines = []
    for number in range(plan.problems):
        image_name = f"images/{_gold(number)}.png"
        row = {"id": f"p{number}", "question": plan.question(number), "images": [image_name]}
        row |= {"answer": str(_gold(number)), "answer_type": "number", "source": plan.sources[number % 3]}
        lines.append(json.dumps(row) + "\n")
    (folder / "problems.jsonl").write_text("".join(lines))


def _gold(number: int) -> int:
    return 3 + number % 17


def _turn(run: RunDir, plan: Plan, iteration: int, stages: tuple[str, ...]) -> None:
    skill = 0.35 + 0.35 * (1 - 0.6**iteration)
    results = _results(plan, skill)
    for name in stages:
        if name == "evaluate":
            _evaluate(run, plan, iteration)
        elif name == "adapt":
            _adapt(run, plan, iteration)
        else:
            _commit(run, name, iteration, results[name])
            _time(run, name, iteration, {"generate": 9.0, "score": 2.5, "select": 0.2, "train": 6.0}[name])


def _folder(run: RunDir, name: str, iteration: int | None) -> StageDir:
    version = next(stage.version for stage in STAGES if stage.name == name)
    folder = StageDir(run.storage, stage_prefix(name, iteration), Begun({}, version))
    folder.begin()
    return folder


def _commit(run: RunDir, name: str, iteration: int | None, result: Any) -> None:
    _folder(run, name, iteration).commit(result, [])


def _results(plan: Plan, skill: float) -> dict[str, Any]:
    sampled = 16 * plan.problems
    correct = round(sampled * skill)
    kept = round(1.7 * plan.problems * skill)
    return {
        "generate": records.Sampled(plan.problems, sampled, 31 * sampled, 7),
        "score": records.Scored(sampled, correct, 1, round(0.8 * skill, 4) if plan.prm else 1.0),
        "select": records.Selected(
            correct=correct,
            problems_with_kept=round(plan.problems * skill),
            duplicates=correct // 5,
            kept=kept,
            below_threshold=3,
        ),
        "train": records.Trained(
            examples=kept,
            train_steps=kept // 32,
            train_step=kept // 16,
            response_tokens=30 * kept,
            padding_ratio=0.04,
            first_loss=0.61,
            loss=round(0.5 - 0.4 * skill, 4),
        ),
    }


def _evaluate(run: RunDir, plan: Plan, iteration: int | None) -> None:
    skill = 0.3 if iteration is None else 0.3 + 0.45 * (1 - 0.55 ** (iteration + 1))
    stage, names = _folder(run, "evaluate", iteration), []
    tests = {}
    for place, test in enumerate(plan.tests):
        last = run.config.iterations.count - 1
        if place and iteration not in (None, last):
            continue
        own = 0.6 - skill if test in plan.falling else skill - 0.08 * place
        responses = [_respond(plan, number, own) for number in range(plan.problems)]
        half = plan.problems // 2
        for part, half_of_them in enumerate((responses[:half], responses[half:])):
            names.append(f"test-{test}/part-{part:05d}.parquet")
            with stage.write(names[-1]) as path:
                write_responses(path, half_of_them)
        tests[test] = _measure(plan, responses)
    rows = tuple(_sweep(plan, skill, t) for t in plan.temperatures) if plan.sweep else ()
    stage.commit(Report(iteration, tests, rows), names)
    _time(run, "evaluate", iteration, 4.0)


def _respond(plan: Plan, number: int, skill: float) -> Response:
    difficulty = random.Random(f"p{number}").random()
    right = difficulty < skill
    if random.Random(f"{number} {skill}").random() < 0.1:
        right = not right
    gold = str(_gold(number))
    text = plan.answer(gold, right)
    said = gold if right else str(int(gold) + 1)
    return Response(f"p{number}", 0, text, 31, False, 0.0, said, right, None, float(right))


def _measure(plan: Plan, responses: list[Response]) -> records.TestReport:
    outcomes = [bool(one.correct) for one in responses]
    by_source = {name: estimates.share(outcomes[place::3]) for place, name in enumerate(plan.sources)}
    return records.TestReport(estimates.share(outcomes), by_source, 31.0 + len(responses) % 7, 2)


def _sweep(plan: Plan, skill: float, temperature: float) -> records.TemperatureReport:
    def around(value: float) -> Estimate:
        return estimates.share([place < round(value * 100) for place in range(100)])

    loss = 0.15 * (temperature - 1.0) ** 2
    passes = {k: around(min(0.98, skill + 0.12 * place - loss)) for place, k in enumerate((1, 2, 4, 8))}
    reward = around(min(0.95, skill + 0.15 - 2 * loss)) if plan.prm else None
    return records.TemperatureReport(temperature, 8, passes, passes, reward, around(0.4 * skill))


def _adapt(run: RunDir, plan: Plan, iteration: int) -> None:
    temperature = (0.7, 1.0, 1.3)[iteration % 3] if plan.sweep else 1.0
    decision = Decision(
        iteration, temperature, f"highest reward_pass_at_k 0.{70 + iteration} of 3 temperatures"
    )
    run.write_state(State(iteration + 1, f"iterations/{iteration:03d}/train/checkpoint", temperature, 0))
    _commit(run, "adapt", iteration, decision)
    _time(run, "adapt", iteration, 0.05)


def _time(run: RunDir, name: str, iteration: int | None, seconds: float) -> None:
    inside = 0.0 if name in ("select", "adapt") else 0.9 * seconds
    timing = {"seconds": seconds, "inside_seconds": inside, "peak_memory_bytes": 2 * 2**30}
    text = json.dumps({**timing, "finished": "2025-06-01T12:00:00+00:00"})
    write_text(run.storage, f"{stage_prefix(name, iteration)}/timing.json", text)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., RunDir]:
    """Makes a run; keyword arguments are those of Plan."""
    made = 0

    def build(**plan: Any) -> RunDir:
        nonlocal made
        made += 1
        folder = tmp_path / f"made-{made}"
        folder.mkdir()
        return make_run(folder, Plan(**plan))

    return build
