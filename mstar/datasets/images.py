"""The pixels of one image: really decoded, upright, in RGB with 8 bits per channel.

Transparent pixels come out over white (line drawings are often black on nothing), 16-bit gray is scaled and
not cut off, the orientation that a camera noted is applied, an animation gives its first frame.
`decode_image` says what is wrong with an image; `load_image` also says which image it is.
"""

import errno
import io
import stat
import struct
import zlib
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from mstar.errors import UserError
from mstar.records import ImageSource

MOST_PIXELS = 89_478_485
"""Pixels of the largest image that is decoded (256 MiB in RGB): more is a mistake or a decompression bomb."""

WHITE = (255, 255, 255, 255)

DECODER_ERRORS = (
    RuntimeError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on files that are cut off or scrambled."""


class UnreadableImage(ValueError):
    """What is wrong with an image, as the rest of a sentence that begins with its name."""


def load_image(source: ImageSource) -> Image.Image:
    """The image in RGB; UserError naming the image if it is missing or cannot be decoded whole."""
    try:
        return decode_image(source)
    except UnreadableImage as error:
        raise UserError(f"{image_name(source)} {error}; replace the image or drop its problem") from error


def image_name(source: ImageSource) -> str:
    return (
        f"image {source.path}"
        if source.path is not None
        else f"embedded image ({len(source.data or b'')} bytes)"
    )


def decode_image(source: ImageSource) -> Image.Image:
    """The image in RGB; UnreadableImage if it is missing or cannot be decoded whole."""
    data = read_bytes(source)
    if not data:
        raise UnreadableImage("is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UnreadableImage(too_large(f"{image.width} x {image.height} pixels"))
            image.load()
            return flatten(upright(image))
    except UnreadableImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(too_large("too many pixels")) from error
    except UnidentifiedImageError as error:
        raise UnreadableImage("is no image file of a known format") from error
    except DECODER_ERRORS as error:
        raise UnreadableImage(f"is cut off or damaged ({' '.join(str(error).split())})") from error


def read_bytes(source: ImageSource) -> bytes:
    """The encoded bytes; UnreadableImage if there is no such file. A pipe or a device might never end."""
    if source.data is not None or source.path is None:
        return source.data or b""
    path = Path(source.path)
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise UnreadableImage("is a device or a pipe, no file")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableImage("is missing") from error
    except OSError as error:
        what = "is a folder" if error.errno == errno.EISDIR else f"cannot be read ({error.strerror})"
        raise UnreadableImage(what) from error


def too_large(size: str) -> str:
    return f"has {size}; at most {MOST_PIXELS:,} are decoded"


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; as it is where the EXIF data cannot be read."""
    try:
        return ImageOps.exif_transpose(image)
    except DECODER_ERRORS:
        return image


def flatten(image: Image.Image) -> Image.Image:
    """8-bit RGB, over white where the image is transparent."""
    if image.mode == "F":
        raise UnreadableImage(
            "has floating-point pixels, which have no agreed range; save it with 8 or 16 bits"
        )
    if image.mode.startswith("I"):
        scaled = image.convert("I").point(lambda value: value * (255 / 65535) + 0.5)
        return scaled.convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, WHITE)
    canvas.alpha_composite(image.convert("RGBA"))
    return canvas.convert("RGB")
