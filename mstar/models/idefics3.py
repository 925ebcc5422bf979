"""Idefics3 and SmolVLM: every image is enlarged to one longest side, cut into square tiles, and followed by
itself as one more tile (arXiv 2408.12637).

A shape is (rows, columns) of tiles; (0, 0) is an image that is not cut. Each tile is announced by its row and
column, each row of tiles ends with a newline.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.models.idefics3.image_processing_pil_idefics3 import get_resize_output_image_size

from mstar.config import Images
from mstar.errors import UserError
from mstar.models.image_limits import longest_side, refuse_more
from mstar.models.sequences import Encoded
from mstar.models.tower import TowerFamily

EDGE, WHOLE = "<fake_token_around_image>", "<global-img>"


class Idefics3(TowerFamily):
    """See families.Family."""

    parts: Mapping[Literal["vision", "projector", "text"], tuple[str, ...]] = {
        "vision": ("model.vision_model.",),
        "projector": ("model.connector.",),
        "text": ("model.text_model.", "lm_head."),
    }

    def __init__(self, config: Any, tokenizer: Any, image_processor: Any, images: Images) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.image_id: int = config.image_token_id
        self.placeholder_id = self.image_id
        edge_id = tokenizer.convert_tokens_to_ids(EDGE)
        if edge_id in (None, tokenizer.unk_token_id):
            raise UserError(f"its tokenizer has no {EDGE}, which stands around images; copy the model again")
        self.never_sampled = frozenset((self.image_id, edge_id))
        vision = config.vision_config
        self.tokens_per_tile = (vision.image_size // vision.patch_size) ** 2 // config.scale_factor**2
        self.side: int = image_processor.max_image_size["longest_edge"]
        """Pixels on a side of a tile."""
        own = image_processor.size["longest_edge"]
        self.longest_side = longest_side(images, own, self.side, "one tile")
        refuse_more(images, self.side**2)
        self.processor_settings = {"size": {"longest_edge": self.longest_side}}
        self.layouts: dict[tuple[int, ...], list[int]] = {}

    def image_shape(self, width: int, height: int, alone: bool) -> tuple[int, ...]:
        """Rounded as the image processor does it, in two steps. ValueError where a side has no pixel left."""
        if not self.image_processor.do_image_splitting:
            return 0, 0
        pixels = np.broadcast_to(np.uint8(0), (height, width))
        height, width = get_resize_output_image_size(pixels, self.longest_side)
        ratio = width / height
        if width >= height:
            columns = math.ceil(width / self.side)
            rows = math.ceil(int(columns * self.side / ratio) / self.side)
        else:
            rows = math.ceil(height / self.side)
            columns = math.ceil(int(rows * self.side * ratio) / self.side)
        if not min(rows, columns):
            raise ValueError("it is so thin that resizing leaves it no pixel on a side")
        return (rows, columns) if max(rows, columns) > 1 else (0, 0)

    def image_ids(self, shape: tuple[int, ...]) -> list[int]:
        """Tokenised as text, because tokenizers differ in what they make of two newlines."""
        if shape not in self.layouts:
            read = self.tokenizer(self._layout(*shape), add_special_tokens=False, split_special_tokens=False)
            self.layouts[shape] = list(read["input_ids"])
        return self.layouts[shape]

    def read_images(self, images: Sequence[Image.Image], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Per image its tiles (tiles, channels, height, width)."""
        settings = self.processor_settings
        return [
            self.image_processor(images=[[image]], return_tensors="pt", **settings)["pixel_values"][0]
            for image in images
        ]

    def image_inputs(self, ids: Tensor, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        return {"pixel_values": torch.cat([pixels for row in rows for pixels in row.pixels])[None]}

    def _layout(self, rows: int, columns: int) -> str:
        tile = self.tokenizer.convert_ids_to_tokens(self.image_id) * self.tokens_per_tile
        lines = [
            "".join(f"{EDGE}<row_{row}_col_{column}>{tile}" for column in range(1, columns + 1)) + "\n"
            for row in range(1, rows + 1)
        ]
        before = "\n" if lines else ""
        return "".join(lines) + f"{before}{EDGE}{WHOLE}{tile}{EDGE}"
