"""Images: every kind of file decoded right, every kind of damage refused by name."""

import io
import os
import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mstar.datasets import load_image
from mstar.errors import UserError
from mstar.records import ImageSource

RED, WHITE = (200, 30, 40), (255, 255, 255)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixel(data: bytes) -> tuple[int, ...]:
    image = load_image(ImageSource(data=data))
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_file_and_bytes_give_the_same_pixels(tmp_path, picture, kind):
    path = tmp_path / "image"
    path.write_bytes(picture(kind=kind))
    image = load_image(ImageSource(path=str(path)))
    assert (image.mode, image.size, image.getpixel((7, 5))) == ("RGB", (8, 6), RED)
    assert pixel(path.read_bytes()) == RED


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, WHITE),
        ("I;16", 0, (0, 0, 0)),
        ("I;16", 65535, WHITE),
        ("I;16", 100 * 257, (100, 100, 100)),
        ("RGBA", (*RED, 255), RED),
        ("RGBA", (0, 0, 0, 0), WHITE),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 0), WHITE),
        ("LA", (100, 255), (100, 100, 100)),
    ],
)
def test_modes(picture, mode, colour, seen):
    assert pixel(picture(colour, mode=mode)) == seen


def test_sixteen_bit_graymap():
    assert pixel(b"P5 1 1 65535 " + struct.pack(">H", 100 * 257)) == (100, 100, 100)


def test_palettes():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    assert pixel(encode(image)) == RED
    assert pixel(encode(image, "GIF")) == RED
    assert pixel(encode(image, transparency=1)) == WHITE
    assert pixel(encode(image, transparency=0)) == RED


def test_printing_colours():
    red, green, blue = pixel(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert red > 200 and green < 60 and blue < 60


def test_orientation_is_applied():
    image = Image.new("RGB", (2, 1), WHITE)
    image.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = load_image(ImageSource(data=encode(image, exif=exif)))
    assert turned.size == (1, 2)
    assert [turned.getpixel((0, y)) for y in range(2)] == [RED, WHITE]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_unreadable_orientation_is_no_reason_to_refuse(picture):
    broken = encode(Image.new("RGB", (8, 6), RED), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert pixel(broken) == RED


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, WHITE)]
    assert pixel(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])) == RED


def test_floating_point_pixels_are_refused(picture):
    with pytest.raises(UserError, match="floating-point pixels, which have no agreed range"):
        load_image(ImageSource(data=picture(0.5, kind="TIFF", mode="F")))


def noise(kind: str) -> bytes:
    return encode(Image.effect_noise((64, 64), 80).convert("RGB"), kind)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_images_are_refused_by_name(tmp_path, kind, share):
    data = noise(kind)
    path = tmp_path / "cut.png"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError) as refusal:
        load_image(ImageSource(path=str(path)))
    assert str(refusal.value).startswith(f"image {path} is ")
    assert str(refusal.value).endswith("; replace the image or drop its problem")
    assert "\n" not in str(refusal.value)


def test_missing_empty_and_foreign_files(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image at all")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    said = {
        "absent.png": "is missing",
        "empty.png": "is empty",
        "text.png": "is no image file of a known format",
        "folder.png": "is a folder",
        "pipe.png": "is a device or a pipe, no file",
        "empty.png/x.png": "cannot be read (Not a directory)",
    }
    for name, reason in said.items():
        with pytest.raises(UserError) as refusal:
            load_image(ImageSource(path=str(tmp_path / name)))
        assert (
            str(refusal.value) == f"image {tmp_path / name} {reason}; replace the image or drop its problem"
        )


def test_embedded_images_are_named_by_their_size():
    with pytest.raises(UserError, match=r"embedded image \(0 bytes\) is empty"):
        load_image(ImageSource(data=b""))
    with pytest.raises(UserError, match=r"embedded image \(5 bytes\) is no image file"):
        load_image(ImageSource(data=b"12345"))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9500, 14000, 60000])
def test_decompression_bombs_are_refused_unopened(side):
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    with pytest.raises(UserError, match="; at most 89,478,485 are decoded"):
        load_image(ImageSource(data=bomb))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=300,
)
@given(kind=st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"]), data=st.data())
def test_damaged_bytes_never_end_in_another_error(kind, data):
    image = bytearray(encode(Image.linear_gradient("L").resize((24, 24)).convert("RGB"), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert load_image(ImageSource(data=bytes(image))).mode == "RGB"
    except UserError as error:
        assert "\n" not in str(error)
