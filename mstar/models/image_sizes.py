"""How large an image is, from the head of its file: what tokens are counted with before pixels are read."""

import io

from PIL import Image

from mstar.datasets.images import DECODER_ERRORS, UnreadableImage
from mstar.records import ImageSource

ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
"""The EXIF tag, and its values that exchange width and height."""


def image_size(source: ImageSource) -> tuple[int, int]:
    """Width and height in pixels, upright. UnreadableImage where there is no image; whether it can be decoded
    whole is not looked at.
    """
    try:
        with Image.open(source.path or io.BytesIO(source.data or b"")) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION) in TURNED
    except DECODER_ERRORS as error:
        raise UnreadableImage(f"is no image file of a known format, or damaged ({error})") from error
    return (height, width) if turned else (width, height)
