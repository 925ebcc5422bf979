"""Images that problems name by `s3://` addresses, such as those beside a problem file in a bucket.

They are fetched when their problem is read, once for all processes of this machine. An image is known by its
ETag and size: a listing tells them of a thousand images at a time, while for hashes each would have to be
fetched.
"""

import posixpath
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from mstar.addresses import BUCKET, scheme_of
from mstar.config_storage import StorageSettings
from mstar.datasets.rows import BadRow, Row
from mstar.errors import ClosedPlace
from mstar.records import ImageSource, Problem
from mstar.storage.s3_bucket import Object
from mstar.storage.s3_inputs import InputBucket, split_address

LISTED_FROM = 500
"""Images of one folder from which it is listed; fewer are asked for one by one."""
AT_ONCE = 8
"""Requests on their way."""
Answer = TypeVar("Answer")


class BucketImages:
    """What is known of images in buckets, and their bytes."""

    def __init__(self, folder: str, settings: StorageSettings) -> None:
        """Most of them are below `folder`."""
        self._settings = settings
        self._buckets = {folder: InputBucket(folder, settings)} if scheme_of(folder) == BUCKET else {}
        self._known: dict[str, Object | None] = {}
        """What each was when it was looked at, by address; None where there is none."""

    def identities(self, addresses: Sequence[str]) -> list[str | None]:
        """What an image is known by; None where there is none."""
        self._look_at(addresses)
        found = (self._known[address] for address in addresses)
        return [f"{one.etag} {one.size}" if one else None for one in found]

    def loaded(self, batch: Sequence[tuple[Row, Problem | BadRow]]) -> list[tuple[Row, Problem | BadRow]]:
        """Rows as found and as problems, these with the bytes of their images, which travel together."""
        images = [image for _, one in batch if isinstance(one, Problem) for image in one.images]
        try:
            loaded = iter(self.load(images))
        except ClosedPlace:
            return [(row, self._loaded_alone(one)) for row, one in batch]
        return [
            (row, replace(one, images=tuple(islice(loaded, len(one.images)))))
            if isinstance(one, Problem)
            else (row, one)
            for row, one in batch
        ]

    def _loaded_alone(self, outcome: Problem | BadRow) -> Problem | BadRow:
        """A bucket that cannot be looked into is the fault of the row that names it."""
        if isinstance(outcome, BadRow):
            return outcome
        try:
            return replace(outcome, images=tuple(self.load(outcome.images)))
        except ClosedPlace as error:
            return BadRow([str(error)], outcome.id)

    def load(self, images: Sequence[ImageSource]) -> list[ImageSource]:
        """The same, with the bytes of those that are in a bucket; one that is missing stays as it is."""
        addresses = [image.path for image in images if image.path and scheme_of(image.path) == BUCKET]
        self._look_at(addresses)
        there = [address for address in dict.fromkeys(addresses) if self._known[address]]
        data = dict(zip(there, self._ask(self._read, there), strict=True))
        return [replace(image, data=data.get(image.path or "", image.data)) for image in images]

    def _look_at(self, addresses: Sequence[str]) -> None:
        folders = defaultdict(list)
        for address in dict.fromkeys(addresses):
            if address not in self._known:
                folders[split_address(address)[0]].append(address)
        for own in folders.values():
            if len(own) < LISTED_FROM:
                self._known |= dict(zip(own, self._ask(look_at, own), strict=True))
                continue
            bucket, key = self._place(own[0])
            entries = bucket.entries(key.removesuffix(posixpath.basename(key)))
            self._known |= {address: entries.get(posixpath.basename(address)) for address in own}

    def _ask(self, ask: Callable[[InputBucket, str], Answer], addresses: Sequence[str]) -> list[Answer]:
        """Of several images at the same time."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(ask, *zip(*map(self._place, addresses), strict=True))) if addresses else []

    def _read(self, bucket: InputBucket, key: str) -> bytes:
        found = self._known[bucket.url(key)]
        assert found is not None
        with bucket.reading(key, found) as path:
            return path.read_bytes()

    def _place(self, address: str) -> tuple[InputBucket, str]:
        """The bucket of an address, and the key there."""
        for root, bucket in self._buckets.items():
            if address.startswith(f"{root}/"):
                return bucket, address.removeprefix(f"{root}/")
        folder, name = split_address(address)
        self._buckets[folder] = InputBucket(folder, self._settings)
        return self._buckets[folder], name


def look_at(bucket: InputBucket, key: str) -> Object | None:
    try:
        return bucket.look_at(key)
    except FileNotFoundError:
        return None
