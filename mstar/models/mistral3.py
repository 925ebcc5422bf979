"""Mistral 3 (Mistral Small 3.1 and later, Ministral 3): images of any size, whose rows end with a token each.

A shape is (rows, columns) of tokens. An image is made smaller where its longest side is above a limit, never
larger; `images.max_pixels` lowers that limit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size

from mstar.config import Images
from mstar.errors import UserError
from mstar.models.image_limits import longest_side, refuse_more
from mstar.models.sequences import Encoded
from mstar.models.tower import TowerFamily

ROW_END, IMAGE_END = "[IMG_BREAK]", "[IMG_END]"


class Mistral3(TowerFamily):
    """See families.Family."""

    def __init__(self, config: Any, tokenizer: Any, image_processor: Any, images: Images) -> None:
        self.image_processor = image_processor
        self.image_id: int = config.image_token_id
        self.placeholder_id = self.image_id
        self.row_end_id, self.end_id = (_required_id(tokenizer, token) for token in (ROW_END, IMAGE_END))
        self.never_sampled = frozenset((self.image_id, self.row_end_id, self.end_id))
        self.side: int = config.vision_config.patch_size * config.spatial_merge_size
        """Pixels on a side of what becomes one token."""
        own = image_processor.size["longest_edge"]
        self.longest_side = longest_side(images, own, self.side, "one token")
        self.processor_settings = {"size": {"longest_edge": self.longest_side}}
        refuse_more(images, self.side**2)

    def image_shape(self, width: int, height: int, alone: bool) -> tuple[int, ...]:
        """The model class loses an axis where all images together have one token."""
        pixels = np.broadcast_to(np.uint8(0), (height, width, 3))
        resized = get_resize_output_image_size(
            pixels, self.longest_side, self.side, input_data_format="channels_last"
        )
        rows, columns = (length // self.side for length in resized)
        if not rows * columns:
            raise ValueError(f"of {width} x {height} pixels nothing is left once it is small enough")
        if alone and rows * columns == 1:
            raise ValueError(f"an image alone in its prompt needs more than {self.side} pixels on a side")
        return rows, columns

    def image_ids(self, shape: tuple[int, ...]) -> list[int]:
        rows, columns = shape
        ids = [*[self.image_id] * columns, self.row_end_id] * rows
        return [*ids[:-1], self.end_id]

    def read_images(self, images: Sequence[Image.Image], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Per image (channels, height, width)."""
        settings = {**self.processor_settings, "patch_size": {"height": self.side, "width": self.side}}
        return [
            self.image_processor(images=[image], return_tensors="pt", **settings)["pixel_values"][0]
            for image in images
        ]

    def image_inputs(self, ids: Tensor, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        pixels = [one for row in rows for one in row.pixels]
        height, width = (max(one.shape[axis] for one in pixels) for axis in (1, 2))
        padded = [functional.pad(one, (0, width - one.shape[2], 0, height - one.shape[1])) for one in pixels]
        return {
            "pixel_values": torch.stack(padded),
            "image_sizes": torch.tensor([one.shape[1:] for one in pixels]),
        }


def _required_id(tokenizer: Any, token: str) -> int:
    found = tokenizer.convert_tokens_to_ids(token)
    if found in (None, tokenizer.unk_token_id):
        raise UserError(f"its tokenizer has no {token}, which this family writes after images")
    return int(found)
