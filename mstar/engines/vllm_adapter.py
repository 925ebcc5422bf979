"""What vLLM loads for a policy: a whole model; or a base, and the adapter that every request is asked with.

vLLM puts adapters into the text model. One that has learned elsewhere too, or whose base vLLM takes none for,
is merged with it into a folder that goes again with the engine.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from mstar.config import Model
from mstar.engines.vllm_prompts import takes_adapters
from mstar.models import Family, part_of
from mstar.models.adapters import ADAPTER_FILES, PREFIX, WEIGHTS, base_of, is_adapter, rank_of
from mstar.models.loading import write_merged
from mstar.storage.folder import FolderStorage
from mstar.stored_names import TRAINING_STATE

ROOMS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM makes room for."""


@dataclass(frozen=True)
class Served:
    """What vLLM is started with."""

    model: Path
    """Its weights, whole."""
    adapter: Path | None = None
    """What goes with every request; None where there is none."""
    room: int | None = None
    """The rank that vLLM is told to make room for."""

    @property
    def arguments(self) -> dict[str, Any]:
        """What vLLM is told of the adapter."""
        return (
            {} if self.adapter is None else {"enable_lora": True, "max_loras": 1, "max_lora_rank": self.room}
        )

    def request(self) -> Any:
        """vLLM's LoRARequest for the adapter."""
        from vllm.lora.request import LoRARequest

        return None if self.adapter is None else LoRARequest("policy", 1, str(self.adapter.absolute()))


@contextmanager
def served(policy: Path, model: Model, family: Family) -> Iterator[Served]:
    """How vLLM is given a policy, as long as the block lasts."""
    if not is_adapter(policy):
        yield Served(policy)
        return
    room = smallest_room(rank_of(policy))
    if room is not None and takes_adapters(family) and learns_text_alone(policy, family):
        yield Served(base_of(policy, model), policy, room)
        return
    with FolderStorage(merged_folder()).scratch() as whole:
        shutil.copytree(policy, whole, ignore=shutil.ignore_patterns(f"{TRAINING_STATE}*", *ADAPTER_FILES))
        write_merged(policy, model, whole)
        yield Served(whole)


def merged_folder() -> Path:
    """Where merged policies lie; what a killed process has left there goes with the next one."""
    return Path(tempfile.gettempdir()) / f"mstar-merged-{os.getuid()}"


def learns_text_alone(policy: Path, family: Family) -> bool:
    """Whether an adapter is in the text model and nowhere else."""
    with safe_open(policy / WEIGHTS, "pt") as file:
        return all(part_of(name.removeprefix(PREFIX), family) == "text" for name in file.keys())  # noqa: SIM118


def smallest_room(rank: int) -> int | None:
    """The smallest of `ROOMS` that a rank fits in; None where there is none."""
    return min((room for room in ROOMS if room >= rank), default=None)
