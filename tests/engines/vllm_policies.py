"""Policies for the tests of the engine `vllm`, and what all of them need."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
MakeConfig = Callable[..., Config]
SMALL = {"cache_gib": 1.0}
FAMILIES = (
    "qwen3_vl",
    "internvl",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("qwen2_vl", "qwen2_5_vl")),
)


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(
        QUICKSTART / "quickstart.yaml", ["generate.engine=vllm", "vllm.cache_gib=1", "model.threads=1"]
    )


def save_model(model_type: str, folder: Path) -> Path:
    """With the smallest heads that vLLM has an attention for on a CPU, and what its own processor needs."""
    save_tiny_model(model_type, folder, num_attention_heads=1, num_key_value_heads=1)
    if model_type == "internvl":
        facts = {"processor_class": "InternVLProcessor", "image_seq_length": 1}
        (folder / "processor_config.json").write_text(json.dumps(facts))
    return folder


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
