"""Perceptual hashes of images, and which of many images are near to one: the same picture in another size,
encoding or quality.

The hash is the sign pattern of the 256 lowest frequencies (of a cosine transform of the gray image in 64 x 64
pixels) around their median. Images are near that differ in at most 15 bits. They are found without comparing
all with all: of 16 bands of 16 bits, two hashes that differ in 15 bits have one in common, so only images
with a band in common are compared, and none is missed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

PIXELS, FREQUENCIES = 64, 16
HASH_BYTES = FREQUENCIES * FREQUENCIES // 8
BANDS = HASH_BYTES // 2
MOST_BITS = BANDS - 1
"""In which near images differ; more could have no band in common."""
COMPARED_AT_ONCE = 1 << 18
WAVES = np.cos(np.pi / PIXELS * np.outer(np.arange(FREQUENCIES), np.arange(PIXELS) + 0.5)).astype(np.float32)


def perceptual_hash(image: Image.Image) -> bytes:
    """32 bytes that hardly change with the size, the encoding and the quality of an image."""
    gray = image.convert("L").resize((PIXELS, PIXELS), Image.Resampling.BOX)
    strengths = (WAVES @ np.asarray(gray, np.float32) @ WAVES.T).ravel()
    strengths = np.round(strengths, 1)  # of a blank image they are 0, not the noise of arithmetic
    bits = strengths > np.median(strengths[1:])
    bits[0] = False  # the brightness
    return np.packbits(bits).tobytes()


class NearImages:
    """Images by hash, to be searched; 130 bytes of memory each."""

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self._hashes = rows_of(hashes)
        bands = self._hashes.view(np.uint16)
        self._orders = [np.argsort(bands[:, band], kind="stable").astype(np.int32) for band in range(BANDS)]
        self._sorted = [bands[order, band] for band, order in enumerate(self._orders)]

    def search(self, hashes: Sequence[bytes]) -> list[set[int]]:
        """For each of these hashes the places of all images that are near."""
        found: list[set[int]] = [set() for _ in hashes]
        wanted = rows_of(hashes)
        for band in range(BANDS):
            values = wanted.view(np.uint16)[:, band]
            first, last = (np.searchsorted(self._sorted[band], values, side) for side in ("left", "right"))
            for asked, places in self._candidates(band, first, last):
                differing = np.bitwise_count(wanted[asked] ^ self._hashes[places]).sum(axis=1)
                near = differing <= MOST_BITS
                for one, place in zip(asked[near].tolist(), places[near].tolist(), strict=True):
                    found[one].add(place)
        return found

    def _candidates(self, band: int, first: Any, last: Any) -> Any:
        """Pairs (place among the asked, place here) with a band in common, a bounded number at a time."""
        ends = np.cumsum(last - first)
        total = int(ends[-1]) if len(ends) else 0
        for start in range(0, total, COMPARED_AT_ONCE):
            pairs = np.arange(start, min(start + COMPARED_AT_ONCE, total))
            asked = np.searchsorted(ends, pairs, "right")
            within = pairs - (ends[asked] - (last - first)[asked])
            yield asked, self._orders[band][first[asked] + within]


def rows_of(hashes: Sequence[bytes]) -> Any:
    """As an array with a row each, of 4 numbers of 64 bits."""
    return np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, HASH_BYTES // 8)
