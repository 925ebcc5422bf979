"""Do training and its checkpoints fit into memory and onto the disk? Looked at before a run begins.

What is needed follows from the number of parameters, which a model's configuration tells without its weights.
Measured with AdamW in float32: 16 bytes for each trained parameter after a step (weight, gradient, two
moments), 19.6 at the peak, 4 for each frozen one; a checkpoint takes 12 and 4. With moments of 8 bits it is
13 at the peak, and 6 in a checkpoint. Where an adapter is trained, its base is frozen in the type of the
arithmetic and in no checkpoint. What ZeRO spreads over ranks follows from these figures. Activations come on
top and are not estimated: they depend on the lengths of what is trained.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mstar.cgroups import group_folders
from mstar.config import Config
from mstar.config_train import Deepspeed, Train
from mstar.errors import UserError

if TYPE_CHECKING:
    from mstar.models import Encoder

PEAK_BYTES = {"adamw": 19.6, "adamw_8bit": 13.0}
"""For each trained parameter in memory, by `train.optimizer`."""
SAVED_BYTES = {"adamw": 12, "adamw_8bit": 6}
"""For each trained parameter in a checkpoint; 12 for those whose moments are too few to be coded."""
FROZEN_BYTES = 4
"""For each frozen parameter in memory and in a checkpoint."""
ZERO_BYTES = {1: (8.0, 15.6), 2: (4.0, 19.6), 3: (0.0, 19.6)}
"""Per trained parameter by ZeRO's stage: what every rank holds, and what they share."""
OFFLOADED_BYTES = 15.6
"""Of what they share, the optimizer's."""
ROOM_FOR_ACTIVATIONS = 1.25
"""Free memory below this many times what is needed without activations is warned about."""
IN_HAND = 2
"""Checkpoints besides the kept ones while an iteration is trained."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many there are in a model."""

    trained: int
    frozen: int
    base_bytes: int | None = None
    """Of each frozen one in memory, where they are the base of an adapter."""
    optimizer: str = "adamw"

    @property
    def training_bytes(self) -> float:
        """What training holds at its peak, without activations."""
        return PEAK_BYTES[self.optimizer] * self.trained + (self.base_bytes or FROZEN_BYTES) * self.frozen

    @property
    def saved_frozen(self) -> int:
        """Of the frozen ones those that are in a checkpoint."""
        return 0 if self.base_bytes else self.frozen

    @property
    def checkpoint_bytes(self) -> int:
        return SAVED_BYTES[self.optimizer] * self.trained + FROZEN_BYTES * self.saved_frozen

    @property
    def most_checkpoint_bytes(self) -> int:
        """The same where no moments are coded."""
        return replace(self, optimizer="adamw").checkpoint_bytes


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes: all that there is to be had, and what of it is free now."""

    limit: int
    free: int


def check_resources(
    config: Config, encoder: "Encoder", free_bytes: int | None, trains_here: bool = True
) -> list[str]:
    """Warnings where memory or disk may run short; UserError where training cannot fit, or has no object.

    `encoder` is the policy's; `free_bytes` are left where the run will be, None is no limit. The memory of a
    machine that only prepares a run does not matter.
    """
    parameters = count_parameters(config, encoder)
    if not parameters.trained:
        raise UserError(
            f"train.freeze is [{', '.join(config.train.freeze)}], which leaves nothing of this model to "
            "train; take one of them out"
        )
    memory = None
    if trains_here:
        memory = cuda_memory() if config.model.device == "cuda" else system_memory()
    warnings = [
        judge_memory(parameters, memory, config.train, needed_bytes(parameters, config)) if memory else None,
        judge_disk(parameters, free_bytes, config) if free_bytes is not None else None,
    ]
    return [warning for warning in warnings if warning]


def needed_bytes(parameters: Parameters, config: Config) -> float:
    """What one device holds at the peak of training, without activations; UserError where there are fewer
    GPUs than `deepspeed.ranks`. Ranks on a CPU have one memory.
    """
    if config.train.trainer == "single":
        return parameters.training_bytes
    from mstar.trainers.deepspeed import count_ranks

    ranks = count_ranks(config)
    return rank_bytes(parameters, config.deepspeed, ranks) * (ranks if config.model.device == "cpu" else 1)


def rank_bytes(parameters: Parameters, section: Deepspeed, ranks: int) -> float:
    """What one of several ranks holds at the peak, without activations and what is on its way; without what
    is offloaded, too.
    """
    whole, shared = ZERO_BYTES[section.zero_stage]
    frozen = float(parameters.base_bytes or FROZEN_BYTES)
    shared -= OFFLOADED_BYTES if section.offload_optimizer else 0
    if section.zero_stage == 3:
        frozen = 0 if section.offload_weights else frozen / ranks
        shared -= FROZEN_BYTES if section.offload_weights else 0
    return (whole + shared / ranks) * parameters.trained + frozen * parameters.frozen


def judge_memory(
    parameters: Parameters, memory: Memory, train: Train, need: float | None = None
) -> str | None:
    """A warning if training may not fit; UserError if it cannot. `need` is what one device has to hold, if
    not all.
    """
    need = parameters.training_bytes if need is None else need
    needed = (
        f"training {parameters.trained:,} parameters beside {parameters.frozen:,} frozen ones needs "
        f"{amount(need)} of memory without activations"
    )
    if need > memory.limit:
        raise UserError(
            f"{needed}, and there are {amount(memory.limit)}; freeze more of the model "
            f"(train.freeze is [{', '.join(train.freeze)}]), train an adapter (train.lora.rank=16), or "
            "choose a smaller model"
        )
    if ROOM_FOR_ACTIVATIONS * need <= memory.free:
        return None
    helps = [] if train.gradient_checkpointing else ["train.gradient_checkpointing=true"]
    return (
        f"{needed}, and {amount(memory.free)} are free; if it does not suffice: "
        + ", ".join([*helps, f"train.tokens_per_micro_batch below {train.tokens_per_micro_batch}"])
        + f", or more in train.freeze than [{', '.join(train.freeze)}]"
    )


def judge_disk(parameters: Parameters, free: int, config: Config) -> str | None:
    """A warning if the run's checkpoints may not fit; UserError if not even one does."""
    one = parameters.checkpoint_bytes
    if one > free:
        raise UserError(
            f"a checkpoint takes {amount(one)}, and {amount(free)} are free where output {config.output} is; "
            "free some space or choose another output"
        )
    keep, kept = config.train.keep_checkpoints, kept_checkpoints(config, config.iterations.count)
    if (kept + IN_HAND) * one <= free:
        return None
    remedy = "train.keep_checkpoints keeps fewer" if keep is None or keep > 1 else "choose another output"
    return (
        f"checkpoints of {amount(one)} each will take {amount((kept + IN_HAND) * one)} ({kept} are kept, and "
        f"up to {IN_HAND} more in hand); {amount(free)} are free where output {config.output} is; {remedy}"
    )


