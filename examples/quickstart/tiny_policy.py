"""The tiny policy of the quick start: a Qwen3-VL of 1.4 M parameters, its tokenizer, its image processor.

The architecture is transformers' own, so that the code that loads it is the code that loads 8B weights.
`encode_batch` makes what the model's `forward` takes from problems and responses; strips are turned into
patches directly, with the arithmetic of the saved image processor (`check_patches` compares the two).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from strips import CELL, StripProblem

PATCH, MERGE = 14, 2
CHARACTERS = "0123456789+-=><;:?., \nabcdefghijklmnopqrstuvwxyz"
WHOLE_WORDS = ("Answer:", "Read:")
END, PAD, UNKNOWN = "<|im_end|>", "<|pad|>", "<|unk|>"
VISION_START, IMAGE, VIDEO, VISION_END = (
    "<|vision_start|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|vision_end|>",
)
ASSISTANT = "<|assistant|>"
SPECIAL = (PAD, END, UNKNOWN, VISION_START, IMAGE, VIDEO, VISION_END, ASSISTANT)

CHAT_TEMPLATE = (
    "{%- macro parts(content) -%}{%- if content is string -%}{{ content }}{%- else -%}"
    "{%- for part in content -%}{%- if part.type == 'image' -%}"
    + VISION_START + IMAGE + VISION_END
    + "{%- elif part.type == 'text' -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{%- endmacro -%}"
    "{%- for message in messages -%}{%- if message.role == 'assistant' -%}"
    + ASSISTANT + "{{ parts(message.content) }}" + END
    + "{%- else -%}{{ parts(message.content) }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}" + ASSISTANT + "{%- endif -%}"
)  # fmt: skip


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, and one each for the two words that open a way of answering."""
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *WHOLE_WORDS, *CHARACTERS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in WHOLE_WORDS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        extra_special_tokens=[VISION_START, IMAGE, VIDEO, VISION_END, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def build_image_processor() -> Qwen2VLImageProcessorPil:
    """A cell of 28 x 28 is one image token; strips keep their size."""
    return Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=2,
        size={"shortest_edge": CELL * CELL, "longest_edge": CELL * CELL * 64},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLForConditionalGeneration:
    """Random weights of the tiny architecture, from torch's seed."""
    token = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 32, "max_position_embeddings": 512,
        "tie_word_embeddings": True, "pad_token_id": token(PAD), "eos_token_id": token(END),
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
                            "mrope_section": [6, 5, 5], "mrope_interleaved": True},
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 96, "intermediate_size": 256, "num_heads": 4, "patch_size": PATCH,
        "spatial_merge_size": MERGE, "temporal_patch_size": 2, "out_hidden_size": 128,
        "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    config = Qwen3VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True,
        image_token_id=token(IMAGE), video_token_id=token(VIDEO),
        vision_start_token_id=token(VISION_START), vision_end_token_id=token(VISION_END),
        pad_token_id=token(PAD), eos_token_id=token(END),
    )  # fmt: skip
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(eos_token_id=token(END), pad_token_id=token(PAD))
    return model


def save_policy(model: Qwen3VLForConditionalGeneration, folder: Path) -> None:
    """Weights in fp16 (half the size, the same greedy answers), tokenizer and image processor."""
    state = {name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}
    half = Qwen3VLForConditionalGeneration(model.config).to(torch.float16)
    half.load_state_dict(state)
    half.generation_config = model.generation_config
    half.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    build_image_processor().save_pretrained(folder)


def load_policy(folder: Path) -> Qwen3VLForConditionalGeneration:
    """A saved policy in float32, which is what it is trained and sampled in."""
    return Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def strip_patches(levels: np.ndarray) -> np.ndarray:
    """(cells * 4, 1176) float32 patches of a strip, as the image processor makes them from its PNG."""
    grey = (levels.astype(np.float32) * 17 / 255 - 0.5) / 0.5
    cells = grey.reshape(MERGE, PATCH, -1, MERGE, PATCH).transpose(2, 0, 3, 1, 4)
    return np.tile(cells.reshape(-1, PATCH * PATCH), (1, 6))


def check_patches(problems: Sequence[StripProblem]) -> None:
    """Raises AssertionError where the direct way to patches and the saved processor's differ."""
    processor = build_image_processor()
    for problem in problems:
        slow = processor(images=[Image.fromarray(problem.levels * 17).convert("RGB")], return_tensors="np")
        np.testing.assert_allclose(strip_patches(problem.levels), slow["pixel_values"], atol=1e-5)
        assert slow["image_grid_thw"].tolist() == [[1, 2, 2 * (problem.levels.shape[1] // CELL)]]


def prompt_text(problem: StripProblem) -> str:
    """What the chat template gives for a strip and its question, image tokens expanded."""
    return (
        f"{VISION_START}{IMAGE * (problem.levels.shape[1] // CELL)}{VISION_END}{problem.question}{ASSISTANT}"
    )


def encode_batch(
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[StripProblem],
    responses: Sequence[str] | None = None,
    opening: str = "",
) -> dict[str, Any]:
    """Inputs of `forward`: prompts padded on the left, or prompts and responses padded on the right.

    With responses, `labels` holds the response's tokens and the end token, and -100 elsewhere. Without
    them, `opening` is put behind every prompt: the words a response is made to begin with.
    """
    prompts = tokenizer([prompt_text(problem) + opening for problem in problems])["input_ids"]
    answers = (
        [[]] * len(prompts)
        if responses is None
        else tokenizer([text + END for text in responses])["input_ids"]
    )
    length = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    ids = torch.full((len(prompts), length), tokenizer.pad_token_id)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        used = len(prompt) + len(answer)
        start = length - used if responses is None else 0
        ids[row, start : start + used] = torch.tensor(prompt + answer)
        mask[row, start : start + used] = 1
        labels[row, start + len(prompt) : start + used] = torch.tensor(answer, dtype=torch.long)
    patches = np.concatenate([strip_patches(problem.levels) for problem in problems])
    grids = [[1, MERGE, MERGE * (problem.levels.shape[1] // CELL)] for problem in problems]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "mm_token_type_ids": (ids == tokenizer.convert_tokens_to_ids(IMAGE)).int(),
        "pixel_values": torch.from_numpy(patches),
        "image_grid_thw": torch.tensor(grids),
        "labels": labels,
    }
