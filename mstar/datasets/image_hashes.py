"""Hashes of the image files beside a problem file, remembered with the stamp of each.

Only files that are new or have changed are read. An image that is missing, or is no file, has no hash: what
is wrong with it is said where it is decoded.
"""

import json
import stat
import time
from collections.abc import Sequence
from os import stat as stat_of
from pathlib import Path
from typing import NamedTuple

from mstar.content_hashes import (
    Stamp,
    entry_name,
    file_sha256,
    is_settled,
    read_cached,
    stamp_from,
    write_cached,
)

FOLDER = "images"


class HashedImage(NamedTuple):
    """`stamp` is None where the file had just changed, so that its hash cannot be used again."""

    stamp: Stamp | None
    sha256: str | None


UNKNOWN = HashedImage(None, None)


def image_hashes(problems: Path | str, paths: Sequence[str]) -> list[str | None]:
    """The sha256 of each image file that the problems at a path name; None where there is no such file."""
    name = f"{FOLDER}/{entry_name(problems)}"
    known = read_known(name)
    now_ns = time.time_ns()
    found = {path: hashed(path, known.get(path, UNKNOWN), now_ns) for path in paths}
    if found != known:
        write_cached(name, json.dumps(found).encode())
    return [image.sha256 for image in found.values()]


def hashed(path: str, known: HashedImage, now_ns: int) -> HashedImage:
    try:
        found = stat_of(path)
        stamp = stamp_from(found)
        if stamp == known.stamp:
            return known
        if not stat.S_ISREG(found.st_mode):
            return UNKNOWN
        sha256 = file_sha256(path)
    except (OSError, ValueError):
        return UNKNOWN
    return HashedImage(stamp if is_settled(stamp, now_ns) else None, sha256)


def read_known(name: str) -> dict[str, HashedImage]:
    """What was remembered: {path: [stamp, sha256]}."""
    try:
        kept = json.loads(read_cached(name) or b"{}")
        return {path: HashedImage(stamp and Stamp(*stamp), sha256) for path, (stamp, sha256) in kept.items()}
    except (ValueError, TypeError):
        return {}
