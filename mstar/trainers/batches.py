"""Which responses are learned together. Pure arithmetic on lengths; no torch.

A batch is a random draw of responses, whatever their lengths; only inside a batch are rows grouped by length
into micro-batches. (Batches bucketed by length would favour short responses.)
"""

import random
from collections.abc import Sequence

from mstar.config_train import Train


def plan_batches(responses: int, config: Train, seed: int) -> list[list[int]]:
    """Indices of the responses of each optimizer step: an epoch is a fresh random order, cut into batches."""
    shuffler = random.Random(seed)
    batches = []
    for _ in range(config.epochs):
        order = list(range(responses))
        shuffler.shuffle(order)
        batches += [
            order[start : start + config.batch_size] for start in range(0, responses, config.batch_size)
        ]
    return batches


def plan_micro_batches(lengths: Sequence[int], config: Train) -> list[list[int]]:
    """Group rows of similar length so that none holds more padding or more tokens than the configuration
    allows.
    """
    groups: list[list[int]] = []
    held = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        longest = lengths[groups[-1][0]] if groups else 0
        padded_size = longest * (len(groups[-1]) + 1) if groups else 0
        within_padding = padded_size - held - lengths[index] <= config.max_padding * padded_size
        if groups and within_padding and padded_size <= config.tokens_per_micro_batch:
            groups[-1].append(index)
            held += lengths[index]
        else:
            groups.append([index])
            held = lengths[index]
    return groups


def plan_packs(lengths: Sequence[int], config: Train) -> list[list[int]]:
    """Group rows of any length so that few groups hold more than they have room for: each row, the longest
    first, goes to the first group that it fits in. One that is longer than all room is alone.
    """
    packs: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        fitting = next((number for number, left in enumerate(room) if lengths[index] <= left), None)
        if fitting is None:
            packs.append([])
            room.append(config.tokens_per_micro_batch)
            fitting = -1
        packs[fitting].append(index)
        room[fitting] -= lengths[index]
    return packs
