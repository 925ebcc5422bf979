"""The Qwen-VL families (2, 2.5 and 3): images of any size, positions in three axes (arXiv 2409.12191).

A shape is (time, height, width) in tokens. The image processor keeps an image's proportions within limits in
pixels, which `images.min_pixels` and `images.max_pixels` replace. A limit below the checkpoint's minimum (or
above its maximum) takes the other limit along, as whoever sets it wants images of that size.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from mstar.config import Images
from mstar.models.image_limits import refuse_too_few
from mstar.models.sequences import Encoded

COLOURS = 3
PATCHES_AT_ONCE = 1024
"""Patches whose values are in memory with 64 bits."""


class QwenVL:
    """See families.Family."""

    axes = 3
    frame = ("", "")
    sees_ahead = False
    parts: Mapping[Literal["vision", "projector", "text"], tuple[str, ...]] = {
        "vision": ("model.visual.",),
        "projector": ("model.visual.merger.", "model.visual.deepstack_merger_list."),
        "text": ("model.language_model.", "lm_head."),
    }

    def __init__(self, config: Any, image_processor: Any, images: Images) -> None:
        self.image_processor = image_processor
        self.image_id: int = config.image_token_id
        self.placeholder_id = self.image_id
        self.never_sampled = frozenset(
            (
                config.image_token_id,
                config.video_token_id,
                config.vision_start_token_id,
                config.vision_end_token_id,
            )
        )
        self.merge: int = image_processor.merge_size
        self.frames: int = image_processor.temporal_patch_size
        self.side = image_processor.patch_size * self.merge
        """Pixels on a side of what becomes one token."""
        self.limits = _pixel_limits(image_processor.size, images, self.side**2)
        self.processor_settings: Mapping[str, Any] = {"size": self.limits}

    def image_shape(self, width: int, height: int, alone: bool) -> tuple[int, ...]:
        rows, columns = smart_resize(
            height,
            width,
            factor=self.side,
            min_pixels=self.limits["shortest_edge"],
            max_pixels=self.limits["longest_edge"],
        )
        return 1, rows // self.side, columns // self.side

    def image_ids(self, shape: tuple[int, ...]) -> list[int]:
        return [self.image_id] * math.prod(shape)

    def positions(self, ids: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> Tensor:
        """Text counts up in all three axes. The tokens of an image stand at its start plus their place in its
        shape, and what follows goes on after the longest side. Computed here, once per prompt: the model
        classes do it row by row for every batch, keep offsets between calls, and number left padding wrongly
        without them.
        """
        places, start, index = np.empty((3, len(ids)), dtype=np.int64), 0, 0
        for shape in shapes:
            image = ids.index(self.image_id, index)
            places[:, index:image] = np.arange(start, start + image - index)
            start += image - index
            index = image + math.prod(shape)
            places[:, image:index] = np.indices(shape).reshape(3, -1) + start
            start += max(shape)
        places[:, index:] = np.arange(start, start + len(ids) - index)
        return torch.from_numpy(places)

    def read_images(self, images: Sequence[Image.Image], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Per image its patches (patches, patch values), to the last bit those of the image processor.

        It takes one image after the other, and thrice the time for those that have their size already.
        """
        fits = all(self._fits(image) for image in images)
        patches = torch.cat([self._cut(image) for image in images]) if fits else self._resize_and_cut(images)
        found = torch.empty(len(patches), COLOURS, self.frames, patches.shape[-1])
        for start in range(0, len(patches), PATCHES_AT_ONCE):
            some = slice(start, start + PATCHES_AT_ONCE)
            found[some] = self._normalize(patches[some])[:, :, None]  # of an image, all frames are alike
        return list(torch.split(found.flatten(1), [math.prod(shape) * self.merge**2 for shape in shapes]))

    def _cut(self, image: Image.Image) -> Tensor:
        """(patches, colours, values) as they are, in rows of tokens and within each in rows of patches."""
        size, merge = self.side // self.merge, self.merge
        rows = np.asarray(image).reshape(-1, merge, size, image.width // self.side, merge, size, COLOURS)
        return torch.from_numpy(rows.transpose(0, 3, 1, 4, 6, 2, 5).reshape(-1, COLOURS, size**2))

    def _resize_and_cut(self, images: Sequence[Image.Image]) -> Tensor:
        """The same of images that the image processor gives their size."""
        read = self.image_processor(
            images=list(images),
            return_tensors="pt",
            size=self.limits,
            do_resize=True,
            do_rescale=False,
            do_normalize=False,
        )
        patches: Tensor = read["pixel_values"]
        return patches.view(len(patches), COLOURS, self.frames, -1)[:, :, 0]

    def _normalize(self, patches: Tensor) -> Tensor:
        """(patches, colours, values) in the range that the model knows."""
        if self.image_processor.do_rescale:
            patches = patches.double().mul_(self.image_processor.rescale_factor)
        values = patches.float()
        if self.image_processor.do_normalize:
            mean, deviation = self.image_processor.image_mean, self.image_processor.image_std
            values = values.sub(torch.tensor(mean)[:, None]).div_(torch.tensor(deviation)[:, None])
        return values

    def _fits(self, image: Image.Image) -> bool:
        _, rows, columns = self.image_shape(*image.size, alone=True)
        return image.size == (columns * self.side, rows * self.side)

    def image_inputs(self, ids: Tensor, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        shapes = np.array([shape for row in rows for shape in row.shapes])
        return {
            "mm_token_type_ids": (ids == self.image_id).long(),
            "pixel_values": torch.cat([pixels for row in rows for pixels in row.pixels]),
            "image_grid_thw": torch.from_numpy(shapes * [1, self.merge, self.merge]),
        }

    def position_ids(self, positions: Tensor) -> Tensor:
        return positions


def _pixel_limits(size: Mapping[str, int], images: Images, token_pixels: int) -> dict[str, int]:
    """The image processor's own limits, where the configuration does not say otherwise."""
    refuse_too_few(images, token_pixels, "one token")
    smallest, largest = size["shortest_edge"], size["longest_edge"]
    if images.max_pixels is not None:
        largest = images.max_pixels
        smallest = min(smallest, largest)
    if images.min_pixels is not None:
        smallest = images.min_pixels
        largest = max(smallest, largest)
    return {"shortest_edge": smallest, "longest_edge": largest}
