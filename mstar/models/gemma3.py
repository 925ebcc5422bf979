"""Gemma 3: every image is resized to one square and becomes the same number of tokens.

The tokens of an image see one another in both directions, within one image; five layers of six see no more
than a window of what is before them. The image processor's pan and scan, which adds crops of long images, is
off, as it is by default in the model's own processor.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mstar.config import Images
from mstar.models.image_limits import refuse_more, refuse_too_few
from mstar.models.sequences import Encoded
from mstar.models.tower import TowerFamily


class Gemma3(TowerFamily):
    """See families.Family. A shape is (tokens,)."""

    frame = ("\n\n", "\n\n")

    def __init__(self, config: Any, image_processor: Any, images: Images) -> None:
        self.image_processor = image_processor
        self.image_id: int = config.image_token_id
        self.placeholder_id: int = config.boi_token_id
        self.end_id: int = config.eoi_token_id
        self.never_sampled = frozenset((self.image_id, self.placeholder_id, self.end_id))
        self.processor_settings = {"do_pan_and_scan": False}
        self.tokens: int = config.mm_tokens_per_image
        self.sees_ahead = self.tokens > 1
        pixels = image_processor.size["height"] * image_processor.size["width"]
        refuse_too_few(images, pixels, "its only size")
        refuse_more(images, pixels)

    def image_shape(self, width: int, height: int, alone: bool) -> tuple[int, ...]:
        return (self.tokens,)

    def image_ids(self, shape: tuple[int, ...]) -> list[int]:
        return [self.placeholder_id, *[self.image_id] * shape[0], self.end_id]

    def read_images(self, images: Sequence[Image.Image], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Per image (channels, height, width)."""
        read = self.image_processor(images=list(images), return_tensors="pt", **self.processor_settings)
        return list(read["pixel_values"])

    def image_inputs(self, ids: Tensor, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        return {
            "token_type_ids": (ids == self.image_id).long(),
            "pixel_values": torch.stack([pixels for row in rows for pixels in row.pixels]),
        }
