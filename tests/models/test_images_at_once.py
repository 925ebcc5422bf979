"""How many decoded images are in memory together on their way to what the model reads."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from mstar.config import Images, Prompt
from mstar.engines.reading import RequestReader
from mstar.models import Encoder
from mstar.models.encoder import DECODED_BYTES, decode_in_groups, decoded_bytes
from mstar.prompts import Request, build_request
from mstar.records import ImageSource, Problem
from tests.tiny_models import save_tiny_model


class Counting(Encoder):
    """Remembers how much was decoded for each call of the image processor."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Images(), Prompt())
        self.bytes: list[int] = []

    def read_pixels(self, rows, images):  # type: ignore[no-untyped-def]
        self.bytes.append(sum(decoded_bytes(own) for own in images))
        return super().read_pixels(rows, images)


def photographs(folder: Path, count: int) -> list[Request]:
    """Problems with a large image each, of which the model makes a handful of tiles."""
    requests = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.new("L", (3200, 2000 + number), number).save(path)
        problem = Problem(f"p{number}", "wide?", (ImageSource(str(path)),), "1", "number")
        requests.append(build_request(problem, Prompt()))
    return requests


def test_photographs_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    """They count as few tokens, so that a batch may have hundreds."""
    encoder = Counting(save_tiny_model("internvl", tmp_path / "model"))
    requests = photographs(tmp_path, 5)
    encoded = encoder.encode(requests)
    reader = RequestReader(encoder)
    reader.plan(requests)
    read = reader.read(requests)
    assert max(encoder.bytes) <= DECODED_BYTES < sum(encoder.bytes)
    for one, other, request in zip(encoded, read, requests, strict=True):
        [alone] = encoder.encode([request])
        assert one.ids == other.ids == alone.ids
        assert torch.equal(one.pixels[0], alone.pixels[0]) and torch.equal(other.pixels[0], alone.pixels[0])


def test_small_images_stay_together_and_one_large_one_is_alone() -> None:
    def decode(size: int) -> Sequence[Image.Image]:
        return (Image.new("L", (size, size)),)

    groups = [group for group, _ in decode_in_groups([28] * 500 + [6000, 28], decode)]
    assert [len(group) for group in groups] == [500, 1, 1]
