"""The `single` trainer against a bare loop of forward, backward and step over the very same micro-batches.

Two responses to each of 96 problems spread over the file, as an iteration of the quick start selects them.
The bare loop gets its micro-batches ready-made: it opens no files, decodes no images and plans no batches.
The problem file stays open, as in a run, whose generate and score stages have read the same problems before.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pairs import Steps, compare_step_by_step

from mstar.config import Config
from mstar.config_file import load_config
from mstar.datasets import open_problems
from mstar.models import set_threads
from mstar.records import Response
from mstar.response_parts import write_responses
from mstar.trainers import Lesson, Progressed
from mstar.trainers.batches import plan_batches
from mstar.trainers.policy import Policy, open_policy
from mstar.trainers.rows import LessonRows, MicroBatch, cut_micro_batches
from mstar.trainers.single import SingleTrainer

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"
RESPONSES, PAIRS = 192, 150
TEXTS = ("Answer:12", "Read:8+6-2;8+6=14;14-2=12;Answer:12", "Read:3+4+5;3+4=7;7+5=12;12>9;Answer:yes")
LEAST_SPEED, MOST_PADDING = 0.95, 0.1


def main() -> None:
    config = load_config(QUICKSTART / "quickstart.yaml", sys.argv[1:])
    set_threads(config.model)
    with tempfile.TemporaryDirectory() as folder:
        problems = open_problems(config.data.train)
        lesson = make_lesson(config, problems.ids, Path(folder) / "selected.parquet")
        policy = open_policy(lesson.policy, config)
        ready = ready_batches(lesson, policy, config)
        ratios = compare_step_by_step(
            ("the trainer", "a bare loop"),
            (whole(lesson, policy, config), bare(ready, policy, config)),
            PAIRS,
        )
    micro_batches = [one for _, batch in ready for one in batch]
    padded = sum(one.padded_tokens for one in micro_batches)
    total = sum(one.total_tokens for one in micro_batches)
    print(f"padding: {padded / total:.1%} of {total} trained tokens")
    if sorted(ratios)[PAIRS // 2] < LEAST_SPEED or padded / total > MOST_PADDING:
        sys.exit(
            f"the trainer should keep at least {LEAST_SPEED} of a bare loop's speed (the median), "
            f"and padding below {MOST_PADDING:.0%}"
        )


def make_lesson(config: Config, ids: Sequence[str], selected: Path) -> Lesson:
    rows = tuple(number // 2 * 8 for number in range(RESPONSES))
    texts = [TEXTS[number % len(TEXTS)] for number in range(RESPONSES)]
    responses = [Response(ids[row], 0, text, 1, False, 1.0) for row, text in zip(rows, texts, strict=True)]
    write_responses(selected, responses)
    return Lesson(Path(config.model.path), False, None, config.data.train, (selected,), rows, 0)


def ready_batches(lesson: Lesson, policy: Policy, config: Config) -> list[tuple[int, list[MicroBatch]]]:
    """For each step the response tokens of its batch, and the micro-batches."""
    lesson_rows = LessonRows(lesson, policy.encoder)
    batches = [lesson_rows.read(batch) for batch in plan_batches(RESPONSES, config.train, lesson.seed)]
    return [
        (
            sum(row.learned for row in rows),
            [on(config.model.device, one) for one in cut_micro_batches(rows, policy.encoder, config.train)],
        )
        for rows in batches
    ]


def on(device: str, one: MicroBatch) -> MicroBatch:
    inputs = {name: tensor.to(device) for name, tensor in one.inputs.items()}
    return replace(one, inputs=inputs, labels=one.labels.to(device))


def whole(lesson: Lesson, policy: Policy, config: Config) -> Steps:
    def train() -> Iterator[None]:
        for _ in SingleTrainer(config).steps(lesson, policy, Progressed(0)):
            settle(config.model.device)
            yield

    return train


def bare(ready: list[tuple[int, list[MicroBatch]]], policy: Policy, config: Config) -> Steps:
    import torch  # after mstar, which has torch's threads sleep while they wait

    parameters, optimizer = list(policy.model.parameters()), policy.learner.optimizer

    def train() -> Iterator[None]:
        for response_tokens, batch in ready:
            for one in batch:
                (policy.learner.forward(one.inputs, one.labels) / response_tokens).backward()
            torch.nn.utils.clip_grad_norm_(parameters, config.train.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            settle(config.model.device)
            yield

    return train


def settle(device: str) -> None:
    """Wait until a GPU has done what it was asked for."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
