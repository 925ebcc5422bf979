"""Limits in pixels: every family keeps to them, or says that it cannot."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import LlavaOnevisionConfig
from transformers.image_processing_utils import select_best_resolution
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel

from mstar.config import Images, Model
from mstar.errors import UserError
from mstar.models import Encoder, collate, load_model
from mstar.models.families import build_family
from mstar.models.llava_onevision import LlavaOneVision
from tests.engines.asking import QUESTION, with_image
from tests.tiny_configs import build_config
from tests.tiny_models import save_tiny_model
from tests.tiny_processors import TILE, build_tiny_image_processor, build_tiny_tokenizer


@pytest.mark.parametrize("most", [784, 784 * 4, 784 * 9])
def test_most_pixels_hold_below_the_checkpoints_fewest(most: int, tmp_path: Path) -> None:
    """The saved limits are one to 64 tokens; here at least 16 of them."""
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    settings = folder / "preprocessor_config.json"
    settings.write_text(settings.read_text().replace('"shortest_edge": 784', '"shortest_edge": 12544'))
    for size in [(640, 480), (112, 112), (60, 60)]:
        row = Encoder(folder, Images(max_pixels=most), QUESTION).encode([with_image(*size)])[0]
        assert len(row.pixels[0]) // 4 <= most // 784
    freely = Encoder(folder, Images(), QUESTION).encode([with_image(60, 60)])[0]
    assert len(freely.pixels[0]) // 4 >= 16


def test_fewest_pixels_hold_above_the_checkpoints_most(tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    encoder = Encoder(folder, Images(min_pixels=784 * 100), QUESTION)
    assert len(encoder.encode([with_image(56, 56)])[0].pixels[0]) // 4 >= 100


def test_limits_bound_the_tiles(tmp_path: Path) -> None:
    folder = save_tiny_model("internvl", tmp_path / "model")
    tiles = [
        len(Encoder(folder, limits, QUESTION).encode([with_image(170, 30)])[0].pixels[0])
        for limits in (Images(), Images(max_pixels=TILE**2 * 3), Images(max_pixels=TILE**2))
    ]
    assert tiles == [7, 4, 1]
    small = Encoder(folder, Images(min_pixels=TILE**2 * 4), QUESTION).encode([with_image(20, 20)])[0]
    assert len(small.pixels[0]) == 5


@pytest.mark.parametrize("model_type", ["idefics3", "smolvlm"])
def test_the_longest_side_bounds_the_tiles_of_idefics3(model_type: str, tmp_path: Path) -> None:
    """At most 4 x 4 tiles of 28 pixels and the whole; 9 tiles of pixels are 3 x 3."""
    folder = save_tiny_model(model_type, tmp_path / "model")
    tiles = [
        len(Encoder(folder, limits, QUESTION).encode([with_image(90, 90)])[0].pixels[0])
        for limits in (Images(), Images(max_pixels=TILE**2 * 9), Images(max_pixels=TILE**2))
    ]
    assert tiles == [17, 10, 1]


@settings(max_examples=60)
@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 16), st.booleans())
@example(1, 196, 7, False)
def test_tiles_of_idefics3_are_counted_as_they_are_cut(
    width: int, height: int, sides: int, odd: bool
) -> None:
    """Also where the longest side is no multiple of a tile's; what is refused, the processor refuses."""
    tokenizer = build_tiny_tokenizer("idefics3")
    processor = build_tiny_image_processor("idefics3")
    processor.size = {"longest_edge": TILE * sides + (5 if odd else 0)}
    family = build_family(build_config("idefics3", tokenizer, {}), tokenizer, processor, Images())
    image = Image.new("RGB", (width, height))
    try:
        rows, columns = family.image_shape(width, height, alone=True)
    except ValueError:
        with pytest.raises(ValueError, match="size must be a dictionary"):
            family.read_images([image], [(0, 0)])
        return
    [tiles] = family.read_images([image], [(rows, columns)])
    assert len(tiles) == rows * columns + 1


@settings(max_examples=150)
@given(st.integers(1, 3000), st.integers(1, 3000))
def test_tokens_of_llava_onevision_are_those_that_the_model_packs(width: int, height: int) -> None:
    """With the grids and the tiles of the real model."""
    config = LlavaOnevisionConfig()
    family = LlavaOneVision(config, None, Images())
    grid = select_best_resolution((height, width), config.image_grid_pinpoints)
    tiles = torch.zeros(1 + math.prod(grid) // 384**2, 27**2, 1)
    packed, _ = LlavaOnevisionModel.pack_image_features(
        SimpleNamespace(config=config), [tiles], [(height, width)], torch.zeros(1), config.vision_aspect_ratio
    )
    assert len(family.image_ids(family.image_shape(width, height, alone=True))) == len(packed[0])


@pytest.mark.parametrize("tiles", [1, 2, 4, 6])
def test_images_shrink_until_the_grid_of_llava_onevision_is_small_enough(tiles: int, tmp_path: Path) -> None:
    folder = save_tiny_model("llava_onevision", tmp_path / "model")
    encoder = Encoder(folder, Images(max_pixels=TILE**2 * tiles), QUESTION)
    model = load_model(folder, Model(path=str(folder)))
    for size in [(640, 480), (30, 200), (56, 57), (20, 20)]:
        [row] = encoder.encode([with_image(*size)])
        assert len(row.pixels[0]) <= 1 + tiles
        batch = collate([row], encoder, "left", model.device)
        assert model(**batch).logits.isfinite().all()


def test_the_longest_side_bounds_the_tokens_of_mistral3(tmp_path: Path) -> None:
    folder = save_tiny_model("mistral3", tmp_path / "model")
    for most, tokens in ((None, 64), (14**2 * 10, 9), (14**2 * 4, 4)):
        encoder = Encoder(folder, Images(max_pixels=most), QUESTION)
        [row] = encoder.encode([with_image(640, 640)])
        assert row.ids.count(encoder.family.image_id) == tokens


@pytest.mark.parametrize("model_type", ["llava_onevision", "idefics3", "smolvlm", "gemma3", "mistral3"])
def test_more_pixels_than_a_family_makes_are_refused(model_type: str, tmp_path: Path) -> None:
    folder = save_tiny_model(model_type, tmp_path / "model")
    with pytest.raises(UserError, match=r"model: images.min_pixels is 785; .* cannot be asked to have more"):
        Encoder(folder, Images(min_pixels=785), QUESTION)
    Encoder(folder, Images(min_pixels=100, max_pixels=784), QUESTION)


@pytest.mark.parametrize(
    ("model_type", "pixels"),
    [("qwen3_vl", 784), ("internvl", 784), ("llava_onevision", 784), ("idefics3", 784), ("smolvlm", 784),
     ("gemma3", 784), ("mistral3", 196)],
)  # fmt: skip
def test_pixels_for_less_than_a_token_are_refused(model_type: str, pixels: int, tmp_path: Path) -> None:
    folder = save_tiny_model(model_type, tmp_path / "model")
    with pytest.raises(UserError, match=rf"images.max_pixels is {pixels - 1}; .* at least {pixels} pixels"):
        Encoder(folder, Images(max_pixels=pixels - 1), QUESTION)
