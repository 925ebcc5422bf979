"""Random models of a few thousand weights in every family, around the quick start's tokenizer."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from tiny_policy import build_image_processor, build_tokenizer

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
TILE = 28
"""Pixels on a side of an InternVL tile, which is one token."""


def save_tiny_model(model_type: str, folder: Path, /, **text: Any) -> Path:
    """A checkpoint folder of that type, with seeded random weights; `text` changes the text model."""
    torch.manual_seed(0)
    tokenizer = build_intern_tokenizer() if model_type == "internvl" else build_tokenizer()
    config = _config(model_type, tokenizer, text)
    model = transformers.AutoModelForImageTextToText.from_config(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3 if "embed" in name else 0.15)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (build_tiles() if model_type == "internvl" else build_image_processor()).save_pretrained(folder)
    return folder


def save_tiny_prm(model_type: str, folder: Path) -> Path:
    """A process reward model with a random head, whose steps end with ";"."""
    save_tiny_model(model_type, folder)
    weight = torch.randn((1, TEXT["hidden_size"]), generator=torch.Generator().manual_seed(3))
    save_file({"weight": weight, "bias": torch.tensor([0.25])}, folder / "prm_head.safetensors")
    (folder / "prm.json").write_text(json.dumps({"step_separator": ";"}))
    return folder


def build_intern_tokenizer() -> Any:
    """The quick start's tokenizer with InternVL's names for the tokens of an image."""
    tokenizer = build_tokenizer()
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<image>",
        "video_token": "<|video_pad|>",
    }
    tokenizer.add_tokens([transformers.AddedToken(token, special=True) for token in names.values()])
    template = tokenizer.chat_template.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>\n")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer,
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        unk_token=tokenizer.unk_token,
        extra_special_tokens=names,
        chat_template=template,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def build_tiles() -> Any:
    return GotOcr2ImageProcessorPil(
        size={"height": TILE, "width": TILE}, crop_to_patches=False, min_patches=1, max_patches=6
    )


def _config(model_type: str, tokenizer: Any, changes: dict[str, Any]) -> Any:
    token = tokenizer.convert_tokens_to_ids
    special = {
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
        "tie_word_embeddings": False,
    }
    text = {**TEXT, "vocab_size": len(tokenizer) + 3, "pad_token_id": tokenizer.pad_token_id, **changes}
    head_size = text["hidden_size"] // text["num_attention_heads"]
    sections = [head_size // 8, head_size // 8, head_size // 4]
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections}
    match model_type:
        case "qwen2_vl":
            vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
            text["rope_parameters"] = rope
            return transformers.Qwen2VLConfig(text_config=text, vision_config=vision, **special)
        case "qwen2_5_vl":
            vision = {
                "depth": 1,
                "hidden_size": 32,
                "num_heads": 2,
                "intermediate_size": 48,
                "out_hidden_size": 32,
            }
            text["rope_parameters"] = rope
            return transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **special)
        case "qwen3_vl":
            vision = {
                "depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "out_hidden_size": 32,
                "patch_size": 14, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
            }  # fmt: skip
            text |= {"head_dim": head_size, "rope_parameters": {**rope, "mrope_interleaved": True}}
            return transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **special)
        case "internvl":
            vision = {
                "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
                "image_size": TILE, "patch_size": 14,
            }  # fmt: skip
            return transformers.InternVLConfig(
                text_config={"model_type": "qwen2", "tie_word_embeddings": False, **text},
                vision_config=vision, image_token_id=token("<image>"), image_seq_length=1,
                tie_word_embeddings=False,
            )  # fmt: skip
    raise ValueError(model_type)
