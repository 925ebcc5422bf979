"""Random models of a few thousand weights in every family, around the quick start's tokenizer."""

from pathlib import Path
from typing import Any

import torch
import transformers

from tiny_policy import build_image_processor, build_tokenizer

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}


def save_tiny_model(family: str, folder: Path) -> Path:
    """A checkpoint folder of that family, with seeded random weights."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = _config(family, tokenizer)
    model = transformers.AutoModelForImageTextToText.from_config(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3 if "embed" in name else 0.15)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    build_image_processor().save_pretrained(folder)
    return folder


def _config(family: str, tokenizer: Any) -> Any:
    token = tokenizer.convert_tokens_to_ids
    special = {
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
        "tie_word_embeddings": False,
    }
    text = {**TEXT, "vocab_size": len(tokenizer) + 3, "pad_token_id": tokenizer.pad_token_id}
    match family:
        case "qwen2_vl":
            vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
            rope = {"rope_parameters": ROPE}
            return transformers.Qwen2VLConfig(text_config={**text, **rope}, vision_config=vision, **special)
        case "qwen2_5_vl":
            vision = {
                "depth": 1,
                "hidden_size": 32,
                "num_heads": 2,
                "intermediate_size": 48,
                "out_hidden_size": 32,
            }
            rope = {"rope_parameters": ROPE}
            return transformers.Qwen2_5_VLConfig(
                text_config={**text, **rope}, vision_config=vision, **special
            )
        case "qwen3_vl":
            vision = {
                "depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "out_hidden_size": 32,
                "patch_size": 14, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
            }  # fmt: skip
            rope = {"head_dim": 8, "rope_parameters": {**ROPE, "mrope_interleaved": True}}
            return transformers.Qwen3VLConfig(text_config={**text, **rope}, vision_config=vision, **special)
    raise ValueError(family)
