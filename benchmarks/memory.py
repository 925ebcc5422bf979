"""What training takes in memory, by arithmetic; prints the table of docs/lora.md.

tests/trainers/test_memory.py compares the arithmetic with the bytes of tensors in a tiny model. Parameters
are counted on model classes without memory, built from the sizes in the models' published configurations.
"""

from dataclasses import dataclass
from typing import Any

import torch
import transformers

from mstar.config_train import Train
from mstar.models.adapters import adapter_weights, add_adapter
from mstar.models.families import Family, part_of
from mstar.models.internvl import InternVL
from mstar.models.qwen_vl import QwenVL

TOKENS, LEARNED = 8192, 4096
"""In a micro-batch, and those of them that are response tokens."""
MOMENTS = {"adamw": 8.0, "adamw_8bit": 2 * (1 + 4 / 256)}
"""Bytes for each trained parameter."""
HIDDEN, INNER, HEADS = 9, 6, 4
"""Numbers for each token that a decoder layer holds at most while it is computed again and its gradients are:
times the hidden size, the size inside its MLP, and the size of its keys.
"""
LOGITS = 4
"""Numbers for each logit of a learned token, at most: it, in float32, its logarithm, its gradient."""
FLOAT = 4


@dataclass(frozen=True, slots=True)
class Bytes:
    """Of tensors, in training with checkpointed activations."""

    weights: float
    gradients: float
    moments: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.moments + self.activations


def count(config: Any, family: Any, train: Train) -> tuple[int, int]:
    """Trained and frozen parameters of a model that is built without memory."""
    with torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(config)
        whole = sum(one.numel() for one in model.parameters())
        if train.lora.rank is not None:
            add_adapter(model, family, train)
            return sum(one.numel() for one in adapter_weights(model).values()), whole
    frozen = (one.numel() for name, one in model.named_parameters() if part_of(name, family) in train.freeze)
    held = sum(frozen)
    return whole - held, held


def activations(text: Any, tokens: int, learned: int, size: int) -> float:
    """At most: the input of every layer, and either the logits or one layer computed again.

    `text` is the text model's configuration, `size` the bytes of a number in the residual stream.
    """
    keys = text.hidden_size // text.num_attention_heads * text.num_key_value_heads
    layer = HIDDEN * text.hidden_size + INNER * text.intermediate_size + HEADS * keys
    inputs = text.num_hidden_layers * text.hidden_size * tokens * size
    logits = (LOGITS * learned * text.vocab_size + HEADS * text.hidden_size * tokens) * FLOAT
    return inputs + max(logits, FLOAT * layer * tokens)


def training_bytes(
    text: Any, counts: tuple[int, int], train: Train, size: int, batch: tuple[int, int] = (TOKENS, LEARNED)
) -> Bytes:
    """`counts` are trained and frozen parameters, `size` the bytes of a frozen one, `batch` tokens and those
    of them that are learned.
    """
    trained, frozen = counts
    return Bytes(
        weights=FLOAT * trained + size * frozen,
        gradients=FLOAT * trained,
        moments=MOMENTS[train.optimizer] * trained,
        activations=activations(text, *batch, size),
    )


def qwen_7b() -> Any:
    text = {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    }
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
    return transformers.Qwen2_5_VLConfig(
        text_config=text, vision_config={**vision, "out_hidden_size": 3584}, tie_word_embeddings=False
    )


def internvl_2b() -> Any:
    text = {
        "model_type": "qwen2",
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151674,
        "tie_word_embeddings": False,
    }
    return transformers.InternVLConfig(text_config=text, tie_word_embeddings=False)


MODELS: list[tuple[str, Any, type[Family]]] = [
    ("InternVL3 2B", internvl_2b, InternVL),
    ("Qwen2.5-VL 7B", qwen_7b, QwenVL),
]
WAYS = {
    "everything": Train(freeze=()),
    "vision and projector frozen": Train(),
    "the same, moments of 8 bits": Train(optimizer="adamw_8bit"),
    "LoRA of rank 16, base in bfloat16": Train(lora={"rank": 16}),
    "the same, base in float32": Train(lora={"rank": 16}),
}
DISTINCT = {(train.freeze, train.lora.rank): train for train in WAYS.values()}
"""Ways that differ in what is trained."""


def table() -> list[str]:
    """Lines of Markdown, in units of 1e9 bytes."""
    lines = [
        "| model | trained | learn | weights | gradients | moments | activations | together |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, build, family in MODELS:
        config = build()
        counted = {key: count(config, family, train) for key, train in DISTINCT.items()}
        for way, train in WAYS.items():
            counts = counted[train.freeze, train.lora.rank]
            size = 2 if "base in bfloat16" in way else FLOAT
            found = training_bytes(config.get_text_config(), counts, train, size)
            parts = (found.weights, found.gradients, found.moments, found.activations, found.total)
            figures = " | ".join(f"{part / 1e9:.1f}" for part in parts)
            lines.append(f"| {name} | {way} | {counts[0] / 1e6:,.0f} million | {figures} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
