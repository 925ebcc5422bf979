"""Addresses of inputs that are no paths of this machine: `s3://bucket/key`, `hf://datasets/owner/name`."""

import posixpath
from os import PathLike, fspath

BUCKET, HUB = "s3", "hf"


def scheme_of(place: str | PathLike[str]) -> str | None:
    """What stands before `://`; None for a path of this machine."""
    scheme, separator, _ = fspath(place).partition("://")
    return scheme if separator and scheme else None


def is_address(place: str | PathLike[str]) -> bool:
    return scheme_of(place) is not None


def joined(folder: str, path: str = "") -> str:
    """The address of what a path names as seen from a folder's address, without `.`, `..` and empty parts."""
    scheme, _, place = f"{folder}/{path}".partition("://")
    return f"{scheme}://{posixpath.normpath(place)}"
