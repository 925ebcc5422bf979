"""What is in a model's folder and in a problem file, here or at an address, without loading either.

A model's size is in the headers of its files, and from a bucket no more is fetched; a problem file is read as
`mstar problems check` reads it, a large one by a sample of its rows.
"""

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mstar.addresses import BUCKET, scheme_of
from mstar.config_storage import StorageSettings
from mstar.datasets import Reading, open_problems
from mstar.datasets.checking import check_problems
from mstar.errors import UserError
from mstar.model_folders import fetch_from_hub, open_model
from mstar.records import Problem
from mstar.wording import counted

READ_WHOLE = 20_000
"""Files of up to this many problems are read whole, images included; of larger ones a sample."""
SAMPLED = 1_000
if TYPE_CHECKING:
    from mstar.storage.s3_bucket import Object
    from mstar.storage.s3_inputs import InputBucket

PRM_FILE = "prm.json"
ReadBytes = Callable[[int, int], bytes]
"""Some bytes of a file, by offset and length."""
LONGEST_HEADER = 100_000_000
"""The format's own limit, in bytes."""


@dataclass(frozen=True, slots=True)
class LookedAtModel:
    """What the files of a model say; all None for one that is still on a hub."""

    family: str | None = None
    parameters: int | None = None
    positions: int | None = None

    def __str__(self) -> str:
        if self.family is None:
            return "on a hub, its size is not known here"
        size = (
            "no weights in safetensors"
            if self.parameters is None
            else f"{_amount(self.parameters)} parameters"
        )
        return f"{self.family}, {size}"


@dataclass(frozen=True, slots=True)
class LookedAtProblems:
    """What a problem file holds."""

    path: str
    problems: int
    answer_types: dict[str, int]
    with_images: int
    read: int
    """Rows that were read: all, or a sample."""
    bad: int
    unlabelled: int
    """Problems without an answer."""

    def __str__(self) -> str:
        types = ", ".join(f"{name} {rows}" for name, rows in self.answer_types.items())
        rows = counted(self.problems, "problems")
        of = "" if self.read == self.problems else f"of {self.read} looked at: "
        found = f"{rows}; {of}{types or 'no good rows'}; {self.with_images} with images"
        found += f"; {self.unlabelled} without an answer" if self.unlabelled else ""
        return f"{found}; {counted(self.bad, 'bad rows')}" if self.bad else found


def look_at_model(model: str) -> LookedAtModel:
    """Family, size and positions of a checkpoint, in a folder or a bucket; nothing of a model on a hub."""
    if is_hub_id(model):
        return LookedAtModel()
    files = files_of(model)
    try:
        config = json.loads(files["config.json"](0, LONGEST_HEADER))
        positions = config.get("text_config", config).get("max_position_embeddings")
        family = str(config["model_type"])
    except (OSError, ValueError, KeyError, AttributeError):
        raise UserError(
            f"--model is {model}; name a folder with a config.json, as save_pretrained writes it, one at "
            "s3://bucket/prefix, or the id of a model on a hub"
        ) from None
    return LookedAtModel(family, count_parameters(files), positions)


def is_hub_id(model: str) -> bool:
    """True for `owner/name` where no such folder is here."""
    return not Path(model).exists() and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model) is not None


def count_parameters(files: Mapping[str, ReadBytes]) -> int | None:
    """From the headers of the safetensors files; None where there are none."""
    weights = [
        name for name in sorted(files) if name.endswith(".safetensors") and not name.startswith("training")
    ]
    return sum(_count_in_file(name, files[name]) for name in weights) if weights else None


def files_of(model: str) -> dict[str, ReadBytes]:
    """How the files of a model are read, by name."""
    if scheme_of(model) == BUCKET:
        bucket = open_model(model, StorageSettings())
        return {name: partial(_fetch, bucket, name, one) for name, one in bucket.entries().items() if one}
    return {path.name: partial(_read, path) for path in Path(model).glob("*") if path.is_file()}


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _fetch(bucket: "InputBucket", name: str, found: "Object", offset: int, length: int) -> bytes:
    within = min(length, found.size - offset)
    return bucket.read(name, found, offset, within) if within > 0 else b""


def look_at_problems(path: str, reading: Reading) -> LookedAtProblems:
    """Count what is in a problem file; of a large one a sample."""
    file = open_problems(path, reading)
    if len(file) <= READ_WHOLE:
        checked = check_problems(path, reading=reading)
        with_images = checked.images["1"] + checked.images["several"]
        counts = (with_images, len(file), len(checked.bad), checked.unlabelled)
        return LookedAtProblems(path, len(file), checked.answer_types, *counts)
    rows = range(0, len(file), math.ceil(len(file) / SAMPLED))
    outcomes = [outcome for _, outcome in file.scan(rows)]
    good = [one for one in outcomes if isinstance(one, Problem)]
    types = dict(Counter(str(one.answer_type) for one in good).most_common())
    with_images = sum(bool(one.images) for one in good)
    counts = (with_images, len(rows), len(outcomes) - len(good), len(file.unlabelled))
    return LookedAtProblems(path, len(file), types, *counts)


def read_separator(prm: str) -> str:
    """What ends the steps that a process reward model scores."""
    if is_hub_id(prm):
        prm = str(fetch_from_hub("--prm", prm, None, PRM_FILE))
    try:
        separator = json.loads(files_of(prm)[PRM_FILE](0, LONGEST_HEADER))["step_separator"]
    except (OSError, ValueError, LookupError, TypeError):
        raise UserError(
            f"--prm is {prm}, which has no prm.json with a step_separator; name a process reward model"
        ) from None
    return str(separator)


def _count_in_file(name: str, read: ReadBytes) -> int:
    """Elements of all tensors: the file begins with the length of a JSON header that has their shapes."""
    try:
        (length,) = struct.unpack("<Q", read(0, 8))
        header = json.loads(read(8, min(length, LONGEST_HEADER)))
        return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (struct.error, ValueError, LookupError, TypeError, AttributeError):
        raise UserError(f"{name} is no safetensors file; copy the model again") from None


def _amount(number: int) -> str:
    for size, name in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.1f} {name}"
    return str(number)
