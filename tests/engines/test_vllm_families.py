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
def test_families_read_images_as_in_training_and_take_an_adapter(
    model_type: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    """Token for token and pixel for pixel, with limits that differ from the checkpoint's, as a trainer has
    saved it: vLLM builds its processor by the settings that came along. And they answer alike, also with an
    adapter beside the base.
    """
    limits = {"min_pixels": 4 * 28 * 28, "max_pixels": 6 * 28 * 28}
    config = make_config(images=limits, vllm=SMALL, prompt={"version": "question-1", "max_tokens": 300})
    model = save_model(model_type, tmp_path / "model")
    base = save_policy(tmp_path / "base", open_policy(model, config), config)
    config = config.model_copy(update={"model": config.model.model_copy(update={"path": str(base)})})
    policy = save_adapter(tmp_path / "policy", base, config)
    requests = [
        *MIXED,
        ask(replace(problem(5), images=(picture(100, 61), picture(300, 200), picture(30, 28)))),
    ]
    with VllmEngine(policy, config) as engine:
        assert engine.process.engine.vllm_config.lora_config is not None
        rows = engine.encoder.encode(requests)
        for request, row in zip(requests, rows, strict=True):
            ids, pixels = as_vllm_reads(engine, request)
            assert ids == row.ids
            assert len(pixels) == len(row.pixels)
            for own, expected in zip(pixels, row.pixels, strict=True):
                torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)
        adapted = generate(engine, requests, SHORT)
        hot = [one for own in generate(engine, requests, Sampling(64, 2.0, 1.0, 16)) for one in own]
        engine.process._adapter = None
        alone = generate(engine, requests, SHORT)
    assert adapted == generate(TransformersEngine(policy, config), requests, SHORT)
    assert alone == generate(TransformersEngine(base, config), requests, SHORT) != adapted
    assert len({own[0].text for own in alone}) > 2
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


def test_an_adapter_that_reads_images_otherwise_is_merged(config: Config, tmp_path: Path) -> None:
    policy = save_adapter(tmp_path / "policy", BASE, config, freeze=())
    with VllmEngine(policy, config) as engine:
        assert engine.process.engine.vllm_config.lora_config is None
        found = generate(engine, heldout(64), GREEDY)
    expected = generate(TransformersEngine(policy, config), heldout(64), GREEDY)
    same = sum(one == other for one, other in zip(found, expected, strict=True))
    assert same >= 63  # sums in another order
    assert found != generate(TransformersEngine(BASE, config), heldout(64), GREEDY)
    assert not [path for path in merged_folder().rglob("*") if path.is_file()]
