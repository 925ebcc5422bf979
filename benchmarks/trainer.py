"""The `single` trainer against a bare loop of forward, backward and step over the very same micro-batches.

Two responses to each of 96 problems spread over the file, as an iteration of the quick start selects them.
The bare loop gets its micro-batches ready-made: it neither reads problems nor decodes images nor plans
batches.
"""

import sys
from pathlib import Path

import torch
from pairs import compare

from mstar.config_file import load_config
from mstar.datasets import open_problems
from mstar.trainers import Example, Lesson
from mstar.trainers.single import (
    LessonRows,
    Policy,
    SingleTrainer,
    plan_batches,
    plan_micro_batches,
    starting_state,
)

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"
EXAMPLES, PAIRS = 192, 5
TEXTS = ("Answer:12", "Read:8+6-2;8+6=14;14-2=12;Answer:12", "Read:3+4+5;3+4=7;7+5=12;12>9;Answer:yes")


def main() -> None:
    config = load_config(QUICKSTART / "quickstart.yaml", sys.argv[1:])
    read = open_problems(config.data.train).read

    base = Path(config.model.path)
    lesson = Lesson(
        base, False, None, [Example(one // 2 * 8, TEXTS[one % 3]) for one in range(EXAMPLES)], read, 0
    )
    trainer, policy = SingleTrainer(config), Policy(base, config)
    torch.set_num_threads(config.model.threads or torch.get_num_threads())
    ready = []
    batches = plan_batches(EXAMPLES, config.train, lesson.seed)
    padded = total = 0
    lesson_rows = LessonRows(lesson, policy.encoder)
    for batch in batches:
        rows = lesson_rows.read(batch)
        groups = plan_micro_batches([len(row.encoded.ids) for row in rows], config.train)
        micro = [policy.collate_rows([rows[index] for index in group]) for group in groups]
        ready.append((sum(row.response_tokens for row in rows), micro))
        padded += sum(int((inputs["attention_mask"] == 0).sum()) for inputs, _ in micro)
        total += sum(inputs["attention_mask"].numel() for inputs, _ in micro)

    def bare() -> None:
        for tokens, micro in ready:
            for inputs, labels in micro:
                (policy.summed_loss(inputs, labels) / tokens).backward()
            torch.nn.utils.clip_grad_norm_(policy.model.parameters(), config.train.max_grad_norm)
            policy.optimizer.step()
            policy.optimizer.zero_grad()

    def whole() -> None:
        for _ in trainer.steps(lesson, policy, batches, starting_state(lesson)):
            pass

    ratios = compare(("the trainer", "a bare loop"), (whole, bare), PAIRS)
    print(f"padding: {padded / total:.1%} of {total} trained tokens")
    if sorted(ratios)[PAIRS // 2] < 0.9 or padded / total > 0.1:
        sys.exit("the trainer should keep at least 0.9 of a bare loop's speed, and padding below 10 %")


if __name__ == "__main__":
    main()
