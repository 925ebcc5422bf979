"""Requests as vLLM takes them: the images as it reads them, at the places that training gives their tokens.

vLLM's own way is to put an image's tokens into a prompt by itself. It reads each image as if it were alone,
and joins newlines around an image that a tokenizer would join otherwise; so it is asked for the images only,
and the tokens are ours. How many embeddings an image has is compared. Families whose images it makes
something else of are refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from mstar.models import Encoded, Encoder, Family
from mstar.models.llava_onevision import LlavaOneVision, resized

LLAVA_TILES = 9
"""Of LLaVA-OneVision; vLLM scales down what has more, whatever the model's `vision_aspect_ratio` says."""


def why_refused(family: Family) -> str | None:
    """What vLLM would do otherwise than training; None for families that it was compared for."""
    if family.sees_ahead:
        return (
            "whose images' tokens see each other: vLLM's attention on a CPU does not do that, and on a GPU "
            "it has not been compared"
        )
    if not isinstance(family, LlavaOneVision):
        return None
    if family.most_tiles != LLAVA_TILES:
        return (
            f"whose vision_aspect_ratio is anyres_max_{family.most_tiles}, which vLLM takes for "
            f"anyres_max_{LLAVA_TILES}"
        )
    if [list(grid) for grid in family.image_processor.image_grid_pinpoints] != family.grids:
        return "whose image processor has other image_grid_pinpoints than config.json; vLLM uses both"
    return None


def takes_adapters(family: Family) -> bool:
    """Whether vLLM can put an adapter beside the weights of such a model."""
    return not isinstance(family, LlavaOneVision)


def engine_input(engine: Any, encoder: Encoder, row: Encoded, images: Sequence[Image.Image]) -> Any:
    """What vLLM's engine is given for a planned row and its decoded images. ValueError where vLLM refuses an
    image or sees another number of embeddings in it.
    """
    family = encoder.family
    if not images:
        [read] = engine.renderer.render_cmpl([{"prompt_token_ids": row.ids}])
        return read
    prompt: dict[str, Any] = {
        "prompt_token_ids": [family.placeholder_id] * len(images),
        "multi_modal_data": {"image": _prepared(family, images, row)},
    }
    if _are_whole(family, row):
        [read] = engine.renderer.render_cmpl([prompt], skip_mm_cache=True)
        read |= _whole(engine, read, encoder.read_pixels([row], [images])[0])
    else:
        [read] = engine.renderer.render_cmpl([prompt])
        _compare(read["mm_placeholders"]["image"], row, family)
    return read | {"prompt_token_ids": row.ids, "mm_placeholders": {"image": list(_places(row, family))}}


def _prepared(family: Family, images: Sequence[Image.Image], row: Encoded) -> list[Image.Image]:
    """The images, made smaller where `images.max_pixels` does that before the image processor."""
    if not isinstance(family, LlavaOneVision):
        return list(images)
    return [resized(image, shape) for image, shape in zip(images, row.shapes, strict=True)]


def _are_whole(family: Family, row: Encoded) -> bool:
    """Whether the images of this row are not cut into tiles because there are several."""
    return isinstance(family, LlavaOneVision) and len(row.shapes) > 1


def _whole(engine: Any, read: Any, row: Encoded) -> dict[str, Any]:
    """Images that vLLM has cut into tiles, with our pixels instead, by names of their own in its caches."""
    items = {
        "image": [
            type(item)({**item, "pixel_values": replace(tiles, data=pixels.to(tiles.data.dtype))})
            for item, pixels in zip(read["mm_kwargs"]["image"], row.pixels, strict=True)
            for tiles in [item["pixel_values"]]
        ]
    }
    hashes = {"image": [f"{name}-whole" for name in read["mm_hashes"]["image"]]}
    engine.input_processor.inject_into_mm_cache(hashes, items)
    return {"mm_kwargs": items, "mm_hashes": hashes}


def _compare(found: Sequence[Any], row: Encoded, family: Family) -> None:
    expected = [family.image_ids(shape).count(family.image_id) for shape in row.shapes]
    if (numbers := [place.get_num_embeds() for place in found]) != expected:
        raise ValueError(
            f"it reads its images as {numbers} tokens and training as {expected}; take generate.engine "
            "transformers"
        )


def _places(row: Encoded, family: Family) -> Iterator[Any]:
    """vLLM's PlaceholderRange of each image in the tokens of a row."""
    from vllm.multimodal.inputs import PlaceholderRange

    start = 0
    for shape in row.shapes:
        ids = family.image_ids(shape)
        start = row.ids.index(ids[0], start)
        embedded = torch.tensor(ids) == family.image_id
        yield PlaceholderRange(start, len(ids), None if embedded.all() else embedded)
        start += len(ids)
