"""The images of problems: read once each, looked at, and kept in one folder under the hash of their bytes.

An image is a file (which several problems may share), a member of a zip file, or bytes in a row. What is kept
are the published bytes, undecoded; all are decoded once, so a damaged one is found here and not in a run.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property
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
from mstar.storage import Storage

ENDINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}
"""By the first bytes of a file."""
IMAGES = "images"
"""Their folder, beside the problem files."""
MOST_THREADS = 8
"""That read and decode; Python lets few more than that run at the same time."""


class Kept(NamedTuple):
    """An image that has been looked at. `name` is its path in the folder of all images, once it is there."""

    name: str
    picture: Picture


class Pictures:
    """Images of one set; holds threads and zip files, so use it in a `with`."""

    def __init__(
        self, output: Storage | None, images: str, find_archives: Callable[[], Sequence[DataFile]] = list
    ) -> None:
        """`output` is where images are kept, None for nowhere; relative paths begin at `images`."""
        self._output = output
        self._images = images
        self._archives = ImageArchives(find_archives)
        self._threads = ThreadPoolExecutor(MOST_THREADS)
        self._held = ExitStack()
        self._known: dict[str | bytes, Kept | UnreadableImage] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._archives.close()
        self._held.close()

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
        if self._output is not None:
            self._keep(self._output, f"{IMAGES}/{kept.name}", data)
        return kept

    def _keep(self, output: Storage, key: str, data: bytes) -> None:
        """Write an image, whole or not at all, unless it is there; so that any number of processes may."""
        if self._present.get(key) == len(data):
            return
        scratch = self._scratch / uuid4().hex
        scratch.write_bytes(data)
        output.publish(scratch, key, replace=True, durable=False)
        scratch.unlink(missing_ok=True)

    @cached_property
    def _present(self) -> dict[str, int]:
        """Images that are there already, with their sizes."""
        return {} if self._output is None else self._output.sizes(f"{IMAGES}/")

    @cached_property
    def _scratch(self) -> Path:
        assert self._output is not None
        scratch = self._held.enter_context(self._output.scratch())
        scratch.mkdir()
        return scratch

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
