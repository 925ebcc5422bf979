"""Random models of a few thousand weights in every family, around the quick start's tokenizer."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

from tests.tiny_configs import TEXT, build_config
from tests.tiny_processors import build_tiny_image_processor, build_tiny_tokenizer


def save_tiny_model(model_type: str, folder: Path, /, **text: Any) -> Path:
    """A checkpoint folder of that type, with seeded random weights; `text` changes the text model."""
    torch.manual_seed(0)
    tokenizer = build_tiny_tokenizer(model_type)
    config = build_config(model_type, tokenizer, text)
    model = transformers.AutoModelForImageTextToText.from_config(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3 if "embed" in name else 0.15)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    build_tiny_image_processor(model_type).save_pretrained(folder)
    return folder


def save_tiny_prm(model_type: str, folder: Path) -> Path:
    """A process reward model with a random head, whose steps end with ";"."""
    save_tiny_model(model_type, folder)
    weight = torch.randn((1, TEXT["hidden_size"]), generator=torch.Generator().manual_seed(3))
    save_file({"weight": weight, "bias": torch.tensor([0.25])}, folder / "prm_head.safetensors")
    (folder / "prm.json").write_text(json.dumps({"step_separator": ";"}))
    return folder
