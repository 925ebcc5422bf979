"""The `single` trainer against TRL's SFTTrainer: the same responses, model, batch size and number of steps.

Two draws: the quick start's (an image and a short response) and texts whose lengths have a long tail, each
with what either side offers: padding, and packing where it can. TRL's dataset is prepared beforehand, ours
reads its rows while it trains. One thread each: `make peers`.
"""

import itertools
import json
import logging
import random
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairs import Side, print_ratios, take_turns

from mstar.config import Config
from mstar.config_file import load_config
from mstar.datasets import open_problems
from mstar.models import set_threads
from mstar.records import Response, write_responses
from mstar.trainers import Lesson, Progressed
from mstar.trainers.policy import Policy, open_policy
from mstar.trainers.rows import LessonRows
from mstar.trainers.single import SingleTrainer

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"
ROUNDS = 5
IMAGES, TEXTS = 128, 64
"""Responses of each draw: 4 and 2 steps of 32."""
CHAINS = ("Answer:12", "Read:8+6-2;8+6=14;14-2=12;Answer:12", "Read:3+4+5;3+4=7;7+5=12;12>9;Answer:yes")
MEDIAN, TAIL, LONGEST = 90, 0.9, 1200
"""Tokens of a text's response: a log-normal draw's median and sigma, and where it is cut."""
PACK = 1280
"""Tokens in a pack of TRL's; with larger ones its attention mask costs more."""


def main() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for name, draw, packs in (("images", draw_images, [False]), ("texts", draw_texts, [False, True])):
            ours = {one: config_of(packing=one, arguments=sys.argv[1:]) for one in (False, True)}
            lesson = draw(ours[False], Path(folder))
            print(f"\n{name}:")
            sides = {f"ours, {label(one)}": our_side(lesson, config) for one, config in ours.items()}
            peers = {f"TRL, {label(one)}": trl_side(lesson, ours[False], one, folder) for one in packs}
            seconds = take_turns({**sides, **peers}, ROUNDS)
            for pair in itertools.product(sides, peers):
                print_ratios(pair, seconds)


def label(packing: bool) -> str:
    return "packed" if packing else "padded"


def config_of(packing: bool, arguments: Sequence[str]) -> Config:
    settings = ["model.threads=1", f"train.packing={str(packing).lower()}", *arguments]
    config = load_config(QUICKSTART / "quickstart.yaml", settings)
    set_threads(config.model)
    return config


def draw_images(config: Config, folder: Path) -> Lesson:
    """Two responses to each of the problems, as an iteration of the quick start selects them."""
    rows = [number // 2 * 8 for number in range(IMAGES)]
    texts = [CHAINS[number % len(CHAINS)] for number in range(IMAGES)]
    return write_lesson(config, config.data.train, rows, texts, folder / "images.parquet")


def draw_texts(config: Config, folder: Path) -> Lesson:
    """Sums without images, answered at length."""
    draw = random.Random(0)
    lengths = [min(LONGEST, int(draw.lognormvariate(0, TAIL) * MEDIAN)) + 1 for _ in range(TEXTS)]
    problems = folder / "texts.jsonl"
    row = {"question": "12+30?", "answer": "42", "answer_type": "number"}
    problems.write_text("".join(json.dumps({"id": f"t{number}", **row}) + "\n" for number in range(TEXTS)))
    texts = ["".join(draw.choices("0123456789+-=", k=length)) for length in lengths]
    return write_lesson(config, str(problems), range(TEXTS), texts, folder / "texts.parquet")


def write_lesson(
    config: Config, problems: str, rows: Sequence[int], texts: Sequence[str], selected: Path
) -> Lesson:
    ids = open_problems(problems).ids
    responses = [Response(ids[row], 0, text, 1, False, 1.0) for row, text in zip(rows, texts, strict=True)]
    write_responses(selected, responses)
    return Lesson(Path(config.model.path), False, None, problems, (selected,), tuple(rows), 0)


def our_side(lesson: Lesson, config: Config) -> Side:
    policy = open_policy(lesson.policy, config)

    def train() -> None:
        for _ in SingleTrainer(config).steps(lesson, policy, Progressed(0)):
            pass

    return train


def trl_side(lesson: Lesson, config: Config, packing: bool, folder: str) -> Side:
    """An SFTTrainer over the same tokens; refuses to start where they are not the same."""
    from transformers import PrinterCallback
    from trl import SFTTrainer

    policy = open_policy(lesson.policy, config)
    rows = LessonRows(lesson, policy.encoder)
    read = rows.read(range(len(lesson.rows)))
    pictured = any(row.encoded.shapes for row in read)
    trainer = SFTTrainer(
        policy.model,
        trl_settings(config, packing, [len(row.encoded.ids) for row in read], folder),
        train_dataset=trl_images(rows, policy) if pictured else trl_tokens(read),
        processing_class=trl_processor(policy) if pictured else policy.encoder.tokenizer,
    )
    batches = list(trainer.get_train_dataloader())
    learned = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
    tokens = sum(batch["labels"].numel() for batch in batches)
    if learned != sum(row.learned for row in read):
        sys.exit(f"TRL learns {learned} tokens, we learn {sum(row.learned for row in read)}")
    print(f"TRL, {label(packing)}: {learned} tokens learned of {tokens}, {trainer.args.max_steps} steps")
    trainer.remove_callback(PrinterCallback)
    return trainer.train


def trl_settings(config: Config, packing: bool, lengths: Sequence[int], folder: str) -> Any:
    """As many steps as ours; nothing logged, saved or computed twice."""
    from trl import SFTConfig

    steps = -(-len(lengths) // config.train.batch_size)
    packed = {"packing": True, "max_length": PACK, "per_device_train_batch_size": 1}
    padded = {"max_length": None, "per_device_train_batch_size": config.train.batch_size}
    return SFTConfig(
        folder,
        max_steps=steps,
        gradient_accumulation_steps=max(1, round(sum(lengths) / PACK / steps)) if packing else 1,
        learning_rate=config.train.learning_rate,
        lr_scheduler_type="constant",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        dataloader_pin_memory=False,
        **(packed if packing else padded),
    )


def trl_tokens(read: Sequence[Any]) -> Any:
    from datasets import Dataset

    ids = [row.encoded.ids for row in read]
    learned = [[-100] * (len(row.encoded.ids) - row.learned) for row in read]
    labels = [masked + own[len(masked) :] for masked, own in zip(learned, ids, strict=True)]
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def trl_images(rows: LessonRows, policy: Policy) -> Any:
    from datasets import Dataset

    tokenizer = policy.encoder.tokenizer
    requests = [rows.held[number][0] for number in rows.numbers]
    return Dataset.from_dict(
        {
            "prompt": [
                tokenizer.apply_chat_template(one.messages, add_generation_prompt=True, tokenize=False)
                for one in requests
            ],
            "completion": [text + tokenizer.eos_token for text in rows.texts],
            "images": [policy.encoder.decode_images(one) for one in requests],
        }
    )


def trl_processor(policy: Policy) -> Any:
    import transformers

    encoder = policy.encoder
    video = transformers.Qwen3VLVideoProcessor()
    return transformers.Qwen3VLProcessor(
        encoder.image_processor, encoder.tokenizer, video, chat_template=encoder.tokenizer.chat_template
    )


if __name__ == "__main__":
    main()
