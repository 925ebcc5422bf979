"""InternVL (as transformers has it): an image is cut into square tiles of one size; positions count tokens.

A shape is (tiles,). Which grid of tiles fits an image, and that a thumbnail follows where there are several,
is the image processor's rule; `images.max_pixels` and `images.min_pixels` bound the number of tiles. Tiles
are cut as the model's own processor does it, whatever `crop_to_patches` in the image processor's file says.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mstar.config import Images
from mstar.errors import UserError
from mstar.models.image_limits import refuse_too_few
from mstar.models.sequences import Encoded
from mstar.models.tower import TowerFamily


class InternVL(TowerFamily):
    """See families.Family."""

    def __init__(self, config: Any, tokenizer: Any, image_processor: Any, images: Images) -> None:
        self.image_processor = image_processor
        self.image_id: int = config.image_token_id
        self.placeholder_id = self.image_id
        self.start_id, self.end_id = _edge_ids(tokenizer)
        self.never_sampled = frozenset((self.image_id, self.start_id, self.end_id))
        height, width = image_processor.size["height"], image_processor.size["width"]
        patch = config.vision_config.patch_size[0]
        self.tokens_per_tile = round((height // patch) * (width // patch) * config.downsample_ratio**2)
        self.tiling = {"crop_to_patches": True, **_tile_limits(image_processor, images, height * width)}
        self.processor_settings = self.tiling

    def image_shape(self, width: int, height: int, alone: bool) -> tuple[int, ...]:
        return (int(self.image_processor.get_number_of_image_patches(height, width, self.tiling)),)

    def image_ids(self, shape: tuple[int, ...]) -> list[int]:
        return [self.start_id, *[self.image_id] * (shape[0] * self.tokens_per_tile), self.end_id]

    def read_images(self, images: Sequence[Image.Image], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Per image its tiles (tiles, channels, height, width)."""
        read = self.image_processor(images=list(images), return_tensors="pt", **self.tiling)
        return list(read["pixel_values"].split(read["num_patches"].tolist()))

    def image_inputs(self, ids: Tensor, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        return {"pixel_values": torch.cat([pixels for row in rows for pixels in row.pixels])}


def _edge_ids(tokenizer: Any) -> tuple[int, int]:
    """The tokens before and after an image, which the tokenizer's file names."""
    try:
        edges = (tokenizer.start_image_token, tokenizer.end_image_token)
    except AttributeError as error:
        raise UserError(
            f"its tokenizer does not say what stands around an image ({error}); take the release for "
            "transformers, whose name ends in -hf"
        ) from None
    start, end = tokenizer.convert_tokens_to_ids(list(edges))
    return start, end


def _tile_limits(image_processor: Any, images: Images, tile_pixels: int) -> dict[str, int]:
    """The image processor's own limits, where the configuration does not say otherwise."""
    refuse_too_few(images, tile_pixels, "one tile")
    fewest, most = image_processor.min_patches, image_processor.max_patches
    if images.max_pixels is not None:
        most = images.max_pixels // tile_pixels
        fewest = min(fewest, most)
    if images.min_pixels is not None:
        fewest = math.ceil(images.min_pixels / tile_pixels)
        most = max(fewest, most)
    return {"min_patches": fewest, "max_patches": most}
