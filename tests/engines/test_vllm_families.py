"""Model families and adapters in the engine `vllm`, against training's reading of them and the engine
`transformers`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mstar.config import Config
from mstar.config_train import Lora
from mstar.engines import Sampling
from mstar.engines.transformers import TransformersEngine
from mstar.engines.vllm import VllmEngine
from mstar.engines.vllm_adapter import merged_folder
from mstar.prompts import Request
from mstar.trainers.policy import open_policy
from tests.conftest import BASE
from tests.engines.asking import GREEDY, MIXED, SHORT, ask, generate, heldout, picture, problem
from tests.engines.vllm_policies import (
    FAMILIES,
    NEEDS_VLLM,
    SMALL,
    MakeConfig,
    config,
    save_model,
    save_policy,
)

__all__ = ["config"]
pytestmark = NEEDS_VLLM


@pytest.mark.parametrize("model_type", FAMILIES)
def test_families_read_images_as_in_training(
    model_type: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    """Token for token and pixel for pixel, with limits that differ from the checkpoint's, as a trainer has
    saved it: vLLM builds its processor by the settings that came along. And they answer alike.
    """
    limits = {"min_pixels": 4 * 28 * 28, "max_pixels": 6 * 28 * 28}
    config = make_config(images=limits, vllm=SMALL, prompt={"version": "question-1", "max_tokens": 300})
    model = save_model(model_type, tmp_path / "model")
    folder = save_policy(tmp_path / "policy", open_policy(model, config), config)
    requests = [
        *MIXED,
        ask(replace(problem(5), images=(picture(100, 61), picture(300, 200), picture(30, 28)))),
    ]
    with VllmEngine(folder, config) as engine:
        rows = engine.encoder.encode(requests)
        for request, row in zip(requests, rows, strict=True):
            ids, pixels = as_vllm_reads(engine, request)
            assert ids == row.ids
            assert len(pixels) == len(row.pixels)
            for own, expected in zip(pixels, row.pixels, strict=True):
                torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)
        found = generate(engine, requests, SHORT)
        hot = [one for own in generate(engine, requests, Sampling(64, 2.0, 1.0, 16)) for one in own]
    assert found == generate(TransformersEngine(folder, config), requests, SHORT)
    assert len({own[0].text for own in found}) > 2
    assert {token for one in hot for token in one.tokens}.isdisjoint(engine.banned)


def as_vllm_reads(engine: VllmEngine, request: Request) -> tuple[list[int], list[torch.Tensor]]:
    """The tokens of a prompt, and the pixels of its images; vLLM moves the last step, their scale, into the
    model.
    """
    renderer, encoder = engine.process.engine.renderer, engine.encoder
    [ids] = encoder.plain_text.prompt_ids([request.messages])
    prompt: dict[str, Any] = {"prompt_token_ids": ids}
    if request.images:
        prompt["multi_modal_data"] = {"image": encoder.decode_images(request)}
    [read] = renderer.render_cmpl([prompt], skip_mm_cache=True)
    items = read["mm_kwargs"]["image"] if request.images else []
    name = "pixel_values_flat" if items and "pixel_values_flat" in items[0] else "pixel_values"
    pixels = [item[name].data for item in items]
    if engine.process.engine.model_config.multimodal_config.mm_device_do_normalize:
        pixels = [scaled(own, encoder.image_processor) for own in pixels]
    return read["prompt_token_ids"], pixels


def scaled(pixels: torch.Tensor, image_processor: Any) -> torch.Tensor:
    """With mean and deviation equal for all channels, as in the tiny models that do not have another."""
    [mean], [deviation] = set(image_processor.image_mean), set(image_processor.image_std)
    return (pixels.float() / 255 - mean) / deviation


def save_adapter(folder: Path, model: Path, config: Config, **train: Any) -> Path:
    """A checkpoint of an adapter whose random matrices change what the model says."""
    section = config.train.model_copy(update={"lora": Lora(rank=4), **train})
    policy = open_policy(model, config.model_copy(update={"train": section}))
    torch.manual_seed(5)
    for parameter in policy.learner.trained.values():
        torch.nn.init.normal_(parameter, std=0.1)
    return save_policy(folder, policy, config)


@pytest.mark.parametrize("frozen", [("vision", "projector"), pytest.param((), marks=pytest.mark.slow)])
def test_an_adapter_says_the_same_beside_its_base_or_merged(
    config: Config, tmp_path: Path, frozen: tuple[str, ...]
) -> None:
    """One of the text model is not merged; one that reads images otherwise is."""
    policy = save_adapter(tmp_path / "policy", BASE, config, freeze=frozen)
    with VllmEngine(policy, config) as engine:
        assert (engine.process.engine.vllm_config.lora_config is not None) == bool(frozen)
        found = generate(engine, heldout(64), GREEDY)
    expected = generate(TransformersEngine(policy, config), heldout(64), GREEDY)
    same = sum(one == other for one, other in zip(found, expected, strict=True))
    assert same >= 63  # sums in another order
    assert found != generate(TransformersEngine(BASE, config), heldout(64), GREEDY)
    assert not [path for path in merged_folder().rglob("*") if path.is_file()]


@pytest.mark.parametrize("model_type", [pytest.param("qwen3_vl", marks=pytest.mark.slow), *FAMILIES[1:]])
def test_every_family_takes_an_adapter(make_config: MakeConfig, tmp_path: Path, model_type: str) -> None:
    model = save_model(model_type, tmp_path / "model")
    own = make_config(
        model={"path": str(model), "threads": 1},
        images={"min_pixels": 4 * 28 * 28, "max_pixels": 6 * 28 * 28},
        prompt={"version": "question-1", "max_tokens": 300},
        vllm=SMALL,
    )
    policy = save_adapter(tmp_path / "policy", model, own)
    with VllmEngine(policy, own) as engine:
        found = generate(engine, MIXED, SHORT)
    assert found == generate(TransformersEngine(policy, own), MIXED, SHORT)
    assert found != generate(TransformersEngine(model, own), MIXED, SHORT)
