"""Where the files of a preset are from: what provenance.json says."""

import hashlib
import posixpath
from dataclasses import dataclass, field

from mstar import __version__
from mstar.datasets.contamination import Kind
from mstar.presets.reading import LeftOut
from mstar.presets.sources import DocumentRows, Source


@dataclass
class Written:
    """One file of a preset, and where it is from."""

    set: str
    licence: str
    paper: str
    address: str
    """On a hub with the commit."""
    made_from: dict[str, str]
    """The sha256 of each file that was read."""
    problems: int = 0
    sha256: str = ""
    renamed_ids: int = 0
    """Ids that came again in the source, and got a number."""
    placed_images: int = 0
    """Questions in which `<image>` marks the place of an image: to be read with `data.columns`."""
    left_out: LeftOut = field(default_factory=LeftOut)


@dataclass
class Provenance:
    """All files of a preset."""

    preset: str
    mstar: str = __version__
    files: dict[str, Written] = field(default_factory=dict)
    matches: dict[str, dict[Kind, int]] = field(default_factory=dict)
    """By test set: training problems that repeat one of its problems."""
    drop: Kind | None = None
    dropped: int = 0
    """Training problems that were left out for it."""


def hashes_of(source: Source) -> dict[str, str]:
    """The sha256 of each file; of a folder with a file for every problem, one of them all."""
    hashes = [file.sha256() for file in source.files]
    if isinstance(source.rows, DocumentRows):
        return {posixpath.basename(source.address): hashlib.sha256("".join(hashes).encode()).hexdigest()}
    return {str(file.name): sha256 for file, sha256 in zip(source.files, hashes, strict=True)}
