"""Random models of a few thousand weights in every family, around the quick start's tokenizer."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from mstar.models import FAMILIES
from tests.tiny_configs import TEXT, build_config
from tests.tiny_processors import build_tiny_image_processor, build_tiny_tokenizer

OWN_CODE = [
    pytest.param(name, marks=[pytest.mark.slow] if name in ("qwen2_vl", "smolvlm") else [])
    for name in FAMILIES
]
"""For tests that take seconds a family. `make test-families` has two that share all our code."""


def save_tiny_model(model_type: str, folder: Path, /, **text: Any) -> Path:
    """A checkpoint folder of that type, with seeded random weights; `text` changes the text model."""
    files = _files(model_type, json.dumps(text))
    torch.manual_seed(0)  # for what a test draws next, whichever test came first
    return _write(folder, files)


@cache
def _files(model_type: str, text: str) -> dict[str, bytes]:
    """Of the checkpoint; transformers takes 70 ms for it, and tests want the same few all the time."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        tokenizer = build_tiny_tokenizer(model_type)
        model = _build_model(build_config(model_type, tokenizer, json.loads(text)))
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        for part in (model, tokenizer, build_tiny_image_processor(model_type)):
            part.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def _build_model(config: Any) -> Any:
    model = transformers.AutoModelForImageTextToText.from_config(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3 if "embed" in name else 0.15)
    return model


def save_tiny_prm(model_type: str, folder: Path) -> Path:
    """A process reward model with a random head, whose steps end with ";"."""
    save_tiny_model(model_type, folder)
    weight = torch.randn((1, TEXT["hidden_size"]), generator=torch.Generator().manual_seed(3))
    save_file({"weight": weight, "bias": torch.tensor([0.25])}, folder / "prm_head.safetensors")
    (folder / "prm.json").write_text(json.dumps({"step_separator": ";"}))
    return folder
