"""The trainers `single` and `deepspeed` (its one rank in this process) against TRL's SFTTrainer and
transformers' Trainer: the same responses, model, batch size and number of steps.

The quick start's responses (an image and a short text), texts whose lengths have a long tail, and the former
again with an adapter (LoRA, by peft); each padded, and packed where it can be. The peers' rows are ready in
memory, ours are read meanwhile. On a CPU one thread each, so the processor's time counts: `make peers`. On a
GPU the clock does: `python benchmarks/trainer_peers.py adapter model.device=cuda model.dtype=bfloat16`.
"""

import itertools
import json
import logging
import os
import random
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pairs import Side, print_ratios, take_turns
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.nn.utils.rnn import pad_sequence
from trl_rows import trl_images, trl_processor, trl_tokens

from mstar.config import Config
from mstar.config_file import load_config
from mstar.datasets import open_problems
from mstar.models import Encoder, load_model, set_threads
from mstar.models.adapters import target_names
from mstar.records import Response
from mstar.response_parts import write_responses
from mstar.trainers import Lesson, Progressed
from mstar.trainers.deepspeed_rank import Rank
from mstar.trainers.policy import open_policy
from mstar.trainers.ranks import HOST, Parent
from mstar.trainers.rows import LessonRows, Row
from mstar.trainers.single import SingleTrainer
from mstar.trainers.zero import meet

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"
ROUNDS = 5
IMAGES, TEXTS = 128, 64
"""Responses of each draw: 4 and 2 steps of 32."""
CHAINS = ("Answer:12", "Read:8+6-2;8+6=14;14-2=12;Answer:12", "Read:3+4+5;3+4=7;7+5=12;12>9;Answer:yes")
MEDIAN, TAIL, LONGEST = 90, 0.9, 1200
"""Tokens of a text's response: a log-normal draw's median and sigma, and where it is cut."""
AT_ONCE = (32, 8)
"""Rows of the peers' micro-batches: all of a step's, and what both have by default."""
PACKS = (1280, 2560)
"""Tokens in a pack of TRL's: it cuts what is longer, and its attention mask costs more in larger ones."""
Way = tuple[str, int]
"""How a peer trains: "TRL, padded", "TRL, packed" or "Trainer, padded", and rows or tokens at once."""
PADDED: tuple[Way, ...] = tuple(
    (peer, rows) for peer in ("TRL, padded", "Trainer, padded") for rows in AT_ONCE
)
PACKED: tuple[Way, ...] = tuple(("TRL, packed", tokens) for tokens in PACKS)


def main() -> None:
    """All draws, or those that are named (images, texts, adapter), with settings of one's own."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    changes = [one for one in sys.argv[1:] if "=" in one]
    with tempfile.TemporaryDirectory() as folder:
        for name in [one for one in sys.argv[1:] if one not in changes] or DRAWS:
            draw, settings, ways = DRAWS[name]
            print(f"\n{name}:")
            ours = {name: config_of(name == "packed", [*settings, *changes]) for name in ("padded", "packed")}
            lesson = draw(ours["padded"], Path(folder))
            sides = {
                f"{side.__name__}, {name}": side(lesson, config)
                for side in (single, deepspeed)
                for name, config in ours.items()
            }
            peers = {
                f"{peer}, {size}": peer_side(lesson, ours["padded"], (peer, size), folder)
                for peer, size in ways
            }
            seconds = take_turns({**sides, **peers}, ROUNDS, clock_of(ours["padded"]))
            for pair in itertools.product(sides, peers):
                print_ratios(pair, seconds)


def config_of(packing: bool, settings: Sequence[str]) -> Config:
    own = ["model.threads=1", f"train.packing={str(packing).lower()}", *settings]
    config = load_config(QUICKSTART / "quickstart.yaml", own)
    set_threads(config.model)
    return config


def clock_of(config: Config) -> Callable[[], float]:
    """Seconds of the processor; where a GPU computes, of the clock when it has come to an end."""
    if config.model.device == "cpu":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return now


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


DRAWS: dict[str, tuple[Any, list[str], tuple[Way, ...]]] = {
    "images": (draw_images, [], PADDED),
    "texts": (draw_texts, [], PADDED + PACKED),
    "adapter": (draw_images, ["train.lora.rank=8", "train.freeze=[vision,projector]"], PADDED),
}
"""How responses are drawn, settings of the run, and what peers can do: TRL refuses images in packs."""


def single(lesson: Lesson, config: Config) -> Side:
    policy = open_policy(lesson.policy, config)
    return lambda: deque(SingleTrainer(config).steps(lesson, policy, Progressed(0)), maxlen=0)


def deepspeed(lesson: Lesson, config: Config) -> Side:
    alone = Alone()
    if not distributed.is_initialized():
        meet(alone, config)
    os.environ["LOCAL_RANK"] = "0"  # DeepSpeed asks for it; the peers would think that they have ranks too
    rank = Rank(alone, config, lesson)
    del os.environ["LOCAL_RANK"]

    def train() -> None:
        rank.rows = LessonRows(lesson, rank.encoder)  # reads anew, as the others do
        deque(rank.steps(), maxlen=0)

    return train


class Alone(Parent):
    """For the one rank that is its own stage's process."""

    def __init__(self) -> None:
        self.rank, self.count = 0, 1
        self.store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)


