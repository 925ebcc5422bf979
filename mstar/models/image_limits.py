"""`images.min_pixels` and `images.max_pixels` for families that do not take them as they are."""

import math

from mstar.config import Images
from mstar.errors import UserError


def refuse_too_few(images: Images, fewest: int, what: str) -> None:
    """UserError where no image may be as large as this model's smallest, which is `what`."""
    if images.max_pixels is not None and images.max_pixels < fewest:
        raise UserError(
            f"images.max_pixels is {images.max_pixels}; an image of this model has at least {fewest} pixels, "
            f"which are {what}"
        )


def refuse_more(images: Images, fewest: int) -> None:
    """UserError where images are to be larger than what this model makes of every one."""
    if images.min_pixels is not None and images.min_pixels > fewest:
        raise UserError(
            f"images.min_pixels is {images.min_pixels}; an image of this model has at least {fewest} pixels "
            "and cannot be asked to have more; leave it out"
        )


def longest_side(images: Images, own: int, step: int, what: str) -> int:
    """The longest side of an image after resizing: the image processor's own, or the multiple of `step`
    whose square has no more than `max_pixels`.
    """
    refuse_too_few(images, step**2, what)
    if images.max_pixels is None:
        return own
    return min(own, math.isqrt(images.max_pixels) // step * step)
