"""LLaVA-OneVision: an image that is alone in its prompt is cut into tiles, several are taken whole (arXiv
2408.03326).

A shape is (height, width, alone), in pixels. The tiles of the grid that fits best follow a tile of the whole
image; what the grid holds beside the image is taken out again, each row of the rest ends with a newline, and
a rest of more than nine tiles (`vision_aspect_ratio`) is scaled down. The model computes all that anew from
the image's size, so `images.max_pixels` makes the image itself smaller, until its grid is small enough.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution

from mstar.config import Images
from mstar.models.image_limits import refuse_more, refuse_too_few
from mstar.models.sequences import Encoded
from mstar.models.tower import TowerFamily


class LlavaOneVision(TowerFamily):
    """See families.Family."""

    parts: Mapping[Literal["vision", "projector", "text"], tuple[str, ...]] = {
        **TowerFamily.parts,
        "projector": ("model.multi_modal_projector.", "model.image_newline"),
    }

    def __init__(self, config: Any, image_processor: Any, images: Images) -> None:
        self.image_processor = image_processor
        self.image_id: int = config.image_token_id
        self.placeholder_id = self.image_id
        self.never_sampled = frozenset((self.image_id, config.video_token_id))
        self.tile: int = config.vision_config.image_size
        self.tokens_per_side = self.tile // config.vision_config.patch_size
        self.most_tiles = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
        self.grids: list[list[int]] = config.image_grid_pinpoints
        """(height, width) in pixels, of which one is chosen."""
        refuse_too_few(images, self.tile**2, "one tile")
        refuse_more(images, self.tile**2)
        self.most_pixels = images.max_pixels or math.inf

    def image_shape(self, width: int, height: int, alone: bool) -> tuple[int, ...]:
        if alone and math.prod(select_best_resolution((height, width), self.grids)) > self.most_pixels:
            allowed = [grid for grid in self.grids if math.prod(grid) <= self.most_pixels]
            rows, columns = select_best_resolution((height, width), allowed)
            scale = min(rows / height, columns / width)
            height, width = max(1, int(height * scale)), max(1, int(width * scale))
        return height, width, int(alone)

    def image_ids(self, shape: tuple[int, ...]) -> list[int]:
        height, width, alone = shape
        rows, columns = self._unpadded(height, width) if alone else (1, 0)
        return [self.image_id] * (self.tokens_per_side**2 + rows * (columns + 1))

    def read_images(self, images: Sequence[Image.Image], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Per image its tiles (tiles, channels, height, width)."""
        company = [image for image, shape in zip(images, shapes, strict=True) if not shape[-1]]
        whole = iter(self._read(company) if company else ())
        return [
            self._read([resized(image, shape)])[0] if shape[-1] else next(whole)
            for image, shape in zip(images, shapes, strict=True)
        ]

    def image_inputs(self, ids: Tensor, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        return {
            "pixel_values": torch.cat([pixels for row in rows for pixels in row.pixels]),
            "image_sizes": torch.tensor([shape[:2] for row in rows for shape in row.shapes]),
            "batch_num_images": torch.tensor([len(row.shapes) for row in rows if row.shapes]),
        }

    def _read(self, images: Sequence[Image.Image]) -> Tensor:
        """The images of one prompt."""
        read = self.image_processor(
            images=[list(images)], return_tensors="pt", image_grid_pinpoints=self.grids
        )
        pixels: Tensor = read["pixel_values"]
        return pixels

    def _unpadded(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens that are left of a grid without its padding, scaled down where they are
        too many.
        """
        grid_height, grid_width = select_best_resolution((height, width), self.grids)
        rows, columns = (self.tokens_per_side * (pixels // self.tile) for pixels in (grid_height, grid_width))
        if width / height > columns / rows:
            rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
        else:
            columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
        ratio = math.sqrt(rows * columns / (self.most_tiles * self.tokens_per_side**2))
        return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)


def resized(image: Image.Image, shape: tuple[int, ...]) -> Image.Image:
    """The image in the size of its shape."""
    height, width, _ = shape
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)