def kept_checkpoints(config: Config, iterations: int) -> int:
    """How many stay of so many iterations, at most: the newest, and the best one."""
    keep = config.train.keep_checkpoints
    return iterations if keep is None else min(iterations, keep + 1)


def count_parameters(config: Config, encoder: "Encoder") -> Parameters:
    """Of the first policy, from its configuration alone."""
    import torch
    import transformers

    from mstar.models import part_of
    from mstar.models.adapters import adapter_weights, add_adapter

    with torch.device("meta"):  # shapes without memory
        model = transformers.AutoModelForImageTextToText.from_config(encoder.config)
        if config.train.lora.rank is not None:
            base = sum(parameter.numel() for parameter in model.parameters())
            add_adapter(model, encoder.family, config.train)
            trained = sum(parameter.numel() for parameter in adapter_weights(model).values())
            size = getattr(torch, config.model.dtype).itemsize
            return Parameters(trained, base, size, config.train.optimizer)
    counts = {True: 0, False: 0}
    for name, parameter in model.named_parameters():
        counts[part_of(name, encoder.family) in config.train.freeze] += parameter.numel()
    return Parameters(counts[False], counts[True], optimizer=config.train.optimizer)


def cuda_memory() -> Memory | None:
    """Of the device that torch would use; None where it sees none, which loading the model will say."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, limit = torch.cuda.mem_get_info()
    return Memory(limit, free)


def system_memory(system: Path = Path("/")) -> Memory | None:
    """Of this process, by the machine and its control groups; None on a system that does not say.

    `system` is where /proc and /sys are.
    """
    try:
        lines = (system / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    limits, rooms = [sizes["MemTotal"]], [sizes["MemAvailable"]]
    for folder in group_folders("memory", system):
        if group := _group_memory(folder):
            limits.append(group.limit)
            rooms.append(group.free)
    return Memory(min(limits), max(0, min(rooms)))


def _group_memory(folder: Path) -> Memory | None:
    """Of one control group, version 2 or 1; None where it sets no limit. Cached files give way in need."""
    for names in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            limit, usage = ((folder / name).read_text().strip() for name in names)
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if limit == "max":
            return None
        cached = statistics.get("total_inactive_file") or statistics["inactive_file"]
        return Memory(int(limit), int(limit) - int(usage) + int(cached))
    return None


def amount(size: float) -> str:
    """Bytes for people."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1024:.1f} KiB"
