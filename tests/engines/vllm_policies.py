"""Policies for the tests of the engine `vllm`, and what all of them need."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from mstar.config import Config
from mstar.config_file import load_config
from mstar.trainers import Progressed
from mstar.trainers.checkpoint import TrainingState, save_checkpoint
from mstar.trainers.policy import Policy
from mstar.trainers.probing import probe_policy
from tests.conftest import QUICKSTART
from tests.tiny_models import save_tiny_model

NEEDS_VLLM = [
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="needs vLLM, which make test-vllm installs"
    ),
    pytest.mark.filterwarnings("default"),  # vLLM's imports warn
]
NEEDS_NUM2WORDS = pytest.mark.skipif(
    importlib.util.find_spec("num2words") is None, reason="needs num2words, which make test-vllm installs"
)
MakeConfig = Callable[..., Config]
SMALL = {"cache_gib": 1.0}
FAMILIES = (
    "qwen3_vl",
    "internvl",
    "llava_onevision",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("qwen2_vl", "qwen2_5_vl", "idefics3", "gemma3", "mistral3")
    ),
    pytest.param("smolvlm", marks=[pytest.mark.slow, NEEDS_NUM2WORDS]),
)
PROCESSORS: dict[str, dict[str, Any]] = {
    "internvl": {"processor_class": "InternVLProcessor", "image_seq_length": 1},
    "llava_onevision": {
        "processor_class": "LlavaOnevisionProcessor",
        "num_image_tokens": 4,
        "vision_feature_select_strategy": "full",
    },
    "idefics3": {"processor_class": "Idefics3Processor", "image_seq_len": 1},
    "smolvlm": {"processor_class": "SmolVLMProcessor", "image_seq_len": 1},
    "gemma3": {"processor_class": "Gemma3Processor", "image_seq_length": 1},
    "mistral3": {"processor_class": "PixtralProcessor", "patch_size": 7, "spatial_merge_size": 2},
}
"""What a checkpoint says of its whole processor, which vLLM builds."""


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(
        QUICKSTART / "quickstart.yaml", ["generate.engine=vllm", "vllm.cache_gib=1", "model.threads=1"]
    )


def save_model(model_type: str, folder: Path) -> Path:
    """With the smallest heads that vLLM has an attention for on a CPU, what its own processor needs, and
    names of weights as the releases have them.
    """
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    match model_type:
        case "gemma3":
            save_tiny_model(model_type, folder, **heads, head_dim=32, query_pre_attn_scalar=32)
            add_newlines(folder)
            change_config(folder, mm_tokens_per_image=1)
        case "llava_onevision":
            save_tiny_model(model_type, folder, **heads)
            change_config(folder, vision_aspect_ratio="anyres_max_9")
        case _:
            save_tiny_model(model_type, folder, **heads)
    if model_type in ("gemma3", "llava_onevision"):
        rename_weights(folder / "model.safetensors", "vision_tower.", "vision_tower.vision_model.")
    if model_type in PROCESSORS:
        (folder / "processor_config.json").write_text(json.dumps(PROCESSORS[model_type]))
    return folder


def add_newlines(folder: Path) -> None:
    """Several newlines are one token each in Gemma's vocabulary; the tiny model has room for three more."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([transformers.AddedToken("\n" * count, normalized=False) for count in (2, 3, 4)])
    tokenizer.save_pretrained(folder)


def change_config(folder: Path, **facts: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def rename_weights(path: Path, beginning: str, new: str) -> None:
    from safetensors.torch import load_file, save_file

    weights = {name.replace(beginning, new): tensor for name, tensor in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})


def save_policy(folder: Path, policy: Policy, config: Config) -> Path:
    """A checkpoint as a trainer leaves it."""
    learner, state = policy.learner, TrainingState(Progressed(0), 0.0, {})
    save_checkpoint(folder, policy, state, probe_policy(policy, learner.forward, learner.device, config))
    return folder


def swap_two_layers(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    first, second = (f"model.language_model.layers.{number}.mlp.up_proj.weight" for number in (0, 1))
    weights[first], weights[second] = weights[second], weights[first]
    save_file(weights, path, metadata={"format": "pt"})
