"""Names that say what is in a file: `part-00003.parquet` is stored as `part-00003-5f0c2ab81d44.parquet`.

The digits are the beginning of the contents' sha256; a checkpoint folder has those of all its files. So a
name is written once, and whoever finds a file can tell whether it is whole.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from mstar.storage import FileEntry, describe

CHECKPOINT = "checkpoint"
TRAINING_STATE = "training_state"
"""How the names of what only training reads begin, in a checkpoint."""
DIGITS = 12
STORED_NAME = re.compile(rf"(?P<stem>.+)-[0-9a-f]{{{DIGITS}}}(?P<suffix>\.[a-z]+)?")


def stored_name(name: str, sha256: str) -> str:
    """Under which name a file or folder with these contents is stored."""
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}-{sha256[:DIGITS]}{path.suffix}"))


def plain_name(stored: str) -> str:
    """The name without the digits of its contents; a folder's files have theirs in the folder's name."""
    folder, slash, rest = stored.partition("/")
    if slash and folder.startswith(f"{CHECKPOINT}-"):
        return f"{CHECKPOINT}/{rest}"
    place, slash, name = stored.rpartition("/")
    found = STORED_NAME.fullmatch(name)
    return f"{place}{slash}{found['stem']}{found['suffix'] or ''}" if found else stored


def describe_folder(path: Path) -> dict[str, FileEntry]:
    """An entry for every file in a local folder, by its path there."""
    inner = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): describe(file) for file in inner}


def folder_sha256(files: Mapping[str, FileEntry]) -> str:
    """One hash for a folder's names and contents."""
    lines = "".join(f"{name} {files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()
