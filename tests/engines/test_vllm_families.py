"""Model families and adapters in the engine `vllm`, against training's reading of them and the engine
`transformers`.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mstar.config import Config
from mstar.config_train import Lora
from mstar.engines import Sampling
from mstar.engines.transformers import TransformersEngine
from mstar.engines.vllm import VllmEngine
from mstar.engines.vllm_adapter import merged_folder
from mstar.engines.vllm_prompts import engine_input, takes_adapters
from mstar.models import Encoded
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
    saved it: vLLM builds its processor by the settings that came along. An image is alone in one prompt and
    in company in another. And they answer alike, with an adapter beside the base (or merged with it) and
    without.
    """
    limits = {"max_pixels": 6 * 28 * 28}
    if model_type.startswith("qwen") or model_type == "internvl":
        limits["min_pixels"] = 4 * 28 * 28
    config = make_config(images=limits, vllm=SMALL, prompt={"version": "question-1", "max_tokens": 300})
    model = save_model(model_type, tmp_path / "model")
    base = save_policy(tmp_path / "base", open_policy(model, config), config)
    config = config.model_copy(update={"model": config.model.model_copy(update={"path": str(base)})})
    policy = save_adapter(tmp_path / "policy", base, config)
    requests = [
        *MIXED,
        ask(replace(problem(5), images=(picture(100, 61), picture(300, 200), picture(30, 28)))),
        ask(replace(problem(6), images=(picture(100, 61),))),
        ask(replace(problem(7, question="\n\nvalue?\n\n"), images=(picture(300, 200),))),
    ]
    with VllmEngine(policy, config) as engine:
        beside = engine.process.engine.vllm_config.lora_config is not None
        assert beside == takes_adapters(engine.encoder.family) == (model_type != "llava_onevision")
        rows = engine.encoder.encode(requests)
        for request, row in zip(requests, rows, strict=True):
            places, pixels = as_vllm_reads(engine, request, row)
            assert places == [
                place for place, id in enumerate(row.ids) if id == engine.encoder.family.image_id
            ]
            assert len(pixels) == len(row.pixels)
            for own, expected in zip(pixels, row.pixels, strict=True):
                torch.testing.assert_close(own.view(expected.shape), expected, atol=1e-5, rtol=1e-5)
        adapted = generate(engine, requests, SHORT)
        hot = [one for own in generate(engine, requests[:2], Sampling(64, 2.0, 1.0, 16)) for one in own]
        engine.process._adapter = None
        alone = generate(engine, requests, SHORT) if beside else None
    assert adapted == generate(TransformersEngine(policy, config), requests, SHORT)
    expected_alone = generate(TransformersEngine(base, config), requests, SHORT)
    assert alone == (expected_alone if beside else None)
    assert expected_alone != adapted
    assert len({own[0].text for own in adapted}) > 2
    assert {token for one in hot for token in one.tokens}.isdisjoint(engine.banned)


def as_vllm_reads(engine: VllmEngine, request: Request, row: Encoded) -> tuple[list[int], list[torch.Tensor]]:
    """Where in a prompt its images' embeddings go, and the images' pixels; vLLM moves the last step, their
    scale, into the model.
    """
    encoder, llm = engine.encoder, engine.process.engine
    read = engine_input(without_caches(llm), encoder, row, encoder.decode_images(request))
    assert read["prompt_token_ids"] == row.ids
    if not request.images:
        return [], []
    ranges = [found for one in read["mm_placeholders"]["image"] for found in one.extract_embeds_range()]
    items = read["mm_kwargs"]["image"]
    name = "pixel_values_flat" if "pixel_values_flat" in items[0] else "pixel_values"
    pixels = [item[name].data for item in items]
    if llm.model_config.multimodal_config.mm_device_do_normalize:
        pixels = [scaled(own, encoder.image_processor) for own in pixels]
    return [place for first, last in ranges for place in range(first, last + 1)], pixels


def without_caches(llm: Any) -> Any:
    """An engine as `engine_input` takes it, which does not believe that what it reads is sent."""
    return SimpleNamespace(
        renderer=SimpleNamespace(
            render_cmpl=lambda prompts, **_: llm.renderer.render_cmpl(prompts, skip_mm_cache=True)
        ),
        input_processor=SimpleNamespace(inject_into_mm_cache=lambda hashes, items: None),
    )


def scaled(pixels: torch.Tensor, image_processor: Any) -> torch.Tensor:
    """(.., channels, height, width); flat patches have the same mean and deviation in all channels."""
    mean, deviation = torch.tensor(image_processor.image_mean), torch.tensor(image_processor.image_std)
    if pixels.ndim == 2:
        return (pixels.float() / 255 - mean.unique()) / deviation.unique()
    return (pixels.float() / 255 - mean[:, None, None]) / deviation[:, None, None]


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
