"""What goes wrong with the engine `vllm` is one line."""

import json
import os
from pathlib import Path

import pytest
import torch

from mstar.config import Config
from mstar.engines.vllm import VllmEngine
from mstar.errors import UserError
from mstar.trainers.policy import open_policy
from tests.conftest import BASE
from tests.engines.asking import GREEDY, MIXED, SHORT, WARM, generate
from tests.engines.vllm_policies import (
    NEEDS_VLLM,
    SMALL,
    MakeConfig,
    config,
    save_model,
    save_policy,
    swap_two_layers,
)

__all__ = ["config"]
pytestmark = NEEDS_VLLM


def refused(folder: Path, config: Config) -> str:
    """The one line, without the log that it names."""
    with pytest.raises(UserError) as caught:
        VllmEngine(folder, config)
    line, _, log = str(caught.value).partition("; its log: ")
    assert "\n" not in line
    if log:
        os.unlink(log)
    return line


def test_a_model_that_vllm_does_not_know_is_one_line(config: Config, tmp_path: Path) -> None:
    folder = save_model("qwen3_vl", tmp_path / "model")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": ["NoSuchModel"]}))
    assert "['NoSuchModel'] are not supported" in refused(folder, config)


def test_memory_that_does_not_suffice_is_one_line(make_config: MakeConfig, tmp_path: Path) -> None:
    folder = save_model("qwen3_vl", tmp_path / "model")
    line = refused(folder, make_config(vllm={"cache_gib": 1e-6}))
    assert "memory" in line and line.endswith(
        "vllm.gpu_memory_share and vllm.cache_gib say how much it takes"
    )


def test_other_weights_than_training_noted_are_refused(config: Config, tmp_path: Path) -> None:
    folder = save_policy(tmp_path / "policy", open_policy(BASE, config), config)
    swap_two_layers(folder / "model.safetensors")
    line = refused(folder, config)
    assert line.startswith(f"vLLM runs policy {folder} with other weights than training left there")
    assert "from those in its probe.json, and 0.02 is allowed" in line


def test_weights_that_do_not_fit_are_one_line(make_config: MakeConfig, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_model("qwen3_vl", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["model.language_model.strange.weight"] = weights.pop("model.language_model.norm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks model.language_model.norm.weight" in refused(folder, make_config(vllm=SMALL))
    unverified = make_config(vllm=SMALL | {"verify_weights": False})
    assert "no module or parameter named 'strange'" in refused(folder, unverified)


def test_logits_that_are_not_finite_and_a_dead_process_are_one_line(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_model("qwen3_vl", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = torch.full_like(weights["lm_head.weight"], 3e38)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with VllmEngine(folder, make_config(vllm=SMALL | {"verify_weights": False})) as engine:
        for sampling in (GREEDY, WARM):
            with pytest.raises(UserError, match="answers problem p0 with logits that are not finite"):
                generate(engine, MIXED[:1], sampling)
        processes, log = engine.process.processes, engine.process.log
        processes[0].kill()
        expected = "(has lost a process|has failed).*start the same command again"
        with pytest.raises(UserError, match=expected):
            generate(engine, MIXED, SHORT)
    assert not any(one.is_running() for one in processes)
    assert log.exists()
    log.unlink()


def test_another_device_than_vllm_was_built_for_is_refused(config: Config, tmp_path: Path) -> None:
    elsewhere = config.model_copy(update={"model": config.model.model_copy(update={"device": "cuda"})})
    unverified = elsewhere.model_copy(
        update={"vllm": config.vllm.model_copy(update={"verify_weights": False})}
    )
    assert refused(BASE, unverified).startswith(
        "model.device is cuda, and the vLLM that is installed runs on"
    )