def peer_side(lesson: Lesson, config: Config, way: Way, folder: str) -> Side:
    """A peer over the same tokens; refuses to start where they are not the same."""
    from transformers import PrinterCallback

    model = load_model(lesson.policy, config.model)
    encoder = Encoder(lesson.policy, config.images, config.prompt)
    rows = LessonRows(lesson, encoder)
    read = rows.read(range(len(lesson.rows)))
    settings = peer_settings(config, way, [len(row.encoded.ids) for row in read], folder)
    adapter = peer_adapter(model, encoder, config)
    build = build_trainer if way[0].startswith("Trainer") else build_trl
    trainer = build(model, settings, rows, read, adapter)
    batches = list(trainer.get_train_dataloader())
    learned = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
    tokens = sum(batch["labels"].numel() for batch in batches)
    if learned != sum(row.learned for row in read):
        sys.exit(f"{way[0]} learns {learned} tokens, we learn {sum(row.learned for row in read)}")
    steps, every = trainer.args.max_steps, trainer.args.gradient_accumulation_steps
    print(f"{way[0]}, {way[1]}: {learned} tokens learned of {tokens}, {steps} steps of {every} micro-batches")
    trainer.remove_callback(PrinterCallback)
    return trainer.train  # type: ignore[no-any-return]


def peer_adapter(model: Any, encoder: Encoder, config: Config) -> Any:
    from peft import LoraConfig

    lora = config.train.lora
    if not lora.rank:
        return None
    targets = target_names(model, encoder.family, config.train)
    return LoraConfig(r=lora.rank, lora_alpha=lora.scale_numerator, target_modules=targets)


def peer_settings(config: Config, way: Way, lengths: Sequence[int], folder: str) -> dict[str, Any]:
    """As many steps as ours; nothing logged, saved or computed twice."""
    peer, size = way
    steps = -(-len(lengths) // config.train.batch_size)
    if peer == "TRL, packed":
        own = {"packing": True, "max_length": size, "per_device_train_batch_size": 1}
        own["gradient_accumulation_steps"] = max(1, round(sum(lengths) / size / steps))
    else:
        own = {"per_device_train_batch_size": size}
        own["gradient_accumulation_steps"] = config.train.batch_size // size
    return own | {
        "output_dir": folder,
        "max_steps": steps,
        "learning_rate": config.train.learning_rate,
        "lr_scheduler_type": "constant",
        "gradient_checkpointing": False,
        "bf16": config.model.dtype == "bfloat16",
        "use_cpu": config.model.device == "cpu",
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "dataloader_pin_memory": False,
    }


def build_trl(
    model: Any, settings: dict[str, Any], rows: LessonRows, read: Sequence[Row], adapter: Any
) -> Any:
    from trl import SFTConfig, SFTTrainer

    pictured = any(row.encoded.shapes for row in read)
    return SFTTrainer(
        model,
        SFTConfig(**{"max_length": None, **settings}),
        train_dataset=trl_images(rows) if pictured else trl_tokens(read),
        processing_class=trl_processor(rows.encoder) if pictured else rows.encoder.tokenizer,
        peft_config=adapter,
    )


def build_trainer(
    model: Any, settings: dict[str, Any], rows: LessonRows, read: Sequence[Row], adapter: Any
) -> Any:
    """With our tokens and pixels, all of them made beforehand, and its own loss and padding by torch."""
    from peft import get_peft_model
    from transformers import Trainer, TrainingArguments

    encoder = rows.encoder

    def example(row: Row) -> dict[str, Any]:
        ids = torch.tensor(row.encoded.ids)
        labels = torch.tensor([-100, *row.labels[:-1]], dtype=torch.long)
        images = encoder.family.image_inputs(ids[None], [row.encoded]) if row.encoded.shapes else {}
        return {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)} | images

    def collate(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        pads = {"input_ids": encoder.pad_id, "labels": -100, "attention_mask": 0, "mm_token_type_ids": 0}
        return {
            name: pad_sequence([one[name].view(-1) for one in examples], True, pads[name])
            if name in pads
            else torch.cat([one[name] for one in examples])
            for name in examples[0]
        }

    return Trainer(
        get_peft_model(model, adapter) if adapter else model,
        TrainingArguments(remove_unused_columns=False, **settings),
        train_dataset=[example(row) for row in read],
        data_collator=collate,
    )


if __name__ == "__main__":
    main()
