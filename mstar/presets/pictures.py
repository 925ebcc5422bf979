"""The images of problems: read once each, looked at, and kept in one folder under the hash of their bytes.

An image is a file (which several problems may share), a member of a zip file, or bytes in a row. What is kept
are the published bytes, undecoded; all are decoded once, so a damaged one is found here and not in a run.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from uuid import uuid4

from mstar.datasets.contamination import Picture
from mstar.datasets.files import DataFile
from mstar.datasets.images import UnreadableImage, decode_image, read_bytes
from mstar.datasets.perceptual import perceptual_hash
from mstar.presets.archives import ImageArchives
from mstar.records import ImageSource

ENDINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}
"""By the first bytes of a file."""
MOST_THREADS = 8
"""That read and decode; Python lets few more than that run at the same time."""


class Kept(NamedTuple):
    """An image that has been looked at. `name` is its path in the folder of all images, once it is there."""

    name: str
    picture: Picture


class Pictures:
    """Images of one set; holds threads and zip files, so use it in a `with`."""

    def __init__(
        self, folder: Path | None, images: str, find_archives: Callable[[], Sequence[DataFile]] = list
    ) -> None:
        """`folder` is where images are kept, None for nowhere; relative paths begin at `images`."""
        self._folder = folder
        self._images = images
        self._archives = ImageArchives(find_archives)
        self._threads = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1))
        self._known: dict[str | bytes, Kept | UnreadableImage] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._archives.close()

    def look_at(self, images: Iterable[ImageSource]) -> list[Kept | UnreadableImage]:
        """Each of these images, or what is wrong with it; new ones are read at the same time."""
        named = [(key_of(image), image) for image in images]
        new = {key: image for key, image in named if key not in self._known}
        self._known |= zip(new, self._threads.map(self._look, new.values()), strict=True)
        return [self._known[key] for key, _ in named]

    def _look(self, image: ImageSource) -> Kept | UnreadableImage:
        try:
            data = self._bytes_of(image)
            look = perceptual_hash(decode_image(ImageSource(data=data)))
        except UnreadableImage as error:
            return error
        sha256 = hashlib.sha256(data)
        name = sha256.hexdigest() + ending_of(data)
        kept = Kept(f"{name[:2]}/{name}", Picture(sha256.digest(), look))
        if self._folder is not None:
            keep(self._folder / kept.name, data)
        return kept

    def _bytes_of(self, image: ImageSource) -> bytes:
        """Of a file that is not there, those of the member of a zip file with its name."""
        if image.path is None or image.data is not None or os.path.exists(image.path):
            return read_bytes(image)
        relative = os.path.relpath(image.path, self._images).replace(os.sep, "/")
        found = self._archives.read(relative)
        return read_bytes(image) if found is None else found


def key_of(image: ImageSource) -> str | bytes:
    """What tells an image without reading a file: its path, or the hash of its bytes."""
    return image.path if image.data is None and image.path else hashlib.sha256(image.data or b"").digest()


def ending_of(data: bytes) -> str:
    return next((ending for start, ending in ENDINGS.items() if data.startswith(start)), ".img")


def keep(path: Path, data: bytes) -> None:
    """Write an image, whole or not at all, unless it is there; so that any number of processes may."""
    if path.exists() and path.stat().st_size == len(data):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid4().hex}.part")
    scratch.write_bytes(data)
    os.replace(scratch, path)
